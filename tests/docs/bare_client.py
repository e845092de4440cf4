"""A buyer in nothing but a TCP socket and Ed25519: what somebody writes who has no client of ours.

It knows docs/protocol.md and imports nothing of the market. It keeps every line that went over the wire.
"""

import asyncio
import base64
import binascii
import json
from typing import Any

from nacl.signing import SigningKey

MARK = b"\xffcorehour\n"
KEEP = 1_000_000  # bytes of one message at most


def base64url(data: bytes) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class BareClient:
    """One connection. `transcript` is what was said: ("C" or "S", bytes), each with its line ends."""

    def __init__(self, seed: str) -> None:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))  # 2 bytes of prefix, 32 of seed, 2 of checksum
        self._key = SigningKey(raw[2:34])
        public = bytes([20 << 3]) + bytes(self._key.verify_key)  # 20 << 3 gives the letter U
        checksum = binascii.crc_hqx(public, 0).to_bytes(2, "little")
        self.account = base64.b32encode(public + checksum).decode()
        self.transcript: list[tuple[str, bytes]] = []
        self._session = 0
        self._number = 0
        self._asked = 0

    async def connect(self, host: str, port: int, session: int) -> None:
        """Log in: sign the server's nonce. Then listen to the own feed and the own inbox."""
        self._session = session
        self._reader, self._writer = await asyncio.open_connection(host, port, limit=KEEP)
        info = json.loads((await self._line()).removeprefix(b"INFO "))
        signature = base64url(self._key.sign(info["nonce"].encode()).signature).decode()
        options = {
            "verbose": False, "pedantic": False, "tls_required": False, "name": "bare", "lang": "any",
            "version": "1", "protocol": 0, "headers": False, "no_responders": False,
            "nkey": self.account, "sig": signature,
        }  # fmt: skip
        self._say(b"CONNECT " + json.dumps(options, separators=(",", ":")).encode() + b"\r\nPING\r\n")
        answer = await self._line()
        assert answer == b"PONG\r\n", answer
        self._say(f"SUB feed.{self.account} 1\r\nSUB _INBOX.{self.account}.> 2\r\n".encode() + b"PING\r\n")
        answer = await self._line()  # listening before the first request: nothing is missed
        assert answer == b"PONG\r\n", answer

    async def close(self) -> None:
        """Leave."""
        self._writer.close()
        await self._writer.wait_closed()

    def publish(self, subject: str, data: bytes, reply: str = "", *, keep: bool = True) -> None:
        """Send one message."""
        to = f"{subject} {reply}" if reply else subject
        self._say(f"PUB {to} {len(data)}\r\n".encode() + data + b"\r\n", keep=keep)

    def heartbeat(self, *, keep: bool = False) -> None:
        """Say that this account's client is there."""
        self.publish(f"presence.{self.account}.client", b"", keep=keep)

    def request(self, kind: str, **members: Any) -> int:
        """Publish a numbered, signed request; returns its number."""
        self._number += 1
        body = {"session": self._session, "number": self._number, **members}
        content = json.dumps(body, separators=(",", ":")).encode()
        subject = f"intake.{self.account}.{kind}"
        signed = self._key.sign(MARK + subject.encode() + b"\n" + content).signature
        self.publish(subject, base64url(signed) + b"\n" + content)
        return self._number

    def ask(self, what: str, **arguments: Any) -> str:
        """Send a query; returns the inbox that its answer comes to."""
        self._asked += 1
        inbox = f"_INBOX.{self.account}.{self._asked}"
        data = json.dumps(arguments, separators=(",", ":")).encode()
        self.publish(f"query.{self.account}.{what}", data, inbox)
        return inbox

    async def message(self) -> tuple[str, dict[str, Any]]:
        """The next message: (subject, JSON). Answers PING on the way. Raises ConnectionError."""
        while True:
            line = await self._line(keep=False)
            if line == b"PING\r\n":
                self._say(b"PONG\r\n", keep=False)
            elif line.startswith(b"MSG "):
                words = line.split()  # MSG subject sid [reply] size
                data = await self._reader.readexactly(int(words[-1]) + 2)
                self.transcript.append(("S", line + data))
                return words[1].decode(), json.loads(data)
            elif line.startswith(b"-ERR") or not line:
                raise ConnectionError(line.decode() or "the server closed the connection")

    def _say(self, data: bytes, *, keep: bool = True) -> None:
        if keep:
            self.transcript.append(("C", data))
        self._writer.write(data)

    async def _line(self, *, keep: bool = True) -> bytes:
        line = await self._reader.readline()
        if keep:
            self.transcript.append(("S", line))
        return line
