"""The wire between a process and the server, as something that can break: a TCP proxy.

It cuts, delays, stops one direction, or falls silent; and it can tell other times than the server stored
(`jumping`), the same to everybody who reads through it, so that all of them live with the same false clock.
"""

import asyncio
import contextlib
import random
import re
import socket
from collections.abc import Callable

CHUNK = 64 * 1024
MESSAGE = re.compile(rb"(?:H?MSG) .*?(\d+)\Z")  # the last number is the length of all that follows
STORED = re.compile(rb"(\$JS\.ACK\.(?:[^. ]+\.)*?INTAKE\.[^. ]+\.\d+\.)(\d+)(\.\d+\.)(\d+)(\.\d+ )")

Clock = Callable[[int, int], int]  # sequence in INTAKE, its stored time in ns: the time that is told


def jumping(seed: int) -> Clock:
    """A clock that jumps: every so many requests to another offset, or to a time of its own."""
    last = 2**63 - 1

    def told(sequence: int, time_ns: int) -> int:
        dice = random.Random(f"{seed}/{sequence // 25}")
        day = 86400 * 10**9
        offset = dice.choice(
            (0, 10**9, -(10**9), 6 * 10**9, -6 * 10**9, day, -day, 36500 * day, -36500 * day, last, -last)
        )
        return min(last, max(0, time_ns + offset))

    return told


class Wire:
    """One listening port in front of the server. `clock` is who tells the times, if not the server."""

    def __init__(self, server_port: int, clock: Clock | None = None) -> None:
        self._server_port, self._clock = server_port, clock
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._open = asyncio.Event()  # bytes flow
        self._deaf = asyncio.Event()  # what the server says is thrown away
        self._refusing = False
        self._torn = 0  # of the next bytes so many pass before all is cut
        self._open.set()
        self.port = 0

    async def listen(self) -> None:
        """Begin."""
        self._listener = await asyncio.start_server(self._come, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End."""
        if self._listener is not None:
            self._listener.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Every connection ends with a reset."""
        for pair in list(self._pairs):
            for writer in pair:
                writer.transport.abort()

    def tear(self, after: int) -> None:
        """As `cut`, but after so many more bytes from the server: in the middle of a message."""
        self._torn = max(1, after)

    async def refuse(self, seconds: float) -> None:
        """Cut, and take no connection for a while."""
        self._refusing = True
        self.cut()
        await asyncio.sleep(seconds)
        self._refusing = False

    async def stall(self, seconds: float) -> None:
        """Nothing flows for a while, either way; nobody is told."""
        self._open.clear()
        await asyncio.sleep(seconds)
        self._open.set()

    async def deafen(self, seconds: float) -> None:
        """What the process says arrives; what the server says is lost. Then all is cut."""
        self._deaf.set()
        await asyncio.sleep(seconds)
        self.cut()
        self._deaf.clear()

    def half_close(self, *, towards_server: bool) -> None:
        """One direction ends in order, the other stays open."""
        for to_server, to_process in list(self._pairs):
            with contextlib.suppress(OSError):
                (to_server if towards_server else to_process).write_eof()

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            theirs, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        for end in (writer, to_server):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (to_server, writer)
        self._pairs.add(pair)
        flows = [
            asyncio.create_task(self._flow(reader, to_server, None)),
            asyncio.create_task(
                self._flow(theirs, writer, _Retold(self._clock) if self._clock else _Plain())
            ),
        ]
        self._tasks.update(flows)
        try:
            await asyncio.wait(flows, return_when=asyncio.ALL_COMPLETED)
        finally:
            self._pairs.discard(pair)
            for flow in flows:
                flow.cancel()
            self._tasks.difference_update(flows)
            for end in pair:
                end.transport.abort()

    async def _flow(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, retold: "_Plain | _Retold | None"
    ) -> None:
        """One direction; `retold` is for what the server says."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._open.wait()
                if retold is not None:
                    if self._deaf.is_set():
                        continue
                    data = retold.add(data)
                    if self._torn:
                        writer.write(data[: self._torn])
                        self._torn -= min(self._torn, len(data))
                        if not self._torn:
                            await asyncio.sleep(0)
                            self.cut()
                        continue
                writer.write(data)
                await writer.drain()
            writer.write_eof()


class _Plain:
    """What the server says, as it says it."""

    def add(self, data: bytes) -> bytes:
        """These bytes."""
        return data


class _Retold:
    """What the server says, with other times. Whole messages only are let through."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._waiting = clock, b""

    def add(self, data: bytes) -> bytes:
        """What can be told after these bytes have come."""
        self._waiting += data
        told = []
        while (end := self._waiting.find(b"\r\n")) >= 0:
            line = self._waiting[:end]
            message = MESSAGE.match(line)
            length = int(message.group(1)) + 2 if message else 0
            if len(self._waiting) < end + 2 + length:
                break
            told += [self._line(line) if message else line, self._waiting[end : end + 2 + length]]
            self._waiting = self._waiting[end + 2 + length :]
        return b"".join(told)

    def _line(self, line: bytes) -> bytes:
        def other(found: "re.Match[bytes]") -> bytes:
            before, sequence, between, time_ns, after = found.groups()
            return b"%b%b%b%d%b" % (
                before,
                sequence,
                between,
                self._clock(int(sequence), int(time_ns)),
                after,
            )

        return STORED.sub(other, line)
