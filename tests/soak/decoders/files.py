"""Files that anybody may have written, and words that a person types."""

import atexit
import shutil
import tempfile
from pathlib import Path

import typer

from buyer.job import BadJobError, Ended, Job, Unit
from buyer.journal import Journal
from events.cli import NowhereError, parse_credits, read_address
from events.keys import BadKeyError, Key
from events.profile import BadScreenError, parse_screen
from events.requests import MONEY
from events.wire import dumps
from tests.market.play import key_of
from tests.soak.decoders import Target, assert_line


class Directory:
    """A directory that goes with the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="corehour-fuzz-"))
        atexit.register(shutil.rmtree, self.path, ignore_errors=True)

    def write(self, name: str, data: bytes) -> Path:
        """A file that only its owner can read."""
        path = self.path / name
        path.write_bytes(data)
        path.chmod(0o600)
        return path


class Seeds(Directory):
    """A seed file: a key, or one line that names the file."""

    def __call__(self, data: bytes) -> None:
        path = self.write("account.nk", data)
        try:
            key = Key.load(path)
        except BadKeyError as error:
            assert_line(str(error), str(path))
        else:
            assert Key(key.seed).public == key.public and len(key.sign(b"x")) == 86
        assert path.read_bytes() == data


class Addresses(Directory):
    """A market's address file: a text, or one line that names the file."""

    def __call__(self, data: bytes) -> None:
        path = self.write("address.json", data)
        try:
            assert isinstance(read_address(path), str)
        except NowhereError as error:
            assert_line(str(error), str(path))


class Journals(Directory):
    """A job's journal: what is read of it is what a journal says, or one line that says what to do."""

    def __init__(self) -> None:
        super().__init__()
        units = [Unit(name, name.encode()) for name in "abc"]
        self.job = Job(b"p", "native/x86_64-linux", ["x"], units, 2, 1000, self.path, resume=True)
        (self.path / ".buyer").mkdir()

    def __call__(self, data: bytes) -> None:
        path = self.write(".buyer/journal.jsonl", data)
        try:
            journal = Journal(self.job)
        except BadJobError as error:
            assert_line(str(error))
            assert path.read_bytes() == data[: data.rfind(b"\n") + 1]
            return
        try:
            assert all(isinstance(order, int) for order in journal.bids), journal.bids
            assert all(isinstance(name, str) for name in (*journal.ended, *journal.crashes))
            for ended in journal.ended.values():
                assert isinstance(ended, Ended) and ended.is_good in (True, False)
                assert all(type(v) is int for v in (ended.status, ended.signal, ended.contract)), ended
            asking = journal.asking
            assert asking is None or all(isinstance(number, int) for number in asking), asking
        finally:
            journal.close()

    def seeds(self) -> list[bytes]:
        """Journals of this job."""
        lines = [
            dumps({"job": self.job.identity()}), b'{"asking":[5,1]}', b'{"bid":7}',
            b'{"crash":"b","why":"killed by SIGSEGV"}',
            b'{"unit":"a","status":0,"signal":0,"why":"","contract":9,"cpu_us":11,"memory_kb":3}',
        ]  # fmt: skip
        return [b"".join(line + b"\n" for line in some) for some in (lines, lines[:1], lines[1:], lines[:3])]


def check_screen(data: bytes) -> None:
    """A screen that is written and read again is the same, or the word that is wrong is named."""
    text = data.decode("utf-8", "replace")
    try:
        screen = parse_screen(text)
    except BadScreenError as error:
        assert_line(str(error))
        return
    assert parse_screen(str(screen)) == screen
    assert type(screen).of(screen.body()) == screen


def screen_seeds() -> list[bytes]:
    key = key_of("one").public.encode()
    return [
        b"",
        b"memory_mb>=512 avx2",
        b"jail>=3 reputation>=0 only=" + key + b" block=" + key,
        b"python/3.11 c++",
    ]


def check_credits(data: bytes) -> None:
    """An amount as typed."""
    try:
        micro = parse_credits(data.decode("utf-8", "replace"))
    except typer.BadParameter as error:
        assert_line(error.message)
    else:
        assert 0 <= micro <= MONEY


def seed_files() -> list[bytes]:
    return [key_of("one").seed.encode() + b"\n", key_of("one").public.encode(), b"SUAA\n"]


TARGETS = [
    Target("seed", Seeds, seed_files, 6, json=False),
    Target("address", Addresses, lambda: [b'{"server":"nats://127.0.0.1:4222"}', b"{}"], 6),
    Target("journal", Journals, lambda: Journals().seeds(), 3),
    Target("screen", lambda: check_screen, screen_seeds, 80, json=False),
    Target("credits", lambda: check_credits, lambda: [b"0.05", b"1000000000", b"1.1234567"], 80, json=False),
]
