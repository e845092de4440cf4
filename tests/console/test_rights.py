"""What the server lets whom do, tried with real clients against a real server."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path

import nats
import nats.errors
import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from console import admission, server
from console.data_directory import choose_address, prepare, start_server, url
from console.keyring import Keyring
from events import subjects
from events.keys import Key
from events.log import NotAdmittedError, append, connect, last_message, last_sequence, make_streams, read
from events.together import end
from exchange.lease import Lease, holder
from exchange.offer import NoSnapshotError, offer, offered


@dataclass
class House:
    """A server with rights, two traders and the three services; every connection knows its violations."""

    data: Path
    address: str
    keys: Keyring
    pid: int
    ann: Key = field(default_factory=Key.make)
    bob: Key = field(default_factory=Key.make)
    opened: list[Nats] = field(default_factory=list)
    violations: dict[int, list[str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    async def login(self, key: Key) -> Nats:
        """A plain client, as anybody could write one."""
        nc = Nats()
        heard = self.violations[id(nc)] = []

        async def on_error(error: Exception) -> None:
            heard.append(str(error))

        async def on_loss() -> None:
            self.lost.append(key.public)

        await nc.connect(
            self.address,
            nkeys_seed_str=key.seed,
            inbox_prefix=subjects.inbox(key.public),
            error_cb=on_error,
            disconnected_cb=on_loss,
            allow_reconnect=False,
        )
        self.opened.append(nc)
        return nc

    async def refused(self, nc: Nats, deed: Awaitable[object], about: str) -> bool:
        """Whether the server calls the deed a violation of rights over `about`."""
        heard = self.violations[id(nc)]
        heard.clear()
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await deed
        await nc.flush()
        await asyncio.sleep(0.02)  # the client's callbacks for errors run as tasks of their own
        return any("permissions violation" in line and about.lower() in line for line in heard)


@contextlib.asynccontextmanager
async def house(data: Path) -> AsyncIterator[House]:
    prepare(data)
    keys = Keyring.load_or_make(data)
    host, port = choose_address(data, "127.0.0.1", 0)
    ann, bob = Key.make(), Key.make()
    child = start_server(data, host, port, admission.users(keys, [ann.public, bob.public]), print)
    keeper = asyncio.create_task(child.keep())
    try:
        nc = await connect(url(host, port), keys.exchange, name="test")
        await make_streams(nc)
        built = House(data, url(host, port), keys, child.pid, ann, bob, [nc])
        try:
            yield built
        finally:
            for opened in built.opened:
                await opened.close()
    finally:
        await child.stop()
        await keeper


def listen(nc: Nats, subject: str, into: list[bytes]) -> Awaitable[object]:
    async def hear(message: Msg) -> None:
        into.append(message.data)

    return nc.subscribe(subject, cb=hear)


async def settled(exchange: Nats, trader: Nats, subject: str) -> int:
    """Ask one thing more and wait until INTAKE has it, and with it all before; its sequence."""
    await trader.publish(subject, b"the last")
    for _ in range(1000):
        last = await last_message(exchange, subjects.INTAKE)
        if last is not None and last.data == b"the last":
            return last.sequence
        await asyncio.sleep(0.02)
    raise AssertionError("INTAKE did not take it")


def test_a_trader_speaks_in_its_own_name_only(tmp_path: Path) -> None:
    async def run() -> None:
        async with house(tmp_path) as it:
            ann, exchange = await it.login(it.ann), it.opened[0]
            a, b = it.ann.public, it.bob.public
            mine = [subjects.intake(a, "bid"), subjects.query(a, "book"), subjects.presence(a, "client")]
            for subject in (*mine, subjects.link(b, a, 7)):
                assert not await it.refused(ann, ann.publish(subject, b"x"), subject), subject
            foreign = [
                subjects.intake(b, "bid"), subjects.intake(it.keys.operator.public, "deposit"),
                subjects.intake(it.keys.exchange.public, "tick"), subjects.query(b, "account"),
                subjects.presence(b, "client"), subjects.link(a, b, 7), subjects.link(b, b, 7),
                subjects.feed(b), subjects.feed(a), subjects.FEED_MARKET, subjects.COMMIT,
                subjects.PULSE_EXCHANGE, subjects.PULSE_FEED, f"{subjects.inbox(b)}.1",
                f"intake.{a}.bid.more", "$SYS.REQ.SERVER.PING", f"$JS.ACK.{subjects.INTAKE}.x.1.1.1.1.0",
            ]  # fmt: skip
            for subject in foreign:
                assert await it.refused(ann, ann.publish(subject, b"x"), subject), subject
            assert await settled(exchange, ann, mine[0]) == 2
            assert await last_sequence(exchange, subjects.JOURNAL) == 0

    asyncio.run(run())


def test_a_trader_hears_what_is_its_own_or_everybodys(tmp_path: Path) -> None:
    async def run() -> None:
        async with house(tmp_path) as it:
            ann = await it.login(it.ann)
            a, b = it.ann.public, it.bob.public
            heard: list[bytes] = []
            own = [
                subjects.feed(a), subjects.FEED_MARKET, subjects.PULSE_EXCHANGE, subjects.PULSE_FEED,
                f"{subjects.inbox(a)}.>", f"link.{a}.>", f"link.{a}.{b}.7",
            ]  # fmt: skip
            for subject in own:
                assert not await it.refused(ann, listen(ann, subject, heard), subject), subject
            foreign = [
                subjects.feed(b), "feed.*", "feed.>", ">", "*.>", "_INBOX.>", f"{subjects.inbox(b)}.>",
                f"link.{b}.>", "link.>", f"link.*.{b}.*", f"link.*.{a}.*", "intake.>", "query.*.*",
                "presence.>", subjects.COMMIT, "$JS.>", "$SYS.>", subjects.intake(b, "bid"),
            ]  # fmt: skip
            for subject in foreign:
                assert await it.refused(ann, listen(ann, subject, heard), subject), subject
            services = await it.login(it.keys.projections)
            for subject in (subjects.feed(b), subjects.feed(a), subjects.FEED_MARKET):
                await services.publish(subject, subject.encode())
            bob = await it.login(it.bob)
            await bob.publish(subjects.link(a, b, 7), b"frame")
            await bob.publish(subjects.link(it.keys.operator.public, b, 8), b"not for ann")
            await services.flush()
            await bob.flush()
            await ann.flush()
            await asyncio.sleep(0.02)
            # ann listens to link.<ann>.> and to link.<ann>.<bob>.7: the frame comes once for each
            assert sorted(heard) == sorted(
                [subjects.feed(a).encode(), subjects.FEED_MARKET.encode(), b"frame", b"frame"]
            )

    asyncio.run(run())


def api(stream: str) -> list[str]:
    """JetStream's calls that could read or change a stream."""
    return [
        *(f"$JS.API.{call}.{stream}" for call in ("STREAM.INFO", "STREAM.MSG.GET", "DIRECT.GET")),
        f"$JS.API.CONSUMER.CREATE.{stream}", f"$JS.API.CONSUMER.CREATE.{stream}.c",
        f"$JS.API.CONSUMER.CREATE.{stream}.c.intake.>", f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.c",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.c", *changing(stream),
    ]  # fmt: skip


