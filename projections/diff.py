"""What changed between two moments of one log; and where two logs begin to differ (R34)."""

from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from events.commit import Commit, Packed, decode
from events.records import Event, OrderClosed
from exchange.state import State
from projections import as_of
from projections.replay import Journal, Replay, Tell, Until, bodies, silent

Row = dict[str, Any]
MONEY = ("free", "held", "reputation", "suspended")


def between(journal: Journal, first: Until, second: Until, tell: Tell = silent) -> Row:
    """{"from", "to", "events", "money", "accounts", "orders", "contracts", "machines"}: what is different.

    `events` counts events by kind, `money` sums what they moved by kind. Accounts name what changed as
    [before, after]. One pass. O(state) memory. Raises ReplayError, BadRecordError.
    """
    replay = Replay(journal, tell)
    state = replay.run(first)
    begin, before = _moment(replay), _Picture(state)
    tally = _Tally()
    replay.each = tally
    replay.run(second)
    after = _Picture(state)
    return {
        "from": begin,
        "to": _moment(replay),
        "events": dict(sorted(tally.events.items())),
        "money": {
            kind: {"events": tally.events[kind], "amount": amount}
            for kind, amount in sorted(tally.money.items())
        },
        "accounts": list(_balances(before.accounts, after.accounts)),
        "orders": _changes(before.orders, after.orders, "placed", "gone", tally.reasons),
        "contracts": _changes(before.contracts, after.contracts, "opened", "ended", {}),
        "machines": _changes(before.machines, after.machines, "stated", "gone", {}),
    }


def logs(ours: Journal, theirs: Journal, tell: Tell = silent) -> Row:
    """{"same", "commits", "commit", "event"}: the first commit and the first event in which two logs differ.

    `commits` is how many they share, byte for byte. `commit` and `event` are None, or {"a", "b"}: what
    stands there in each; None where a log has ended. Events are compared over the borders of commits, which
    may be cut differently: then `event` is None though `commit` is not. O(commit) memory.
    """
    shared = 0
    pair: tuple[tuple[int, bytes] | None, tuple[int, bytes] | None]
    left, right = bodies(ours), bodies(theirs)
    whole = min(ours.end, theirs.end)
    for pair in zip_longest(left, right):
        a, b = pair
        if a is None or b is None or a[1] != b[1]:
            break
        shared += 1
        tell(a[0], whole)
    else:
        return {"same": True, "commits": shared, "commit": None, "event": None}
    first = [decode(one[1]) if one else None for one in pair]
    event = _first_event(_events(first[0], left), _events(first[1], right))
    return {
        "same": False,
        "commits": shared,
        "commit": {name: _commit(one) for name, one in zip("ab", first, strict=True)},
        "event": event,
    }


class _Tally:
    """Counts what happened."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.money: Counter[str] = Counter()
        self.reasons: dict[object, str] = {}

    def __call__(self, commit: Packed, request: int, event: Event, state: State) -> None:
        self.events[event.kind] += 1
        moved = sum(amount for *_, amount in event.movements())
        if moved:
            self.money[event.kind] += moved
        if type(event) is OrderClosed:
            self.reasons[event.order] = event.reason


class _Picture:
    """The rows of a state by what names them."""

    def __init__(self, state: State) -> None:
        self.accounts = {row["account"]: row for row in as_of.account_rows(state)}
        self.orders: dict[object, Row] = {row["order"]: row for row in as_of.order_rows(state)}
        self.contracts: dict[object, Row] = {row["contract"]: row for row in as_of.contract_rows(state)}
        self.machines: dict[object, Row] = {
            (row["account"], row["machine"]): row for row in as_of.machine_rows(state)
        }


def _moment(replay: Replay) -> Row:
    return {"commit": replay.number, "now_us": replay.state.now_us, "tick_us": replay.tick_us}


def _balances(before: dict[str, Row], after: dict[str, Row]) -> Iterator[Row]:
    """Accounts of which something changed, with what."""
    for key, row in after.items():
        was = before.get(key)
        changed = {
            name: [was[name] if was else 0, row[name]] for name in MONEY if not was or was[name] != row[name]
        }
        if changed:
            yield {"account": key, "name": row["name"], "is_new": was is None, **changed}


def _changes(
    before: dict[object, Row], after: dict[object, Row], new: str, gone: str, reasons: dict[object, str]
) -> Row:
    """{new: rows, "changed": [{"before", "after"}], gone: rows as they were}."""
    return {
        new: [row for key, row in after.items() if key not in before],
        "changed": [
            {"before": before[key], "after": row}
            for key, row in after.items()
            if key in before and before[key] != row
        ],
        gone: [
            row | ({"reason": reasons[key]} if key in reasons else {})
            for key, row in before.items()
            if key not in after
        ],
    }


def _events(first: Commit | None, rest: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, int, Event]]:
    """(commit, request, event) from a commit on."""
    if first is None:
        return
    yield from ((first.number, request, event) for request, event in first.events)
    for _, body in rest:
        commit = decode(body)
        yield from ((commit.number, request, event) for request, event in commit.events)


def _first_event(
    ours: Iterator[tuple[int, int, Event]], theirs: Iterator[tuple[int, int, Event]]
) -> Row | None:
    for a, b in zip_longest(ours, theirs):
        if a is None or b is None or a[1:] != b[1:]:
            return {"a": _event(a), "b": _event(b)}
    return None


def _event(one: tuple[int, int, Event] | None) -> Row | None:
    return None if one is None else {"commit": one[0], "request": one[1], "event": one[2].wire()}


def _commit(commit: Commit | None) -> Row | None:
    """Its head."""
    if commit is None:
        return None
    names = ("number", "previous", "rules", "first", "last", "requests", "digest", "hash")
    return {name: getattr(commit, name) for name in names} | {"events": len(commit.events)}
