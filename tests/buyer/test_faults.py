"""Sellers who misbehave on the link: what they say is judged, and a unit never gets a wrong result."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import nats
import pytest
from nats.aio.client import Client as Nats

from buyer.job import Ended, Unit
from buyer.results import Results, TooMuchError
from buyer.run import FaultError, LostError, Program, RefusedRunError, Session, exit_of, why_of
from events.keys import Key
from events.wire import dumps, loads
from links.endpoint import Endpoint
from links.frames import ERRORS, EXIT, INPUT, INPUT_END, OUTPUT, PROGRAM, REFUSED, START, STARTED, Frame
from links.link import Link

EXITED = {"status": 0, "signal": None, "cpu_us": 5, "memory_kb": 6, "bytes_in": 0, "bytes_out": 0, "why": ""}
Seller = Callable[[Link], Awaitable[None]]


class Account(NamedTuple):
    nc: Nats
    account: str


async def patience(what: Awaitable[Any], else_say: str) -> None:
    """A market's patience, for a test."""
    try:
        await asyncio.wait_for(what, 1)
    except TimeoutError:
        raise FaultError(else_say) from None


def run(server: str, directory: Path, seller: Seller, units: int = 1) -> tuple[list[Ended], int]:
    """Run units against a seller: how they ended, and how often the program's arrival was told."""
    arrivals: list[int] = []

    async def whole() -> list[Ended]:
        ours = Account(await nats.connect(server), Key.make().public)
        theirs = Account(await nats.connect(server), Key.make().public)
        ends = Endpoint(ours), Endpoint(theirs)
        for end in ends:
            end.allow = lambda contract, peer: True
            await end.start()
        link = await ends[0].dial(theirs.account, 7)

        async def sell() -> None:
            await seller(await ends[1].accept())

        selling = asyncio.create_task(sell())
        session = Session(
            link, Program(b"program", "native/x86_64-linux", ["p"]), patience, lambda: arrivals.append(1)
        )
        try:
            ended = []
            for number in range(units):
                results = Results(directory, directory, f"out{number}", 7, 1)
                try:
                    ended.append(await session.run(Unit(f"out{number}", b"input"), results))
                    results.finish()
                finally:
                    results.discard()
            return ended
        finally:
            selling.cancel()
            link.abort("the test is over")
            for account in (ours, theirs):
                await account.nc.close()

    return asyncio.run(whole()), len(arrivals)


async def taken(link: Link, until: int) -> list[Frame]:
    """Take frames up to one of a kind."""
    frames: list[Frame] = []
    while not frames or frames[-1].kind != until:
        frame = await link.receive()
        assert frame is not None
        frames.append(frame)
    return frames


def test_a_program_is_sent_once_and_its_output_is_kept(nats_server: str, tmp_path: Path) -> None:
    said: list[list[Frame]] = []

    async def seller(link: Link) -> None:
        for number in (1, 2):
            said.append(await taken(link, INPUT_END))
            if number == 2:
                await link.send(Frame(OUTPUT, 1, b"of the run before"))
            for kind, payload in ((STARTED, b""), (OUTPUT, b"o"), (ERRORS, b"e"), (EXIT, dumps(EXITED))):
                await link.send(Frame(kind, number, payload))

    ended, arrivals = run(nats_server, tmp_path, seller, units=2)
    assert ended == [Ended(0, 0, "", 7, 5, 6)] * 2
    assert arrivals >= 1
    assert [frame.kind for frame in said[0]] == [START, PROGRAM, INPUT, INPUT_END]
    assert [frame.kind for frame in said[1]] == [START, INPUT, INPUT_END]
    assert loads(said[0][0].payload)["arguments"] == ["p"]
    assert [(tmp_path / name).read_bytes() for name in ("out1", "out1.err")] == [b"o", b"e"]


@pytest.mark.parametrize(
    ("frames", "error", "said"),
    [
        ([(OUTPUT, 1, b"x")], FaultError, "never started"),
        ([(STARTED, 1, b""), (OUTPUT, 2, b"x")], FaultError, "never started"),
        ([(EXIT, 1, dumps(EXITED))], FaultError, "never started"),
        ([(STARTED, 1, b""), (START, 1, b"")], FaultError, "kind 1"),
        ([(STARTED, 1, b""), (EXIT, 1, b"{")], FaultError, "cannot be read"),
        ([(STARTED, 1, b""), (EXIT, 1, b"[]")], FaultError, "cannot be read"),
        ([(STARTED, 1, b""), (EXIT, 1, dumps(EXITED | {"status": -1}))], FaultError, "makes no sense"),
        ([(STARTED, 1, b""), (EXIT, 1, dumps(EXITED | {"status": "0"}))], FaultError, "makes no sense"),
        ([(STARTED, 1, b""), (EXIT, 1, dumps(EXITED | {"status": None}))], FaultError, "the jail failed"),
        ([(REFUSED, 1, dumps({"why": "no"}))], RefusedRunError, "no"),
        ([(REFUSED, 1, b"")], FaultError, "refusal that cannot be read"),
        ([], FaultError, "was not started"),
        ([(STARTED, 1, b""), *[(OUTPUT, 1, bytes(65536)), (ERRORS, 1, b"x")] * 16], TooMuchError, "1 MiB"),
        ([(STARTED, 1, b""), (OUTPUT, 1, b"half")], LostError, "closed by the peer"),
    ],
)
def test_what_a_seller_must_not_say_is_his_fault_and_leaves_no_result(
    nats_server: str, tmp_path: Path, frames: list[tuple[int, int, bytes]], error: type[Exception], said: str
) -> None:
    async def seller(link: Link) -> None:
        await taken(link, INPUT_END)
        for kind, number, payload in frames:
            await link.send(Frame(kind, number, payload))
        if error is LostError:
            await link.close()
        await asyncio.Event().wait()

    with pytest.raises(error, match=said):
        run(nats_server, tmp_path, seller)
    assert not list(tmp_path.glob("*out*"))


EVIL = "\x1b]0;owned\x07\x9b2J\u202eback\n\u2028" + 1000 * "z"
TAMED = r"\x1b]0;owned\x07\x9b2J\u202eback zz"


def test_no_control_character_of_a_sellers_reason_is_kept() -> None:
    ended = exit_of(dumps(EXITED | {"status": None, "signal": 9, "why": EVIL}), 7)
    with pytest.raises(FaultError) as failed:
        exit_of(dumps(EXITED | {"status": None, "why": EVIL}), 7)
    for why in (ended.why, why_of(dumps({"why": EVIL}))):
        assert why.startswith(TAMED) and why.isprintable() and len(why) == 500
    assert str(failed.value).startswith(f"the jail failed: {TAMED}")
    assert str(failed.value).isprintable()