def changing(stream: str) -> list[str]:
    """Those that change a stream, or what others do with it."""
    calls = ("DELETE", "UPDATE", "PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN")
    return [
        *(f"$JS.API.STREAM.{call}.{stream}" for call in calls),
        f"$JS.API.CONSUMER.DELETE.{stream}.c",
        f"$JS.API.CONSUMER.PAUSE.{stream}.c",
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.ACCOUNT.PURGE.x",
    ]


def test_jetstream_is_closed_to_traders_and_nobody_may_change_a_stream(tmp_path: Path) -> None:
    async def run() -> None:
        async with house(tmp_path) as it:
            keys = it.keys
            for stream in (subjects.INTAKE, subjects.JOURNAL):
                ann = await it.login(it.ann)
                for subject in (*api(stream), f"$JS.API.STREAM.CREATE.{stream}", "$JS.API.INFO"):
                    assert await it.refused(ann, ann.publish(subject, b"{}"), subject), subject
                for key in (keys.operator, keys.exchange, keys.projections):
                    nc = await it.login(key)
                    for subject in changing(stream):
                        refused = await it.refused(nc, nc.publish(subject, b"{}"), subject)
                        assert refused, (key.public, subject)
            operator = await it.login(keys.operator)
            with pytest.raises(nats.errors.TimeoutError):
                await operator.request(f"$JS.API.STREAM.DELETE.{subjects.INTAKE}", b"", timeout=0.2)
            assert await last_sequence(it.opened[0], subjects.INTAKE) == 0
            projections = await it.login(keys.projections)
            subject = f"$JS.API.CONSUMER.CREATE.{subjects.INTAKE}.c"
            assert await it.refused(projections, projections.publish(subject, b"{}"), subject)

    asyncio.run(run())


