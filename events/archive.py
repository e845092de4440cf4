"""The archive: the log in files that verify by themselves, with no server (R34, R35).

A directory of segments, `intake-<first sequence>.seg` and `journal-<first sequence>.seg`, written once and
never changed. A segment, all numbers unsigned and big-endian:

    header   "corehour", version (32 bits), kind (32 bits: 1 INTAKE, 2 JOURNAL), first sequence (64 bits),
             SHA-256 of the segment of its kind before it (32 bytes; zeros in the first)
    blocks   stored length (32 bits), unpacked length (32 bits), that many bytes of zlib
    trailer  0 (32 bits), number of records (64 bits), last sequence (64 bits), SHA-256 of all before

A block unpacks to whole records: sequence, stored time in ns since 1970, length of the subject and length of
the data as four 64-bit numbers, then the subject, then the data. The SHA-256 that a segment is known by is
the one in its trailer; so whoever keeps the last one can tell whether anything before it was changed.

A segment is written under another name, synced, renamed, and the directory synced: whatever dies leaves an
archive that is good and can be continued.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from events.subjects import INTAKE, JOURNAL
from events.wire import Stored

MAGIC = b"corehour"
VERSION = 1
SEGMENT_BYTES = 64 * 1024 * 1024  # of records in a segment, before they are packed
BLOCK_BYTES = 1024 * 1024  # of records in a block ...
MOST_BLOCK = 8 * BLOCK_BYTES  # ... which one large record may exceed
KINDS = {INTAKE: 1, JOURNAL: 2}
NOTHING = bytes(32)
READ_BYTES = 1024 * 1024

_HEADER = struct.Struct(">8sIIQ32s")
_BLOCK = struct.Struct(">II")
_TRAILER = struct.Struct(">IQQ")  # and the hash
_RECORD = struct.Struct(">QQQQ")
_DRAFT = re.compile(r"(intake|journal)-[0-9]{20}\.part")


class ArchiveError(Exception):
    """The archive is damaged or cannot be used; the text names file and place."""


class Segment(NamedTuple):
    """What a segment says of itself: it holds `first` to `last`; `hash` is what it is known by."""

    path: Path
    first: int
    last: int
    previous: bytes
    hash: bytes


class Archive:
    """The segments in a directory, which need not exist yet. Reads headers and trailers only. O(segments).

    Raises ArchiveError where a file is damaged, missing or out of order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._segments = {stream: _chain(path, stream) for stream in KINDS}

    def end(self, stream: str) -> int:
        """The last sequence of a stream (INTAKE or JOURNAL) in the archive; 0 where there is none."""
        segments = self._segments[stream]
        return segments[-1].last if segments else 0

    def ends(self) -> tuple[int, int]:
        """The last sequences of INTAKE and JOURNAL."""
        return self.end(INTAKE), self.end(JOURNAL)

    def segments(self, stream: str) -> list[Segment]:
        """The segments of a stream, in order."""
        return list(self._segments[stream])

    def requests(self, first: int = 1, last: int | None = None) -> Iterator[Stored]:
        """INTAKE from `first` to `last`, both included. See `read`."""
        return self.read(INTAKE, first, last)

    def journal(self, first: int = 1, last: int | None = None) -> Iterator[Stored]:
        """JOURNAL from `first` to `last`, both included. See `read`."""
        return self.read(JOURNAL, first, last)

    def read(self, stream: str, first: int = 1, last: int | None = None) -> Iterator[Stored]:
        """A stream's messages from `first` to `last`, or to the end. O(block) memory.

        A segment's hash is checked before anything of it is given. Raises ArchiveError.
        """
        assert first >= 1, first
        last = self.end(stream) if last is None else last
        segments = self._segments[stream]
        if last > self.end(stream):
            raise ArchiveError(f"{self.path}: {stream} ends at {self.end(stream)}; there is no {last}")
        start = max(0, bisect_right(segments, first, key=lambda segment: segment.first) - 1)
        for segment in segments[start:]:
            if segment.first > last:
                return
            check(segment)
            for stored in _records(segment):
                if stored.sequence > last:
                    return
                if stored.sequence >= first:
                    yield stored

    def one_of(self, stream: str, subject: str, first: bool) -> Stored | None:
        """The first message on a subject, or the last; None if there is none. Raises ArchiveError.

        Reads from that end on, so O(segments before it).
        """
        segments = self._segments[stream]
        for segment in segments if first else reversed(segments):
            found = None
            for stored in self.read(stream, segment.first, segment.last):
                if stored.subject == subject:
                    found = stored
                    if first:
                        break
            if found is not None:
                return found
        return None

    def verify(self, progress: Callable[[int, int], None] = lambda done, whole: None) -> int:
        """Read everything; returns the number of records. `progress` is told bytes done and in all.

        Raises ArchiveError at the first place that is not as it was written.
        """
        everything = [segment for stream in KINDS for segment in self._segments[stream]]
        whole, done, records = sum(segment.path.stat().st_size for segment in everything), 0, 0
        for segment in everything:
            check(segment)
            records += sum(1 for _ in _records(segment))
            done += segment.path.stat().st_size
            progress(done, whole)
        return records

    def append_requests(self, requests: Iterable[Stored]) -> None:
        """Append to INTAKE. Raises ArchiveError where a sequence does not follow."""
        with self.writing() as writer:
            for stored in requests:
                writer.add(INTAKE, stored)

    def append_journal(self, messages: Iterable[Stored]) -> None:
        """Append to JOURNAL. Raises ArchiveError where a sequence does not follow."""
        with self.writing() as writer:
            for stored in messages:
                writer.add(JOURNAL, stored)

    @contextlib.contextmanager
    def writing(self) -> Iterator["Writer"]:
        """Append to both streams; what was added is sealed at the end, unless that is an error.

        Raises ArchiveError where another process writes.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArchiveError(f"{self.path}: another process writes to this archive") from None
            for left in self.path.glob("*.part"):
                if _DRAFT.fullmatch(left.name):  # of a writer that died; other names are not ours
                    left.unlink()
            self._segments = {stream: _chain(self.path, stream) for stream in KINDS}
            writer = Writer(self.path, self._segments)
            try:
                yield writer
                writer.seal()
            finally:
                writer.drop()
        finally:
            os.close(descriptor)


class Writer:
    """Appends records; a segment that is full is sealed. INTAKE is always sealed before JOURNAL, so that
    the requests that a commit answers are in the archive when the commit is."""

    def __init__(self, path: Path, segments: dict[str, list[Segment]]) -> None:
        self._path, self._segments = path, segments
        self._open: dict[str, _Draft] = {}

    def next(self, stream: str) -> int:
        """The sequence that must be added next."""
        if stream in self._open:
            return self._open[stream].last + 1
        segments = self._segments[stream]
        return segments[-1].last + 1 if segments else 1

    def add(self, stream: str, stored: Stored) -> None:
        """Add the next record. Raises ArchiveError where its sequence is not the next."""
        if stored.sequence != self.next(stream):
            raise ArchiveError(
                f"{self._path}: {stream} goes on at {self.next(stream)}, not at {stored.sequence}"
            )
        draft = self._open.get(stream)
        if draft is None:
            segments = self._segments[stream]
            previous = segments[-1].hash if segments else NOTHING
            draft = self._open[stream] = _Draft(self._path, stream, stored.sequence, previous)
        draft.add(stored)
        if draft.bytes >= SEGMENT_BYTES:
            self.seal()

    def seal(self) -> None:
        """Put what was added in its place, on the disk."""
        for stream in KINDS:
            draft = self._open.pop(stream, None)
            if draft is not None:
                self._segments[stream].append(draft.seal())

    def drop(self) -> None:
        """Forget what was added and not sealed."""
        for draft in self._open.values():
            draft.drop()
        self._open.clear()


class _Draft:
    """A segment that is being written."""

    def __init__(self, path: Path, stream: str, first: int, previous: bytes) -> None:
        self._place = path / _name(stream, first)
        self._part = self._place.with_suffix(".part")
        self._first, self._previous = first, previous
        self.last, self.bytes = first - 1, 0
        self._block: list[bytes] = []
        self._waiting = 0
        self._hash = hashlib.sha256()
        self._file = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._write(_HEADER.pack(MAGIC, VERSION, KINDS[stream], first, previous))

    def add(self, stored: Stored) -> None:
        subject = stored.subject.encode()
        head = _RECORD.pack(stored.sequence, stored.time_ns, len(subject), len(stored.data))
        self._block += (head, subject, stored.data)
        size = len(head) + len(subject) + len(stored.data)
        self.last = stored.sequence
        self.bytes += size
        self._waiting += size
        if self._waiting >= BLOCK_BYTES:
            self._flush()

    def seal(self) -> Segment:
        self._flush()
        self._write(_TRAILER.pack(0, self.last - self._first + 1, self.last))
        digest = self._hash.digest()
        self._file.write(digest)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.rename(self._place)
        directory = os.open(self._place.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return Segment(self._place, self._first, self.last, self._previous, digest)

    def drop(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._block:
            return
        raw = b"".join(self._block)
        assert len(raw) <= MOST_BLOCK, "a message of NATS is smaller"
        packed = zlib.compress(raw, 1)
        self._write(_BLOCK.pack(len(packed), len(raw)))
        self._write(packed)
        self._block, self._waiting = [], 0

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)


def check(segment: Segment) -> None:
    """Whether a file still has the hash that it says. O(1) memory. Raises ArchiveError."""
    hashed = hashlib.sha256()
    with _opened(segment.path) as file:
        left = os.fstat(file.fileno()).st_size - len(NOTHING)
        while left > 0:
            data = file.read(min(left, READ_BYTES))
            if not data:
                raise ArchiveError(f"{segment.path}: the file became shorter while it was read")
            hashed.update(data)
            left -= len(data)
        if hashed.digest() != file.read():
            raise ArchiveError(
                f"{segment.path}: sequences {segment.first} to {segment.last}: the file is damaged (its "
                "bytes do not have the SHA-256 in its trailer)"
            )


def _records(segment: Segment) -> Iterator[Stored]:
    """The records of a segment whose hash was checked. Raises ArchiveError for a form that is wrong."""
    expected = segment.first
    with _opened(segment.path) as file:
        file.seek(_HEADER.size)
        while True:
            offset = file.tell()
            length, size = _BLOCK.unpack(_exactly(file, _BLOCK.size, segment.path))
            if length == 0:
                break
            if length > MOST_BLOCK or size > MOST_BLOCK:
                raise ArchiveError(f"{segment.path}: offset {offset}: a block is too large")
            for stored in _unpacked(_exactly(file, length, segment.path), size, segment.path, offset):
                if stored.sequence != expected:
                    raise ArchiveError(
                        f"{segment.path}: offset {offset}: sequence {stored.sequence} stands where "
                        f"{expected} belongs"
                    )
                yield stored
                expected += 1
        whole = os.fstat(file.fileno()).st_size
        if expected != segment.last + 1 or offset + _TRAILER.size + len(NOTHING) != whole:
            raise ArchiveError(f"{segment.path}: offset {offset}: the trailer does not fit the records")


def _unpacked(packed: bytes, size: int, path: Path, offset: int) -> Iterator[Stored]:
    """The records of a block."""
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(packed, size + 1)
        if len(raw) != size or not unpacker.eof or unpacker.unused_data:
            raise ArchiveError(f"{path}: offset {offset}: a block has not the length that it says")
        at = 0
        while at < size:
            sequence, time_ns, subject, data = _RECORD.unpack_from(raw, at)
            at += _RECORD.size
            if subject + data > size - at:
                raise ArchiveError(f"{path}: offset {offset}: a record is longer than its block")
            name = raw[at : at + subject].decode()
            at += subject
            yield Stored(sequence, time_ns, name, raw[at : at + data])
            at += data
    except (zlib.error, struct.error, UnicodeDecodeError) as error:
        raise ArchiveError(f"{path}: offset {offset}: {error}") from error


def _name(stream: str, first: int) -> str:
    return f"{stream.lower()}-{first:020}.seg"


def _chain(path: Path, stream: str) -> list[Segment]:
    """The segments of a stream in order, each following the one before. Raises ArchiveError."""
    segments: list[Segment] = []
    for file in sorted(path.glob(f"{stream.lower()}-*.seg")):
        segment = _ends(file, stream)
        previous, first = (segments[-1].hash, segments[-1].last + 1) if segments else (NOTHING, 1)
        if segment.first != first:
            for one in (*segments[-1:], segment):
                check(one)  # damaged, and not missing?
            raise ArchiveError(
                f"{file}: it begins at sequence {segment.first}, but {first} comes next: a file is missing"
            )
        if segment.previous != previous:
            for one in (*segments[-1:], segment):
                check(one)
            raise ArchiveError(
                f"{file}: it does not follow the file before it: one of them is of another archive"
            )
        segments.append(segment)
    return segments


def _ends(path: Path, stream: str) -> Segment:
    """What header and trailer say. Raises ArchiveError."""
    with _opened(path) as file:
        magic, version, kind, first, previous = _HEADER.unpack(_exactly(file, _HEADER.size, path))
        if magic != MAGIC:
            raise ArchiveError(f"{path}: offset 0: not a segment of an archive")
        if version != VERSION:
            raise ArchiveError(f"{path}: offset 8: form {version} is not known; this program knows {VERSION}")
        if kind != KINDS[stream]:
            raise ArchiveError(f"{path}: offset 12: it is not a segment of {stream}, as its name says")
        if path.name != _name(stream, first):
            raise ArchiveError(f"{path}: offset 16: it begins at sequence {first}, its name says another")
        trailer = os.fstat(file.fileno()).st_size - _TRAILER.size - len(NOTHING)
        file.seek(max(trailer, 0))
        zero, count, last = _TRAILER.unpack(_exactly(file, _TRAILER.size, path))
        digest = _exactly(file, len(NOTHING), path)
    if zero or count < 1 or count != last - first + 1:
        raise ArchiveError(f"{path}: offset {trailer}: no trailer: the file is damaged or cut off")
    return Segment(path, first, last, previous, digest)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise ArchiveError(f"{path}: {error.strerror}") from error


def _exactly(file: BinaryIO, size: int, path: Path) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ArchiveError(f"{path}: offset {file.tell()}: the file was cut off")
    return data
