"""The notary: nobody who signed falsely is missed, nobody else is suspended, whatever dies (R35)."""

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from nats.aio.client import Client as Nats
from nats.js.errors import NotFoundError

from events import subjects
from events.keys import BadKeyError, Key
from events.log import Stored, connect, make_streams, read
from events.requests import decode_body, encode
from exchange.notary import OWN, Findings
from exchange.signatures import Verdict, check
from tests.events.conftest import Server
from tests.market.play import key_of

BOUND_S = 100  # for hanging only
EXCHANGE, OPERATOR = key_of("exchange"), key_of("operator")
numbers = count(1)


def message(name: str, kind: str, signer: str = "", **body: Any) -> tuple[str, bytes]:
    """Subject and bytes of a request; signed by another where `signer` says so."""
    subject = subjects.intake(key_of(name).public, kind)
    return subject, encode(key_of(signer or name), subject, {"session": 1, "number": next(numbers)} | body)


def own(kind: str, **body: Any) -> tuple[str, bytes]:
    subject = subjects.intake(EXCHANGE.public, kind)
    return subject, encode(EXCHANGE, subject, body)


RULES = ("rules", {"epoch": 1, "version": 2})


# -- what it concludes, without a server


class Log:
    """Messages as INTAKE would hold them, folded one by one."""

    def __init__(self, in_force: bool = True) -> None:
        self.findings = Findings(EXCHANGE.public, 0, in_force)
        self.sequence = 0

    def add(self, *messages: tuple[str, bytes]) -> list[int]:
        """The requests that are accused anew."""
        batch = [Stored(self.sequence + n, 0, *message) for n, message in enumerate(messages, 1)]
        self.sequence += len(batch)
        return [accused.request for accused in self.findings.take(check(batch))]

    def is_worth_saying(self) -> bool:
        return self.findings.is_worth_saying()


def test_a_flood_of_false_signatures_is_one_accusation() -> None:
    log = Log()
    assert log.add(message("ann", "bid"), *(message("eve", "bid", "ann") for _ in range(100))) == [2]
    assert log.add(message("eve", "ask", "bob"), message("bob", "bid", "eve")) == [103]
    assert set(log.findings.accused) == {key_of("eve").public, key_of("bob").public}


def test_what_cannot_be_read_accuses_nobody() -> None:
    subject, data = message("ann", "bid")
    for bad in (b"", data[1:], b"A" * 86 + b"\nno JSON"):
        assert Log().add((subject, bad)) == []
    assert Log().add((f"intake.{key_of('ann').public[:-1]}.bid", data)) == []


def test_checked_waits_for_what_is_said_to_be_stored() -> None:
    log = Log()
    log.add(message("ann", "bid"), message("eve", "bid", "ann"), message("ann", "bid"))
    assert (log.findings.done, log.findings.through) == (3, 1)
    log.add(own("suspend", account=key_of("eve").public, request=2))
    assert log.findings.through == 4
    assert log.is_worth_saying()
    log.add(own("checked", through=4))
    assert log.findings.proved == 4 and not log.is_worth_saying()


def test_a_forged_word_in_the_exchange_s_name_counts_for_nothing() -> None:
    log = Log()
    log.add(message("eve", "bid", "ann"))
    assert log.add(message("exchange", "suspend", "eve", account=key_of("eve").public, request=1)) == [2]
    assert log.add(message("exchange", "checked", "eve", through=10)) == []
    assert (log.findings.through, log.findings.proved) == (0, 0)


def test_the_exchange_s_own_words_are_no_news() -> None:
    log = Log()
    log.add(message("ann", "bid"))
    assert log.is_worth_saying()
    log.add(own("checked", through=1))
    for _ in range(10):
        log.add(own("tick", epoch=1), own("checked", through=log.sequence))
        assert not log.is_worth_saying()
    log.add(("intake.x.bid", b"not even a request"))
    assert log.is_worth_saying()


def test_a_long_silence_is_told_now_and_then() -> None:
    log = Log()
    tick = own("tick", epoch=1)
    log.add(*[tick] * (OWN - 1))
    assert not log.is_worth_saying()
    log.add(tick)
    assert log.is_worth_saying()


def test_who_was_reinstated_may_be_accused_again() -> None:
    log, eve = Log(), key_of("eve").public
    log.add(message("eve", "bid", "ann"))
    log.add(message("operator", "reinstate", account=eve, reason="too early: she is not suspended yet"))
    assert log.add(message("eve", "bid", "ann")) == []
    log.add(own("suspend", account=eve, request=1))
    assert log.add(message("eve", "bid", "ann")) == []
    log.add(message("operator", "reinstate", "eve", account=eve, reason="forged"))
    assert log.add(message("eve", "bid", "ann")) == []
    log.add(message("operator", "reinstate", account=eve, reason="she has a new disk"))
    assert log.add(message("eve", "bid", "ann")) == [log.sequence]


