"""What clients and services read besides the log: the connection, feeds, pulses, heartbeats, queries."""

import asyncio
import functools
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import Parser

from events import subjects
from events.client import Client, FeedMessage, NoAnswerError, QueryError
from events.connection import Connection
from events.records import Answered
from events.wire import dumps, loads
from exchange.state import State
from exchange.timekeeper import Timekeeper
from projections import queries
from projections.store import Store, rebuild
from tests.market.play import key_of
from tests.projections.history import OPERATOR, TRADERS, Market
from tests.soak.decoders import Target, assert_line, loop

KEY = key_of("client")
NOBODY = cast(Nats, None)


def message(data: bytes, subject: str = "a") -> Msg:
    return Msg(_client=NOBODY, subject=subject, data=data)


def now(work: Coroutine[Any, Any, None]) -> None:
    """Run what awaits nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


# -- the connection


class Stranger:
    """A message of the server's protocol, with a stranger's subject, reply, headers and data in it.

    A byte for how it comes; then, behind zero bytes, subject, reply and headers; the rest is data.
    """

    def __call__(self, data: bytes) -> None:
        loop().run_until_complete(self._come(data))

    async def _come(self, data: bytes) -> None:
        how, rest = (data or b"\0")[0], data[1:]
        subject, reply, headers, payload = (*rest.split(b"\0", 3), b"", b"", b"", b"")[:4]
        subject, reply = (word.translate(None, b" \t\r\n") for word in (subject, reply))
        nc = Connection()
        heard = nc._subs[1] = Subscription(nc, 1, "a")
        parser = Parser(nc)
        begin = b"HMSG " if how & 1 else b"MSG "
        sizes = b"%d %d" % (len(headers), len(headers + payload)) if how & 1 else b"%d" % len(payload)
        wire = begin + (subject or b"a") + b" 1 " + (reply + b" " if reply else b"") + sizes + b"\r\n"
        wire += (headers if how & 1 else b"") + payload + b"\r\nMSG a 1 4\r\ngood\r\n"
        cut = how >> 1
        await parser.parse(wire[:cut])
        await parser.parse(wire[cut:])
        first = heard._pending_queue.get_nowait()
        assert first.data == payload
        assert first.subject == (subject or b"a").decode("utf-8", "replace")
        assert first.reply == reply.decode("utf-8", "replace")
        assert heard._pending_queue.get_nowait().data == b"good"


def stranger_seeds() -> list[bytes]:
    headers = (
        b"", b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nA: b\r\n\r\n", b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n",
        b"NATS/1.0x\r\n", b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    )  # fmt: skip
    return [
        bytes([how]) + b"\0".join((b"a.b", reply, head, b"data"))
        for how in (0, 1, 25)
        for reply in (b"", b"_INBOX.x")
        for head in headers
    ]


# -- a client's ears


class Ears:
    """A client that hears a feed: a byte says which; it passes on what is a message of a feed."""

    def __call__(self, data: bytes) -> None:
        client = Client(NOBODY, KEY)
        client.session = 7
        answer = client._answers[1] = loop().create_future()
        queue: asyncio.Queue[FeedMessage] = asyncio.Queue()
        client._listeners.append(queue)
        market = bool(data) and bool(data[0] & 1)
        now((client._on_market if market else client._on_own)(message(data[1:])))
        while not queue.empty():
            heard = queue.get_nowait()
            assert heard.market == market
            assert all(isinstance(number, int) for number in (heard.n, heard.commit, heard.now_us))
            assert isinstance(heard.events, list)
            assert all(isinstance(event, dict) and isinstance(event["kind"], str) for event in heard.events)
        if answer.done():
            said = answer.result()
            assert isinstance(said, Answered) and (said.session, said.number) == (7, 1)
            assert isinstance(said.code, str)
        answer.cancel()


def feed_seeds() -> list[bytes]:
    store = market_store()
    found = []
    for key in TRADERS[:2]:
        for wire in loads(queries.reply(store, key.public, "feed", b"{}"))["result"]:
            found.append(b"\0" + dumps(wire))
    for wire in loads(queries.reply(store, TRADERS[0].public, "market_feed", b"{}"))["result"]:
        found.append(b"\1" + dumps(wire))
    return found


class Asking:
    """A client whose query is answered by these bytes."""

    def __call__(self, data: bytes) -> None:
        async def request(subject: str, body: bytes, **rest: Any) -> Msg:
            return message(data)

        async def ask() -> None:
            client = Client(cast(Nats, SimpleNamespace(request=request)), KEY)
            try:
                answer = await client.query("status")
            except (QueryError, NoAnswerError) as error:
                assert_line(str(error))
            else:
                assert isinstance(answer, dict) and "result" in answer

        loop().run_until_complete(ask())


def reply_seeds() -> list[bytes]:
    store = market_store()
    return [queries.reply(store, OPERATOR.public, what, b"{}") for what in queries.QUERIES]


def check_pulse(data: bytes) -> None:
    """A client and the exchange hear a pulse: nothing changes, or it is one."""
    client = Client(NOBODY, KEY)
    now(client._on_pulse(message(data)))
    if client.pulse is not None:
        pulse = client.pulse
        assert all(isinstance(pulse[name], int) for name in ("epoch", "commit", "now")), pulse
        assert all(isinstance(pulse[name], str) for name in ("frozen", "halted")), pulse
    now(timekeeper()._on_feed(message(data)))


@functools.cache
def timekeeper() -> Timekeeper:
    """The exchange's ears; they have not heard of anybody."""
    return Timekeeper(NOBODY, State())


