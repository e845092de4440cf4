"""On random histories the projections say what the engine's state says, commit by commit."""

from collections import Counter
from typing import Any

from sqlalchemy import Connection

from events import records as r
from events.commit import Commit
from events.wire import dumps, loads
from exchange.book import ASK, BID
from exchange.state import State
from projections import accounts, contracts, machines, market, orders
from projections.queries import reply
from projections.store import Store, digest, rebuild
from tests.projections.history import OPERATOR, TRADERS, Market

STEPS = 500


def compare(connection: Connection, state: State) -> None:
    """Every balance, order, contract, machine and the depth."""
    money = {row["account"]: row for _, row in accounts.account_rows(connection)}
    assert (money.pop("bank")["free"], money.pop("fees")["free"]) == (state.bank, state.fees)
    assert {
        key: (row["name"], row["free"], row["held"], row["reputation"]) for key, row in money.items()
    } == {
        key: (account.name, account.free, account.held, account.reputation)
        for key, account in state.accounts.items()
    }
    assert {key: row["suspended"] for key, row in money.items() if row["suspended"]} == state.suspended
    assert sum(row["free"] + row["held"] for row in money.values()) + state.bank + state.fees == 0

    live = dict(contracts.contract_rows(connection))
    assert {
        number: (c["bid"], c["ask"], c["price"], c["hour"], c["until_us"], c["sent"], c["started"])
        for number, c in live.items()
    } == {
        number: (c.bid, c.ask, c.price, c.hour, c.until_us, bool(c.confirm_by_us), c.started)
        for number, c in state.contracts.items()
    }

    standing = {
        number: (row["side"] == "bid", row["price"], row["size"], row["running"], row["expires_us"])
        for key in state.accounts
        for number, row in orders.order_rows(connection, key)
    }
    assert standing == {
        number: (order.is_bid, order.price, order.size, order.running, order.expires_us)
        for number, order in state.orders.items()
        if order.size
    }
    closed = {n: order.running for n, order in state.orders.items() if not order.size}
    for key in state.accounts:
        for number, row in orders.order_rows(connection, key, every=True):
            if row["closed"]:
                assert row["running"] == closed.get(number, 0)

    assert {
        (row["account"], row["machine"]): (row["cpus"], row["ready"])
        for _, row in machines.machine_rows(connection)
    } == {key: (machine.cpus, machine.ready) for key, machine in state.machines.items()}
    for side, name in ((BID, "bid"), (ASK, "ask")):
        assert [tuple(level[:2]) for level in orders.depth(connection, name)] == state.book.depth(side)
    said = market.status(connection)
    assert (said["frozen"], said["halted"], said["now_us"]) == (state.frozen, state.halted, state.now_us)
    assert (said["rules"], said["checked"]) == (state.rules, state.checked)


def ask(store: Store, account: str, what: str, **arguments: Any) -> Any:
    return loads(reply(store, account, what, dumps(arguments)))["result"]


def test_projections_say_what_the_engine_knows() -> None:
    seen: Counter[str] = Counter()
    for seed in range(4):
        seen += follow(Market(seed))
    assert seen.keys() == r.EVENTS.keys(), r.EVENTS.keys() - seen.keys()


def follow(history: Market) -> Counter[str]:
    """One history to its end; returns the kinds of its events."""
    seen: Counter[str] = Counter()
    log, levels = [], 0
    with Store() as store:
        for commit in history.commits(STEPS):
            log.append(commit)
            store.apply([commit])
            store._check()
            seen.update(event.kind for _, event in commit.events)
            with store.transaction() as connection:
                compare(connection, history.engine.state)
                levels += len(orders.depth(connection, "bid"))
        assert levels > 50
        with rebuild(log) as fresh:
            assert digest(fresh) == digest(store)
        as_of_the_middle(log)
        for key in (*TRADERS[:-1], OPERATOR):
            money_and_feed(store, log, key.public, history.engine.state)
    return seen


def as_of_the_middle(log: list[Commit]) -> None:
    middle = len(log) // 2
    state = State()
    for commit in log[:middle]:
        for _, event in commit.events:
            state.fold(event)
    with rebuild(log[:middle]) as then, then.transaction() as connection:
        compare(connection, state)


def money_and_feed(store: Store, log: list[Commit], account: str, state: State) -> None:
    """The statement closes with the balance; the feed has every event of the account, once, in order."""
    closing = ask(store, account, "statement")["closing"]
    assert closing == {"free": state.accounts[account].free, "held": state.accounts[account].held}
    told = ask(store, account, "feed", most=1000)
    assert [message["n"] for message in told] == list(range(1, len(told) + 1))
    assert [event for message in told for event in message["events"]] == [
        loads(dumps(event.wire()))
        for commit in log
        for _, event in commit.events
        if account in event.accounts()
    ]
