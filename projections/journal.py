"""Where a replay reads JOURNAL from besides a server: an archive, and a thread that reads ahead."""

import queue
import threading
from collections.abc import Iterable, Iterator

from events.archive import Archive
from events.subjects import JOURNAL
from events.wire import Stored

CHUNK_BYTES = 1024 * 1024  # of messages that are handed on together ...
CHUNK_MESSAGES = 500
AHEAD = 4  # chunks that were read and not asked for yet
WAIT_S = 0.1

Chunk = list[Stored]


class ArchiveJournal:
    """JOURNAL in an archive. Raises ArchiveError where it is damaged."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.end = archive.end(JOURNAL)

    def messages(self) -> Iterator[Stored]:
        """See Journal; they are read and unpacked on a thread of its own."""
        return read_ahead(self._archive.journal())


def read_ahead(messages: Iterable[Stored]) -> Iterator[Stored]:
    """The same messages, taken by a thread, O(CHUNK_BYTES) memory. What that raises, this raises.

    When the reader stops early (close), so does the thread.
    """
    waiting: queue.Queue[Chunk | BaseException] = queue.Queue(AHEAD)  # an empty chunk is the end
    stopped = threading.Event()

    def put(item: Chunk | BaseException) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=WAIT_S)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            if all(put(chunk) for chunk in chunks(messages)):
                put([])
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=fill, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = waiting.get()
            if isinstance(item, BaseException):
                raise item
            if not item:
                return
            yield from item
    finally:
        stopped.set()
        thread.join()


def chunks(messages: Iterable[Stored]) -> Iterator[Chunk]:
    """Messages in groups of at most CHUNK_MESSAGES, which are ended by CHUNK_BYTES."""
    chunk: Chunk = []
    size = 0
    for stored in messages:
        chunk.append(stored)
        size += len(stored.data)
        if size >= CHUNK_BYTES or len(chunk) == CHUNK_MESSAGES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
