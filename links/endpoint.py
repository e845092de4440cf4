"""Where an account's links begin and arrive: one subscription, sorted by sender and contract."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from events import subjects
from links.frames import CLOSE, OPEN, RESET, BadFrameError, Packet, pack, unpack
from links.link import Link

MOST_LINKS = 4096
REDIAL = 0.05  # seconds between accepted dials of one peer for one contract: more often is a flood
MOST_REMEMBERED = 4096  # links that have ended, so that who still speaks on them is told
MOST_MESSAGES = 65_536  # that have arrived and were not looked at yet; more are dropped, and sent again
MOST_BYTES = 64 * 1024 * 1024  # in them

log = logging.getLogger("links")


class Session(Protocol):
    """What links need of an events.client.Client."""

    @property
    def nc(self) -> Nats:
        """The connection."""

    @property
    def account(self) -> str:
        """Its account."""


class TooManyLinksError(Exception):
    """This endpoint has as many links as it may."""


Place = tuple[str, int]  # (peer, contract)


class Endpoint:
    """All links of one connection. A buyer dials; a seller says in `allow` whose dial he accepts.

    `allow(contract, peer)` is asked at every dial; whom it refuses gets no answer at all. A later dial
    of the same peer for the same contract replaces the link before.
    """

    def __init__(self, client: Session) -> None:
        self.allow: Callable[[int, str], bool] = lambda contract, peer: False
        self._client = client
        self._links: dict[Place, Link] = {}
        self._ended: dict[Place, tuple[int, float]] = {}  # the last link's incarnation, and when it began
        self._dialled: dict[Place, Link] = {}  # by the peer, and not yet accepted
        self._news = asyncio.Event()
        self._stop: Callable[[], Awaitable[None]] | None = None

    async def start(self) -> None:
        """Begin to listen."""
        subject = f"link.{self._client.account}.>"
        subscription = await self._client.nc.subscribe(
            subject,
            cb=self._on_message,
            pending_msgs_limit=MOST_MESSAGES,
            pending_bytes_limit=MOST_BYTES,
        )
        self._stop = subscription.unsubscribe

    async def dial(self, peer: str, contract: int) -> Link:
        """A new link, usable at once; the peer is asked again and again until he accepts.

        Replaces a link to the same peer about the same contract. Raises TooManyLinksError.
        """
        place = peer, contract
        before, _ = self._latest(place)
        return self._make(place, max(time.time_ns() // 1000, before + 1), dialled=True)

    async def accept(self) -> Link:
        """The next link that a peer has opened."""
        while not self._dialled:
            self._news.clear()
            await self._news.wait()
        return self._dialled.pop(next(iter(self._dialled)))

    async def close(self) -> None:
        """Close all links, then stop listening."""
        await asyncio.gather(*(link.close() for link in list(self._links.values())))
        if self._stop:
            with contextlib.suppress(nats.errors.Error):
                await self._stop()
            self._stop = None

    def _make(self, place: Place, incarnation: int, *, dialled: bool) -> Link:
        before = self._links.get(place)
        if before:
            before.abort("replaced by a new dial")
        elif len(self._links) >= MOST_LINKS:
            raise TooManyLinksError(f"this process has {MOST_LINKS} links open, and may not have more")
        peer, contract = place
        subject = subjects.link(peer, self._client.account, contract)

        async def transmit(data: bytes) -> None:
            await self._publish(subject, data)

        link = Link(peer, contract, incarnation, transmit, self._on_ended, dialled=dialled)
        self._links[place] = link
        return link

    def _on_ended(self, link: Link) -> None:
        place = link.peer, link.contract
        if self._links.get(place) is link:
            del self._links[place]
        if self._dialled.get(place) is link:
            del self._dialled[place]
        self._ended.pop(place, None)
        self._ended[place] = link.incarnation, link.began
        if len(self._ended) > MOST_REMEMBERED:
            del self._ended[next(iter(self._ended))]

    async def _on_message(self, message: Msg) -> None:
        """Bytes from whoever: what is no packet, or from nobody we deal with, is dropped."""
        tokens = message.subject.split(".")
        if len(tokens) != 4 or not (tokens[3].isascii() and tokens[3].isdigit() and len(tokens[3]) < 17):
            return
        try:
            packet = unpack(message.data)
        except BadFrameError as error:
            log.debug("%s: %s", message.subject, error)
            return
        place = tokens[2], int(tokens[3])
        link = self._links.get(place)
        if link and link.incarnation == packet.incarnation:
            link.arrived(packet)
        elif packet.type == OPEN:
            await self._opened(place, packet)
        elif packet.type not in (RESET, CLOSE) and self._knows(place):
            await self._reset(place, packet)

    async def _opened(self, place: Place, packet: Packet) -> None:
        """A dial. The latest counts; one that was already there and ended is told so."""
        if not self.allow(place[1], place[0]):
            return
        latest, began = self._latest(place)
        if packet.incarnation <= latest:
            await self._reset(place, packet)
            return
        if asyncio.get_running_loop().time() < began + REDIAL:
            return  # he asks again
        if place not in self._links and len(self._links) >= MOST_LINKS:
            return
        self._dialled[place] = self._make(place, packet.incarnation, dialled=False)
        self._news.set()

    def _latest(self, place: Place) -> tuple[int, float]:
        """The incarnation of the last link there, and when it began."""
        link = self._links.get(place)
        return (link.incarnation, link.began) if link else self._ended.get(place, (0, -REDIAL))

    def _knows(self, place: Place) -> bool:
        return place in self._links or place in self._ended or self.allow(place[1], place[0])

    async def _reset(self, place: Place, packet: Packet) -> None:
        """Tell a peer that his link is no more."""
        peer, contract = place
        reply = pack(Packet(RESET, packet.incarnation))
        await self._publish(subjects.link(peer, self._client.account, contract), reply)

    async def _publish(self, subject: str, data: bytes) -> None:
        """Send, or lose: while there is no server nothing is kept, for the link sends it again."""
        nc = self._client.nc
        if nc.is_connected:
            try:
                await nc.publish(subject, data)
            except nats.errors.Error as error:
                log.debug("%s: not sent: %r", subject, error)
