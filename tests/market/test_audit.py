"""The audit can fail: each way in which a log may be falsified is found, and its place is named."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

from events.archive import Archive
from events.commit import RULES, Commit, decode, encode, parts
from events.records import Deposited, HourCharged
from events.requests import encode as encode_request
from events.source import ArchiveLog, Ends
from events.subjects import COMMIT
from events.wire import Stored, sha256
from exchange.audit import AuditResult, audit
from tests.market.history import History
from tests.market.keep_log import LOGS
from tests.market.play import Play, answer


class LogInMemory:
    """A log as lists."""

    def __init__(self, requests: list[Stored], commits: list[bytes]) -> None:
        self.intake = requests
        self.due = self.last = requests[-1].sequence
        messages = [part for body in commits for part in parts(body, 2000)]
        self.messages = [Stored(n, 0, COMMIT, data) for n, data in enumerate(messages, 1)]

    async def ends(self) -> Ends:
        return Ends(self.due, self.last, len(self.messages))

    async def requests(self, first: int, last: int) -> AsyncIterator[Stored]:
        for stored in self.intake:
            if first <= stored.sequence <= last:
                yield stored

    async def journal(self, first: int, last: int) -> AsyncIterator[Stored]:
        for stored in self.messages[first - 1 : last]:
            yield stored

    def __str__(self) -> str:
        return "lists"


@pytest.fixture(scope="module")
def history() -> History:
    for seed in range(50):
        history = History(seed)
        history.run(200)
        charged = any(isinstance(event, HourCharged) for _, event in history.events)
        if charged and len(history.forged) >= 4:
            break
    else:
        raise AssertionError("no seed has an hour charged and false signatures")
    history.ask("operator", "deposit", account=history.public("t1"), amount=5, reference="last")
    return history


@pytest.fixture(scope="module")
def bodies(history: History) -> list[bytes]:
    return [body for body, _ in history.batched([4])]


def run(requests: list[Stored], commits: list[bytes]) -> AuditResult:
    return asyncio.run(audit(LogInMemory(requests, commits)))


def rechained(bodies: list[bytes], index: int, change: Callable[[Commit], Commit]) -> list[bytes]:
    """The commits with one changed, and every hash after it made to fit again."""
    result = bodies[:index]
    previous = sha256(bodies[index - 1])
    for number, body in enumerate(bodies[index:]):
        commit = replace(decode(body), previous=previous)
        body = encode(change(commit) if number == 0 else commit)
        previous = sha256(body)
        result.append(body)
    return result


def with_event(bodies: list[bytes], kind: type) -> int:
    return next(
        n for n, body in enumerate(bodies) if n and any(type(e) is kind for _, e in decode(body).events)
    )


def test_an_honest_log_agrees(history: History, bodies: list[bytes]) -> None:
    result = run(history.requests, bodies)
    assert result.ok and result.first_disagreement is None, result
    assert (result.requests, result.commits) == (len(history.requests), len(bodies))
    assert result.events == len(history.events)
    assert result.digest == history.state.digest.take()


def test_a_journal_without_its_end_is_named(history: History, bodies: list[bytes]) -> None:
    for kept in (bodies[:-1], bodies[: len(bodies) // 2], []):
        result = run(history.requests, kept)
        assert not result.ok and result.unanswered > 0 and result.first_disagreement is not None
        assert result.first_disagreement["stream"] == "INTAKE"
        assert "not answered" in result.first_disagreement["what"]


def test_requests_in_flight_owe_no_answer_yet(history: History, bodies: list[bytes]) -> None:
    log = LogInMemory(history.requests, bodies[:-1])
    log.due = decode(bodies[-2]).last
    result = asyncio.run(audit(log))
    assert result.ok and result.unanswered == 0


@pytest.mark.parametrize("swap", [('"commit":', '"commit":true,"x":'), ('"first":', '"first":0.0,"y":'),
                                  ('"events":[[', '"events":[[],['), ('"rules":2', '"rules":2.0'),
                                  ('"last":', '"last":null,"z":')])  # fmt: skip
def test_an_ill_formed_commit_is_named(history: History, bodies: list[bytes], swap: tuple[str, str]) -> None:
    body = bodies[4].replace(swap[0].encode(), swap[1].encode(), 1)
    assert body != bodies[4]
    result = run(history.requests, [*bodies[:4], body, *bodies[5:]])
    assert not result.ok and result.commits == 4


@pytest.mark.parametrize("rechain", [False, True])
def test_an_edited_event_is_named(history: History, bodies: list[bytes], rechain: bool) -> None:
    index = with_event(bodies, HourCharged)

    def edit(commit: Commit) -> Commit:
        events = tuple(
            (s, replace(e, amount=e.amount + 1) if isinstance(e, HourCharged) else e)
            for s, e in commit.events
        )
        return replace(commit, events=events)

    if rechain:
        forged = rechained(bodies, index, edit)
    else:
        forged = [*bodies[:index], encode(edit(decode(bodies[index]))), *bodies[index + 1 :]]
    result = run(history.requests, forged)
    assert not result.ok and result.first_disagreement is not None
    assert result.first_disagreement["stream"] == "JOURNAL"
    assert (
        "hour_charged" in result.first_disagreement["what"] and "amount" in result.first_disagreement["what"]
    )
    assert result.commits == index, "everything before it was found good"


def test_a_removed_event_is_named(history: History, bodies: list[bytes]) -> None:
    index = with_event(bodies, Deposited)
    forged = rechained(
        bodies,
        index,
        lambda c: replace(c, events=tuple(p for p in c.events if not isinstance(p[1], Deposited))),
    )
    result = run(history.requests, forged)
    assert not result.ok and result.first_disagreement is not None
    assert "deposited" in result.first_disagreement["what"] and result.commits == index


def test_an_inserted_event_is_named(history: History, bodies: list[bytes]) -> None:
    extra = Deposited(history.public("t0"), 10**9, "out of nowhere")
    for sequence_of in (lambda c: c.last, lambda c: c.last + 1):
        forged = rechained(
            bodies,
            5,
            lambda c, at=sequence_of: replace(c, events=(*c.events, (at(c), extra))),  # type: ignore[misc]
        )
        result = run(history.requests, forged)
        assert not result.ok and result.first_disagreement is not None
        assert result.first_disagreement["stream"] == "JOURNAL" and result.commits == 5


def test_a_removed_reordered_or_repeated_commit_is_named(history: History, bodies: list[bytes]) -> None:
    for forged in (
        [*bodies[:7], *bodies[8:]],
        [*bodies[:7], bodies[8], bodies[7], *bodies[9:]],
        [*bodies[:8], bodies[7], *bodies[8:]],
        rechained(bodies[:7] + bodies[8:], 7, lambda c: c),
    ):
        result = run(history.requests, forged)
        assert not result.ok and result.commits in (7, 8), result


def test_a_changed_dropped_or_inserted_request_is_named(history: History, bodies: list[bytes]) -> None:
    requests = history.requests
    index = next(n for n, s in enumerate(requests) if n > 20 and s.subject.endswith(".deposit"))
    at = requests[index].sequence
    altered = requests[index]._replace(data=requests[index].data.replace(b'"amount":', b'"amount":1'))
    later = requests[index]._replace(time_ns=requests[index].time_ns + 1)
    for changed, names in ((altered, at), (later, None)):
        result = run([*requests[:index], changed, *requests[index + 1 :]], bodies)
        assert not result.ok and result.first_disagreement is not None
        assert result.first_disagreement["stream"] == "INTAKE"
        assert names is None or result.first_disagreement["sequence"] == names
    dropped = run([*requests[:index], *requests[index + 1 :]], bodies)
    assert dropped.first_disagreement == {
        "stream": "INTAKE", "sequence": at, "what": "this request is missing",
    }  # fmt: skip
    log = LogInMemory(requests, bodies)
    log.intake = requests[:-3]
    log.last = requests[-1].sequence
    found = asyncio.run(audit(log)).first_disagreement
    assert found is not None and found["sequence"] == requests[-3].sequence and "is missing" in found["what"]
    moved = [s._replace(sequence=s.sequence + 1) for s in requests[index:]]
    inserted = run([*requests[:index], requests[index - 1]._replace(sequence=at), *moved], bodies)
    assert not inserted.ok


def test_a_truncated_or_broken_journal_is_named(history: History, bodies: list[bytes]) -> None:
    for body in (b"", b"{}", bodies[9][:-2], bodies[9].replace(b'"commit"', b'"commjt"'), b" " + bodies[9]):
        result = run(history.requests, [*bodies[:9], body, *bodies[10:]])
        assert not result.ok and result.commits == 9, body[:40]
    wrong = rechained(bodies, 9, lambda c: replace(c, digest="0" * 32))
    result = run(history.requests, wrong)
    assert result.first_disagreement is not None and "digest" in result.first_disagreement["what"]


# -- signatures (R35)


def batched(play: History) -> list[bytes]:
    return [body for body, _ in play.batched([4])]


def small() -> History:
    """A market with six traders and no dice."""
    return History(1)


def test_false_signatures_that_had_their_consequence_are_counted(
    history: History, bodies: list[bytes]
) -> None:
    assert len(history.forged) >= 4
    result = run(history.requests, bodies)
    assert result.ok and result.false_signatures == len(history.forged)
    assert result.first_false == history.forged[0]


def test_a_false_signature_that_nobody_is_suspended_for_is_named() -> None:
    play = small()
    play.forged_request("t1")
    play.ask("t2", "leave", machine="m")
    expected = {
        "stream": "INTAKE",
        "sequence": play.forged[0],
        "what": f"this request is not signed by {play.public('t1')}, and no account_suspended names it",
    }
    assert run(play.requests, batched(play)).first_disagreement == expected
    play.own("checked", through=play.forged[0] - 1)
    commits = len(batched(play))
    play.own("checked", through=play.forged[0])
    play.ask("t2", "leave", machine="m")
    result = run(play.requests, batched(play))
    assert result.first_disagreement == expected and result.commits <= commits


class GrowingLog(LogInMemory):
    """A live market's: one more request is there each time somebody looks where it ends."""

    def __init__(self, requests: list[Stored], commits: list[bytes], due: int) -> None:
        super().__init__(requests, commits)
        self.due, self.last, self.whole = due, due - 1, self.last

    async def ends(self) -> Ends:
        self.last = min(self.last + 1, self.whole)
        return await super().ends()


