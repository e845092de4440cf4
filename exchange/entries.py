"""The state as entries: what its digest sums over, and what a snapshot holds (R34).

An entry is a key (a kind, and what names one of that kind) and a list of plain values; as a row it is the
JSON of both. All entries together are the whole state, and `exchange/restoring.py` makes it from them: so
whoever has rows can hold them against the digest in a commit, wherever they came from.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from exchange.digest import Key, row

if TYPE_CHECKING:
    from exchange.state import State


def entry(state: "State", key: Key) -> list[object] | None:
    """The present values under a key, or None where there is none any more. O(values)."""
    return _ENTRIES[key[0]](state, key)


def keys(state: "State") -> Iterator[Key]:
    """The keys of all entries, each kind behind those that it refers to. O(entries)."""
    yield ("market",)
    yield ("rules",)
    if state.checked:
        yield ("checked",)
    yield from (("flag", flag) for flag in state.flags)
    yield from (("account", key) for key in state.accounts)
    yield from (("suspended", key) for key in state.suspended)
    yield from (("votes", key, by) for key, account in state.accounts.items() for by in account.votes)
    yield from (("machine", *key) for key in state.machines)
    yield from (("order", number) for number in state.orders)
    yield from (("contract", number) for number in state.contracts)
    yield from (("hour", *key) for key in state.hours)
    for key, sessions in state.sessions.items():
        yield from (("floor", key, session) for session, found in sessions.items() if found.floor)
    for key, sessions in state.sessions.items():
        for session, found in sessions.items():
            yield from (("answer", key, session, number) for number in found.answers)


def rows(state: "State") -> Iterator[bytes]:
    """All entries of a state that has come to rules 2 or later, as rows. O(entries) time, O(1) memory."""
    assert state.rules > 1, "by rules 1 the digest left out what new rules need"
    for key in keys(state):
        values = entry(state, key)
        assert values is not None, key
        yield row(key, values)


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


def _flag(state: "State", key: Key) -> list[object]:
    return [state.flags[key[1]]]


def _account(state: "State", key: Key) -> list[object]:
    return state.accounts[key[1]].entry()


def _suspended(state: "State", key: Key) -> list[object] | None:
    request = state.suspended.get(key[1])
    return None if request is None else [request]


def _votes(state: "State", key: Key) -> list[object]:
    return list(state.accounts[key[1]].votes[key[2]])


def _machine(state: "State", key: Key) -> list[object]:
    return state.machines[key[1], key[2]].entry()


def _order(state: "State", key: Key) -> list[object] | None:
    order = state.orders.get(key[1])
    return None if order is None else order.entry()


def _contract(state: "State", key: Key) -> list[object] | None:
    contract = state.contracts.get(key[1])
    return None if contract is None else contract.entry()


def _hour(state: "State", key: Key) -> list[object] | None:
    hour = state.hours.get((key[1], key[2]))
    return None if hour is None else hour.entry()


def _answer(state: "State", key: Key) -> list[object] | None:
    _, account, session, number = key
    found = state.sessions.get(account, {}).get(session)
    answer = found.answers.get(number) if found else None
    return None if answer is None else [answer]


def _floor(state: "State", key: Key) -> list[object] | None:
    found = state.sessions.get(key[1], {}).get(key[2])
    return [found.floor] if found is not None and found.floor else None


_ENTRIES: "dict[str, Callable[[State, Key], list[object] | None]]" = {
    "market": _market,
    "rules": _rules,
    "checked": _checked,
    "flag": _flag,
    "account": _account,
    "suspended": _suspended,
    "votes": _votes,
    "machine": _machine,
    "order": _order,
    "contract": _contract,
    "hour": _hour,
    "floor": _floor,
    "answer": _answer,
}
