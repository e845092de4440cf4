"""An archive gives back what was put in, survives its writer, and names what is not as it was written."""

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import archive as module
from events.archive import Archive, ArchiveError
from events.subjects import INTAKE, JOURNAL
from events.wire import Stored


def some(first: int, last: int, size: int = 20) -> list[Stored]:
    """Records of a stream, all different."""
    return [
        Stored(n, 1_700_000_000_000_000_000 + n, f"intake.A{n % 7}.bid", (b"%d" % n) * size)
        for n in range(first, last + 1)
    ]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments and blocks so small that a test has many."""
    monkeypatch.setattr(module, "SEGMENT_BYTES", 600)
    monkeypatch.setattr(module, "BLOCK_BYTES", 200)


def filled(path: Path, records: int = 60) -> Archive:
    archive = Archive(path)
    archive.append_requests(some(1, records))
    archive.append_journal(some(1, records // 2))
    return Archive(path)


@pytest.mark.usefixtures("small")
def test_what_was_put_in_comes_out(tmp_path: Path) -> None:
    archive = filled(tmp_path / "a")
    assert archive.ends() == (60, 30)
    assert list(archive.requests()) == some(1, 60) and list(archive.journal()) == some(1, 30)
    assert len(archive.segments(INTAKE)) > 5
    for first, last in ((1, 1), (60, 60), (13, 44), (44, 13)):
        assert list(archive.requests(first, last)) == some(first, last)
    assert archive.verify() == 90
    with pytest.raises(ArchiveError, match="INTAKE ends at 60; there is no 61"):
        list(archive.requests(1, 61))


def test_an_empty_archive(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "nothing")
    assert archive.ends() == (0, 0) and not (tmp_path / "nothing").exists()
    assert list(archive.requests()) == [] and archive.verify() == 0
    archive.append_requests([])
    assert Archive(tmp_path / "nothing").ends() == (0, 0)


def test_a_gap_is_refused(tmp_path: Path) -> None:
    archive = filled(tmp_path / "a")
    for wrong in (62, 60, 1):
        with pytest.raises(ArchiveError, match=f"INTAKE goes on at 61, not at {wrong}"):
            archive.append_requests(some(wrong, wrong))
    assert Archive(tmp_path / "a").ends() == (60, 30)
    assert not list((tmp_path / "a").glob("*.part"))


RECORDS = st.lists(
    st.tuples(st.integers(0, 2**64 - 1), st.text(max_size=20),
              st.binary(max_size=300)), max_size=40)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(records=RECORDS, cuts=st.sets(st.integers(0, 40), max_size=5))
@pytest.mark.usefixtures("small")
def test_any_records_in_any_number_of_runs(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, str, bytes]], cuts: set[int]
) -> None:
    path = tmp_path_factory.mktemp("archive")
    stored = [Stored(n, *record) for n, record in enumerate(records, 1)]
    places = [0, *sorted(cuts), len(stored)]
    for start, stop in itertools.pairwise(places):
        Archive(path).append_journal(stored[start:stop])
    assert list(Archive(path).journal()) == stored
    assert Archive(path).verify() == len(stored)


@pytest.mark.usefixtures("small")
def test_every_flipped_bit_is_named(tmp_path: Path) -> None:
    filled(tmp_path / "a", 24)
    files = sorted((tmp_path / "a").glob("*.seg"))
    assert len(files) >= 4
    for file in files:
        good = file.read_bytes()
        for bit in range(len(good) * 8):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            file.write_bytes(bad)
            with pytest.raises(ArchiveError) as raised:
                Archive(tmp_path / "a").verify()
            assert str(raised.value).startswith(f"{file}: "), (bit, raised.value)
            assert "\n" not in str(raised.value)
        file.write_bytes(good)
    assert Archive(tmp_path / "a").verify() == 36


@pytest.mark.usefixtures("small")
def test_nothing_of_a_damaged_segment_is_given(tmp_path: Path) -> None:
    archive = filled(tmp_path / "a")
    second = archive.segments(INTAKE)[1]
    bad = bytearray(second.path.read_bytes())
    bad[len(bad) // 2] ^= 1
    second.path.write_bytes(bad)
    given: list[Stored] = []
    with pytest.raises(ArchiveError, match=f"sequences {second.first} to {second.last}: the file is damaged"):
        given.extend(Archive(tmp_path / "a").requests())
    assert given == some(1, second.first - 1)


@pytest.mark.usefixtures("small")
def test_every_length_of_a_cut_file_is_named(tmp_path: Path) -> None:
    archive = filled(tmp_path / "a", 24)
    file = archive.segments(JOURNAL)[-1].path
    good = file.read_bytes()
    for length in range(len(good)):
        file.write_bytes(good[:length])
        with pytest.raises(ArchiveError, match=file.name):
            Archive(tmp_path / "a").verify()


@pytest.mark.usefixtures("small")
def test_a_removed_swapped_or_foreign_segment_is_named(tmp_path: Path) -> None:
    archive = filled(tmp_path / "a")
    one, two, three = (segment.path for segment in archive.segments(INTAKE)[1:4])
    kept = one.read_bytes(), two.read_bytes()

    one.unlink()
    with pytest.raises(ArchiveError, match=rf"{two.name}: .* a file is missing"):
        Archive(tmp_path / "a")
    one.write_bytes(kept[1])
    two.write_bytes(kept[0])
    with pytest.raises(ArchiveError, match=rf"{one.name}: .* its name says another"):
        Archive(tmp_path / "a")
    one.write_bytes(kept[0])

    other = Archive(tmp_path / "b")
    other.append_requests([stored._replace(data=stored.data[::-1]) for stored in some(1, 60)])
    foreign = next(s for s in Archive(tmp_path / "b").segments(INTAKE) if s.path.name == two.name)
    two.write_bytes(foreign.path.read_bytes())
    with pytest.raises(ArchiveError, match=rf"{two.name}: .* of another archive"):
        Archive(tmp_path / "a")
    two.write_bytes(archive.segments(JOURNAL)[0].path.read_bytes())
    with pytest.raises(ArchiveError, match=rf"{two.name}: .* not a segment of INTAKE"):
        Archive(tmp_path / "a")
    two.write_bytes(kept[1])
    assert Archive(tmp_path / "a").verify() == 90 and three.exists()


def hashed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda raw: raw[:-1], "longer than its block"),
        (lambda raw: raw + b"x", "unpack_from requires"),
        (lambda raw: raw[:7] + b"\x02" + raw[8:], "stands where 1 belongs"),
        (lambda raw: raw[:32] + b"\xff" + raw[33:], "codec can't decode"),
    ],
)
def test_a_wrong_form_with_a_right_hash_is_named(tmp_path: Path, change: object, what: str) -> None:
    """Whoever makes a segment by hand gets one line, not a crash."""
    Archive(tmp_path).append_requests(some(1, 1))
    (segment,) = Archive(tmp_path).segments(INTAKE)
    data = segment.path.read_bytes()
    length = int.from_bytes(data[56:60], "big")
    raw = change(zlib.decompress(data[64 : 64 + length]))  # type: ignore[operator]
    packed = zlib.compress(raw)
    block = len(packed).to_bytes(4, "big") + len(raw).to_bytes(4, "big") + packed
    segment.path.write_bytes(hashed(data[:56] + block + data[64 + length : -32]))
    with pytest.raises(ArchiveError, match=what):
        Archive(tmp_path).verify()


def test_a_block_does_not_unpack_to_more_than_it_says(tmp_path: Path) -> None:
    Archive(tmp_path).append_requests(some(1, 1))
    (segment,) = Archive(tmp_path).segments(INTAKE)
    data = segment.path.read_bytes()
    bomb = zlib.compress(bytes(2**26))
    for size in (2**20, 2**26):
        block = len(bomb).to_bytes(4, "big") + size.to_bytes(4, "big") + bomb
        segment.path.write_bytes(hashed(data[:56] + block + data[-52:-32]))
        with pytest.raises(ArchiveError, match="offset 56: a block"):
            Archive(tmp_path).verify()


# Writes for ever; dies when it has made so many system calls that change a file: at any place of writing.
WRITER = """
import os, sys
from pathlib import Path
from events import archive
from tests.events.test_archive import some
archive.SEGMENT_BYTES, archive.BLOCK_BYTES = 600, 200
left = int(sys.argv[2])
def counted(real):
    def call(*arguments, **named):
        global left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), 9)
        return real(*arguments, **named)
    return call
