"""Snapshots: what is restored is what was written; what was changed, cut off or foreign is refused."""

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client as Nats

from events import subjects
from events.chain import Place
from events.commit import Commit, decode, parts
from events.keys import Key
from events.log import append, connect, make_streams
from events.together import end
from events.wire import dumps, loads
from exchange import snapshot
from exchange.admission import admit
from exchange.batch import Batcher
from exchange.digest import weight, weights_in
from exchange.engine import Engine
from exchange.entries import rows
from exchange.follower import Follower
from exchange.offer import NoSnapshotError, fetch, offer, offered
from exchange.recovery import fold_commit
from exchange.snapshot import Header, SnapshotError
from exchange.state import State
from tests.events.conftest import Server
from tests.market.history import History

KEY = Key.make()
BOUND_S = 60  # for hanging only
BATCH = 20
PART = 700  # so that most commits go in several parts


def commits_of(history: History) -> list[bytes]:
    return [body for body, _ in history.batched([BATCH])]


def header_of(state: State, commit: Commit, sequence: int) -> Header:
    return Header(commit.number, commit.hash, commit.last, sequence, state.rules, state.digest.take())


def states(bodies: list[bytes], part: int = PART) -> Iterator[tuple[State, Header]]:
    """The one state after each commit, with the header of its snapshot in a log of such parts."""
    state, sequence = State(), 0
    for body in bodies:
        commit = decode(body)
        fold_commit(state, commit)
        sequence += len(list(parts(body, part)))
        yield state, header_of(state, commit, sequence)


@pytest.fixture(scope="module")
def history() -> History:
    return History(3).run(150)


@pytest.fixture
def written(history: History, tmp_path: Path) -> Path:
    """A snapshot of the whole history."""
    *_, (state, header) = states(commits_of(history))
    return snapshot.write(tmp_path, header, rows(state))


def test_what_is_restored_is_what_was_written(history: History, written: Path) -> None:
    *_, (state, header) = states(commits_of(history))
    assert snapshot.header(written) == header
    weights: list[bytes] = []
    snapshot.check_whole(written, weights.append)
    lines = list(snapshot.rows_in(written))
    assert lines == list(rows(state))
    pieces = iter([b"".join(weights), b""])
    assert list(weights_in(lambda size: next(pieces))) == [weight(line) for line in lines]
    for restored in (snapshot.restore(written), snapshot.restore(written, map(weight, lines))):
        assert restored.digest.take() == state.digest.take() == restored.digest.fresh()
        assert list(rows(restored)) == lines
    assert written.stat().st_mode & 0o777 == 0o600


def test_a_writer_goes_on_from_a_snapshot_as_if_it_had_never_stopped(
    history: History, tmp_path: Path
) -> None:
    """The same events, whatever commit the snapshot is of."""
    bodies = commits_of(history)
    for state, header in states(bodies):
        if header.commit % 3 or state.rules < 2:
            continue
        path = snapshot.write(tmp_path, header, rows(state))
        number, hash_, last, _ = snapshot.header(path).place
        batcher = Batcher(Engine(snapshot.restore(path)), number, hash_, last)
        done = batcher.decide(history.requests[last:])
        events = [] if done is None else list(done[0].events)
        assert events == [pair for pair in history.events if pair[0] > last], header.commit


def test_the_newest_are_kept_and_what_the_dead_left_is_removed(history: History, tmp_path: Path) -> None:
    left, ours = tmp_path / f"0.{2**22 + 1}.draft", tmp_path / f"0.{os.getpid()}.draft"
    others = [tmp_path / "a.4194305.draft", tmp_path / "notes.draft"]
    for draft in (left, ours, *others):
        draft.touch()
    made = [
        snapshot.write(tmp_path, header, rows(state))
        for state, header in states(commits_of(history))
        if state.rules > 1
    ]
    assert snapshot.kept(tmp_path) == made[: -snapshot.KEPT - 1 : -1]
    assert {path.suffix for path in tmp_path.iterdir()} == {".snapshot", ".draft"}
    assert not left.exists() and all(draft.exists() for draft in (ours, *others))


def refused(path: Path) -> bool:
    """Whether the file does not verify; and whatever it is, nothing but a SnapshotError comes of it."""
    whole = True
    try:
        snapshot.restore(path)
    except SnapshotError:
        whole = False
    try:
        snapshot.check_whole(path)
    except SnapshotError:
        whole = False
    return not whole


