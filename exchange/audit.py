"""The audit: every event computed again from the requests, and compared byte for byte (R33-R35).

It trusts nobody: chain, hashes over raw requests, signatures (a false one leads to a refusal, so its
events differ), events, digests, and that money sums to zero. The first disagreement ends it, by name.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from nats.aio.client import Client as Nats

from events import subjects
from events.commit import FIRST, Assembler, Commit, decode, encode
from events.log import LogGapError, Stored, last_sequence, read
from events.records import BadRecordError, Event
from events.requests import KINDS
from events.wire import RequestsHash, dumps
from exchange.admission import admit
from exchange.engine import Engine

ANSWERED_S = 1.0  # what is older than this is answered in a live market


class Log(Protocol):
    """The two streams, as an auditor reads them."""

    async def ends(self) -> tuple[int, int, int]:
        """Where the audit ends: the last request that must be answered, the ends of INTAKE and JOURNAL."""

    def requests(self, last: int) -> AsyncIterator[Stored]:
        """INTAKE from its beginning to `last`."""

    def journal(self, last: int) -> AsyncIterator[Stored]:
        """JOURNAL from its beginning to `last`."""


class LogOnServer:
    """The streams on a server."""

    def __init__(self, nc: Nats) -> None:
        self._nc = nc

    async def ends(self) -> tuple[int, int, int]:
        """See Log. A live exchange gets a moment to answer; every commit's requests are there."""
        due = await last_sequence(self._nc, subjects.INTAKE)
        await asyncio.sleep(ANSWERED_S)
        journal = await last_sequence(self._nc, subjects.JOURNAL)
        return due, await last_sequence(self._nc, subjects.INTAKE), journal

    def requests(self, last: int) -> AsyncIterator[Stored]:
        """See Log."""
        return read(self._nc, subjects.INTAKE, 1, last)

    def journal(self, last: int) -> AsyncIterator[Stored]:
        """See Log."""
        return read(self._nc, subjects.JOURNAL, 1, last)


@dataclass(slots=True)
class Disagreement(Exception):  # noqa: N818 - what an auditor calls it
    """The first place where the log contradicts itself: stream, sequence there, and what is wrong."""

    stream: str
    sequence: int
    what: str

    def __str__(self) -> str:
        return f"{self.stream} sequence {self.sequence}: {self.what}"


@dataclass(slots=True)
class AuditResult:
    """What was audited. `unanswered`: traders' and operators' requests that no commit answers."""

    ok: bool = False
    requests: int = 0
    events: int = 0
    commits: int = 0
    unanswered: int = 0
    digest: str = ""
    first_disagreement: dict[str, Any] | None = None


Progress = Callable[[int, int], None]


async def audit(log: Log, progress: Progress = lambda done, whole: None) -> AuditResult:
    """Audit a log from its beginning. `progress` is told JOURNAL messages done and in all. O(1) memory
    besides the market's state. Raises nothing for a bad log: the result names it.
    """
    result = AuditResult()
    try:
        due, intake_end, journal_end = await log.ends()
        auditor = _Auditor(log.requests(intake_end), intake_end, result)
        async for stored in log.journal(journal_end):
            await auditor.take(stored)
            progress(stored.sequence, journal_end)
        await auditor.finish(due)
        result.ok = True
    except Disagreement as found:
        result.first_disagreement = asdict(found)
    except LogGapError as gap:
        stream, _, rest = str(gap).partition(":")
        sequence = int("".join(filter(str.isdigit, rest.split(";")[0])) or 0)
        result.first_disagreement = asdict(Disagreement(stream, sequence, str(gap)))
    return result