os.fsync, os.open = counted(os.fsync), counted(os.open)
archive.Path.rename = counted(archive.Path.rename)
archive._Draft._write = counted(archive._Draft._write)
with archive.Archive(Path(sys.argv[1])).writing() as writer:
    for n in range(200):
        for stream in archive.KINDS:
            (stored,) = some(writer.next(stream), writer.next(stream))
            writer.add(stream, stored)
"""


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 7, 10, 14, 20, 23, 24, 25, 26, 27, 28, 29, 30, 41, 57, 80])
@pytest.mark.usefixtures("small")
def test_a_writer_that_is_killed_leaves_a_good_archive(tmp_path: Path, at: int) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(at)]
    done = subprocess.run(command, timeout=60, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    archive = Archive(tmp_path)
    intake, journal = archive.ends()
    assert intake >= journal, "a commit is never there before its requests"
    assert list(archive.requests()) == some(1, intake) and list(archive.journal()) == some(1, journal)
    archive.append_requests(some(intake + 1, 300))
    archive.append_journal(some(journal + 1, 200))
    assert Archive(tmp_path).verify() == 500
    assert not list(tmp_path.glob("*.part"))


def test_what_is_somebody_elses_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    left = tmp_path / "a" / f"intake-{1:020}.part"  # of a writer that died
    others = [tmp_path / "a" / name for name in ("notes.part", "intake-1.part", f"x-intake-{1:020}.part")]
    for file in (left, *others):
        file.touch()
    filled(tmp_path / "a")
    assert not left.exists() and all(file.exists() for file in others)


@pytest.mark.usefixtures("small")
def test_any_part_of_an_unfinished_file_is_passed_over(tmp_path: Path) -> None:
    archive = filled(tmp_path, 24)
    last = archive.segments(INTAKE)[-1]
    whole = last.path.read_bytes()
    last.path.unlink()
    for length in range(0, len(whole), 7):
        last.path.with_suffix(".part").write_bytes(whole[:length])
        Archive(tmp_path).append_requests(some(last.first, 24))
        assert list(Archive(tmp_path).requests()) == some(1, 24)
        for path in tmp_path.glob("intake-*"):
            if path.name >= last.path.name:
                path.unlink()


def test_an_error_while_writing_leaves_what_was_sealed(tmp_path: Path) -> None:
    def broken() -> Iterator[Stored]:
        yield from some(1, 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Archive(tmp_path).append_requests(broken())
    assert Archive(tmp_path).ends() == (0, 0) and [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with Archive(tmp_path).writing() as writer:
        writer.add(INTAKE, some(1, 1)[0])
        with pytest.raises(ArchiveError, match="another process writes"):
            Archive(tmp_path).append_requests(some(1, 1))
    assert Archive(tmp_path).ends() == (1, 0)


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    filled(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0
    assert all(os.stat(path).st_mode & 0o077 == 0 for path in (tmp_path / "a").iterdir())
