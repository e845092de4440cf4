"""Snapshots for other machines: asked for by name of their commit, sent in pieces.

`snapshot.<account>.list` is answered with [[commit, bytes], ...], newest first; `snapshot.<account>.piece`,
asked with {"commit", "from"}, with that many bytes of the file as a message takes, and with nothing where
there is no such snapshot any more. The server lets the operator and the exchange ask. Nobody need trust who
answers: a snapshot verifies by itself and against the log.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from events import subjects
from events.wire import dumps, loads
from exchange import snapshot
from exchange.snapshot import SnapshotError

PIECE = 512 * 1024
PATIENCE_S = 5.0
TRIES = 5  # for one piece
QUEUE = "snapshots"  # each question is answered by one of those who offer


class NoSnapshotError(Exception):
    """None can be had; the text says why."""


async def offer(nc: Nats, directory: Path) -> None:
    """Answer for as long as we are not cancelled."""

    async def answer(message: Msg) -> None:
        _, account, what = message.subject.split(".")
        if not message.reply.startswith(f"{subjects.inbox(account)}."):
            return  # a reply goes to nobody but who asks
        await nc.publish(message.reply, _answer(directory, what, message.data))

    listening = await nc.subscribe("snapshot.*.*", queue=QUEUE, cb=answer)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        if not nc.is_closed:
            await listening.unsubscribe()


def _answer(directory: Path, what: str, data: bytes) -> bytes:
    if what == "list":
        return dumps([[int(path.stem), path.stat().st_size] for path in snapshot.kept(directory)])
    try:
        asked = loads(data)
        commit, start = asked["commit"], asked["from"]
        if type(commit) is not int or type(start) is not int or commit < 0 or not 0 <= start < 2**63:
            return b""
        with (directory / snapshot.name_of(commit)).open("rb") as file:
            return os.pread(file.fileno(), PIECE, start)
    except (OSError, ValueError, KeyError, TypeError):
        return b""


async def fetch(
    nc: Nats, account: str, directory: Path, progress: Callable[[int, int], None] = lambda done, whole: None
) -> Path:
    """Get the newest snapshot that is offered, into a directory; `progress` is told bytes done and in all.

    It is whole, by its own SHA-256; whether it is of this log is for `follower.check_commit` to say.
    Raises NoSnapshotError, SnapshotError, OSError.
    """
    try:
        listed = loads((await _ask(nc, account, "list", b"")).data)
    except nats.errors.Error as error:
        raise NoSnapshotError("nobody offers snapshots: does a standby run, with --snapshots?") from error
    if not listed:
        raise NoSnapshotError("the standby has written no snapshot yet")
    commit, size = listed[0]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240
    draft = directory / f"{commit}.{os.getpid()}{snapshot.DRAFT}"
    try:
        with open(draft, "wb", opener=snapshot.private) as file:  # noqa: ASYNC230
            while file.tell() < size:
                question = dumps({"commit": commit, "from": file.tell()})
                try:
                    piece = (await _ask(nc, account, "piece", question)).data
                except nats.errors.Error as error:
                    raise NoSnapshotError(f"snapshot {commit}: it broke off; get it again") from error
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


async def _ask(nc: Nats, account: str, what: str, data: bytes) -> Msg:
    """One question, again where no answer comes. Raises nats.errors.Error."""
    for _ in range(TRIES - 1):
        try:
            return await nc.request(subjects.snapshot(account, what), data, timeout=PATIENCE_S)
        except nats.errors.TimeoutError:
            continue
    return await nc.request(subjects.snapshot(account, what), data, timeout=PATIENCE_S)
