"""One account's session with the market: requests that are answered exactly once, queries, the feed.

A request is sent again, the same bytes, until its answer is heard (R12): the market answers once.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Self, cast

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from events import subjects
from events.keys import Key
from events.log import connect
from events.records import Answered, BadRecordError, OrdersAnswered, event_of
from events.refusals import explain
from events.requests import IN_ORDERS, KINDS, MOST_BYTES, encode, model
from events.terminal import one_line
from events.wire import dumps, loads

ANSWERS = (Answered.kind, OrdersAnswered.kind)
RESEND_S = 2.0
CATCH_UP_S = 2.0  # how often the feed is asked what it may have missed
MOST_WAITING = 10_000  # feed messages that nobody has taken yet


class RefusedError(Exception):
    """The market refused a request; `code` is stable, the text is one sentence."""

    def __init__(self, code: str) -> None:
        super().__init__(explain(code))
        self.code = code


class BadRequestError(Exception):
    """A request that its form forbids, found before it was sent; the text names the member."""


class NoAnswerError(Exception):
    """Nobody answered in time. The request may still be done: its number stays good for asking again."""


class QueryError(Exception):
    """The query service refused; the text is its reason."""


class NotOfTheFeedError(Exception):
    """Something else than a message of a feed."""


class FeedMessage(NamedTuple):
    """What concerned an account (or, with `market`, everybody) in one commit; events as on the wire."""

    n: int
    market: bool
    commit: int
    now_us: int
    events: list[dict[str, Any]]


class Client:
    """An account's connection. Make it with `connect`; close it with `close` or `async with`.

    `pulse` is the last word of the exchange about itself, `heard` when that was (time.monotonic()).
    """

    def __init__(self, nc: Nats, key: Key) -> None:
        self.nc, self.key, self.account = nc, key, key.public
        self.pulse: dict[str, Any] | None = None
        self.heard = time.monotonic()
        self.session = time.time_ns() // 1000
        self._number = 0
        self._answers: dict[int, asyncio.Future[Answered | OrdersAnswered]] = {}
        self._listeners: list[asyncio.Queue[FeedMessage]] = []

    @classmethod
    async def connect(cls, server: str, key: Key, *, name: str, patience: float = 5.0) -> Self:
        """Log in. Raises UnreachableError, NotAdmittedError (events.log)."""
        client = cls(await connect(server, key, name=name, patience=patience), key)
        await client.nc.subscribe(subjects.feed(client.account), cb=client._on_own)
        await client.nc.subscribe(subjects.FEED_MARKET, cb=client._on_market)
        await client.nc.subscribe(subjects.PULSE_EXCHANGE, cb=client._on_pulse)
        await client.nc.flush()
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def number(self) -> int:
        """The number of the last request in this session, 0 before the first (R12)."""
        return self._number

    async def close(self) -> None:
        """Send what is waiting and leave."""
        with contextlib.suppress(nats.errors.Error, TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(1):
                await self.nc.flush()
        await self.nc.close()

    async def request(self, kind: str, /, *, timeout: float = 10.0, **body: Any) -> Answered:
        """Ask the market; returns its answer.

        Raises BadRequestError, RefusedError, and NoAnswerError after `timeout` seconds.
        """
        answer = await self._request(kind, body, timeout)
        assert isinstance(answer, Answered), answer
        if answer.code:
            raise RefusedError(answer.code)
        return answer

    async def orders(self, orders: list[dict[str, Any]], *, timeout: float = 10.0) -> list[Answered]:
        """Ask for many orders in one request: `{"kind": "bid", "price": ..., ...}` each (R12).

        Returns an answer for each, in their order; `code` says which were refused. Raises as `request`.
        """
        for order in orders:
            kind = order.get("kind")
            if kind not in IN_ORDERS:
                raise BadRequestError(f"orders: kind: must be one of {', '.join(IN_ORDERS)}")
            members = {name: value for name, value in order.items() if name != "kind"}
            validate(kind, {"session": self.session, "number": 1, **members})
        answer = await self._request("orders", {"orders": orders}, timeout)
        if isinstance(answer, Answered):
            raise RefusedError(answer.code)
        a = answer
        return [Answered(a.account, a.session, a.number, a.content, *one) for one in a.answers]

    async def _request(self, kind: str, body: dict[str, Any], timeout: float) -> Answered | OrdersAnswered:
        """Ask, again and again, until the answer is heard."""
        self._number += 1
        number = self._number
        body = {"session": self.session, "number": number, **body}
        validate(kind, body)
        subject = subjects.intake(self.account, kind)
        data = encode(self.key, subject, body)
        if len(data) > MOST_BYTES:
            raise BadRequestError(f"{kind}: {len(data)} bytes; a request has at most {MOST_BYTES}")
        future: asyncio.Future[Answered | OrdersAnswered] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        try:
            async with asyncio.timeout(timeout):
                while True:
                    await self.nc.publish(subject, data)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(RESEND_S):
                            return await asyncio.shield(future)
                    answer = await self._asked(number)
                    if answer is not None:
                        return answer
        except TimeoutError:
            raise NoAnswerError(
                f"{kind}: no answer within {timeout:g} s; is the exchange running? It may still be done"
            ) from None
        finally:
            self._answers.pop(number, None)

    async def _asked(self, number: int) -> Answered | OrdersAnswered | None:
        """The answer as the query service has it, where the feed's message was lost."""
        with contextlib.suppress(QueryError, NoAnswerError, BadRecordError):
            found = (await self.query("answer", timeout=1, session=self.session, number=number))["result"]
            if found is not None:
                return cast(Answered | OrdersAnswered, event_of(found))
        return None

    async def query(self, what: str, /, *, timeout: float = 5.0, **arguments: Any) -> dict[str, Any]:
        """Ask the query service: {"commit", "feed", "market", "result"}. Raises QueryError, NoAnswerError."""
        try:
            async with asyncio.timeout(timeout):
                reply = await self._reply(subjects.query(self.account, what), dumps(arguments))
        except (nats.errors.Error, TimeoutError) as error:
            raise NoAnswerError(f"query {what}: no answer; are the projections running?") from error
        try:
            answer: Any = loads(reply.data)
        except ValueError:
            answer = None
        match answer:
            case {"error": str(reason)}:
                raise QueryError(f"query {what}: {one_line(reason)}")
            case {"result": _, "commit": int(), "feed": int(), "market": int()}:
                return cast(dict[str, Any], answer)
        raise QueryError(f"query {what}: an answer that cannot be read; is the service of this version?")

    async def _reply(self, subject: str, data: bytes) -> Msg:
        """The reply to a query; a service that is just being started again is waited for."""
        while True:
            with contextlib.suppress(nats.errors.NoRespondersError):
                # No time-out of its own: before Python 3.12 a cancel can get lost in asyncio.wait_for.
                return await self.nc.request(subject, data, timeout=None)  # type: ignore[arg-type]
            await asyncio.sleep(0.1)

    async def heartbeat(self, party: str) -> None:
        """Say that a party is there: a machine's name, or `client`. Nothing is kept while disconnected."""
        if self.nc.is_connected:
            await self.nc.publish(subjects.presence(self.account, party), b"")

    async def feed(self, since: int, market: int) -> AsyncIterator[FeedMessage]:
        """Every message of the account's feed after number `since`, and of the market's after `market`.

        In order within each; what was missed is asked for. Ends when the connection is closed.
        """
        queue: asyncio.Queue[FeedMessage] = asyncio.Queue(MOST_WAITING)
        self._listeners.append(queue)
        heads = {False: since, True: market}
        try:
            for message in await self._missed(heads):
                yield message
            while not self.nc.is_closed:
                try:
                    async with asyncio.timeout(CATCH_UP_S):
                        message = await queue.get()
                except TimeoutError:
                    for message in await self._missed(heads):
                        yield message
                    continue
                if message.n > heads[message.market] + 1:
                    for missed in await self._missed(heads):
                        yield missed
                if message.n == heads[message.market] + 1:
                    heads[message.market] = message.n
                    yield message
        finally:
            self._listeners.remove(queue)

    async def _missed(self, heads: dict[bool, int]) -> list[FeedMessage]:
        """What the query service has beyond `heads`, which move; nothing where it does not answer."""
        missed = []
        for market, what in ((False, "feed"), (True, "market_feed")):
            with contextlib.suppress(QueryError, NoAnswerError, NotOfTheFeedError):
                for wire in (await self.query(what, since=heads[market]))["result"]:
                    message = _feed_message(wire, market)
                    if message.n == heads[market] + 1:
                        heads[market] = message.n
                        missed.append(message)
        return missed

    async def _on_own(self, message: Msg) -> None:
        self._hear(message.data, False)

    async def _on_market(self, message: Msg) -> None:
        self._hear(message.data, True)

    async def _on_pulse(self, message: Msg) -> None:
        with contextlib.suppress(ValueError):
            pulse = loads(message.data)
            match pulse:
                case {"epoch": int(), "commit": int(), "now": int(), "frozen": str(), "halted": str()}:
                    self.pulse = pulse
                    self.heard = time.monotonic()

    def _hear(self, data: bytes, market: bool) -> None:
        """A message of a feed: answers go to whoever waits, the whole to every listener."""
        try:
            message = _feed_message(loads(data), market)
        except (ValueError, NotOfTheFeedError):
            return  # a gap, if it is one, is filled by query
        for wire in message.events:
            if wire["kind"] in ANSWERS and wire.get("session") == self.session:
                with contextlib.suppress(BadRecordError):
                    answer = cast(Answered | OrdersAnswered, event_of(wire))
                    future = self._answers.get(answer.number)
                    if future is not None and not future.done():
                        future.set_result(answer)
        for queue in self._listeners:
            if not queue.full():  # a full listener finds the gap by number
                queue.put_nowait(message)


