"""The adapter to NATS: connecting, the two streams, reading them in order, appending with a fence.

Reading pulls in batches, so that what is in memory is bounded, and checks every sequence; a reader whose
consumer is lost with the server makes a new one where it was. Appending names the sequence that it
expects to follow; after a time-out the last message says what happened, and nothing is retried blindly.
"""

import asyncio
import contextlib
import ssl
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator
from itertools import islice

import nats
import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from events import subjects
from events.archive import Archive
from events.commit import FIRST, Assembler, Commit, decode, parts
from events.connection import Connection
from events.keys import Key
from events.records import BadRecordError
from events.requests import MOST_BYTES
from events.wire import Stored as Stored
from events.wire import dumps, loads

BATCH = 500  # messages asked for at once ...
BATCH_BYTES = 4 * 1024 * 1024  # ... and bytes; the server drops a client for which much more is waiting
HEARTBEAT_S = 0.5  # of a waiting pull; three missed mean that the consumer is gone
EXPIRES_S = 30.0
LOOK_S = 2.0  # of silence, before it is asked whether something should have come
WRONG_SEQUENCE = 10071  # JetStream's code for a refused fence


class UnreachableError(Exception):
    """No server answers; the text says where it was looked for."""


class NotAdmittedError(Exception):
    """The server does not know this key."""


class FencedError(Exception):
    """Another writer has appended to the stream: this one must stop."""


class LogGapError(Exception):
    """The log does not hold a message that must be there: the first one's stream and sequence."""

    def __init__(self, text: str, stream: str = "", sequence: int = 0) -> None:
        super().__init__(text)
        self.stream, self.sequence = stream, sequence


