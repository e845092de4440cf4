"""One contract's frames between buyer and seller: in order, each once, acknowledged, within a window."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from links.frames import (
    ACK,
    CLOSE,
    DATA,
    MOST_PAYLOAD,
    OPEN,
    PING,
    RESET,
    BadFrameError,
    Frame,
    Packet,
    pack,
    pack_frame,
    unpack_frame,
)

WINDOW_BYTES = 1024 * 1024  # payload that was sent and not yet taken by the other side's reader
WINDOW_FRAMES = 256
BURST = 16  # frames resent at a time after a silence
PATIENCE = (0.2, 2.0)  # seconds until a frame is sent again: least and most
FIRST_PATIENCE = 0.05  # for OPEN: the seller may hear of the contract a moment after the buyer
KEEPALIVE = 2.0  # seconds between PINGs
PROBE = 0.5  # the same while a sender waits for room
CLOSING = 5.0  # seconds that close() waits for what was sent

log = logging.getLogger("links")


class LinkClosedError(Exception):
    """The link is closed; the text says why."""


class Link:
    """A stream of frames with `peer` about `contract`. Made by Endpoint.dial and Endpoint.accept.

    Survives lost, doubled and reordered messages and the server's restarts. Holds at most one window in
    each direction. `bytes_sent` and `bytes_received` count payload once, however often it was sent.
    `heard` is when the peer was last heard, by the loop's clock; a living peer is heard every 2 s.
    """

    def __init__(
        self,
        peer: str,
        contract: int,
        incarnation: int,
        transmit: Callable[[bytes], Awaitable[None]],
        ended: Callable[["Link"], None],
        *,
        dialled: bool,
    ) -> None:
        self.peer = peer
        self.contract = contract
        self.incarnation = incarnation
        self.bytes_sent = 0
        self.bytes_received = 0
        self.resent = 0
        self.closed = ""  # why, once it is
        self._transmit = transmit
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self.began = self.heard = self._loop.time()
        self.is_open = not dialled
        # Sending: frames from _acked to _next are kept; those below _fresh were sent at least once.
        self._acked = self._fresh = self._next = self._peer_took = 0
        self._kept: deque[bytes] = deque()
        self._sizes: deque[int] = deque()  # of frames from _peer_took to _next
        self._outstanding = 0  # their sum
        self._blocked = 0  # callers of send that wait for the window
        self._room, self._drained, self._over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._drained.set()
        # Resending: frames from _again to _lost_until, at most _burst beyond what is acknowledged.
        self._again = self._lost_until = 0
        self._burst = 1
        self._hole = False  # the peer has later frames, but not the next one
        self._round_trip = 0.0
        self._timed: tuple[int, float] | None = None
        self._patience = FIRST_PATIENCE if dialled else PATIENCE[0]
        self._retry_at = self.heard
        self._ping_at = self.heard + KEEPALIVE
        # Receiving: _ready are in order and not yet taken, _early came before their turn.
        self._expected = self._taken = self._seen = 0
        self._untold = 0  # bytes taken since the peer was last told
        self._told = 0  # the same, as the number of the frame
        self._ready: deque[Frame] = deque()
        self._early: dict[int, Frame] = {}
        self._held = 0  # bytes in both
        self._readable = asyncio.Event()
        self._owes_ack = not dialled
        self._last: Packet | None = None  # said when the link has ended
        self._wake = asyncio.Event()
        self._wake.set()
        self._timer: asyncio.TimerHandle | None = None
        self._pump_task = self._loop.create_task(self._pump(), name=f"link {contract}")

    async def send(self, frame: Frame) -> None:
        """Send a frame; waits while the window is full. Raises LinkClosedError; ValueError if too large."""
        body = pack_frame(frame)
        size = len(frame.payload)
        while not self.closed and not self._has_room(size):
            self._room.clear()
            self._blocked += 1
            self._wake.set()
            try:
                await self._room.wait()
            finally:
                self._blocked -= 1
        if self.closed:
            raise LinkClosedError(self.closed)
        self._kept.append(body)
        self._sizes.append(size)
        self._outstanding += size
        self._next += 1
        self.bytes_sent += size
        self._drained.clear()
        self._wake.set()

    async def send_bytes(self, kind: int, run: int, data: bytes) -> None:
        """Send bytes as frames of one kind, as many as it takes. Raises LinkClosedError."""
        for start in range(0, len(data), MOST_PAYLOAD):
            await self.send(Frame(kind, run, data[start : start + MOST_PAYLOAD]))

    async def receive(self) -> Frame | None:
        """The next frame; None once the link is closed or replaced and all that arrived was taken."""
        while not self._ready:
            if self.closed:
                return None
            self._readable.clear()
            await self._readable.wait()
        frame = self._ready.popleft()
        self._taken += 1
        self._held -= len(frame.payload)
        self._untold += len(frame.payload)
        frames = self._taken - self._told
        if not self._ready or frames >= WINDOW_FRAMES // 4 or self._untold >= WINDOW_BYTES // 4:
            self._owes_ack = True
            self._wake.set()
        return frame

    async def drained(self) -> None:
        """Wait until the peer has acknowledged all that was sent. Raises LinkClosedError."""
        await self._drained.wait()
        if self._acked < self._next:
            raise LinkClosedError(self.closed)

    async def ended(self) -> str:
        """Wait until the link is closed or replaced; returns why."""
        await self._over.wait()
        return self.closed

    async def close(self) -> None:
        """Close the link, after what was sent has arrived, or 5 s. The peer's receive gives None at last."""
        if not self.closed and self.is_open:
            try:
                async with asyncio.timeout(CLOSING):
                    await self.drained()
            except (TimeoutError, LinkClosedError) as error:
                log.debug("link %d: closed before all had arrived: %r", self.contract, error)
        self.abort("closed here", tell=CLOSE)

    def abort(self, why: str, *, tell: int = RESET) -> None:
        """End the link at once; `tell` is the packet for the peer, 0 for none. Idempotent."""
        if self.closed:
            return
        self.closed = why
        if self._timer:
            self._timer.cancel()
        if tell == RESET:
            self._ready.clear()
        if tell:
            self._last = Packet(tell, self.incarnation, self._seen, self._expected, self._taken)
        for event in (self._room, self._drained, self._readable, self._wake, self._over):
            event.set()
        self._ended(self)

    def arrived(self, packet: Packet) -> None:
        """Take a packet of this incarnation from the peer. Never raises: who breaks the rules is cut off."""
        if self.closed:
            return
        self.heard = self._loop.time()
        if packet.type in (CLOSE, RESET):
            self.abort("closed by the peer" if packet.type == CLOSE else "the peer knows it no more", tell=0)
            return
        if packet.type == OPEN:
            self._owes_ack = True
            self._wake.set()
            return
        if not self._acknowledged(packet):
            self.abort("the peer acknowledged what was never sent")
            return
        if packet.type == DATA:
            self._data_arrived(packet)
        elif packet.type == PING:
            self._owes_ack = True
        self._wake.set()

    def _has_room(self, size: int) -> bool:
        return len(self._sizes) < WINDOW_FRAMES and (
            not self._sizes or self._outstanding + size <= WINDOW_BYTES
        )

    def _acknowledged(self, packet: Packet) -> bool:
        """Fold the peer's acknowledgement in; False if it is impossible. O(frames acknowledged)."""
        if packet.received > self._fresh or packet.taken > packet.received:
            return False
        now = self._loop.time()
        if not self.is_open:
            self.is_open = True
            self._patience = PATIENCE[0]
        if packet.received > self._acked:
            if self._timed and packet.received > self._timed[0]:
                sample = now - self._timed[1]
                self._round_trip += (sample - self._round_trip) / 8 if self._round_trip else sample
                self._timed = None
            for _ in range(packet.received - self._acked):
                self._kept.popleft()
            self._acked = packet.received
            self._patience = min(max(4 * self._round_trip, PATIENCE[0]), PATIENCE[1])
            self._retry_at = now + self._patience
            if self._acked == self._next:
                self._drained.set()
        if packet.type != DATA and packet.received == self._acked:
            # Later frames were seen: NATS keeps the order, so this one is lost. Resend hole by hole.
            self._hole = packet.sequence > packet.received
            if self._hole and self._acked >= self._lost_until:
                self._recover(1)
        if packet.taken > self._peer_took:
            for _ in range(packet.taken - self._peer_took):
                self._outstanding -= self._sizes.popleft()
            self._peer_took = packet.taken
            self._room.set()
        return True

    def _recover(self, burst: int) -> None:
        self._again, self._lost_until, self._burst = self._acked, self._fresh, burst
        self._timed = None

    def _data_arrived(self, packet: Packet) -> None:
        sequence = packet.sequence
        self._owes_ack = True
        if sequence < self._expected or sequence in self._early:
            return
        if sequence >= self._taken + WINDOW_FRAMES:
            self.abort("the peer sent beyond the window")
            return
        try:
            frame = unpack_frame(packet.body)
        except BadFrameError as error:
            self.abort(f"the peer sent no frame: {error}")
            return
        self._held += len(frame.payload)
        if self._held > WINDOW_BYTES + MOST_PAYLOAD:
            self.abort("the peer sent beyond the window")
            return
        self._seen = max(self._seen, sequence + 1)
        self._early[sequence] = frame
        while self._expected in self._early:
            frame = self._early.pop(self._expected)
            self._expected += 1
            self.bytes_received += len(frame.payload)
            self._ready.append(frame)
        if self._ready:
            self._readable.set()

    async def _pump(self) -> None:
        """All sending happens here, one packet after the other; woken by events and by the timer."""
        try:
            while not self.closed:
                await self._wake.wait()
                self._wake.clear()
                if not self.closed:
                    await self._step()
                    self._arm()
            if self._last:
                await self._transmit(pack(self._last))
        finally:
            self.abort("its sender ended", tell=0)

    def _arm(self) -> None:
        """Set the timer to what is due next."""
        if self._timer:
            self._timer.cancel()
        if self.closed:
            return
        due = self._ping_at
        if not self.is_open or self._acked < self._fresh:
            due = min(due, self._retry_at)
        self._timer = self._loop.call_at(due, self._wake.set)

    async def _step(self) -> None:
        now = self._loop.time()
        if not self.is_open:
            if now >= self._retry_at:
                self._retry_at = now + self._patience
                self._patience = min(2 * self._patience, PATIENCE[1] / 2)
                await self._say(OPEN)
            return
        if self._acked < self._fresh and now >= self._retry_at:
            self._patience = min(2 * self._patience, PATIENCE[1])
            self._retry_at = now + self._patience
            # Who acknowledges nothing for long is sent little again and again.
            self._recover(BURST if self._patience < PATIENCE[1] else 2)
        await self._resend()
        while self._fresh < self._next and not self.closed:
            if self._acked == self._fresh:
                self._retry_at = self._loop.time() + self._patience
            if self._timed is None and self._lost_until <= self._acked:
                self._timed = (self._fresh, self._loop.time())
            self._fresh += 1
            await self._say_data(self._fresh - 1)
        if self._blocked:
            # The news of room may be lost: ask.
            self._ping_at = min(self._ping_at, now + PROBE)
        if now >= self._ping_at and not self.closed:
            self._ping_at = now + KEEPALIVE
            await self._say(PING)
        elif self._owes_ack and not self.closed:
            await self._say(ACK)

    async def _resend(self) -> None:
        while (
            not self.closed
            and self._acked < self._lost_until
            and (self._hole or self._burst > 1)
            and (sequence := max(self._again, self._acked)) < min(self._lost_until, self._acked + self._burst)
        ):
            self._again = sequence + 1
            self.resent += 1
            await self._say_data(sequence)

    async def _say_data(self, sequence: int) -> None:
        if sequence >= self._acked:
            await self._say(DATA, sequence, self._kept[sequence - self._acked])

    async def _say(self, kind: int, sequence: int = -1, body: bytes = b"") -> None:
        sequence = self._seen if sequence < 0 else sequence
        if kind != DATA:
            self._owes_ack = False
        self._told, self._untold = self._taken, 0
        await self._transmit(
            pack(Packet(kind, self.incarnation, sequence, self._expected, self._taken, body))
        )