def test_after_an_unfreeze_operator_and_exchange_may_be_accused_again() -> None:
    log = Log()
    for name in ("operator", "exchange", "eve"):
        assert log.add(message(name, "bid", "ann")) == [log.sequence]
        log.add(own("suspend", account=key_of(name).public, request=log.sequence))
    log.add(message("operator", "unfreeze", reason="seen to"))
    for name in ("operator", "exchange"):
        assert log.add(message(name, "bid", "ann")) == [log.sequence]
    assert log.add(message("eve", "bid", "ann")) == []


def test_under_older_rules_the_market_itself_refuses_false_signatures() -> None:
    log = Log(in_force=False)
    assert log.add(message("eve", "bid", "ann"), own("rules", epoch=1, version=1)) == []
    assert log.add(message("eve", "bid", "ann")) == []
    assert not log.is_worth_saying()
    assert log.add(message("exchange", "rules", "eve", epoch=1, version=2)) == []
    assert log.add(message("eve", "bid", "ann")) == []
    assert log.add(own("rules", epoch=1, version=2), message("eve", "bid", "ann")) == [log.sequence]


def test_ill_formed_words_of_the_exchange_s_are_passed_over() -> None:
    log = Log()
    log.add(own("checked", through="1"), own("checked"), own("suspend", account=1, request=[]), own("rules"))
    log.add(message("operator", "reinstate", account=[1]), message("operator", "reinstate"))
    assert (log.findings.proved, log.findings.accused, log.findings.in_force) == (0, {}, True)


# -- the process, on a real server


@asynccontextmanager
async def house(server: Server) -> AsyncIterator[Nats]:
    """A connection; the log has both streams."""
    async with asyncio.timeout(BOUND_S):
        nc = await connect(server.url, Key.make(), name="test", patience=20)
        try:
            await make_streams(nc)
            yield nc
        finally:
            await nc.close()


