"""Replay: as of any moment, what the projections say; what is damaged is named."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from events import records as r
from events.archive import Archive
from events.commit import FIRST, RULES, Commit, decode, encode
from events.records import BadRecordError
from events.wire import Stored
from exchange.entries import keys, rows
from exchange.state import State
from projections import accounts, contracts, machines, orders, queries, replay
from projections.as_of import account_rows, as_of, contract_rows, machine_rows, order_rows
from projections.bare_state import WholeDigest
from projections.journal import ArchiveJournal, read_ahead
from projections.ledger import Statement
from projections.replay import END, Replay, ReplayError, Until
from projections.store import rebuild
from tests.market.keep_log import LOGS
from tests.projections.history import TRADERS, Market
from tests.projections.logs import Log, archive_of, log_of

STEPS = 250


@pytest.fixture(scope="module")
def commits() -> list[Commit]:
    return list(Market(1).commits(STEPS))


def folded(commits: Sequence[Commit]) -> State:
    state = State()
    for commit in commits:
        for _, event in commit.events:
            state.fold(event)
    return state


def chained(commits: Sequence[Commit]) -> list[Commit]:
    """The same commits with a true chain, as of one who edited them."""
    made: list[Commit] = []
    for commit in commits:
        previous = made[-1].hash if made else FIRST
        made.append(decode(encode(replace(commit, previous=previous))))
    return made


def said_by_projections(commits: Sequence[Commit]) -> dict[str, Any]:
    """What the store that the projections make of these commits says, in the form of `as_of`."""
    with rebuild(commits) as store, store.transaction() as connection:
        running = [row for _, row in contracts.contract_rows(connection)]
        for row in running:
            del row["paid"], row["ended"]
        return {
            "commit": commits[-1].number,
            "status": queries.status(connection),
            "accounts": [row for _, row in accounts.account_rows(connection)],
            "book": {f"{side}s": orders.depth(connection, side) for side in ("bid", "ask")},
            "machines": [row for _, row in machines.machine_rows(connection)],
            "contracts": running,
        }


def test_any_commit_is_what_the_fold_and_the_projections_say(commits: list[Commit]) -> None:
    log = log_of(commits, 5000)
    assert log.end > len(commits), "some are in parts"
    going_on = Replay(log)
    for number in range(1, len(commits) + 1, 7):
        alone = Replay(log)
        state = alone.run(Until("commit", number))
        expected = folded(commits[:number])
        also = going_on.run(Until("commit", number))
        assert state.digest.take() == expected.digest.take() == also.digest.take()
        assert (alone.number, alone.hash) == (number, commits[number - 1].hash)
        said = as_of(state, number)
        assert said == said_by_projections(commits[:number])
        assert sum(row["free"] + row["held"] for row in said["accounts"]) == 0
    end = Replay(log)
    assert as_of(end.run(), end.number) == said_by_projections(commits)
    assert end.events == sum(len(commit.events) for commit in commits)
    assert going_on.run(END).digest.take() == end.state.digest.take()


def test_orders_are_those_of_the_projections(commits: list[Commit]) -> None:
    with rebuild(commits) as store, store.transaction() as connection:
        rows = {number: row for key in TRADERS for number, row in orders.order_rows(connection, key.public)}
    state = folded(commits)
    assert [row["order"] for row in order_rows(state)] == sorted(rows)
    for row in order_rows(state):
        assert {name: value for name, value in row.items() if name != "account"} == {
            name: value for name, value in rows[row["order"]].items() if name != "closed"
        }


def test_a_statement_is_the_projections(commits: list[Commit]) -> None:
    seen = 0
    with rebuild(commits) as store, store.transaction() as connection:
        for key in (*(key.public for key in TRADERS[:-1]), r.BANK, r.FEES):
            last = accounts.line_at(connection, key, commits[-1].number)
            lines = [row for _, row in accounts.statement_lines(connection, key, 0, last, last)]
            expected = accounts.statement(connection, key, lines, (0, 0))
            for who in (key, expected["name"]):
                wanted = Statement(who)
                assert wanted.result(Replay(log_of(commits), each=wanted).run()) == expected
            seen += len(lines)
    assert seen >= 50
    nobody = Statement("nobody")
    assert nobody.result(Replay(log_of(commits), each=nobody).run()) is None


def test_a_time_is_the_last_commit_without_an_event_later_than_it(commits: list[Commit]) -> None:
    log = log_of(commits)
    clocks = [
        (commit.number, event.tick_us, event.now_us)
        for commit in commits
        for _, event in commit.events
        if type(event) is r.ClockMoved
    ]
    assert len(clocks) > 20
    checked = 0
    for of, place in (("time", 1), ("market", 2)):
        for before, after in pairwise(clocks):
            if before[place] >= after[place] or before[0] == after[0]:
                continue
            first = next(one for one in clocks if one[place] >= after[place])
            for instant in (before[place], after[place] - 1):
                replayed = Replay(log)
                replayed.run(Until(of, instant))  # type: ignore[arg-type]
                assert replayed.number == first[0] - 1 >= before[0]
                checked += 1
    assert checked > 40
    end = Replay(log)
    end.run(Until("time", 2**53))
    assert end.number == len(commits)
    with pytest.raises(ReplayError, match="begins later"):
        Replay(log).run(Until("time", clocks[0][1] - 1))
    with pytest.raises(ReplayError, match="before the moment"):
        end.run(Until("time", clocks[1][1]))
    with pytest.raises(ReplayError, match="before the moment"):
        end.run(Until("market", clocks[1][2]))
    with pytest.raises(ReplayError, match="before commit"):
        end.run(Until("commit", 1))


def test_a_commit_that_is_not_there(commits: list[Commit]) -> None:
    with pytest.raises(ReplayError, match=f"ends at commit {len(commits)}; there is no commit 999999 yet"):
        Replay(log_of(commits)).run(Until("commit", 999_999))
    with pytest.raises(ReplayError, match="empty"):
        Replay(Log([])).run()


@pytest.mark.parametrize("every", [1, 100, 10**9])
def test_an_edited_event_is_found_however_seldom_the_digest_is_looked_at(
    commits: list[Commit], every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever edits an event can chain the commits again, but not make the state's digest fit."""
    monkeypatch.setattr(replay, "CHECK_EVENTS", every)
    victim = next(
        commit
        for commit in commits[len(commits) // 3 :]
        if any(type(event) is r.Deposited for _, event in commit.events)
    )
    edited = tuple(
        (n, r.Deposited(e.account, e.amount + 1, e.reference) if isinstance(e, r.Deposited) else e)
        for n, e in victim.events
    )
    forged = chained(
        [replace(commit, events=edited) if commit.number == victim.number else commit for commit in commits]
    )
    log = log_of(forged)
    with pytest.raises(BadRecordError, match=f"^commit {victim.number} .*its events give the digest"):
        Replay(log).run()
    before = Replay(log)
    before.run(Until("commit", victim.number - 1))
    assert before.state.digest.take() == commits[victim.number - 2].digest


def test_what_cannot_have_happened_is_named(commits: list[Commit]) -> None:
    """An event that cannot be folded, and before it one that could but did not happen."""
    late = commits[-3].number
    nothing = r.OrderClosed(10**9, TRADERS[0].public, "cancelled")
    impossible = (*commits[-3].events, (commits[-3].last, nothing))
    forged = [replace(one, events=impossible) if one.number == late else one for one in commits]
    with pytest.raises(BadRecordError, match=f"commit {late}: cannot have happened"):
        Replay(log_of(chained(forged))).run()
    early = 2
    added = (*commits[1].events, (commits[1].last, r.Deposited(TRADERS[0].public, 1, "x")))
    forged[1] = replace(commits[1], events=added)
    with pytest.raises(BadRecordError, match=f"^commit {early} "):
        Replay(log_of(chained(forged))).run()


@pytest.mark.parametrize("damage", [(b'"kind":"', b'"kind":"x'), (b'"account":"', b'"account":"\xff')])
def test_an_event_that_is_none_is_named(commits: list[Commit], damage: tuple[bytes, bytes]) -> None:
    last = next(at for at in reversed(range(len(commits))) if damage[0] in encode(commits[at]))
    log = log_of(commits[: last + 1])
    *before, end = log.stored
    log.stored = [*before, end._replace(data=damage[1].join(end.data.rsplit(damage[0], 1)))]
    with pytest.raises(BadRecordError, match=f"^commit {commits[last].number}: not an event: "):
        Replay(log).run()


def test_the_chain_is_checked(commits: list[Commit]) -> None:
    with pytest.raises(BadRecordError, match="JOURNAL sequence 3: commit 4 does not follow commit 2"):
        Replay(log_of([*commits[:2], *commits[3:]])).run()
    other = replace(commits[2], digest="0" * 32)
    with pytest.raises(BadRecordError, match="commit 4 does not carry the hash"):
        Replay(log_of([*commits[:2], other, *commits[3:]])).run()


def test_an_archive_gives_the_same(tmp_path: Path, commits: list[Commit]) -> None:
    log = log_of(commits, 3000)
    journal = ArchiveJournal(archive_of(tmp_path / "archive", log))
    assert journal.end == log.end and list(journal.messages()) == list(log.stored)
    replayed = Replay(journal)
    assert replayed.run().digest.take() == commits[-1].digest


def test_reading_ahead_ends_when_nobody_reads_and_hands_errors_on(commits: list[Commit]) -> None:
    whole = list(log_of(commits).stored) * 500

    def messages(limit: int) -> Iterator[Stored]:
        for n, stored in enumerate(whole):
            if n == limit:
                raise OSError("the disk is gone")
            yield stored

    reading = read_ahead(messages(1000))
    seen: list[Stored] = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(reading)
    assert seen == whole[: len(seen)]
    left = read_ahead(messages(-1))
    next(left)
    left.close()  # type: ignore[attr-defined]


def test_progress_reaches_the_end(commits: list[Commit]) -> None:
    told: list[tuple[int, int]] = []
    log = log_of(commits, 3000)
    Replay(log, lambda done, whole: told.append((done, whole))).run()
    assert told[-1] == (log.end, log.end) and len(told) == len(commits)
    told.clear()
    Replay(log, lambda done, whole: told.append((done, whole))).run(Until("commit", 9))
    assert told[-1] == (9, 9)


def test_every_row_has_its_place(commits: list[Commit]) -> None:
    state = folded(commits)
    assert [row["account"] for row in account_rows(state)][:2] == [r.BANK, r.FEES]
    assert len(list(machine_rows(state))) == len(state.machines)
    assert [row["contract"] for row in contract_rows(state)] == sorted(state.contracts)


@pytest.mark.parametrize("rules", range(1, RULES + 1))
def test_a_log_of_every_version_of_the_rules_is_replayed(rules: int) -> None:
    journal = ArchiveJournal(Archive(LOGS / f"rules-{rules}"))
    replayed = Replay(journal)
    said = as_of(replayed.run(), replayed.number)
    log = [decode(body) for _, body in replay.bodies(journal)]
    assert replayed.state.digest.take() == log[-1].digest and said["status"]["rules"] == rules
    assert said == said_by_projections(log)


@pytest.mark.parametrize("seed", range(5))
def test_the_state_of_a_replay_is_the_engines(seed: int) -> None:
    """Entry by entry, however often it is looked at: with no book beside it nothing is lost."""
    commits = list(Market(seed).commits(STEPS))
    state = folded(commits)
    replayed = Replay(log_of(commits)).run()
    assert isinstance(replayed.digest, WholeDigest)
    assert list(rows(replayed)) == list(rows(state))
    assert replayed.digest.keys() == frozenset(keys(state))
    assert replayed.digest.fresh() == state.digest.take() == commits[-1].digest