def _feed_message(wire: Any, market: bool) -> FeedMessage:
    """A message of a feed. Raises NotOfTheFeedError."""
    match wire:
        case {"n": int(n), "commit": int(commit), "now_us": int(now_us), "events": [*events]} if all(
            isinstance(event, dict) and isinstance(event.get("kind"), str) for event in events
        ):
            return FeedMessage(n, market, commit, now_us, events)
    raise NotOfTheFeedError("not a message of a feed")


def validate(kind: str, body: dict[str, Any]) -> None:
    """Check a request against its schema before it is sent. Raises BadRequestError naming the member."""
    try:
        model(kind).model_validate(body)
    except ValidationError as error:
        raise BadRequestError(f"{kind}: {_wrong(kind, error.errors()[0])}") from None


def _wrong(kind: str, error: ErrorDetails) -> str:
    """What is wrong, in the words of the table of requests: the library knows neither credits nor names."""
    name = str(error["loc"][0])
    forms = {member.name: member.form for member in KINDS[kind].members}
    if name not in forms:
        return f"{name}: no such member; there are {', '.join(forms)}"
    if error["type"] == "value_error":  # raised by a form of ours
        return f"{name}: {error['ctx']['error']}"
    missing = "is missing; it " if error["type"] == "missing" else ""
    return f"{name}: {missing}must be {forms[name].described()}"
