"""Hours of the day, in local time (R8 is the market's clock; these are the seller's)."""

import time
from collections.abc import Iterator

import pytest

from seller_node.hours import Hours, clock, parse_hours
from seller_node.profile import BadOfferError

BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
MONDAY = 1_767_567_600.0  # 2026-01-05 00:00 in Berlin


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", BERLIN)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(day: int, text: str) -> float:
    hour, _, minute = text.partition(":")
    return MONDAY + day * 86_400 + int(hour) * 3600 + int(minute) * 60


def is_open(hours: Hours, day: int, *times: str) -> list[bool]:
    return [hours.are_open(at(day, text)) for text in times]


def test_over_midnight() -> None:
    hours = parse_hours("22:00-07:00")
    assert is_open(hours, 2, "0:00", "6:59", "22:00", "23:59") == [True] * 4
    assert is_open(hours, 2, "7:00", "12:00", "21:59") == [False] * 3
    assert hours.next_change(at(0, "12:00")) == at(0, "22:00")
    assert hours.next_change(at(0, "22:00")) == at(1, "7:00")


def test_weekdays_and_the_end_of_the_week() -> None:
    hours = parse_hours("mon-fri 20:00-08:00, Sat-Sun 00:00-24:00")
    assert is_open(hours, 0, "7:00", "19:59", "20:00") == [False, False, True]  # Sunday's is no night of ours
    assert is_open(hours, 4, "7:00", "12:00", "20:00") == [True, False, True]
    assert is_open(hours, 5, "7:00", "12:00", "23:59") == [True] * 3
    assert is_open(hours, 6, "12:00") == [True]
    assert is_open(parse_hours("sun 22:00-02:00"), 7, "1:59", "2:00") == [True, False]
    assert is_open(parse_hours("fri-mon 10:00-11:00"), 1, "10:30") == [False]
    assert is_open(parse_hours("fri-mon 10:00-11:00"), 6, "10:30") == [True]
    assert parse_hours("00:00-24:00").next_change(MONDAY) is None


def test_when_clocks_are_changed_the_wall_is_right() -> None:
    hours = parse_hours("02:30-04:00")
    march, october = 1_774_738_800.0, 1_792_879_200.0  # midnights before 2026-03-29 and 2026-10-25
    assert time.strftime("%m-%d %H:%M", time.localtime(march)) == "03-29 00:00"
    assert hours.next_change(march) == march + 2 * 3600  # 02:00 became 03:00
    assert time.strftime("%H:%M", time.localtime(march + 2 * 3600)) == "03:00"
    opened = [minute for minute in range(6 * 60) if hours.are_open(october + minute * 60)]
    assert len(opened) == 30 + 30 + 60  # 02:30 to 03:00 comes twice


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("22", "no span"),
        ("22:00", "no span"),
        ("22:00-7", "no span"),
        ("25:00-07:00", "00:00 to 24:00"),
        ("22:60-07:00", "00:00 to 24:00"),
        ("08:00-08:00", "00:00-24:00"),
        ("24:00-08:00", "00:00-24:00"),
        ("mo 08:00-09:00", "mon, tue"),
        ("22:00-07:00,", "no span"),
        ("", "no span"),
    ],
)
def test_what_is_no_hours(text: str, word: str) -> None:
    with pytest.raises(BadOfferError, match=word):
        parse_hours(text)


def test_a_moment_for_people() -> None:
    assert clock(at(0, "22:00"), at(0, "9:00")) == "22:00"
    assert clock(at(5, "0:00"), at(0, "9:00")) == "sat 00:00"