def test_a_notary_that_is_a_little_behind_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchange.audit.QUIET_S", 0.5)
    monkeypatch.setattr("exchange.audit.LOOK_S", 0.0)
    play = small()
    play.ask("t2", "leave", machine="m")
    play.forged_request("t1")
    bodies, due = batched(play), play.requests[-1].sequence
    for _ in range(3):
        play.ask("t2", "leave", machine="m")
    play.forged_request("t3")  # newer than what is due
    play.own("suspend", account=play.public("t3"), request=play.forged[1])

    def look(patience_s: float) -> AuditResult:
        return asyncio.run(audit(GrowingLog(play.requests, bodies, due), patience_s=patience_s))

    never = look(60).first_disagreement
    assert never is not None and never["sequence"] == play.forged[0]
    play.own("suspend", account=play.public("t1"), request=play.forged[0])
    result = look(60)
    assert result.ok and result.false_signatures == 2, result
    assert look(0).first_disagreement == never


def test_one_suspension_does_for_all_that_were_false_by_then_and_no_longer() -> None:
    play = small()
    for _ in range(3):
        play.forged_request("t1")
    play.own("suspend", account=play.public("t1"), request=play.forged[1])
    play.forged_request("t1")
    play.own("checked", through=len(play.requests))
    assert run(play.requests, batched(play)).false_signatures == 4
    play.ask("operator", "reinstate", account=play.public("t1"), reason="it was me")
    play.forged_request("t1")
    found = run(play.requests, batched(play)).first_disagreement
    assert found is not None and found["sequence"] == play.forged[-1]


