"""The audit: every commit computed again from the requests, and compared byte for byte (R33-R35).

It trusts nobody: chain, hashes over raw requests, every signature, every event, every digest, and that money
sums to zero. The first disagreement ends it, by name. A commit that is not what follows from its requests is
looked at event by event, to say which differs and in what; all others cost what deciding costs.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from events import subjects
from events.chain import (
    Chain,
    Disagreement,
    Whole,
    changed_requests,
    gap,
)
from events.commit import Commit, decode, encode, heading, parts_of
from events.log import LogGapError
from events.records import AnyEvent, BadRecordError, Event
from events.requests import KINDS, Request
from events.source import Ends, Log
from events.wire import RequestsHash, Stored
from exchange.accusations import Accusations
from exchange.admission import admit
from exchange.decision import NewerRulesError
from exchange.engine import Engine
from exchange.signatures import Checked, Checker, Verdict, check

BATCH = 256  # requests whose signatures are checked together
NOTARY_S = 20.0  # a live market's notary has named a false signature by then
QUIET_S = 6.0  # a live exchange ticks more often
LOOK_S = 0.2


@dataclass(slots=True)
class AuditResult:
    """What was audited, from `source`. `unanswered`: traders' and operators' requests that no commit
    answers. `false_signatures`: of accounts that were suspended for them, the first at `first_false`.
    `unfinished`: messages of JOURNAL that became no commit, as a writer leaves them that dies within a large
    one; nobody reads anything in them.
    """

    ok: bool = False
    source: str = ""
    requests: int = 0
    events: int = 0
    commits: int = 0
    unanswered: int = 0
    false_signatures: int = 0
    first_false: int = 0
    unfinished: int = 0
    digest: str = ""
    first_disagreement: dict[str, Any] | None = None


Progress = Callable[[int, int], None]


async def audit(
    log: Log,
    progress: Progress = lambda done, whole: None,
    *,
    signatures: bool = True,
    patience_s: float = 0.0,
) -> AuditResult:
    """Audit a log from its beginning. `progress` is told JOURNAL messages done and in all.

    O(commit) memory besides the market's state. Raises nothing for a bad log: the result names it; raises
    ArchiveError for an archive that cannot be read. `signatures` False leaves out checking them, for who
    measures the rest. A live market's notary may be a little behind: where a false signature has had no
    consequence yet, the log is read on for `patience_s` at most, and for as long as it grows.
    """
    result = AuditResult(source=str(log))
    try:
        ends = await log.ends()
        async with contextlib.AsyncExitStack() as stack:
            batches = _grouped(log.requests(1, ends.intake))
            checked = _trusted(batches)
            if signatures:
                checked = (await stack.enter_async_context(Checker())).check(batches)
            await stack.enter_async_context(contextlib.aclosing(checked))
            auditor = _Auditor(_Requests(checked), ends, result)
            async for stored in log.journal(1, ends.journal):
                await auditor.take(stored)
                progress(stored.sequence, ends.journal)
            await auditor.finish()
            await _hear_the_notary(log, auditor, ends, patience_s)
            auditor.close()
        result.ok = True
    except Disagreement as found:
        result.first_disagreement = asdict(found)
    except LogGapError as error:
        result.first_disagreement = asdict(gap(error))
    return result


async def _hear_the_notary(log: Log, auditor: "_Auditor", ends: Ends, patience_s: float) -> None:
    """Read on while something comes, until what is due was said. Raises Disagreement, LogGapError."""
    end = ends.intake
    now = time.monotonic()
    until, quiet = now + patience_s, now + QUIET_S
    while auditor.is_accusing and time.monotonic() < min(until, quiet):
        await asyncio.sleep(LOOK_S)
        come = (await log.ends()).intake
        if come > end:
            quiet = time.monotonic() + QUIET_S
        async for batch in _grouped(log.requests(end + 1, come)):
            auditor.read_on(await asyncio.to_thread(check, batch))
        end = max(end, come)


async def _grouped(requests: AsyncIterator[Stored]) -> AsyncGenerator[list[Stored], None]:
    """The requests in batches."""
    batch: list[Stored] = []
    async for stored in requests:
        batch.append(stored)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _trusted(batches: AsyncIterator[list[Stored]]) -> AsyncGenerator[Checked, None]:
    """Every signature is taken for true."""
    async for batch in batches:
        yield Checked(batch, bytes([Verdict.TRUE]) * len(batch))


class _Requests:
    """INTAKE with verdicts, in pieces of any size."""

    def __init__(self, batches: AsyncIterator[Checked]) -> None:
        self._batches = batches
        self._here: Iterator[tuple[Stored, int]] = iter(())

    async def some(self, most: int) -> list[tuple[Stored, int]]:
        """At least one request with its verdict, at most so many; none at the end."""
        found = list(islice(self._here, most))
        if not found:
            checked = await anext(self._batches, None)
            if checked is not None:
                self._here = zip(checked.batch, checked.verdicts, strict=True)
                found = list(islice(self._here, most))
        return found


class _Auditor:
    """One pass over the journal, with the requests beside it."""

    def __init__(self, requests: _Requests, ends: Ends, result: AuditResult) -> None:
        self._requests, self._ends, self._result = requests, ends, result
        self._engine = Engine()
        self._chain = Chain()
        self._accusations = Accusations(self._engine.state)
        self._since_sum = 0  # requests since the money was last summed up

    async def take(self, stored: Stored) -> None:
        """The next message of JOURNAL. Raises Disagreement."""
        whole = self._chain.take(stored)
        self._result.unfinished += 1
        if whole is None:
            return
        self._result.unfinished -= parts_of(stored.data)
        commit, _, here = whole
        if commit.last > self._ends.intake:
            what = f"commit {commit.number} answers request {commit.last}; INTAKE ends at {self._ends.intake}"
            raise Disagreement(subjects.JOURNAL, here, what)
        self._result.events += await self._recompute(whole)
        self._result.commits += 1

    async def _recompute(self, whole: Whole) -> int:
        """Decide a commit's requests again and compare what follows with what stands there.

        Returns the number of events.
        """
        said, body, here = whole
        hashed, events = RequestsHash(), list[tuple[int, Event]]()
        expected = said.first
        while expected <= said.last:
            some = await self._requests.some(said.last + 1 - expected)
            for stored, verdict in some:
                if stored.sequence != expected:
                    break
                hashed.add(*stored)
                for event in self._decide(stored, verdict)[1]:
                    events.append((expected, event))
                expected += 1
            else:
                if some:
                    continue
            raise Disagreement(subjects.INTAKE, expected, "this request is missing")
        state = self._engine.state
        follows = Commit(
            said.number,
            said.previous,
            state.rules,
            said.first,
            said.last,
            hashed.hex(),
            state.digest.take(),
            tuple(events),
        )
        if encode(follows) != body:
            raise _difference(body, follows, here)
        self._result.digest = follows.digest
        self._since_sum += said.last + 1 - said.first
        if self._since_sum > len(state.accounts):
            self._sum_up(here)
        return len(events)

    def _decide(self, stored: Stored, verdict: int) -> tuple[Request, list[Event]]:
        """What follows from the next request."""
        engine, rules = self._engine, self._engine.state.rules
        request = admit(stored, rules)
        try:
            events = engine.decide(request)
        except NewerRulesError as error:
            raise Disagreement(subjects.INTAKE, stored.sequence, str(error)) from None
        self._result.requests += 1
        if verdict == Verdict.FALSE and rules >= 2:
            self._result.false_signatures += 1
            self._result.first_false = self._result.first_false or stored.sequence
            self._accusations.found(stored.sequence, request.account)
        if request.kind in ("suspend", "checked") and not request.refusal:
            self._accusations.heard(request, events)
        return request, events

    def _sum_up(self, here: int) -> None:
        """Money sums to zero. Done as often as it costs less than deciding."""
        self._since_sum = 0
        total = self._engine.state.total()
        if total != 0:
            raise Disagreement(subjects.JOURNAL, here, f"money sums to {total}, not to 0")

    async def finish(self) -> None:
        """What is behind the last commit must have changed nothing, or be the exchange's own, or be newer
        than what was due. Raises Disagreement.
        """
        self._sum_up(self._chain.place.sequence)
        first, due = 0, self._ends.due
        while some := await self._requests.some(BATCH):
            for stored, verdict in some:
                request, events = self._decide(stored, verdict)
                owed = KINDS[request.kind].role != "exchange" if request.kind in KINDS else True
                if events and owed and stored.sequence <= due:
                    self._result.unanswered += 1
                    first = first or stored.sequence
        if first:
            what = (
                f"this request is not answered, nor are {self._result.unanswered - 1} behind it: the "
                "journal's end is missing, or the exchange stopped before it: start it, and audit again"
            )
            raise Disagreement(subjects.INTAKE, first, what)

    @property
    def is_accusing(self) -> bool:
        """Whether a false signature has not had its consequence yet."""
        return self._accusations.is_open(self._due())

    def read_on(self, checked: Checked) -> None:
        """Requests that came while we were at work: the notary may say in them what is due."""
        for stored, verdict in zip(checked.batch, checked.verdicts, strict=True):
            self._decide(stored, verdict)

    def close(self) -> None:
        """Every false signature that was due has had its consequence. Raises Disagreement."""
        self._accusations.close(self._due())

    def _due(self) -> int:
        return max(self._ends.due, self._engine.state.checked)


def _difference(body: bytes, follows: Commit, here: int) -> Disagreement:
    """Where a commit first differs from the one that follows from its requests. O(commit)."""
    try:
        said = decode(body)
    except BadRecordError as error:
        return Disagreement(subjects.JOURNAL, here, str(error))
    theirs, ours = _by_request(said), _by_request(follows)
    differs: Disagreement | None = None
    first = said.first
    for sequence in sorted(ours.keys() | theirs.keys()):
        what = _events_differ(theirs.get(sequence, []), ours.get(sequence, []))
        if what and sequence <= said.last:
            first = sequence
            differs = Disagreement(subjects.JOURNAL, here, f"request {sequence}: {what}")
            break
    if follows.requests != said.requests:
        what = changed_requests(heading(body))
        if differs:
            what += f"; first at {differs.what}"
        return Disagreement(subjects.INTAKE, first, what)
    if differs:
        return differs
    beyond = [sequence for sequence in theirs if not said.first <= sequence <= said.last]
    if beyond:
        what = f"events for request {min(beyond)}, which commit {said.number} does not answer"
        return Disagreement(subjects.JOURNAL, here, what)
    order = [sequence for sequence, _ in said.events]
    if order != sorted(order):
        return Disagreement(subjects.JOURNAL, here, "events are out of the order of their requests")
    if said.digest != follows.digest:
        what = f"commit {said.number} says digest {said.digest}, the state has {follows.digest}"
        return Disagreement(subjects.JOURNAL, here, what)
    if said.rules != follows.rules:
        what = f"commit {said.number} says rules {said.rules}, the market decides by {follows.rules}"
        return Disagreement(subjects.JOURNAL, here, what)
    return Disagreement(subjects.JOURNAL, here, f"commit {said.number} is not in the form of its kind")


def _by_request(commit: Commit) -> dict[int, list[AnyEvent]]:
    """A commit's events by the request that they follow from."""
    found: dict[int, list[AnyEvent]] = {}
    for sequence, event in commit.events:
        found.setdefault(sequence, []).append(event)
    return found


def _events_differ(said: list[AnyEvent], computed: list[AnyEvent]) -> str:
    """How the journal's events of a request differ from those computed; "" where they are the same bytes."""
    for number, (theirs, ours) in enumerate(zip(said, computed, strict=False), 1):
        if theirs != ours:
            members = [name for name, value in ours.wire().items() if theirs.wire().get(name) != value]
            return f"event {number} ({ours.kind}) differs in {', '.join(members) or 'its form'}"
    if len(said) != len(computed):
        return f"{len(said)} events stand in the journal, {len(computed)} follow from the request"
    return ""
