"""Replay: the market's state as of any moment, folded from the first commit on (R34).

Nothing is done per event but to fold it. The digest is compared now and then and at the end, computed from
the whole state; where it disagrees, the log is read again to name the first commit that does.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from events.commit import FIRST, Assembler, Packed, decode, decode_packed
from events.records import BadRecordError, ClockMoved, Event
from events.wire import Stored
from exchange.recovery import fold_commit
from exchange.state import State
from projections.bare_state import BareState, WholeDigest

CHECK_EVENTS = 100_000  # folded between two looks at the digest, at first fewer ...
CHECK_ENTRIES = 10  # ... and so many for each entry of the state, so that looking costs a tenth of folding
CLOCK = b'"kind":"clock_moved"'  # in a commit's bytes only where such an event is: texts escape quotes
UNFOLDABLE = (AssertionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class ReplayError(Exception):
    """There is no such moment in this log; the text is one line."""


class Journal(Protocol):
    """JOURNAL as of when it was opened, wherever it is kept."""

    @property
    def end(self) -> int:
        """The sequence of its last message."""

    def messages(self) -> Iterator[Stored]:
        """Its messages from the first to `end`; may be asked for again."""


@dataclass(frozen=True, slots=True)
class Until:
    """A moment: behind commit `value`; or behind the last commit that has no event later than `value`, in µs
    since 1970 ("time") or of market time ("market"); or the end of the log.

    The time of an event is that of the tick that moved the clock last: `clock_moved.tick_us`.
    """

    of: Literal["end", "commit", "time", "market"] = "end"
    value: int = 0

    def is_before(self, event: ClockMoved) -> bool:
        """Whether a movement of the clock is beyond this moment."""
        return (event.tick_us if self.of == "time" else event.now_us) > self.value


END = Until()
Tell = Callable[[int, int], None]  # JOURNAL messages (or commits) done, and in all
Each = Callable[[Packed, int, Event, State], None]  # commit, request, event, and the state after it


def silent(_done: int, _whole: int) -> None:
    """Tells nobody."""


class Replay:
    """One pass over a log, which may stop at several moments, one after the other.

    `each` is called after every event, for what the state does not keep. `number` and `hash` are those of
    the last commit folded, `tick_us` the newest tick's stored time. O(1) memory besides the state.
    """

    def __init__(self, journal: Journal, tell: Tell = silent, each: Each | None = None) -> None:
        self.state: State = BareState()
        self.number, self.hash = 0, FIRST
        self.events = 0
        self.tick_us = 0
        self.each = each
        self._journal, self._tell = journal, tell
        self._bodies = bodies(journal)
        self._kept: tuple[int, bytes] | None = None  # read, and later than the moment before
        self._digest = ""  # what the last commit says
        self._checked = 0  # the commit after which the digest was right
        self._due = 1  # events, after which it is looked at again

    def run(self, until: Until = END) -> State:
        """Fold up to a moment; returns the state then.

        Raises ReplayError where the log has no such moment, BadRecordError for a log that contradicts itself.
        """
        if until.of == "commit" and self.number > until.value:
            raise ReplayError(f"commit {until.value} is before commit {self.number}")
        with no_collections():
            self._run(until)
        self._look_at(until)
        return self.state

    def _run(self, until: Until) -> None:
        whole = min(self._journal.end, until.value) if until.of == "commit" else self._journal.end
        while until.of != "commit" or self.number < until.value:
            sequence, body = self._kept or next(self._bodies, (0, b""))
            if not body:
                break
            commit = decode_packed(body)
            if until.of in ("time", "market") and CLOCK in body and is_later(commit, until):
                self._kept = (sequence, body)
                break
            self._kept = None
            if commit.number != self.number + 1 or commit.previous != self.hash:
                raise BadRecordError(f"JOURNAL sequence {sequence}: {_misplaced(commit, self.number)}")
            self._fold(commit)
            self._tell(commit.number if until.of == "commit" else sequence, whole)
        self._check()

    def _fold(self, commit: Packed) -> None:
        fold, each, state = self.state.fold, self.each, self.state
        try:
            if each is None:
                for _, event in commit.events:
                    fold(event)
            else:
                for request, event in commit.events:
                    fold(event)
                    each(commit, request, event, state)
        except UNFOLDABLE as error:
            self._find(commit.number)
            raise BadRecordError(f"commit {commit.number}: cannot have happened: {error!r}") from error
        self.number, self.hash, self._digest = commit.number, commit.hash, commit.digest
        self.events += len(commit.packed)
        self.tick_us = max(self.tick_us, state.tick_us)
        if self.events >= self._due:
            self._check()

    def _check(self) -> None:
        """Compare the digest. Raises BadRecordError that names the first commit that disagrees."""
        if self.number == self._checked:
            return
        if self.state.digest.take() != self._digest:
            self._find(self.number)
            raise BadRecordError(f"commit {self.number}: its digest is not that of the state")
        self._checked = self.number
        if self.state.rules > 1 and not isinstance(self.state.digest, WholeDigest):
            self.state.digest = WholeDigest(self.state)
        entries = self.state.digest.entries if isinstance(self.state.digest, WholeDigest) else 0
        self._due = self.events + max(min(CHECK_EVENTS, self.events), CHECK_ENTRIES * entries)

    def _find(self, last: int) -> None:
        """Fold again from the first commit, and look at each digest behind the last that was right."""
        state = BareState()
        for _, body in bodies(self._journal):
            commit = decode(body)
            try:
                if commit.number > self._checked:
                    fold_commit(state, commit)
                else:
                    for _, event in commit.events:
                        state.fold(event)
            except UNFOLDABLE as error:
                raise BadRecordError(f"commit {commit.number}: cannot have happened: {error!r}") from error
            if commit.number >= last:
                return

    def _look_at(self, until: Until) -> None:
        """Raises ReplayError where there is no such moment."""
        if until.of == "commit" and self.number < until.value:
            raise ReplayError(f"the log ends at commit {self.number}; there is no commit {until.value} yet")
        if until.of == "time" and self.tick_us == 0 and self._kept is not None:
            raise ReplayError("the log begins later than that")
        if self.number == 0:
            raise ReplayError("the log is empty: nothing has happened yet")
        if until.of == "time" and self.tick_us > until.value:
            raise ReplayError("that is before the moment that the replay has reached")
        if until.of == "market" and self.state.now_us > until.value:
            raise ReplayError("that is before the moment that the replay has reached")


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Python's search for cycles waits: folding makes none, and looking through the whole state for them
    again and again takes a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def bodies(journal: Journal) -> Iterator[tuple[int, bytes]]:
    """(sequence of the last message, body) of every commit. Raises BadRecordError."""
    assembler = Assembler()
    for stored in journal.messages():
        try:
            body = assembler.add(stored.data)
        except BadRecordError as error:
            raise BadRecordError(f"JOURNAL sequence {stored.sequence}: {error}") from error
        if body is not None:
            yield stored.sequence, body


def is_later(commit: Packed, until: Until) -> bool:
    """Whether a commit has an event beyond a moment. O(events)."""
    return any(type(event) is ClockMoved and until.is_before(event) for _, event in commit.events)


def _misplaced(commit: Packed, number: int) -> str:
    if commit.number != number + 1:
        return f"commit {commit.number} does not follow commit {number}"
    return f"commit {commit.number} does not carry the hash of the commit before it"
