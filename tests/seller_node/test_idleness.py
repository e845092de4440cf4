"""When a machine is idle: patience both ways."""

from collections.abc import Iterable

from seller_node.idleness import Idleness

STEP = 5.0
NEEDED = 600.0


class Day:
    """A machine whose people and programs do what a test says; looked at every five seconds."""

    def __init__(self) -> None:
        self.now = self.used = 0.0
        self.touched: float | None = None
        self.idle = Idleness(NEEDED, 0.25, self.now)

    def go(self, seconds: float, load: float = 0.0, touches: Iterable[float] = ()) -> set[bool]:
        """What it was in that time; `touches` are moments from its beginning."""
        began, left, seen = self.now, sorted(touches), set()
        while self.now < began + seconds:
            self.now += STEP
            self.used += load * STEP
            while left and began + left[0] <= self.now:
                self.touched = began + left.pop(0)
            self.idle.look(self.now, self.used, self.touched)
            seen.add(self.idle.is_idle)
        return seen


def test_idle_after_so_long_without_use() -> None:
    day = Day()
    assert day.go(NEEDED - STEP) == {False}
    assert day.idle.remaining_s(day.now) == STEP
    day.go(STEP)
    assert day.idle.is_idle


def test_a_touch_begins_the_count_anew_and_one_touch_of_an_idle_machine_is_nobody() -> None:
    day = Day()
    day.go(500)
    day.go(STEP, touches=[2])
    assert day.go(NEEDED - 2 * STEP) == {False}
    day.go(2 * STEP)
    assert day.idle.is_idle
    assert day.go(300, touches=[3, 200]) == {True}  # a cat, twice
    day.go(30, touches=[0, 6, 13, 20])
    assert not day.idle.is_idle
    assert day.idle.why == "somebody is here"
    assert day.go(NEEDED - 60) == {False}


def test_short_bursts_of_load_change_nothing_and_work_does() -> None:
    day = Day()
    day.go(100)
    day.go(10, load=1.0)
    assert day.go(NEEDED - 110) == {False, True}  # the count went on
    assert day.go(25, load=1.0) | day.go(60) | day.go(3600, load=0.4) == {
        True
    }  # neither short nor light work
    day.go(60, load=2.0)
    assert not day.idle.is_idle
    assert day.idle.why == "other programs are at work"
    assert day.go(3600, load=0.3) == {False}  # but light work keeps a used machine from being idle
    day.go(NEEDED + 70, load=0.2)
    assert day.idle.is_idle


def test_it_takes_the_same_memory_after_a_year() -> None:
    day = Day()
    day.go(86_400, load=0.1, touches=[float(second) for second in range(0, 86_400, 2)])
    assert len(day.idle._touches) < 100
    assert len(day.idle._used) < 100
