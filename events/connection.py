"""A NATS connection that no message can break.

The library stops reading, for good, when a subject is not UTF-8, when a header block is empty, or when a
subject holds white space that the server does not take for a separator. Anybody who may publish could so
make anybody deaf. Here such bytes are read as they are, or replaced.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import (
    ConnectionClosedError,
    ConnectionDrainingError,
    MaxPayloadError,
    OutboundBufferLimitError,
)
from nats.protocol import parser

# The server separates by these four alone; the library's own patterns take any white space.
_NAME = rb"([^ \t\r\n]+)[ \t]+"
parser.MSG_RE = re.compile(rb"\AMSG[ \t]+" + _NAME + _NAME + rb"(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
parser.HMSG_RE = re.compile(rb"\AHMSG[ \t]+" + _NAME + _NAME + rb"(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n")


class Connection(Client):
    """The library's client, with what strangers send read without an error."""

    async def publish_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish (subject, data), all of them, at a quarter of what `publish` costs for each. They are in
        the system's hands when it returns.

        Subjects are not checked. Raises what `publish` raises, and then has published none.
        """
        if self.is_closed:
            raise ConnectionClosedError
        if self.is_draining_pubs:
            raise ConnectionDrainingError
        most = self.max_payload
        commands = []
        size = 0
        for subject, data in messages:
            if len(data) > most:
                raise MaxPayloadError
            size += len(data)
            commands.append(b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(data), data))
        whole = b"".join(commands)
        if not self.is_connected and len(whole) + self._pending_data_size > self._max_pending_size:
            raise OutboundBufferLimitError  # of what waits for the server
        self.stats["out_msgs"] += len(commands)
        self.stats["out_bytes"] += size
        await self._send_command(whole)
        await self._flush_pending(force_flush=True)  # else a `flush` that follows asks before they are sent

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        """Headers, or None where they are not in order: we act on the server's own headers only."""
        try:
            return await super()._process_headers(headers)
        except (IndexError, ValueError):
            return None

    async def _process_pong(self) -> None:
        """The server's answer to a flush. Who waited may have been cancelled, and the library would end
        its reading by an error then."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        """A message; what is not UTF-8 in its subjects is replaced."""
        words: dict[str, Any] = {"headers": headers, "_client": self, "_sid": sid}
        return Msg(
            subject=subject.decode("utf-8", "replace"),
            reply=reply.decode("utf-8", "replace"),
            data=data,
            **words,
        )
