"""`exchange audit` fails where a log was falsified, by whoever owns the disk, and names the place.

The forger is thorough: after a change in JOURNAL every later number, hash and range fits again; a change in
INTAKE keeps every other request's sequence and stored time.
"""

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from nats.aio.client import Client as Nats

from console.server import executable, free_port
from events import subjects
from events.commit import FIRST, Commit, encode, parts
from events.keys import Key
from events.log import append, connect, last_sequence, make_streams
from events.records import Deposited, HourCharged
from events.wire import RequestsHash, dumps, loads, sha256
from tests.system.proof import Log, read_log
from tests.system.traded import audit

Forge = Callable[[Log, random.Random], tuple[list[Commit], int]]


@asynccontextmanager
async def unguarded(data: Path) -> AsyncIterator[Nats]:
    """A server on a market's log that lets anybody do anything."""
    port = free_port("127.0.0.1")
    process = await asyncio.create_subprocess_exec(
        *(executable(), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(data / "nats")),
        stderr=subprocess.DEVNULL,
    )
    try:
        nc = await connect(f"nats://127.0.0.1:{port}", Key.make(), name="forger", patience=20)
        try:
            yield nc
        finally:
            await nc.close()
    finally:
        process.terminate()
        await process.wait()


def forge(data: Path, work: Callable[[Nats], Awaitable[int]]) -> int:
    """Do something to a log; returns the sequence that the audit must name."""

    async def whole() -> int:
        async with asyncio.timeout(60), unguarded(data) as nc:
            return await work(nc)

    return asyncio.run(whole())


def chained(commits: list[Commit]) -> list[bytes]:
    """Bodies of the commits, numbers and hashes made to fit."""
    bodies, previous = [], FIRST
    for number, commit in enumerate(commits, 1):
        bodies.append(encode(replace(commit, number=number, previous=previous)))
        previous = sha256(bodies[-1])
    return bodies


def edited(log: Log, dice: random.Random) -> tuple[list[Commit], int]:
    """The operator took one micro-credit more."""
    return _with_events(log, HourCharged, lambda at, event: [(at, replace(event, fee=event.fee + 1))])


def removed(log: Log, dice: random.Random) -> tuple[list[Commit], int]:
    """A deposit never was."""
    return _with_events(log, Deposited, lambda at, event: [])


def inserted(log: Log, dice: random.Random) -> tuple[list[Commit], int]:
    """A deposit came twice."""
    return _with_events(log, Deposited, lambda at, event: [(at, event), (at, event)])


def _with_events(
    log: Log, kind: type, change: Callable[[int, Any], list[tuple[int, Any]]]
) -> tuple[list[Commit], int]:
    """The commits with the first event of a kind changed; and the number of that commit."""
    commits = list(log.commits)
    index = next(n for n, commit in enumerate(commits) if any(type(e) is kind for _, e in commit.events))
    events: list[tuple[int, Any]] = []
    changed = False
    for at, event in commits[index].events:
        first = type(event) is kind and not changed
        events += change(at, event) if first else [(at, event)]
        changed |= first
    commits[index] = replace(commits[index], events=tuple(events))
    return commits, index + 1


def commit_removed(log: Log, dice: random.Random) -> tuple[list[Commit], int]:
    """One commit is gone; its requests seem to belong to the next."""
    index = dice.randrange(1, len(log.commits) - 1)
    gone, following = log.commits[index : index + 2]
    hashed = RequestsHash()
    for stored in log.requests[gone.first - 1 : following.last]:
        hashed.add(*stored)
    joined = replace(following, first=gone.first, requests=hashed.hex())
    return [*log.commits[:index], joined, *log.commits[index + 2 :]], index + 1


def commit_inserted(log: Log, dice: random.Random) -> tuple[list[Commit], int]:
    """One commit stands there twice."""
    index = dice.randrange(1, len(log.commits))
    return [*log.commits[: index + 1], *log.commits[index:]], index + 2


def event_edited_anywhere(log: Log, dice: random.Random) -> tuple[list[Commit], int]:
    """Whatever event the dice say got another number."""
    places = [
        (n, position, name)
        for n, commit in enumerate(log.commits)
        for position, (_, event) in enumerate(commit.events)
        for name, value in event.wire().items()
        if type(value) is int
    ]
    index, position, name = dice.choice(places)
    commit = log.commits[index]
    at, event = commit.events[position]
    changed = replace(event, **{name: getattr(event, name) + 1})
    events = (*commit.events[:position], (at, changed), *commit.events[position + 1 :])
    return [*log.commits[:index], replace(commit, events=events), *log.commits[index + 1 :]], index + 1


