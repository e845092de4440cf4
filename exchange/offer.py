"""Snapshots for other machines: asked for by name of their commit, sent in pieces.

`snapshot.<account>.list` is answered by each who offers: {"by", "snapshots": [[commit, bytes], ...]}.
`snapshot.<account>.piece`, asked with {"by", "commit", "from"}, is answered by the one named, with as many
bytes of the file as a message takes, or with nothing where it has that snapshot no more. The server lets the
operator and the exchange ask, and the exchange alone answer. What is had is held against the log.
"""

import asyncio
import contextlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from events import subjects
from events.wire import dumps, loads
from exchange import snapshot
from exchange.snapshot import SnapshotError

PIECE = 512 * 1024
PATIENCE_S = 5.0
OTHERS_S = 0.3  # so long after the first who offers, others are heard
TRIES = 5  # for one piece


class Offer(NamedTuple):
    """A snapshot that can be had, and by whom it is offered."""

    commit: int
    bytes: int
    by: str


class NoSnapshotError(Exception):
    """None can be had; the text says why."""


async def offer(nc: Nats, directory: Path) -> None:
    """Answer for as long as we are not cancelled."""
    by = uuid.uuid4().hex

    async def answer(message: Msg) -> None:
        _, account, what = message.subject.split(".")
        if not message.reply.startswith(f"{subjects.inbox(account)}."):
            return  # a reply goes to nobody but who asks
        if what == "list":
            snapshots = []
            for path in snapshot.kept(directory):
                with contextlib.suppress(FileNotFoundError):  # removed just now
                    snapshots.append([int(path.stem), path.stat().st_size])
            await nc.publish(message.reply, dumps({"by": by, "snapshots": snapshots}))
        elif (piece := _piece(directory, by, message.data)) is not None:
            await nc.publish(message.reply, piece)

    listening = await nc.subscribe("snapshot.*.*", cb=answer)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        if not nc.is_closed:
            await listening.unsubscribe()


def _piece(directory: Path, by: str, data: bytes) -> bytes | None:
    """What is asked for; None where another is asked, or it is no question."""
    try:
        asked = loads(data)
        commit, start = asked["commit"], asked["from"]
        if asked["by"] != by or type(commit) is not int or type(start) is not int:
            return None
        if commit < 0 or not 0 <= start < 2**63:
            return None
    except (ValueError, KeyError, TypeError):
        return None
    try:
        with (directory / snapshot.name_of(commit)).open("rb") as file:
            return os.pread(file.fileno(), PIECE, start)
    except OSError:
        return b""


async def offered(nc: Nats, account: str) -> list[Offer]:
    """The snapshots that can be had, newest first. Raises NoSnapshotError."""
    inbox = nc.new_inbox()
    answers = await nc.subscribe(inbox)
    offers: list[Offer] = []
    heard = 0
    try:
        await nc.publish(subjects.snapshot(account, "list"), b"", reply=inbox)
        while True:
            answer = await answers.next_msg(OTHERS_S if heard else PATIENCE_S)
            if not answer.data:
                break  # the server: nobody listens
            offers += _told(answer.data)
            heard += 1
    except nats.errors.TimeoutError:
        pass  # no others
    finally:
        await answers.unsubscribe()
    if not heard:
        raise NoSnapshotError("nobody offers snapshots: does a standby run, with --snapshots?")
    if not offers:
        raise NoSnapshotError("the standby has written no snapshot yet")
    return sorted(offers, reverse=True)


def _told(answer: bytes) -> list[Offer]:
    """What one has to offer; nothing where it cannot be read. A commit becomes the name of a file."""
    with contextlib.suppress(ValueError):
        match loads(answer):
            case {"by": str(by), "snapshots": [*rows]}:
                kinds = [int, int]
                return [
                    Offer(row[0], row[1], by)
                    for row in rows
                    if isinstance(row, list) and [type(value) for value in row] == kinds and row[0] > 0
                ]
    return []


async def fetch(
    nc: Nats, account: str, directory: Path, progress: Callable[[int, int], None] = lambda done, whole: None
) -> Path:
    """Get the newest snapshot that is offered, into a directory; `progress` is told bytes done and in all.

    It is whole, by its own SHA-256; whether it is of this log is for `follower.check_commit` to say.
    Raises NoSnapshotError, SnapshotError, OSError.
    """
    commit, size, by = (await offered(nc, account))[0]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240
    draft = directory / f"{commit}.{os.getpid()}{snapshot.DRAFT}"
    try:
        with open(draft, "wb", opener=snapshot.private) as file:  # noqa: ASYNC230
            while file.tell() < size:
                question = dumps({"by": by, "commit": commit, "from": file.tell()})
                piece = await _ask(nc, account, question)
                if not piece:
                    raise NoSnapshotError(f"snapshot {commit} is not there any more; get the next one")
                file.write(piece)
                progress(file.tell(), size)
            file.flush()
            os.fsync(file.fileno())
        await asyncio.to_thread(snapshot.check_whole, draft)
        if snapshot.header(draft).commit != commit:
            raise SnapshotError(f"{draft}: it is not of commit {commit}")
        return draft.replace(directory / snapshot.name_of(commit))
    finally:
        draft.unlink(missing_ok=True)


async def _ask(nc: Nats, account: str, question: bytes) -> bytes:
    """A piece; asked for again where none comes. Raises NoSnapshotError."""
    for _ in range(TRIES):
        try:
            return (await nc.request(subjects.snapshot(account, "piece"), question, timeout=PATIENCE_S)).data
        except nats.errors.TimeoutError:
            continue
        except nats.errors.Error:
            break
    raise NoSnapshotError("who offered the snapshot is gone; get it again, from another")