def test_operator_exchange_and_projections_can_do_their_work(tmp_path: Path) -> None:
    async def run() -> None:
        async with house(tmp_path) as it:
            exchange = it.opened[0]
            ann = await it.login(it.ann)
            for n in range(3):
                await ann.publish(subjects.intake(it.ann.public, "bid"), b"%d" % n)
            assert await settled(exchange, ann, subjects.intake(it.ann.public, "bid")) == 4
            assert await append(exchange, subjects.JOURNAL, subjects.COMMIT, b"commit", 0) == 1
            operator = await connect(it.address, it.keys.operator, name="test")
            projections = await connect(it.address, it.keys.projections, name="test")
            it.opened += [operator, projections]
            for nc in (operator, exchange):
                asked = [stored.data async for stored in read(nc, subjects.INTAKE, 1, 3)]
                assert asked == [b"0", b"1", b"2"]
            for nc in (operator, exchange, projections):
                assert [stored.data async for stored in read(nc, subjects.JOURNAL, 1, 1)] == [b"commit"]
                last = await last_message(nc, subjects.JOURNAL)
                assert last is not None and last.data == b"commit"

    asyncio.run(run())


def test_the_lease_is_the_exchanges_and_snapshots_are_the_operators_too(tmp_path: Path) -> None:
    async def run() -> None:
        async with house(tmp_path) as it:
            ours = Lease(it.opened[0], "test")
            assert await ours.take()
            assert await holder(it.opened[0]) == "test"
            operator = await it.login(it.keys.operator)
            for key in (it.ann, it.keys.operator, it.keys.projections):
                nc, own = await it.login(key), subjects.snapshot(key.public, "list")
                for subject in server.LEASE:
                    assert await it.refused(nc, nc.publish(subject, b"x"), subject), (key.public, subject)
                refused = await it.refused(
                    nc, nc.publish(own, b"", reply=f"{subjects.inbox(key.public)}.1"), own
                )
                assert refused == (key is not it.keys.operator)
                for subject in ("snapshot.>", "snapshot.*.*", "$KV.>"):
                    assert await it.refused(nc, listen(nc, subject, []), subject)
            foreign = subjects.snapshot(it.ann.public, "list")
            assert await it.refused(operator, operator.publish(foreign, b""), foreign)
            offering = asyncio.create_task(offer(it.opened[0], tmp_path / "none"))
            await it.opened[0].flush()
            await asyncio.sleep(0.02)
            asking = await connect(it.address, it.keys.operator, name="test")
            it.opened.append(asking)
            with pytest.raises(NoSnapshotError, match="has written no snapshot yet"):
                await offered(asking, it.keys.operator.public)
            await end(offering)
            await ours.release()

    asyncio.run(run())


