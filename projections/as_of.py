"""What a replay shows: the market's state in the rows that the queries answer with.

A contract's row has no `paid`, and what has ended is not there: the state keeps what is, not what was.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from events.records import BANK, FEES
from exchange.entities import Order
from exchange.state import State

PRIOR = 500_000  # reputation before any vote, in parts per million (R26)
TERMS = ("operator", "exchange", "hour_us", "lost_after_us", "fee_ppm")
Row = dict[str, Any]


def account_rows(state: State) -> Iterator[Row]:
    """Balances, the bank's and the fees' first, then as accounts were opened: they sum to zero (R1)."""
    for name, money in ((BANK, state.bank), (FEES, state.fees)):
        yield _account_row(name, name, money, 0, PRIOR, 0)
    for key, account in state.accounts.items():
        suspended = state.suspended.get(key, 0)
        yield _account_row(key, account.name, account.free, account.held, account.reputation, suspended)


def _account_row(key: str, name: str, free: int, held: int, reputation: int, suspended: int) -> Row:
    return {
        "account": key, "name": name, "free": free, "held": held, "reputation": reputation,
        "suspended": suspended,
    }  # fmt: skip


def machine_rows(state: State) -> Iterator[Row]:
    """Machines in the order in which they were first stated, the seller's reputation among the numbers."""
    for machine in state.machines.values():
        seller = state.accounts[machine.account]
        yield {
            "account": machine.account,
            "name": seller.name,
            "machine": machine.name,
            "cpus": machine.cpus,
            "numbers": {**machine.numbers, "reputation": seller.reputation},
            "flags": list(machine.flags),
            "ready": machine.ready,
        }


def order_rows(state: State) -> Iterator[Row]:
    """Open orders, the oldest number first."""
    for order in sorted(state.orders.values(), key=lambda order: order.number):
        if order.size:
            yield {
                "order": order.number,
                "account": order.account,
                "side": "bid" if order.is_bid else "ask",
                "price": order.price,
                "size": order.size,
                "running": order.running,
                "machine": order.machine,
                "minimums": dict(order.screen.minimums),
                "flags": list(order.screen.flags),
                "only": list(order.screen.only),
                "blocked": list(order.screen.blocked),
                "expires_us": order.expires_us,
            }


def contract_rows(state: State) -> Iterator[Row]:
    """Contracts that run, in the order of their numbers."""
    for number in sorted(state.contracts):
        contract = state.contracts[number]
        yield {
            "contract": number,
            "bid": contract.bid,
            "ask": contract.ask,
            "buyer": contract.buyer,
            "seller": contract.seller,
            "machine": contract.machine,
            "price": contract.price,
            "hour": contract.hour,
            "until_us": contract.until_us,
            "sent": contract.confirm_by_us > 0,
            "started": contract.started,
        }


def depth(state: State, side: str) -> list[list[int]]:
    """[price, open slots, orders], best price first: what is funded, present and ready (R11). O(orders)."""
    levels: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for order in state.orders.values():
        if order.is_bid == (side == "bid") and order.open and _is_alive(state, order):
            level = levels[order.price]
            level[0] += order.open
            level[1] += 1
    return [[price, *levels[price]] for price in sorted(levels, reverse=side == "bid")]


def _is_alive(state: State, order: Order) -> bool:
    if order.is_bid:
        account = state.accounts[order.account]
        return account.present and account.free >= order.price
    return state.machines[order.account, order.machine].ready


def status(state: State) -> Row:
    """The market as a whole, as the query `status` answers."""
    terms = state.terms
    return {
        "now_us": state.now_us,
        "frozen": state.frozen,
        "halted": state.halted,
        "epoch": state.epoch,
        "rules": state.rules,
        "checked": state.checked,
        "terms": None if terms is None else {name: getattr(terms, name) for name in TERMS},
        "accounts": len(state.accounts),
        "machines": len(state.machines),
        "ready": sum(machine.ready for machine in state.machines.values()),
        "orders": sum(order.size > 0 for order in state.orders.values()),
        "contracts": len(state.contracts),
    }


def as_of(state: State, commit: int) -> Row:
    """{"commit", "status", "accounts", "book", "machines", "contracts"} of a state."""
    return {
        "commit": commit,
        "status": status(state),
        "accounts": list(account_rows(state)),
        "book": {f"{side}s": depth(state, side) for side in ("bid", "ask")},
        "machines": list(machine_rows(state)),
        "contracts": list(contract_rows(state)),
    }