def pulse_seeds() -> list[bytes]:
    pulse = {"epoch": 1, "commit": 7, "now": 10**12, "frozen": "", "halted": "storm"}
    return [dumps(pulse), dumps({"commit": 7})]


def check_heartbeat(data: bytes) -> None:
    """The exchange hears a heartbeat of a party that nobody knows: it takes no memory."""
    party = data.decode("utf-8", "replace").replace(".", "").strip(" \t\r\n") or "a"
    now(timekeeper()._on_presence(message(b"", subjects.presence(KEY.public, party))))
    assert not timekeeper()._presence._heard


# -- queries


@functools.cache
def market_store() -> Store:
    """A store with all that a small market has."""
    return rebuild(Market(11).commits(80))


def changes(store: Store) -> int:
    """How many rows this store's connection ever changed."""
    with store.transaction() as connection:
        raw = cast(Any, connection.connection.dbapi_connection)
        return int(raw.total_changes)


class Queries:
    """A byte for who asks, what he asks, a zero byte, the arguments: one answer, and nothing changed."""

    def __init__(self) -> None:
        self.store = market_store()

    def __call__(self, data: bytes) -> None:
        asker = (*TRADERS[:2], OPERATOR, KEY)[(data[0] if data else 0) % 4].public
        what, _, arguments = data[1:].partition(b"\0")
        before = changes(self.store)
        answer = loads(queries.reply(self.store, asker, what.decode("utf-8", "replace"), arguments))
        if "error" in answer:
            assert answer.keys() == {"error"}
            assert_line(answer["error"])
        else:
            assert {"commit", "feed", "market", "result"} <= answer.keys()
            assert answer["commit"] == self.store.cursor()[0]
        assert changes(self.store) == before


def query_seeds() -> list[bytes]:
    given: dict[str, Any] = {
        "session": 7,
        "number": 1,
        "since": 0,
        "until": 9,
        "after": 0,
        "most": 5,
        "all": True,
    }
    seeds = []
    for what, query in queries.QUERIES.items():
        arguments = {name: given[name] for name in query.arguments}
        for who, more in ((0, {}), (2, {"account": TRADERS[0].public}), (2, {"account": "bank"})):
            if not more or query.about:
                seeds.append(bytes([who]) + what.encode() + b"\0" + dumps(arguments | more))
    return seeds


TARGETS = [
    Target("connection", Stranger, stranger_seeds, 15, json=False),
    Target("feed", Ears, feed_seeds, 40),
    Target("reply", Asking, reply_seeds, 10),
    Target("pulse", lambda: check_pulse, pulse_seeds, 50),
    Target("heartbeat", lambda: check_heartbeat, lambda: [b"client", b"m", b"a\xffb"], 60, json=False),
    Target("query", Queries, query_seeds, 8),
]