def test_a_reply_subject_cannot_be_aimed_at_another(tmp_path: Path) -> None:
    """INTAKE sends no acknowledgement, good or bad; traces and missing responders reveal nothing either."""

    async def run() -> None:
        async with house(tmp_path) as it:
            ann, bob, exchange = await it.login(it.ann), await it.login(it.bob), it.opened[0]
            heard: list[bytes] = []
            for subject in (subjects.feed(it.bob.public), f"{subjects.inbox(it.bob.public)}.>"):
                await listen(bob, subject, heard)
            await bob.flush()
            mine = subjects.intake(it.ann.public, "bid")
            targets = (
                subjects.feed(it.bob.public), f"{subjects.inbox(it.bob.public)}.1", subjects.COMMIT,
                subjects.intake(it.bob.public, "bid"),
            )  # fmt: skip
            headers: list[dict[str, str] | None] = [
                None, {"Nats-Expected-Last-Sequence": "99"}, {"Nats-Msg-Id": "1"}, {"Nats-Rollup": "all"},
                {"Nats-Expected-Stream": "OTHER"},
            ]  # fmt: skip
            for target in targets:
                for header in headers:
                    await ann.publish(mine, b"request", reply=target, headers=header)
                await ann.publish(subjects.query(it.ann.public, "book"), b"{}", reply=target)
                await ann.publish(mine, b"x" * 100_000, reply=target)  # more than INTAKE takes
                trace = {"Nats-Trace-Dest": target, "Nats-Trace-Only": "true"}
                await ann.publish(mine, b"traced", headers=trace)
            stored = await settled(exchange, ann, mine)
            await bob.flush()
            await asyncio.sleep(0.1)
            assert heard == []
            assert await last_sequence(exchange, subjects.JOURNAL) == 0
            kept = [message async for message in read(exchange, subjects.INTAKE, 1, stored)]
            assert kept and {message.subject for message in kept} == {mine}
            assert kept[0].sequence == 1, "nothing was rolled up"
            # the proof that bob would have heard it: JOURNAL does acknowledge, to the exchange's liking
            await exchange.publish(subjects.COMMIT, b"commit", reply=targets[0])
            await exchange.flush()
            for _ in range(1000):
                if heard:
                    break
                await asyncio.sleep(0.02)
            assert b'"stream":"JOURNAL"' in heard[0]

    asyncio.run(run())


def test_accounts_are_added_and_removed_without_disturbing_others(tmp_path: Path) -> None:
    async def run() -> None:
        async with house(tmp_path) as it:
            ann, heard = await it.login(it.ann), list[bytes]()
            bob = await it.login(it.bob)
            await listen(ann, subjects.feed(it.ann.public), heard)
            await ann.flush()
            carl = Key.make()
            with pytest.raises(NotAdmittedError, match="an operator must add it first"):
                await connect(it.address, carl, name="test", patience=0.2)
            accounts = [it.ann.public, it.bob.public, carl.public]
            await reload(it, accounts)
            for _ in range(200):
                with contextlib.suppress(NotAdmittedError):
                    it.opened.append(await connect(it.address, carl, name="test", patience=0.2))
                    break
            else:
                raise AssertionError("carl was never let in")
            services = await it.login(it.keys.projections)
            await services.publish(subjects.feed(it.ann.public), b"still here")
            await services.flush()
            await ann.flush()
            await asyncio.sleep(0.02)
            assert heard == [b"still here"] and it.lost == []
            await reload(it, [it.ann.public, carl.public])
            for _ in range(1000):
                if bob.is_closed:
                    break
                await asyncio.sleep(0.02)
            assert it.lost == [it.bob.public] and ann.is_connected

    asyncio.run(run())


async def reload(it: House, accounts: list[str]) -> None:
    server.write(it.data / server.USERS, admission.users(it.keys, accounts))
    os.kill(it.pid, signal.SIGHUP)


def test_the_keys_are_found_again_in_users_conf(tmp_path: Path) -> None:
    keys = Keyring.load_or_make(tmp_path)
    traders = [Key.make().public for _ in range(3)]
    text = admission.users(keys, traders)
    assert server.keys_in(text) == [*(key.public for key in keys), *traders]
    assert admission.users(keys, server.keys_in(text)) == text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", ""])
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(server.BadPlaceError, match="loopback"):
        server.check_host(host)
    assert server.check_host("127.0.0.1") == "127.0.0.1"