async def connect(server: str, key: Key, *, name: str, patience: float = 5.0) -> Connection:
    """Log in with an account's key; from then on reconnect for ever.

    `patience` is how long a server that does not answer yet is waited for, in seconds.
    Raises UnreachableError, NotAdmittedError.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        nc = Connection()
        refused: list[Exception] = []

        async def on_error(error: Exception, seen: list[Exception] = refused) -> None:
            seen.append(error)
            del seen[:-8]

        try:
            await nc.connect(
                server,
                name=name,
                nkeys_seed_str=key.seed,
                inbox_prefix=subjects.inbox(key.public),
                error_cb=on_error,
                allow_reconnect=False,  # else a first attempt that fails is repeated for ever
                max_reconnect_attempts=1,
                reconnect_time_wait=0.2,  # type: ignore[arg-type]  # seconds; fractions are taken
                connect_timeout=2,
                ping_interval=5,
                max_outstanding_pings=2,
                drain_timeout=2,
            )
            nc.options |= {"allow_reconnect": True, "max_reconnect_attempts": -1}
            return nc
        except (OSError, nats.errors.Error, TimeoutError, ssl.SSLError) as error:
            with contextlib.suppress(Exception):
                await nc.close()
            texts = [str(error), *(str(seen) for seen in refused)]
            if any("authorization" in text.lower() for text in texts):
                raise NotAdmittedError(
                    f"{server} does not know the account {key.public}: an operator must add it first"
                ) from error
            if loop.time() > deadline:
                raise UnreachableError(f"no server answers at {server}: is `exchange up` running?") from error
            await asyncio.sleep(0.1)


async def make_streams(nc: Nats, archive: Archive | None = None) -> None:
    """Create INTAKE and JOURNAL where they are not there yet; behind an archive they begin where it ends.

    Raises nats.js.errors.APIError.
    """
    js = nc.jetstream()
    for name, subject, no_ack, size in (
        (subjects.INTAKE, "intake.*.*", True, MOST_BYTES),
        (subjects.JOURNAL, subjects.COMMIT, False, -1),
    ):
        try:
            await js.stream_info(name)
        except NotFoundError:
            await js.add_stream(
                StreamConfig(
                    name=name,
                    subjects=[subject],
                    retention=RetentionPolicy.LIMITS,
                    storage=StorageType.FILE,
                    discard=DiscardPolicy.NEW,
                    no_ack=no_ack,
                    max_msg_size=size,
                    deny_delete=True,
                    deny_purge=True,
                    duplicate_window=0.1,
                    first_seq=archive.end(name) + 1 if archive else None,
                )
            )


async def last_sequence(nc: Nats, stream: str, archive: Archive | None = None) -> int:
    """The sequence of a stream's last message, or of the one before its beginning; 0 in an empty log.

    Raises LogGapError where the archive goes on behind the stream's end.
    """
    last = (await nc.jetstream().stream_info(stream)).state.last_seq
    if archive is not None and archive.end(stream) > last:
        raise LogGapError(
            f"{stream}: the server's ends at sequence {last}, the archive {archive.path} at "
            f"{archive.end(stream)}: the server's files were cut off, or are another market's; "
            "`exchange restore` goes on behind the archive",
            stream,
            last + 1,
        )
    return last


async def last_message(nc: Nats, stream: str) -> Stored | None:
    """A stream's last message, or None if it is empty.

    Of a stream that has nothing behind its archive yet: the archive's last, its subject and bytes empty.
    """
    state = (await nc.jetstream().stream_info(stream)).state
    if not state.messages:
        return Stored(state.last_seq, 0, "", b"") if state.last_seq else None
    message = await nc.jetstream().get_msg(stream, state.last_seq)
    return Stored(state.last_seq, 0, message.subject or "", message.data or b"")


async def message_at(nc: Nats, stream: str, sequence: int, archive: Archive | None = None) -> Stored:
    """One message, from the archive where that has it. Raises NotFoundError, ArchiveError."""
    if archive is not None and 1 <= sequence <= archive.end(stream):
        (stored,) = archive.read(stream, sequence, sequence)
        return stored
    message = await nc.jetstream().get_msg(stream, sequence)
    return Stored(sequence, 0, message.subject or "", message.data or b"")


async def append(nc: Nats, stream: str, subject: str, data: bytes, expected: int) -> int:
    """Append one message behind sequence `expected`; returns its sequence.

    Waits for as long as the server is away. Raises FencedError if another message stands there.
    """
    headers = {"Nats-Expected-Last-Sequence": str(expected)}
    while True:
        try:
            reply = loads((await nc.request(subject, data, timeout=5, headers=headers)).data)
            if "error" not in reply:
                assert reply["seq"] == expected + 1, reply
                return expected + 1
            if reply["error"].get("err_code") != WRONG_SEQUENCE:
                raise APIError.from_error(reply["error"])
        except (nats.errors.Error, TimeoutError):
            pass
        last = await _last_when_up(nc, stream)
        here = last.sequence if last else 0
        if last and here == expected + 1 and last.data == data and last.subject == subject:
            return here
        if here != expected:
            raise FencedError(f"{stream} ends at {here}, not at {expected}: another exchange writes")
        await asyncio.sleep(0.05)


async def _last_when_up(nc: Nats, stream: str) -> Stored | None:
    """The last message, waiting for the server."""
    while True:
        try:
            return await last_message(nc, stream)
        except NotFoundError:
            raise
        except (nats.errors.Error, APIError, TimeoutError):
            await asyncio.sleep(0.2)


async def append_commit(nc: Nats, body: bytes, expected: int) -> int:
    """Append a commit, in parts where it is large; returns the last sequence. Raises FencedError."""
    for part in parts(body):
        expected = await append(nc, subjects.JOURNAL, subjects.COMMIT, part, expected)
    return expected


class Reader:
    """Reads one stream in order from sequence `start`, and follows it; what an archive has is read there.

    At most 2 * BATCH messages wait in memory. `next_batch` is what there is, at least one message.
    """

    def __init__(self, nc: Nats, stream: str, start: int, archive: Archive | None = None) -> None:
        self._nc, self._stream, self.next = nc, stream, start
        self._archived: Iterator[Stored] = iter(())
        if archive is not None and start <= archive.end(stream):
            self._archived = archive.read(stream, start)
        self._waiting: deque[Stored] = deque()
        self._wanted = 0  # messages asked for that have not come
        self._beat = 0.0
        self._silent_since = 0.0
        self._last: Stored | None = None  # of what the server sent; it must still stand there ...
        self._again = False  # ... and comes once more at a new beginning
        self._news = asyncio.Event()
        self._subscription: Subscription | None = None
        self._consumer = ""

    async def __aenter__(self) -> "Reader":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop reading; the server forgets the consumer by itself."""
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._subscription.unsubscribe()
            self._subscription = None

    async def next_batch(self, timeout: float | None = None) -> list[Stored]:
        """What has come, in order; empty after `timeout` seconds, or where messages were lost on their way
        and are read again. Raises LogGapError, also where another message stands where one was read before;
        ArchiveError.
        """
        archived = list(islice(self._archived, BATCH))
        if archived:
            self.next = archived[-1].sequence + 1
            await asyncio.sleep(0)
            return archived
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while not self._waiting:
            if self._subscription is None or loop.time() - self._beat > 3 * HEARTBEAT_S:
                await self._begin()
            if loop.time() - self._silent_since > LOOK_S:
                self._silent_since = loop.time()
                await self._explain()
            await self._ask()
            self._news.clear()
            if self._waiting:
                break
            patience = HEARTBEAT_S if deadline is None else min(HEARTBEAT_S, deadline - loop.time())
            if patience <= 0:
                return []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._news.wait()
        batch = list(self._waiting)
        self._waiting.clear()
        came = []
        for stored in batch:
            if stored.sequence != self._expected:
                await self._explain()
                await self._begin()
                break
            if not self._again:
                self._last = stored
                self.next += 1
                came.append(stored)
            elif stored != self._last:
                raise LogGapError(
                    f"{self._stream}: sequence {stored.sequence} is not what was read there before: the "
                    "server's files were truncated, and others came in their place",
                    self._stream,
                    stored.sequence,
                )
            self._again = False
        await self._ask()
        return came

    @property
    def _expected(self) -> int:
        """The sequence that the server is to send next."""
        return self.next - 1 if self._again else self.next

    async def _explain(self) -> None:
        """Why the next message does not come. What the server has, was lost on its way when a connection
        broke, or comes yet; what should be there and is not, is missing. Raises LogGapError.
        """
        try:
            last = await last_sequence(self._nc, self._stream)
            if last >= self._expected:
                await self._nc.jetstream().get_msg(self._stream, self._expected)
        except NotFoundError:
            raise LogGapError(
                f"{self._stream}: sequence {self._expected} is missing: the server has it no more, or the "
                "file that holds it is damaged",
                self._stream,
                self._expected,
            ) from None
        except (nats.errors.Error, APIError, TimeoutError):
            return  # not ready, or not connected
        self._check_end(last)

    def _check_end(self, last: int) -> None:
        """Whether the stream reaches as far as was read. Raises LogGapError."""
        if last < self.next - 1:
            raise LogGapError(
                f"{self._stream} ends at {last}, but {self.next - 1} was read: its files were cut off",
                self._stream,
                last + 1,
            )

    async def _ask(self) -> None:
        """Keep the server sending, while the reader keeps up."""
        if self._subscription is not None and self._wanted + len(self._waiting) <= BATCH:
            wish = {
                "batch": BATCH,
                "max_bytes": BATCH_BYTES,
                "expires": int(EXPIRES_S * 1e9),
                "idle_heartbeat": int(HEARTBEAT_S * 1e9),
            }
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
            try:
                await self._nc.publish(subject, dumps(wish), reply=self._subscription.subject)
            except nats.errors.Error:
                return  # not connected: the missing heartbeat makes a new beginning
            self._wanted += BATCH

    async def _begin(self) -> None:
        """Make a consumer where we are. Waits for the server."""
        await self.close()
        self._waiting.clear()
        self._wanted = 0
        self._again = self._last is not None
        loop = asyncio.get_running_loop()
        while True:
            self._consumer = uuid.uuid4().hex
            config = {
                "name": self._consumer,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": self._expected,
                "ack_policy": "none",
                "replay_policy": "instant",
                "inactive_threshold": int(60e9),
                "mem_storage": True,
                "num_replicas": 1,
            }
            subject = f"$JS.API.CONSUMER.CREATE.{self._stream}.{self._consumer}"
            try:
                reply = await self._nc.request(
                    subject, dumps({"stream_name": self._stream, "config": config}), timeout=2
                )
                answer = loads(reply.data)
                if "error" not in answer:
                    await self._look_at_ends()
                    break
                if answer["error"]["code"] == 404:
                    raise LogGapError(f"the server has no stream {self._stream}", self._stream, self.next)
            except (nats.errors.Error, TimeoutError):
                pass
            if self._nc.is_closed:
                raise UnreachableError("the connection was closed")
            await asyncio.sleep(0.1)
        inbox = self._nc.new_inbox()

        async def come(message: Msg) -> None:
            self._come(message, inbox)

        self._subscription = await self._nc.subscribe(
            inbox, cb=come, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        self._beat = self._silent_since = loop.time()

    async def _look_at_ends(self) -> None:
        """Whether the stream begins no later than where we are, and ends no earlier. Raises LogGapError."""
        answer = loads((await self._nc.request(f"$JS.API.STREAM.INFO.{self._stream}", timeout=2)).data)
        if "error" in answer:
            return
        first = answer["state"]["first_seq"]
        self._check_end(answer["state"]["last_seq"])
        if first > self.next:
            raise LogGapError(
                f"{self._stream}: sequences {self.next} to {first - 1} are missing: the server's begins at "
                f"{first}, and no archive has them; give the archive with --archive",
                self._stream,
                self.next,
            )

    def _come(self, message: Msg, inbox: str) -> None:
        """A message, or the server's word about the pull."""
        if self._subscription is None or self._subscription.subject != inbox:
            return
        self._beat = asyncio.get_running_loop().time()
        self._news.set()
        if message.reply and message.reply.startswith("$JS.ACK."):
            tokens = message.reply.split(".")
            sequence, time_ns = int(tokens[-4]), int(tokens[-2])
            self._wanted -= 1
            self._silent_since = self._beat
            self._waiting.append(Stored(sequence, time_ns, message.subject, message.data))
            return
        status = (message.headers or {}).get("Status", "")
        if status == "100":
            return
        undelivered = (message.headers or {}).get("Nats-Pending-Messages")
        if undelivered:  # a pull ended: its time passed, or its bytes are full
            self._wanted = max(0, self._wanted - int(undelivered))
        else:
            self._beat = 0.0


async def read(
    nc: Nats, stream: str, start: int, stop: int | None = None, archive: Archive | None = None
) -> AsyncIterator[Stored]:
    """The messages from `start` to `stop`, both included; for ever if `stop` is None. O(1) memory."""
    async with Reader(nc, stream, start, archive) as reader:
        while stop is None or reader.next <= stop:
            for stored in await reader.next_batch():
                if stop is not None and stored.sequence > stop:
                    return
                yield stored


class CommitReader:
    """Reads commits in order and checks number and chain (R35). Raises BadRecordError where they break.

    `sequence` is that of the last message in JOURNAL that completed a commit.
    """

    def __init__(
        self,
        nc: Nats,
        number: int = 0,
        previous: str = FIRST,
        sequence: int = 0,
        archive: Archive | None = None,
    ) -> None:
        self._reader = Reader(nc, subjects.JOURNAL, sequence + 1, archive)
        self._assembler = Assembler()
        self.number, self.previous, self.sequence = number, previous, sequence

    async def __aenter__(self) -> "CommitReader":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reader.close()

    async def next_batch(self, timeout: float | None = None) -> list[Commit]:
        """The commits that have come; may be empty, always so after `timeout` seconds of nothing."""
        commits = []
        for stored in await self._reader.next_batch(timeout):
            commit = self.take(stored)
            if commit is not None:
                commits.append(commit)
        return commits

    def take(self, stored: Stored) -> Commit | None:
        """The next message of JOURNAL; returns the commit that it completes."""
        try:
            body = self._assembler.add(stored.data)
            if body is None:
                return None
            commit = decode(body)
            if commit.number != self.number + 1 or commit.previous != self.previous:
                raise BadRecordError(f"commit {commit.number} does not follow commit {self.number}")
        except BadRecordError as error:
            raise BadRecordError(f"JOURNAL sequence {stored.sequence}: {error}") from error
        self.number, self.previous, self.sequence = commit.number, commit.hash, stored.sequence
        return commit
