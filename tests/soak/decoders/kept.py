"""What is kept outside the log and may come from anybody: snapshots, archives; and the lease."""

import contextlib
import functools
import hashlib
import struct
import zlib
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from events import archive as archives
from events import subjects
from events.archive import Archive, ArchiveError
from events.records import BadRecordError
from events.wire import Stored, dumps, loads
from exchange import offer, restoring, snapshot
from exchange.digest import MODULUS, weight
from exchange.entries import rows
from exchange.lease import holder_in
from exchange.snapshot import Header, SnapshotError
from tests.market.history import History
from tests.market.play import key_of
from tests.soak.decoders import Target, assert_line, joined, loop, pieces
from tests.soak.decoders.files import Directory

COMMIT = 7
OFFERER = b"OFFERER"  # stands for the name that who offers gave himself
ASKER = key_of("operator").public
HASH_BYTES = 32


@functools.cache
def entries() -> tuple[tuple[bytes, ...], str]:
    """The rows of a market's state, and its digest."""
    state = History(4).run(80).state
    digest = state.digest.take()
    return tuple(rows(state)), digest


def check_rows(data: bytes) -> None:
    """Rows, one a line, that nobody's digest vouches for: a state that adds up, or a refusal in one line."""
    lines = data.split(b"\n")
    try:
        state = restoring.restore(lines)
    except BadRecordError as error:
        assert_line(str(error))
        return
    assert state.total() == 0
    assert state.digest.take() == f"{sum(map(weight, lines)) % MODULUS:032x}"


def rows_seeds() -> list[bytes]:
    given, _ = entries()
    few = [row for at, row in enumerate(given) if loads(row)[0][0] != "answer" or at % 5 == 0]
    return [b"\n".join(given), b"\n".join(few), b"\n".join(few[:9])]


class Snapshots(Directory):
    """A byte, and a snapshot's file; where the byte is odd its seal is made right."""

    def __call__(self, data: bytes) -> None:
        odd, body = bool(data[:1]) and bool(data[0] & 1), data[1:]
        if odd:
            body = sealed(body)
        path = self.write(snapshot.name_of(COMMIT), body)
        try:
            snapshot.check_whole(path)
            state = snapshot.restore(path)
        except SnapshotError as error:
            assert_line(str(error), str(path))
        else:
            assert state.digest.take() == snapshot.header(path).digest
        assert path.read_bytes() == body


def sealed(body: bytes) -> bytes:
    """The file with a last line that is right for what stands before it."""
    before = body[: body[:-1].rfind(b"\n") + 1]
    seal = {"rows": before.count(b"\n") - 1, "sha256": hashlib.sha256(before).hexdigest()}
    return before + dumps(seal) + b"\n"


def snapshot_file() -> bytes:
    given, digest = entries()
    header = Header(COMMIT, "0" * 64, 80, 9, 2, digest)
    lines = [dumps(header), *given]
    return sealed(b"".join(line + b"\n" for line in lines) + b"{}\n")


class Archives(Directory):
    """A byte, and a segment of INTAKE; where the byte is odd, the SHA-256 at its end is made right."""

    def __call__(self, data: bytes) -> None:
        odd, body = bool(data[:1]) and bool(data[0] & 1), data[1:]
        if odd and len(body) > HASH_BYTES:
            body = body[:-HASH_BYTES] + hashlib.sha256(body[:-HASH_BYTES]).digest()
        path = self.write(f"intake-{1:020}.seg", body)
        try:
            archive = Archive(self.path)
            found = archive.verify()
            given = list(archive.requests())
        except ArchiveError as error:
            assert_line(str(error), str(path))
        else:
            assert found == len(given) == archive.end(subjects.INTAKE)
            assert [stored.sequence for stored in given] == list(range(1, found + 1))
        assert path.read_bytes() == body

    def seeds(self) -> list[bytes]:
        """Segments; the last one's block is not packed, so that changes in it are read."""
        made = []
        for count in (1, 30):
            archive = Archive(self.path / f"{count}")
            archive.append_requests(some(count))
            made.append(archive.segments(subjects.INTAKE)[0].path.read_bytes())
        return [bytes([odd]) + file for file in [*made, unpacked(some(3))] for odd in (0, 1)]


def some(count: int) -> list[Stored]:
    return [Stored(n, n, f"intake.A.{n}", b"data") for n in range(1, count + 1)]


def unpacked(records: list[Stored]) -> bytes:
    """A segment whose one block is zlib's, stored as it is."""
    raw = b"".join(
        struct.pack(">QQQQ", one.sequence, one.time_ns, len(one.subject), len(one.data))
        + one.subject.encode()
        + one.data
        for one in records
    )
    block = zlib.compress(raw, 0)
    body = struct.pack(">8sIIQ32s", archives.MAGIC, archives.VERSION, 1, 1, bytes(32))
    body += (
        struct.pack(">II", len(block), len(raw)) + block + struct.pack(">IQQ", 0, len(records), len(records))
    )
    return body + hashlib.sha256(body).digest()