FORGERIES = (edited, removed, inserted, commit_removed, commit_inserted, event_edited_anywhere)


def test_an_honest_log_agrees(honest: Path) -> None:
    status, result = audit(honest)
    assert (status, result["ok"], result["first_disagreement"]) == (0, True, None)
    assert result["requests"] > 10 and result["events"] > 10 and result["commits"] > 5


@pytest.mark.parametrize("change", FORGERIES, ids=[change.__name__ for change in FORGERIES])
def test_a_falsified_journal_is_named(copy: Path, change: Forge, seed: int) -> None:
    dice = random.Random(seed)

    async def work(nc: Nats) -> int:
        commits, number = change(await read_log(nc), dice)
        messages = [(n, part) for n, body in enumerate(chained(commits), 1) for part in parts(body)]
        await nc.jetstream().delete_stream(subjects.JOURNAL)
        await make_streams(nc)
        for expected, (_, part) in enumerate(messages):
            await append(nc, subjects.JOURNAL, subjects.COMMIT, part, expected)
        return next(sequence for sequence, (n, _) in enumerate(messages, 1) if n == number)

    check_named(copy, subjects.JOURNAL, forge(copy, work))


def test_a_journal_that_was_edited_and_not_chained_again_is_named(copy: Path) -> None:
    async def work(nc: Nats) -> int:
        log = await read_log(nc)
        bodies = [encode(commit) for commit in log.commits]
        commits, number = edited(log, random.Random(0))
        bodies[number - 1] = encode(commits[number - 1])
        await nc.jetstream().delete_stream(subjects.JOURNAL)
        await make_streams(nc)
        for expected, body in enumerate(bodies):
            (part,) = parts(body)
            await append(nc, subjects.JOURNAL, subjects.COMMIT, part, expected)
        return number

    check_named(copy, subjects.JOURNAL, forge(copy, work))


def test_an_altered_request_is_named(copy: Path) -> None:
    """Somebody else seems to have asked: one request's subject is another, all else is as it was."""

    async def work(nc: Nats) -> int:
        log = await read_log(nc)
        (ask,) = (stored for stored in log.requests if stored.subject.endswith(".ask"))
        (bid,) = (stored for stored in log.requests if stored.subject.endswith(".bid"))
        forged = bid.subject.removesuffix("bid") + "ask"  # the buyer's, who has no machine
        transforms = [
            {"src": subject, "dest": forged if subject == ask.subject else subject}
            for subject in sorted({stored.subject for stored in log.requests})
        ]
        await mirror(nc, subjects.INTAKE, "FIRST", [])
        await mirror(nc, "FIRST", "SECOND", [])  # the server allows no cycle of two
        for name in (subjects.INTAKE, "FIRST"):
            await nc.jetstream().delete_stream(name)
        await mirror(nc, "SECOND", subjects.INTAKE, transforms)
        await nc.jetstream().delete_stream("SECOND")
        kept = (await read_log(nc)).requests
        assert kept == [
            stored._replace(subject=forged) if stored is ask else stored for stored in log.requests
        ]
        return ask.sequence

    check_named(copy, subjects.INTAKE, forge(copy, work))


async def mirror(nc: Nats, source: str, name: str, transforms: list[dict[str, str]]) -> None:
    """Copy a stream: a mirror keeps sequences and stored times."""
    config = {
        "name": name,
        "storage": "file",
        "retention": "limits",
        "mirror": {"name": source} | ({"subject_transforms": transforms} if transforms else {}),
    }
    answer = loads((await nc.request(f"$JS.API.STREAM.CREATE.{name}", dumps(config), timeout=5)).data)
    assert "error" not in answer, answer
    copied, last = 0, await last_sequence(nc, source)
    while copied < last:
        await asyncio.sleep(0.05)
        copied = await last_sequence(nc, name)


def check_named(data: Path, stream: str, sequence: int) -> None:
    status, result = audit(data)
    found = result["first_disagreement"]
    assert (status, result["ok"]) == (1, False), result
    assert (found["stream"], found["sequence"]) == (stream, sequence), found
