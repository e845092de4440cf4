"""Which unit runs where: every unit ends once, whatever is lost."""

import random

import pytest

from buyer.holdings import Contract
from buyer.job import Ended
from buyer.serving import is_hours_end
from buyer.work import MOST_CRASHES, MOST_LOSSES, Work


def test_a_lost_unit_is_the_next_and_a_crashed_one_the_last() -> None:
    work = Work("abc", {}, {})
    assert [work.take(1), work.take(2)] == ["a", "b"]
    assert work.lose(1) is None
    assert work.crash(2, Ended(0, 11)) is None
    assert list(work.waiting) == ["a", "c", "b"]
    assert (work.unfinished, work.lost) == (3, 1)


def test_what_had_ended_does_not_run_again_and_crashes_before_count() -> None:
    work = Work("abc", {"b": Ended(4), "gone": Ended(0)}, {"a": MOST_CRASHES - 1})
    assert work.ended == {"b": Ended(4)}
    assert work.take(1) == "a"
    assert work.crash(1, Ended(0, 9)) == Ended(0, 9)
    assert [work.take(1), work.take(2)] == ["c", None]


def test_crashes_and_losses_have_a_bound() -> None:
    work = Work("a", {}, {})
    for _ in range(MOST_LOSSES - 1):
        assert work.take(5) == "a"
        assert work.lose(5) is None
    work.take(5)
    final = work.lose(5)
    assert final is not None
    assert not final.is_good
    assert work.unfinished == 0


def test_a_run_given_up_by_ourselves_counts_nothing() -> None:
    work = Work("a", {}, {})
    work.take(1)
    work.release(1)
    work.release(1)
    assert (list(work.waiting), work.lost, work.losses) == (["a"], 0, {})


@pytest.mark.parametrize("seed", range(20))
def test_every_unit_is_in_one_place_and_ends_once(seed: int) -> None:
    rng = random.Random(seed)
    work = Work([f"u{n}" for n in range(30)], {}, {})
    ended: list[str] = []
    for _ in range(300):
        step, contract = rng.choice("ttlcer"), rng.randint(1, 4)
        running = work.running.get(contract)
        if step == "t" and running is None:
            work.take(contract)
        elif running is not None and step == "e":
            ended.append(work.end(contract, Ended(0)))
        elif running is not None and step in "lc":
            final = work.lose(contract) if step == "l" else work.crash(contract, Ended(0, 9))
            ended += [running] if final else []
        elif step == "r":
            work.release(contract)
        places = [*work.waiting, *work.running.values(), *work.ended]
        assert sorted(places) == sorted(work.names)
        assert sorted(ended) == sorted(work.ended)
        assert work.unfinished == 30 - len(ended)
    assert ended
    assert work.lost


def test_who_was_killed_at_the_hours_end_did_not_crash() -> None:
    contract = Contract(1, 1, "S", "m", 5, 1, until_us=100_000_000)
    killed, hour = Ended(0, 9, "killed"), 3_600_000_000
    assert not is_hours_end(killed, contract, 97_000_000, hour)
    assert is_hours_end(killed, contract, 98_000_000, hour)
    assert not is_hours_end(killed, contract, 98_000_000, 10_000_000)  # of a short hour less
    assert not is_hours_end(Ended(0, 11, "crashed"), contract, 200_000_000, hour)
    assert not is_hours_end(Ended(0), contract, 200_000_000, hour)
