"""Any sequence of requests: deciding and folding agree, book and twin agree, batches do not matter."""

import os

from events.commit import decode
from events.records import EVENTS, BadRecordError, Event
from events.requests import KINDS
from events.subjects import parse_intake
from exchange.admission import admit
from exchange.batch import Batcher
from exchange.engine import Engine
from exchange.entries import rows
from exchange.recovery import fold_commit
from exchange.restoring import restore
from exchange.state import State
from tests.market.history import STEPS, History

SEEDS = range(int(os.environ.get("COREHOUR_SEEDS", "24")))


def test_any_sequence_of_requests_folds_to_what_was_decided() -> None:
    kinds: set[str] = set()
    events: set[str] = set()
    codes: set[str] = set()
    for seed in SEEDS:
        history = History(seed).run()
        assert len(history.requests) >= 100, "a history is long enough to mean something"
        history.check()
        decided = history.state.digest.take()
        for twin in (False, True):
            folded = history.folded(twin)
            assert folded.digest.take() == decided, f"seed {seed}"
            assert folded.book.depth(0) == history.state.book.depth(0)
            assert folded.book.depth(1) == history.state.book.depth(1)
        kinds |= {(parse_intake(stored.subject) or ("", ""))[1] for stored in history.requests}
        events |= {event.kind for _, event in history.events}
        codes |= history.codes()
    assert kinds >= set(KINDS), set(KINDS) - kinds
    assert events == set(EVENTS), set(EVENTS) - events
    assert len(codes) >= 24, sorted(codes)


def test_the_book_and_its_twin_give_the_same_matches() -> None:
    matches = 0
    for seed in SEEDS:
        ours, twins = History(seed).run(), History(seed, twin=True).run()
        assert ours.requests == twins.requests, f"seed {seed}"
        assert ours.events == twins.events, f"seed {seed}"
        matches += sum(event.kind == "contract_opened" for _, event in ours.events)
    assert matches > 100


def test_events_do_not_depend_on_where_commits_begin_and_end() -> None:
    for seed in SEEDS[:6]:
        history = History(seed).run(STEPS)
        for sizes in ([1], [7], [1, 50, 3], [10_000]):
            state, last = State(), 0
            events: list[tuple[int, Event]] = []
            for body, _ in history.batched(sizes):
                commit = decode(body)
                assert commit.first == last + 1
                fold_commit(state, commit)
                events += commit.events
                last = commit.last
            assert events == history.events, f"seed {seed}, batches of {sizes}"
            assert state.digest.take() == history.state.digest.take()


def test_a_writer_that_starts_again_behind_any_commit_decides_the_same() -> None:
    """Recovery: fold the first commits, decide the rest; the events are those of one that never stopped."""
    for seed in SEEDS[:4]:
        history = History(seed).run(100)
        bodies = [body for body, _ in history.batched([5])]
        for cut in range(0, len(bodies), max(1, len(bodies) // 12)):
            state, number, previous, last = State(), 0, "0" * 64, 0
            for body in bodies[:cut]:
                commit = decode(body)
                fold_commit(state, commit)
                number, previous, last = commit.number, commit.hash, commit.last
            batcher = Batcher(Engine(state), number, previous, last)
            done = batcher.decide(history.requests[last:])
            events = [] if done is None else list(done[0].events)
            assert events == [pair for pair in history.events if pair[0] > last], f"seed {seed}, cut {cut}"


def test_a_state_restored_from_its_rows_decides_the_same() -> None:
    """At any point: the same digest, and from then on the same events, by both books."""
    for seed in SEEDS[:4]:
        history = History(seed).run(200)
        loud = sorted({sequence for sequence, _ in history.events})  # where a commit may end
        for cut in loud[30::25]:
            engine = Engine()
            for stored in history.requests[:cut]:
                engine.decide(admit(stored, engine.state.rules))
            lines = list(rows(engine.state))
            for twin in (False, True):
                restored = restore(lines, twin=twin)
                assert restored.digest.take() == engine.state.digest.take() == restored.digest.fresh()
                assert list(rows(restored)) == lines
                again = Engine(restored)
                events = []
                for stored in history.requests[cut:]:
                    events += [(stored.sequence, e) for e in again.decide(admit(stored, again.state.rules))]
                assert events == [pair for pair in history.events if pair[0] > cut], f"seed {seed}, cut {cut}"


def test_rows_that_are_no_state_are_a_bad_record() -> None:
    history = History(1).run(100)
    lines = list(rows(history.state))
    damaged: list[list[bytes]] = [[], lines[1:], lines[:4], [*lines, lines[-1]], lines[::-1], [b"{}"], [b"x"]]
    damaged += [[*lines[:i], line.replace(b":", b";", 1).replace(b"1", b"[", 1), *lines[i + 1 :]]
                for i, line in enumerate(lines) if b"1" in line][:60]  # fmt: skip
    refused = 0
    for those in damaged:
        try:
            restored = restore(those)
        except BadRecordError:
            refused += 1
        else:
            assert restored.digest.take() != history.state.digest.take()
    assert refused > 30
