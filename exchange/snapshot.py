"""Snapshots: the market's state after one commit, in a file that verifies by itself and against the log.

A file is a line that says of which commit it is, the entries that the state's digest sums over
(`entries.rows`), one a line, and a line with their number and the SHA-256 of all before it. So it is whole if
the SHA-256 is right, and it is the state of that commit if the rows sum to the digest that the commit in
JOURNAL carries: whoever made the file, and wherever it comes from.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from events.chain import Place
from events.commit import RULES
from events.records import BadRecordError
from events.wire import dumps, loads
from exchange import restoring
from exchange.digest import raw_weight
from exchange.state import State

FORMAT = "corehour snapshot 1"
SUFFIX, DRAFT = ".snapshot", ".draft"
_DRAFTS = re.compile(r"[0-9]+\.([0-9]+)\.draft")  # commit and process
KEPT = 3  # the newest; older ones are removed
LINE_BYTES = 64 * 1024  # of the first and the last line at most
PIECE_BYTES = 1024 * 1024
CHUNK = 1000  # rows written or looked at at once


class SnapshotError(Exception):
    """A snapshot is not whole, or not of this log; the text names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Header:
    """Of which commit a snapshot is: its number and hash, the last request answered, where in JOURNAL its
    last message stands, the version of the rules, the state's digest.
    """

    commit: int
    hash: str
    last: int
    sequence: int
    rules: int
    digest: str
    format: str = FORMAT

    @property
    def place(self) -> Place:
        """Where the log goes on from here."""
        return Place(self.commit, self.hash, self.last, self.sequence)


def name_of(commit: int) -> str:
    """The file of a commit's snapshot; names sort as commits do."""
    return f"{commit:015d}{SUFFIX}"


def kept(directory: Path) -> list[Path]:
    """The snapshots in a directory, newest first; files of other names are none."""
    named = (path for path in directory.glob(f"*{SUFFIX}") if path.stem.isascii() and path.stem.isdigit())
    return sorted(named, reverse=True)


def write(directory: Path, header: Header, rows: Iterable[bytes]) -> Path:
    """Put a snapshot in place whole and on the disk, and remove those that are too old. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_drafts(directory)
    place = directory / name_of(header.commit)
    draft = directory / f"{header.commit}.{os.getpid()}{DRAFT}"
    try:
        with open(draft, "wb", buffering=PIECE_BYTES, opener=private) as file:
            for piece in _sealed(header, rows):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
        _sync_directory(directory)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    snapshots = kept(directory)
    here = snapshots.index(place)
    for other in snapshots[:here] + snapshots[here + KEPT :]:  # later than the newest: another log's
        other.unlink(missing_ok=True)
    return place


def _sealed(header: Header, rows: Iterable[bytes]) -> Iterator[bytes]:
    """The file's bytes, some rows at a time."""
    hashed = hashlib.sha256()
    count = 0
    piece = [dumps(asdict(header))]
    for row in rows:
        piece.append(row)
        if len(piece) == CHUNK:
            data = b"\n".join(piece) + b"\n"
            hashed.update(data)
            yield data
            count, piece = count + len(piece), []
    data = b"".join(row + b"\n" for row in piece)
    hashed.update(data)
    yield data
    count += len(piece) - 1  # the header is no row
    yield dumps({"rows": count, "sha256": hashed.hexdigest()}) + b"\n"


def header(path: Path) -> Header:
    """The first line, not verified yet. Raises SnapshotError."""
    try:
        with path.open("rb") as file:
            found: Any = loads(file.readline(LINE_BYTES))
        read = Header(**found)
        kinds = {field.name: type(getattr(read, field.name)) for field in fields(read)}
    except (OSError, ValueError, TypeError) as error:
        raise SnapshotError(f"{path}: its first line cannot be read ({error})") from error
    if read.format != FORMAT or kinds != Header.__annotations__:
        raise SnapshotError(f"{path}: its first line is none of a snapshot that this program knows")
    if not 1 <= read.rules <= RULES:
        raise SnapshotError(f"{path}: it was made by rules {read.rules}; this program knows {RULES}")
    return read


def check_whole(path: Path, weighed: Callable[[bytes], object] = lambda weights: None) -> None:
    """Whether a file is a snapshot whose bytes are those that were written. Raises SnapshotError.

    `weighed` is given the weights of its rows as they are read, WEIGHT bytes each. O(bytes), in constant
    memory.
    """
    header(path)
    try:
        with path.open("rb", buffering=PIECE_BYTES) as file:
            said = _seal(path, file)
            file.seek(0)
            hashed = hashlib.sha256(file.readline(LINE_BYTES))
            left = said.rows
            while left > 0 and (lines := list(islice(file, min(CHUNK, left)))):
                left -= len(lines)
                hashed.update(b"".join(lines))
                weighed(b"".join([raw_weight(line[:-1]) for line in lines]))
            if file.tell() != said.start or left or hashed.hexdigest() != said.sha256:
                raise SnapshotError(f"{path}: its bytes do not have its SHA-256: it was changed or damaged")
    except OSError as error:
        raise SnapshotError(f"{path}: {error.strerror}") from error


def count_in(path: Path) -> int:
    """How many rows a snapshot says it has. Raises SnapshotError."""
    try:
        with path.open("rb") as file:
            return _seal(path, file).rows
    except OSError as error:
        raise SnapshotError(f"{path}: {error.strerror}") from error


class _Seal(NamedTuple):
    """The last line, and where it begins."""

    rows: int
    sha256: str
    start: int


def _seal(path: Path, file: BinaryIO) -> _Seal:
    """Raises SnapshotError."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - LINE_BYTES))
    *_, last = file.read().splitlines(keepends=True) or [b""]
    try:
        found: Any = loads(last)
        rows, said = found["rows"], found["sha256"]
        if not last.endswith(b"\n") or type(rows) is not int or type(said) is not str:
            raise ValueError("its form is another")
    except (ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"{path}: its last line is not a snapshot's: it was cut off") from error
    return _Seal(rows, said, end - len(last))


def rows_in(path: Path) -> Iterator[bytes]:
    """The rows, in the order in which they were written. What is no row ends it. Raises OSError."""
    with path.open("rb", buffering=PIECE_BYTES) as file:
        file.readline(LINE_BYTES)
        before = file.readline()
        for line in file:
            yield before[:-1]
            before = line  # the last line is the seal


def restore(path: Path, weights: Iterable[int] | None = None) -> State:
    """The state in a snapshot; its rows must sum to the digest that it says. `weights` are theirs, where
    somebody has computed them (`check_whole`). Raises SnapshotError. O(rows).
    """
    said = header(path)
    try:
        state = restoring.restore(rows_in(path), weights)
    except (OSError, BadRecordError) as error:
        raise SnapshotError(f"{path}: {error}") from error
    found = state.digest.take()
    if found != said.digest:
        raise SnapshotError(f"{path}: its rows sum to the digest {found}, it says {said.digest}")
    return state


def _remove_drafts(directory: Path) -> None:
    """Those of processes that died while they wrote."""
    for draft in directory.glob(f"*{DRAFT}"):
        named = _DRAFTS.fullmatch(draft.name)  # other names are not ours
        if named and not Path("/proc", named[1]).exists():
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


def private(path: str, flags: int) -> int:
    """An opener (of `open`) that makes files with mode 0600: a snapshot has everybody's balances."""
    return os.open(path, flags, 0o600)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
