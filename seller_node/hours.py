"""The hours of the day at which a machine is for sale, in local time."""

import re
import time
from dataclasses import dataclass

from seller_node.profile import BadOfferError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = 24 * 60  # minutes
WEEK = 7 * DAY
_SPAN = re.compile(r"(?:(\w+)(?:-(\w+))? +)?([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")


@dataclass(frozen=True)
class Hours:
    """Spans of local time, as they were typed; the minutes of the week, from Monday, that they cover."""

    text: str
    minutes: frozenset[int]

    def are_open(self, at: float) -> bool:
        """Whether a moment (seconds since 1970) lies within: by the clock on the wall, whatever it did."""
        wall = time.localtime(at)
        return wall.tm_wday * DAY + wall.tm_hour * 60 + wall.tm_min in self.minutes

    def next_change(self, at: float) -> float | None:
        """When it next opens or closes, in seconds since 1970; None: never. O(minutes of a week)."""
        now = self.are_open(at)
        first = (int(at) // 60 + 1) * 60
        for moment in range(first, first + (WEEK + DAY) * 60, 60):
            if self.are_open(moment) != now:
                return float(moment)
        return None


def parse_hours(text: str) -> Hours:
    """Read `22:00-07:00`, or `mon-fri 20:00-08:00, sat-sun 00:00-24:00`. Raises BadOfferError."""
    minutes: set[int] = set()
    for word in text.lower().split(","):
        found = _SPAN.fullmatch(word.strip())
        if found is None:
            raise BadOfferError(
                f"{word.strip()[:40]!r} is no span of hours, as 22:00-07:00 or mon-fri 20:00-08:00; "
                "commas between several"
            )
        begin, end = _minute(found[3], found[4]), _minute(found[5], found[6])
        if begin in (end, DAY):
            raise BadOfferError(f"{word.strip()!r}: no time at all; the whole day is 00:00-24:00")
        length = end - begin if end > begin else end + DAY - begin
        for day in _days(found[1], found[2]):
            start = day * DAY + begin
            minutes |= {minute % WEEK for minute in range(start, start + length)}
    return Hours(text.strip(), frozenset(minutes))


def clock(at: float, now: float) -> str:
    """A moment as people say it: `22:00`, with the day where it is not within the next 24 hours."""
    wall = time.localtime(at)
    day = "" if 0 <= at - now < DAY * 60 else f"{DAYS[wall.tm_wday]} "
    return day + time.strftime("%H:%M", wall)


def _minute(hour: str, minute: str) -> int:
    number = int(hour) * 60 + int(minute)
    if int(minute) > 59 or number > DAY:
        raise BadOfferError(f"{hour}:{minute} is no time of the day; there are 00:00 to 24:00")
    return number


def _days(first: str | None, last: str | None) -> list[int]:
    for name in (first, last):
        if name is not None and name not in DAYS:
            raise BadOfferError(f"{name[:20]!r} is no day; there are {', '.join(DAYS)}")
    if first is None:
        return list(range(7))
    begin = DAYS.index(first)
    end = DAYS.index(last) if last else begin
    return [(begin + step) % 7 for step in range((end - begin) % 7 + 1)]
