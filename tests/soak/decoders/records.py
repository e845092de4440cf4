"""The journal's bytes: commits, their parts, and events."""

import functools
from typing import Any

from msgspec.structs import replace

from events.commit import Assembler, decode, decode_packed, encode, parts
from events.records import BadRecordError, event_of
from events.wire import dumps, loads
from tests.projections.history import Market
from tests.soak.decoders import Target, assert_line, joined, pieces

GOOD = b"a good body"


@functools.cache
def bodies() -> list[bytes]:
    """Bodies of commits of a market."""
    return [encode(commit) for commit in Market(5).commits(60)]


def check_commit(data: bytes) -> None:
    """A body is a commit that encodes to what decodes to the same, or it is refused in one line; so it is
    when its events are decoded one at a time.
    """
    try:
        events = tuple(decode_packed(data).events)
    except BadRecordError as error:
        assert_line(str(error))
        events = None
    try:
        commit = decode(data)
    except BadRecordError as error:
        assert_line(str(error))
        return  # of a member that comes twice, the first is not looked at when it is packed
    assert events == commit.events
    again = decode(encode(commit))
    assert replace(again, hash="") == replace(commit, hash="")


def check_event(data: bytes) -> None:
    """The same of an event."""
    try:
        wire: Any = loads(data)
    except ValueError:
        return
    try:
        event = event_of(wire)
    except BadRecordError as error:
        assert_line(str(error))
        return
    assert event_of(loads(dumps(event.wire()))) == event
    assert all(isinstance(account, str) for account in event.accounts())
    assert all(type(amount) is int for *_, amount in event.movements())


def event_seeds() -> list[bytes]:
    """One event of each kind and more."""
    found: dict[tuple[str, int], bytes] = {}
    for body in bodies():
        for _, wire in loads(body)["events"]:
            text = dumps(wire)
            found.setdefault((wire["kind"], len(text) % 3), text)
    return list(found.values())


def check_parts(data: bytes) -> None:
    """Messages of a journal: a body, more to come, or a refusal; then a good body is whole again."""
    assembler = Assembler()
    taken: list[bytes] = []
    for message in pieces(data):
        try:
            body = assembler.add(message)
        except BadRecordError as error:
            assert_line(str(error))
            continue
        taken.append(message)
        if body is not None:
            count = int.from_bytes(message[4:8], "big")
            heads = [part.to_bytes(4, "big") + count.to_bytes(4, "big") for part in range(1, count + 1)]
            assert [part[:8] for part in taken[-count:]] == heads
            assert b"".join(part[8:] for part in taken[-count:]) == body
    found = [assembler.add(part) for part in parts(GOOD, 4)]
    assert found == [None, None, GOOD]


def parts_seeds() -> list[bytes]:
    good, other = list(parts(b"x" * 100, 40)), list(parts(b"y" * 90, 50))
    return [
        joined(good),
        joined(good + other),
        joined(good[:1] + other),
        joined([good[1], *other, b"", b"a" * 7]),
    ]


TARGETS = [
    Target("commit", lambda: check_commit, bodies, 40),
    Target("event", lambda: check_event, event_seeds, 60),
    Target("parts", lambda: check_parts, parts_seeds, 90, json=False),
]