def test_any_byte_that_is_changed_or_missing_is_seen(written: Path) -> None:
    good = written.read_bytes()
    assert not refused(written)
    step = max(1, len(good) // 400)
    for at in [*range(0, len(good), step), *range(len(good) - 100, len(good))]:
        for bad in (
            good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :],
            good[:at],
            good[:at] + good[at + 1 :],
            good[:at] + b"\n" + good[at:],
        ):
            written.write_bytes(bad)
            assert refused(written), (at, bad[at - 5 : at + 5])
    for bad in (b"", b"\n", b"{}\n", good + good, good + b"\n", good[: len(good) // 2] * 2):
        written.write_bytes(bad)
        assert refused(written)


def sealed(lines: list[bytes], rows: int) -> bytes:
    data = b"\n".join(lines) + b"\n"
    return data + dumps({"rows": rows, "sha256": sha256(data).hexdigest()}) + b"\n"


def test_rows_that_do_not_sum_to_the_digest_are_refused_though_the_file_is_whole(written: Path) -> None:
    first, *lines, _ = written.read_bytes().splitlines()
    account = next(n for n, line in enumerate(lines) if line.startswith(b'[["account"'))
    key, (name, free, *others) = loads(lines[account])
    richer = dumps([key, [name, free + 1, *others]])
    for changed in (
        lines[:-1],
        [*lines, lines[-1]],
        [*lines[:account], richer, *lines[account + 1 :]],
        [line for line in lines if not line.startswith(b'[["answer"')],
    ):
        written.write_bytes(sealed([first, *changed], len(changed)))
        snapshot.check_whole(written)
        with pytest.raises(SnapshotError, match=r"its rows sum to the digest|not the rows of a state"):
            snapshot.restore(written)
    for count in (-1, 0, len(lines) - 1, len(lines) + 1, 10**18):
        written.write_bytes(sealed([first, *lines], count))
        with pytest.raises(SnapshotError):
            snapshot.check_whole(written)
    assert snapshot.kept(written.parent) == [written]


# -- on a server


@asynccontextmanager
async def log_of(server: Server, bodies: list[bytes]) -> AsyncIterator[Nats]:
    """A connection to a server with these commits in JOURNAL."""
    async with asyncio.timeout(BOUND_S):
        nc = await connect(server.url, KEY, name="test", patience=20)
        try:
            await make_streams(nc)
            sequence = 0
            for body in bodies:
                for part in parts(body, PART):
                    sequence = await append(nc, subjects.JOURNAL, subjects.COMMIT, part, sequence)
            yield nc
        finally:
            await nc.close()


def place_of(bodies: list[bytes]) -> Place:
    *_, (_, header) = states(bodies)
    return header.place


def test_a_follower_begins_with_the_newest_that_verifies(
    server: Server, history: History, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "snapshots"
    bodies = commits_of(history)
    for state, header in states(bodies[:-1]):
        if state.rules > 1:
            snapshot.write(directory, header, rows(state))
    newest, middle, oldest = snapshot.kept(directory)
    theirs = tmp_path / "theirs"
    shutil.copytree(directory, theirs)
    caplog.set_level(logging.INFO, "exchange")

    async def run() -> None:
        async with log_of(server, bodies) as nc:

            async def begin(another: Callable[[Path], Awaitable[Path]] | None = None) -> list[str]:
                caplog.clear()
                follower = await Follower.begin(nc, directory, another=another)
                await follower.close()
                assert follower.place == place_of(bodies)
                assert follower.state.digest.take() == history.state.digest.take()
                assert follower.state.digest.take() == follower.state.digest.fresh()
                return [record.getMessage() for record in caplog.records]

            said = await begin()
            assert said[0].startswith(f"restored {newest.name} in ")
            assert said[1].startswith("folded 1 commits;")

            data = newest.read_bytes()
            newest.write_bytes(data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:])  # damaged
            middle.write_bytes(middle.read_bytes()[:-5000])  # cut off
            said = await begin()
            assert said[0].startswith(f"{newest}: ") and said[0].endswith("; the one before it is taken")
            assert said[1].startswith(f"{middle}: its last line is not a snapshot's: it was cut off")
            assert said[2].startswith(f"restored {oldest.name} in ")

            oldest.write_bytes(b"\xff" * 100_000)
            said = await begin()
            assert len([line for line in said if line.endswith("; the one before it is taken")]) == 3
            assert said[3].startswith(f"folded {len(bodies)} commits;")

            # Another hands out a good one.
            asking = await nats.connect(server.url, inbox_prefix=subjects.inbox("ME"))
            offering = asyncio.create_task(offer(nc, theirs))
            try:
                await nc.flush()
                await asyncio.sleep(0.05)
                said = await begin(lambda directory: fetch(asking, "ME", directory))
                assert len([line for line in said if line.endswith("; the one before it is taken")]) == 3
                assert said[3].startswith(f"restored {newest.name} in ") and newest.read_bytes() == data
                assert said[4].startswith("folded 1 commits;")
            finally:
                await end(offering)
                await asking.close()

    asyncio.run(run())


def test_a_snapshot_of_another_log_is_refused(
    server: Server, history: History, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = commits_of(History(4).run(600))  # a longer one
    bodies = commits_of(history)
    caplog.set_level(logging.WARNING, "exchange")

    async def run() -> None:
        async with log_of(server, bodies) as nc:

            async def begin(state: State, header: Header) -> str:
                caplog.clear()
                directory = tmp_path / f"{header.commit}-{header.sequence}-{header.digest[:4]}"
                snapshot.write(directory, header, rows(state))
                follower = await Follower.begin(nc, directory)
                await follower.close()
                assert follower.place == place_of(bodies)
                (record,) = caplog.records
                return record.getMessage()

            *_, (state, header) = states(others)
            assert "JOURNAL has no commit at its sequence" in await begin(state, header)
            *_, (state, header) = states(bodies[:8])
            mine = header
            *_, (state, header) = states(others[:8])
            foreign = replace(header, sequence=mine.sequence)
            assert "it is of another log: commit 8 is not the one in JOURNAL" in await begin(state, foreign)
            lying = replace(mine, digest=header.digest)  # ours in name, another's in content
            assert "its digest is not the one that commit 8 says" in await begin(state, lying)

    asyncio.run(run())


QUESTIONS = (b"", b"{}", b"[]", b"1", b'{"by": "me"}')


def test_a_snapshot_is_had_from_another_machine(server: Server, written: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", written.parent
    good = written.read_bytes()

    async def run() -> None:
        async with log_of(server, []) as nc:
            asking = await nats.connect(server.url, inbox_prefix=subjects.inbox("ME"))
            with pytest.raises(NoSnapshotError, match="nobody offers snapshots"):
                await fetch(asking, "ME", here)
            offering = asyncio.create_task(offer(nc, there))
            try:
                await nc.flush()
                await asyncio.sleep(0.05)
                told: list[tuple[int, int]] = []
                got = await fetch(asking, "ME", here, lambda done, whole: told.append((done, whole)))
                assert got == here / written.name
                assert got.read_bytes() == good
                assert told[-1] == (len(good), len(good))
                # To nobody else, whatever is asked.
                eve = await nats.connect(server.url)
                heard = await eve.subscribe("victim")
                for question in QUESTIONS:
                    await eve.publish(subjects.snapshot("ME", "piece"), question, reply="victim")
                (one, *_) = await offered(asking, "ME")
                for commit, start, answer in (
                    (one.commit, 3, good[3:10]),
                    (one.commit, 10**9, b""),
                    (one.commit + 1, 0, b""),
                ):
                    question = dumps({"by": one.by, "commit": commit, "from": start})
                    await eve.publish(subjects.snapshot("ME", "piece"), question, reply="victim")
                    reply = await asking.request(subjects.snapshot("ME", "piece"), question, timeout=5)
                    assert reply.data[: len(answer) or 1] == answer
                for which, where in ((-1, 0), ("x", 0), (one.commit, -1), (one.commit, 2**63)):
                    question = dumps({"by": one.by, "commit": which, "from": where})
                    with pytest.raises(nats.errors.TimeoutError):
                        await asking.request(subjects.snapshot("ME", "piece"), question, timeout=0.2)
                assert heard.pending_msgs == 0
                await eve.close()
                # What is damaged there is not taken.
                written.write_bytes(good[:-100] + b"x" * 100)  # noqa: ASYNC240
                got.unlink()
                with pytest.raises(SnapshotError):
                    await fetch(asking, "ME", here)
                assert list(here.iterdir()) == []
                written.unlink()  # noqa: ASYNC240
                with pytest.raises(NoSnapshotError, match="has written no snapshot yet"):
                    await fetch(asking, "ME", here)
            finally:
                await end(offering)
                await asking.close()

    asyncio.run(run())


def test_admission_needs_nothing_that_a_snapshot_has_not(history: History, written: Path) -> None:
    """A request that came twice gets the answer it got, from a restored state too (R12)."""
    engines = [Engine(snapshot.restore(written)), Engine(snapshot.restore(written))]
    for stored in history.requests[-40:]:
        again = stored._replace(sequence=stored.sequence + 10**6)
        first, second = (engine.decide(admit(again, engine.state.rules)) for engine in engines)
        assert first == second
