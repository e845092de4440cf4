"""The state as entries: what its digest sums over, and what a snapshot holds (R34).

An entry is a key (a kind, and what names one of that kind) and a list of plain values; as a row it is the
JSON of both. All entries together are the whole state: `restore` makes it again.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from exchange.digest import Key

if TYPE_CHECKING:
    from exchange.state import State


def entry(state: "State", key: Key) -> list[object] | None:
    """The present values under a key, or None where there is none any more. O(values)."""
    return _ENTRIES[key[0]](state, key)


def _market(state: "State", key: Key) -> list[object]:
    terms = state.terms.wire() if state.terms else None
    return [
        terms, state.epoch, state.now_us, state.tick_us, state.frozen, state.halted, state.self_frozen,
        state.ill, state.bank, state.fees, state.last_order, state.last_place, state.last_contract,
    ]  # fmt: skip


def _rules(state: "State", key: Key) -> list[object]:
    return [state.rules]


def _checked(state: "State", key: Key) -> list[object]:
    return [state.checked]


def _answer(state: "State", key: Key) -> list[object] | None:
    _, account, session, number = key
    found = state.sessions.get(account, {}).get(session)
    answer = found.answers.get(number) if found else None
    return None if answer is None else [answer.wire()]


def _order(state: "State", key: Key) -> list[object] | None:
    order = state.orders.get(key[1])
    return None if order is None else order.entry()


def _contract(state: "State", key: Key) -> list[object] | None:
    contract = state.contracts.get(key[1])
    return None if contract is None else contract.entry()


def _hour(state: "State", key: Key) -> list[object] | None:
    hour = state.hours.get((key[1], key[2]))
    return None if hour is None else hour.entry()


def _suspended(state: "State", key: Key) -> list[object] | None:
    request = state.suspended.get(key[1])
    return None if request is None else [request]


_ENTRIES: "dict[str, Callable[[State, Key], list[object] | None]]" = {
    "market": _market,
    "rules": _rules,
    "checked": _checked,
    "flag": lambda state, key: [state.flags[key[1]]],
    "account": lambda state, key: state.accounts[key[1]].entry(),
    "suspended": _suspended,
    "votes": lambda state, key: list(state.accounts[key[1]].votes[key[2]]),
    "machine": lambda state, key: state.machines[key[1], key[2]].entry(),
    "order": _order,
    "contract": _contract,
    "hour": _hour,
    "answer": _answer,
}