class _Auditor:
    """One pass over the journal, with the requests beside it."""

    def __init__(self, requests: AsyncIterator[Stored], end: int, result: AuditResult) -> None:
        self._requests, self._end, self._result = requests, end, result
        self._engine = Engine()
        self._assembler = Assembler()
        self._previous, self._last = FIRST, 0

    async def take(self, stored: Stored) -> None:
        """The next message of JOURNAL. Raises Disagreement."""
        here = stored.sequence
        try:
            body = self._assembler.add(stored.data)
            if body is None:
                return
            commit = decode(body)
        except BadRecordError as error:
            raise Disagreement(subjects.JOURNAL, here, str(error)) from None
        if commit.number != self._result.commits + 1:
            what = f"commit {commit.number} stands where commit {self._result.commits + 1} belongs"
            raise Disagreement(subjects.JOURNAL, here, what)
        if commit.previous != self._previous:
            what = f"commit {commit.number} does not carry the hash of the commit before it"
            raise Disagreement(subjects.JOURNAL, here, what)
        if commit.first != self._last + 1 or commit.last < commit.first:
            what = f"requests {self._last + 1} to {commit.first - 1} were passed over"
            raise Disagreement(subjects.JOURNAL, here, what)
        if encode(commit) != body:
            raise Disagreement(
                subjects.JOURNAL, here, f"commit {commit.number} is not in the form of its kind"
            )
        if commit.last > self._end:
            what = f"commit {commit.number} answers request {commit.last}; INTAKE ends at {self._end}"
            raise Disagreement(subjects.JOURNAL, here, what)
        await self._recompute(commit, here)
        self._previous, self._last = commit.hash, commit.last
        self._result.commits += 1
        self._result.events += len(commit.events)

    async def _recompute(self, commit: Commit, here: int) -> None:
        """Decide a commit's requests again and compare."""
        hashed = RequestsHash()
        said: dict[int, list[Event]] = {}
        for sequence, event in commit.events:
            said.setdefault(sequence, []).append(event)
        differs: Disagreement | None = None
        for expected in range(commit.first, commit.last + 1):
            stored = await anext(self._requests)
            if stored.sequence != expected:
                raise Disagreement(subjects.INTAKE, expected, "this request is missing")
            hashed.add(*stored)
            events = self._engine.decide(admit(stored, self._engine.state.rules))
            self._result.requests += 1
            if differs is None:
                what = _difference(said.pop(stored.sequence, []), events)
                if what:
                    differs = Disagreement(subjects.JOURNAL, here, f"request {stored.sequence}: {what}")
        if hashed.hex() != commit.requests:
            first = int(differs.what.split()[1].rstrip(":")) if differs else commit.first
            what = (
                f"requests {commit.first} to {commit.last} are not those that commit {commit.number} answered"
            )
            if differs:
                what += f"; first at {differs.what}"
            raise Disagreement(subjects.INTAKE, first, what)
        if differs:
            raise differs
        if said:
            what = f"events for request {min(said)}, which commit {commit.number} does not answer"
            raise Disagreement(subjects.JOURNAL, here, what)
        if [sequence for sequence, _ in commit.events] != sorted(sequence for sequence, _ in commit.events):
            raise Disagreement(subjects.JOURNAL, here, "events are out of the order of their requests")
        self._check_state(commit, here)

    def _check_state(self, commit: Commit, here: int) -> None:
        digest = self._engine.state.digest.take()
        if digest != commit.digest:
            what = f"commit {commit.number} says digest {commit.digest}, the state has {digest}"
            raise Disagreement(subjects.JOURNAL, here, what)
        if self._engine.state.total() != 0:
            raise Disagreement(
                subjects.JOURNAL, here, f"money sums to {self._engine.state.total()}, not to 0"
            )
        self._result.digest = digest

    async def finish(self, due: int) -> None:
        """What is behind the last commit must have changed nothing, or be the exchange's own, or be newer
        than `due`. Raises Disagreement.
        """
        first = 0
        async for stored in self._requests:
            self._result.requests += 1
            request = admit(stored, self._engine.state.rules)
            owed = KINDS[request.kind].role != "exchange" if request.kind in KINDS else True
            if self._engine.decide(request) and owed and stored.sequence <= due:
                self._result.unanswered += 1
                first = first or stored.sequence
        if first:
            what = (
                f"this request is not answered, nor are {self._result.unanswered - 1} behind it: the "
                "journal's end is missing, or the exchange stopped before it: start it, and audit again"
            )
            raise Disagreement(subjects.INTAKE, first, what)


def _difference(said: list[Event], computed: list[Event]) -> str:
    """How the journal's events of a request differ from those computed; "" where they are the same bytes."""
    for number, (theirs, ours) in enumerate(zip(said, computed, strict=False), 1):
        if dumps(theirs.wire()) != dumps(ours.wire()):
            members = [name for name, value in ours.wire().items() if theirs.wire().get(name) != value]
            return f"event {number} ({ours.kind}) differs in {', '.join(members) or 'its form'}"
    if len(said) != len(computed):
        return f"{len(said)} events stand in the journal, {len(computed)} follow from the request"
    return ""