@asynccontextmanager
async def notary(server: Server, creds: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A notary that runs; killed at the end where the test has not ended it."""
    with contextlib.suppress(BadKeyError):
        EXCHANGE.save(creds)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exchange.notary", "--server", server.url, "--creds", str(creds)),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def put(nc: Nats, *messages: tuple[str, bytes]) -> int:
    """Publish in this order; returns the sequence of the last when all are stored."""
    for subject, data in messages:
        await nc.publish(subject, data)
    await nc.flush()
    while True:
        with contextlib.suppress(NotFoundError):
            last = await nc.jetstream().get_last_msg(subjects.INTAKE, subject)
            if last.data == data:
                assert last.seq is not None
                return last.seq
        await asyncio.sleep(0.01)


async def said(nc: Nats, kind: str) -> list[dict[str, Any]]:
    """The bodies of what the exchange's key said, every signature true, in order."""
    bodies = []
    subject = subjects.intake(EXCHANGE.public, kind)
    there = (await nc.jetstream().stream_info(subjects.INTAKE)).state
    async for stored in read(nc, subjects.INTAKE, there.first_seq, there.last_seq):
        if stored.subject == subject:
            assert check([stored]).verdicts == bytes([Verdict.TRUE])
            bodies.append(decode_body(stored.data[87:]) or {})
    return bodies


async def until_suspended(nc: Nats, names: Iterable[str]) -> list[dict[str, Any]]:
    """Wait until all these are suspended; what was said."""
    wanted = {key_of(name).public for name in names}
    while True:
        suspended = await said(nc, "suspend")
        if wanted <= {body["account"] for body in suspended}:
            return suspended
        await asyncio.sleep(0.05)


async def until_checked(nc: Nats, through: int) -> None:
    while not any(body["through"] >= through for body in await said(nc, "checked")):  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def end(process: asyncio.subprocess.Process) -> str:
    """End it as `exchange up` does; returns what it said."""
    process.terminate()
    _, errors = await process.communicate()
    assert process.returncode == 0, errors
    return errors.decode()


def test_a_false_signature_is_suspended_once_and_what_is_checked_is_said(
    server: Server, tmp_path: Path
) -> None:
    async def run() -> None:
        async with house(server) as nc, notary(server, tmp_path / "exchange.nk") as process:
            false = await put(
                nc, own(RULES[0], **RULES[1]), message("ann", "bid"), message("eve", "bid", "ann")
            )
            assert await until_suspended(nc, ["eve"]) == [{"account": key_of("eve").public, "request": false}]
            last = await put(nc, *(message("eve", "bid", "bob") for _ in range(2000)), message("ann", "bid"))
            await until_checked(nc, last)
            assert len(await said(nc, "suspend")) == 1
            words = await end(process)
            assert f"suspending {key_of('eve').public} for request {false}" in words
            assert words.count("suspending") == 1 and words.endswith("stopped\n"), words

    asyncio.run(run())


def test_what_happened_while_it_was_away_is_found(server: Server, tmp_path: Path) -> None:
    async def run() -> None:
        async with house(server) as nc:
            creds = tmp_path / "exchange.nk"
            false = await put(nc, own(RULES[0], **RULES[1]), message("eve", "bid", "ann"))
            async with notary(server, creds) as process:
                await until_suspended(nc, ["eve"])
                await until_checked(nc, false)
                process.kill()
                await process.wait()
                begun = (await said(nc, "checked"))[-1]["through"] + 1
            last = await put(
                nc, message("ann", "bid"), message("mallory", "ask", "eve"), message("ann", "bid")
            )
            async with notary(server, creds) as process:
                suspended = await until_suspended(nc, ["mallory"])
                await until_checked(nc, last)
                words = await end(process)
            assert [body["account"] for body in suspended] == [key_of("eve").public, key_of("mallory").public]
            assert f"from request {begun} on" in words

    asyncio.run(run())


def test_who_was_reinstated_is_not_suspended_for_the_same_request_again(
    server: Server, tmp_path: Path
) -> None:
    """The notary died before it said how far it had checked."""

    async def run() -> None:
        eve = key_of("eve").public
        async with house(server) as nc:
            last = await put(
                nc,
                own(RULES[0], **RULES[1]),
                message("eve", "bid", "ann"),
                *(message("ann", "bid") for _ in range(1500)),
                own("suspend", account=eve, request=2),
                message("operator", "reinstate", account=eve, reason="seen to"),
            )
            async with notary(server, tmp_path / "exchange.nk") as process:
                await until_checked(nc, last)
                assert len(await said(nc, "suspend")) == 1
                false = await put(nc, message("eve", "bid", "ann"))
                while len(await said(nc, "suspend")) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                assert (await said(nc, "suspend"))[-1] == {"account": eve, "request": false}
                await end(process)

    asyncio.run(run())


def test_a_log_of_older_rules_accuses_nobody(server: Server, tmp_path: Path) -> None:
    async def run() -> None:
        async with house(server) as nc:
            await put(nc, message("eve", "bid", "ann"))
            async with notary(server, tmp_path / "exchange.nk") as process:
                await put(nc, message("bob", "bid", "ann"))
                await put(nc, own(RULES[0], **RULES[1]), message("mallory", "bid", "ann"))
                suspended = await until_suspended(nc, ["mallory"])
                await end(process)
            assert len(suspended) == 1

    asyncio.run(run())


def test_a_log_that_begins_behind_an_archive_is_checked_from_there(server: Server, tmp_path: Path) -> None:
    async def run() -> None:
        async with house(server) as nc:
            js = nc.jetstream()
            await js.delete_stream(subjects.INTAKE)
            await js.add_stream(name=subjects.INTAKE, subjects=["intake.*.*"], no_ack=True, first_seq=1000)
            false = await put(nc, message("ann", "bid"), message("eve", "bid", "ann"))
            assert false == 1001
            async with notary(server, tmp_path / "exchange.nk") as process:
                assert await until_suspended(nc, ["eve"]) == [
                    {"account": key_of("eve").public, "request": false}
                ]
                await end(process)

    asyncio.run(run())


def test_nobody_is_missed_though_notary_and_server_die(server: Server, tmp_path: Path) -> None:
    dice = random.Random(1)
    names = [f"forger-{n}" for n in range(12)]

    async def run() -> None:
        async with house(server) as nc:
            await put(nc, own(RULES[0], **RULES[1]))
            forgers = iter(names)
            for life in range(4):
                async with notary(server, tmp_path / "exchange.nk") as process:
                    for _ in range(3):
                        await put(nc, *(message("ann", "bid") for _ in range(dice.randrange(400))))
                        await put(nc, message(next(forgers), "bid", "ann"), message("ann", "bid"))
                        await asyncio.sleep(dice.random() * 0.6)
                    if life % 2:
                        server.kill()
                        server.start()
                    await asyncio.sleep(dice.random())
                    process.send_signal(dice.choice([signal.SIGKILL, signal.SIGTERM]))
                    await process.wait()
            async with notary(server, tmp_path / "exchange.nk") as process:
                suspended = await until_suspended(nc, names)
                last = await put(nc, message("ann", "bid"))
                await until_checked(nc, last)
                await end(process)
            assert {body["account"] for body in suspended} == {key_of(name).public for name in names}

    asyncio.run(run())


def test_what_cannot_be_is_said_in_one_line(server: Server, tmp_path: Path) -> None:
    async def run() -> None:
        async with asyncio.timeout(BOUND_S):
            async with notary(server, tmp_path / "exchange.nk") as process:
                _, errors = await process.communicate()
                assert process.returncode == 1
                assert errors.decode().splitlines()[-1] == "notary: the server has no stream INTAKE"
                assert "Traceback" not in errors.decode()
            (tmp_path / "empty.nk").touch(0o600)
            async with notary(server, tmp_path / "empty.nk") as process:
                _, errors = await process.communicate()
                assert process.returncode == 1
                assert errors.decode().startswith("notary: ") and errors.count(b"\n") == 1

    asyncio.run(run())