class Offers(Directory):
    """Who offers snapshots hears a question: a word, a zero byte, its arguments. And who asks hears answers
    from anybody: the list, then pieces; he gets a whole snapshot, or an error, and writes nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.offered, self.got = self.path / "offered", self.path / "got"
        self.offered.mkdir()
        self.got.mkdir()
        (self.offered / snapshot.name_of(COMMIT)).write_bytes(snapshot_file())

    def __call__(self, data: bytes) -> None:
        messages = pieces(data)
        loop().run_until_complete(self._answer(messages[0] if messages else b""))
        loop().run_until_complete(self._fetch(messages[1:]))

    async def _answer(self, message: bytes) -> None:
        hear: list[Callable[[Msg], Awaitable[None]]] = []
        said: list[bytes] = []

        async def subscribe(subject: str, cb: Callable[[Msg], Awaitable[None]]) -> Any:
            hear.append(cb)
            raise TimeoutError

        async def publish(subject: str, data: bytes) -> None:
            assert subject == f"{subjects.inbox(ASKER)}.1"
            said.append(data)

        nc = cast(Nats, SimpleNamespace(subscribe=subscribe, publish=publish))
        with contextlib.suppress(TimeoutError):
            await offer.offer(nc, self.offered)
        await self._ask(hear[0], nc, "list", b"")
        first = loads(said.pop())
        whole = (self.offered / snapshot.name_of(COMMIT)).read_bytes()
        assert first["snapshots"] == [[COMMIT, len(whole)]]
        word, _, arguments = message.partition(b"\0")
        what = word.decode("utf-8", "replace").replace(".", "") or "a"
        await self._ask(hear[0], nc, what, arguments.replace(OFFERER, first["by"].encode()))
        assert len(said) <= 1
        assert all(answer in whole or (what == "list" and loads(answer) == first) for answer in said)

    async def _ask(
        self, hear: Callable[[Msg], Awaitable[None]], nc: Nats, what: str, arguments: bytes
    ) -> None:
        reply = f"{subjects.inbox(ASKER)}.1"
        await hear(Msg(_client=nc, subject=f"snapshot.{ASKER}.{what}", reply=reply, data=arguments))

    async def _fetch(self, answers: list[bytes]) -> None:
        given = iter(answers)

        async def next_msg(timeout: float) -> Msg:
            return Msg(_client=nc, subject="a", data=listed.pop() if listed else b"")

        async def request(subject: str, data: bytes, timeout: float) -> Msg:
            return Msg(_client=nc, subject="a", data=next(given, b""))

        async def nothing(*_: object, **__: object) -> Any:
            return SimpleNamespace(next_msg=next_msg, unsubscribe=nothing)

        listed = [next(given, b"")]
        nc = cast(
            Nats,
            SimpleNamespace(request=request, subscribe=nothing, publish=nothing, new_inbox=lambda: "a"),
        )
        try:
            place = await offer.fetch(nc, ASKER, self.got)
        except (offer.NoSnapshotError, SnapshotError) as error:
            assert_line(str(error))
        else:
            assert place == self.got / snapshot.name_of(snapshot.header(place).commit)
            place.unlink()
        assert sorted(self.path.iterdir()) == [self.got, self.offered] and not list(self.got.iterdir())

    def seeds(self) -> list[bytes]:
        """Questions and answers."""
        file = (self.offered / snapshot.name_of(COMMIT)).read_bytes()
        listed = dumps({"by": "x", "snapshots": [[COMMIT, len(file)], [3, 9]]})
        outside = b'{"by":"x","snapshots":[["../x",4]]}'
        half = len(file) // 2
        questions = [
            b"list\0",
            b'piece\0{"by":"OFFERER","commit":7,"from":900}',
            b'piece\0{"by":"","commit":7}',
        ]
        answers = [
            [listed, file[:half], file[half:]],
            [listed, file],
            [b"[]"],
            [listed, b""],
            [outside, b"data"],
        ]
        return [joined([question, *some]) for question in questions for some in answers]


def check_lease(data: bytes) -> None:
    """The value of a lease names who holds it, or nobody that is known."""
    assert isinstance(holder_in(data), str)


TARGETS = [
    Target("rows", lambda: check_rows, rows_seeds, 8),
    Target("snapshot", Snapshots, lambda: [b"\0" + snapshot_file(), b"\1" + snapshot_file()], 3),
    Target("archive", Archives, lambda: Archives().seeds(), 12, json=False),
    Target("offer", Offers, lambda: Offers().seeds(), 3),
    Target("lease", lambda: check_lease, lambda: [b'{"holder":"a","id":"0"}', b""], 40),
]
