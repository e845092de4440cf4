"""A forger who owns the log's disk: falsified journals in which everything else is made to fit again."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from events.commit import FIRST, Commit, encode
from events.log import Stored
from events.records import BadRecordError, Event
from events.wire import RequestsHash, sha256
from exchange.state import State

Pairs = list[tuple[int, Event]]
Change = Callable[[Pairs, random.Random], Pairs | None]  # the events of a commit, falsified; None: cannot be


def fitted(commits: Sequence[Commit], requests: Sequence[Stored]) -> list[bytes]:
    """Bodies of the commits: numbers, chain, ranges, hashes over requests and digests all fit.

    Where forged events cannot be folded, the digests from there on stay what they were.
    """
    bodies: list[bytes] = []
    state, previous, first = State(), FIRST, 1
    is_sound = True
    for number, commit in enumerate(commits, 1):
        hashed = RequestsHash()
        for stored in requests[first - 1 : commit.last]:
            hashed.add(*stored)
        digest = commit.digest
        if is_sound:
            is_sound = False
            with suppress(
                AssertionError, ArithmeticError, LookupError, ValueError, TypeError, BadRecordError
            ):
                for _, event in commit.events:
                    state.fold(event)
                digest = state.digest.take()
                is_sound = True
        whole = replace(
            commit, number=number, previous=previous, first=first, requests=hashed.hex(), digest=digest
        )
        bodies.append(encode(whole))
        previous, first = sha256(bodies[-1]), commit.last + 1
    return bodies


def removed(events: Pairs, dice: random.Random) -> Pairs | None:
    """One event never was."""
    at = dice.randrange(len(events))
    return events[:at] + events[at + 1 :]


def repeated(events: Pairs, dice: random.Random) -> Pairs | None:
    """One event was twice."""
    at = dice.randrange(len(events))
    return events[: at + 1] + events[at:]


def moved(events: Pairs, dice: random.Random) -> Pairs | None:
    """One event stands elsewhere in its commit, and says that it follows from the request there."""
    if len(events) < 2:
        return None
    left = list(events)
    _, event = left.pop(dice.randrange(len(left)))
    at = dice.randrange(len(left) + 1)
    left.insert(at, (left[max(0, at - 1)][0], event))
    return left


def swapped(events: Pairs, dice: random.Random) -> Pairs | None:
    """Two neighbours in the other order, each with its own request."""
    if len(events) < 2:
        return None
    at = dice.randrange(len(events) - 1)
    return [*events[:at], events[at + 1], events[at], *events[at + 2 :]]


def edited(events: Pairs, dice: random.Random) -> Pairs | None:
    """One member of one event says something else."""
    at = dice.randrange(len(events))
    sequence, event = events[at]
    name, value = dice.choice([item for item in event.wire().items() if item[0] != "kind"] or [("", None)])
    other = _other(value, dice)
    if other is None:
        return None
    return [*events[:at], (sequence, replace(event, **{name: other})), *events[at + 1 :]]


def _other(value: Any, dice: random.Random) -> Any:
    """Another value of the same form."""
    if type(value) is bool:
        return not value
    if type(value) is int:
        return value + dice.choice((-1, 1, 1000))
    if type(value) is str:
        return value[1:] + value[:1] if value[1:] + value[:1] != value else value + "x"
    return None


def reassigned(events: Pairs, dice: random.Random) -> Pairs | None:
    """One event is said to follow from another request."""
    at = dice.randrange(len(events))
    return [*events[:at], (events[at][0] + dice.choice((-1, 1)), events[at][1]), *events[at + 1 :]]


CHANGES: tuple[Change, ...] = (removed, repeated, moved, swapped, edited, reassigned)


def forge(commits: Sequence[Commit], change: Change, dice: random.Random) -> tuple[list[Commit], int]:
    """The commits with one falsified, and its index; dice are thrown until the events are others."""
    for _ in range(1000):
        index = dice.randrange(1, len(commits))
        before = list(commits[index].events)
        after = change(before, dice) if before else None
        if after is not None and after != before:
            forged = replace(commits[index], events=tuple(after))
            return [*commits[:index], forged, *commits[index + 1 :]], index
    raise AssertionError("there is nothing to forge")
