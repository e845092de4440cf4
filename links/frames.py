"""Frames, what buyer and seller say to each other; and packets, the NATS messages that carry them."""

import struct
from typing import NamedTuple

# Said by the buyer.
START = 1  # JSON {"runtime", "arguments": [text], "sha256": of the program, "size": its bytes}
PROGRAM = 2  # the program's next bytes; none if this link has carried that sha256 before
INPUT = 3  # next bytes of standard input
INPUT_END = 4  # end of standard input
KILL = 5  # end the run
# Said by the seller.
STARTED = 16  # the program runs
OUTPUT = 17  # next bytes of standard output
ERRORS = 18  # next bytes of standard error
EXIT = 19  # JSON {"status", "signal", "cpu_us", "memory_kb", "bytes_in", "bytes_out", "why"}
REFUSED = 20  # JSON {"why"}: the run did not start

MOST_PAYLOAD = 64 * 1024  # bytes in one frame

# Packets. The dialler says OPEN until it is answered; either side CLOSEs; RESET says: I know no such link.
OPEN, DATA, ACK, PING, CLOSE, RESET = range(1, 7)
VERSION = 1
_HEADER = struct.Struct("!BBQQQQ")
_FRAME = struct.Struct("!BI")


class Frame(NamedTuple):
    """One thing said on a link. `run` rises from 1 within a link; all frames of a run carry its number."""

    kind: int
    run: int
    payload: bytes = b""


class Packet(NamedTuple):
    """One NATS message of a link.

    `incarnation` names the dial, in µs since 1970: a later dial has a higher one. `sequence` is the
    frame's number in DATA, from 0, and one more than the highest number seen in any other packet.
    `received`: all frames below it have arrived. `taken`: all below it were taken by the reader, so that
    their room in the window is free again. `body` is the frame of a DATA packet, still packed.
    """

    type: int
    incarnation: int
    sequence: int = 0
    received: int = 0
    taken: int = 0
    body: bytes = b""


class BadFrameError(Exception):
    """Bytes that are no packet or no frame of this version."""


def pack(packet: Packet) -> bytes:
    """The NATS message of a packet."""
    kind, incarnation, sequence, received, taken, body = packet
    return _HEADER.pack(VERSION, kind, incarnation, sequence, received, taken) + body


def unpack(data: bytes) -> Packet:
    """The packet in a NATS message. Raises BadFrameError."""
    if len(data) < _HEADER.size:
        raise BadFrameError("too short")
    version, kind, incarnation, sequence, received, taken = _HEADER.unpack_from(data)
    if version != VERSION or not OPEN <= kind <= RESET:
        raise BadFrameError("unknown version or type")
    return Packet(kind, incarnation, sequence, received, taken, data[_HEADER.size :])


def pack_frame(frame: Frame) -> bytes:
    """A frame as the body of a DATA packet. Raises ValueError if the payload is above MOST_PAYLOAD."""
    if len(frame.payload) > MOST_PAYLOAD:
        raise ValueError(f"a frame carries at most {MOST_PAYLOAD} bytes, not {len(frame.payload)}")
    return _FRAME.pack(frame.kind, frame.run) + frame.payload


def unpack_frame(body: bytes) -> Frame:
    """The frame in the body of a DATA packet. Raises BadFrameError."""
    if not _FRAME.size <= len(body) <= _FRAME.size + MOST_PAYLOAD:
        raise BadFrameError("a frame's size")
    kind, run = _FRAME.unpack_from(body)
    return Frame(kind, run, body[_FRAME.size :])