@pytest.mark.parametrize("who", ["t1", "operator"])
def test_a_suspension_without_a_false_signature_is_named(who: str) -> None:
    def own(play: History) -> int:
        return next(s.sequence for s in play.requests if play.public(who) in s.subject)

    for accused in (own, lambda play: play.forged[0], lambda play: len(play.requests) + 100):
        play = small()
        play.forged_request("t2")
        play.own("suspend", account=play.public("t2"), request=play.forged[0])
        sequence = accused(play)
        play.own("suspend", account=play.public(who), request=sequence)
        found = run(play.requests, batched(play)).first_disagreement
        assert found is not None and (found["stream"], found["sequence"]) == ("INTAKE", len(play.requests))
        assert f"accuses {play.public(who)} of a false signature at request {sequence}" in found["what"]


def test_a_false_signature_in_the_operators_name_must_freeze_the_market() -> None:
    play = small()
    play.forged_request("operator")
    found = run(play.requests, batched(play)).first_disagreement
    assert found is not None and found["sequence"] == play.forged[0]
    play.own("suspend", account=play.public("operator"), request=play.forged[0])
    assert play.state.frozen and run(play.requests, batched(play)).ok


def test_a_false_signature_in_nobodys_name_is_refused_and_counted() -> None:
    play = small()
    play.forged_request("stranger")
    play.own("checked", through=len(play.requests))
    result = run(play.requests, batched(play))
    assert result.ok and (result.false_signatures, result.first_false) == (1, play.forged[0])


def test_under_rules_1_the_market_itself_refuses_false_signatures() -> None:
    play = Play(rules=1)
    play.account("t1")
    honest = play.message("t1", "leave", {"session": 1, "number": 1, "machine": "m"})
    play.send(honest._replace(data=encode_request(play.key("eve"), honest.subject, {"session": 1})))
    assert answer([event for _, event in play.events[-1:]]).code == "R35/signature/false"
    result = run(play.requests, [body for body, _ in play.batched([4])])
    assert result.ok and result.false_signatures == 0


def test_who_measures_the_rest_may_leave_signatures_out() -> None:
    play = small()
    play.forged_request("t1")
    assert asyncio.run(audit(LogInMemory(play.requests, batched(play)), signatures=False)).ok


def test_events_do_not_depend_on_where_commits_end(history: History) -> None:
    for sizes in ([1], [1000], [3, 1, 7]):
        result = run(history.requests, [body for body, _ in history.batched(sizes)])
        assert result.ok and result.events == len(history.events)


@pytest.mark.parametrize("version", range(1, RULES + 1))
def test_a_log_of_every_version_agrees(version: int) -> None:
    result = asyncio.run(audit(ArchiveLog(Archive(LOGS / f"rules-{version}"))))
    assert result.ok, result
