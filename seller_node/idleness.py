"""Whether nobody needs the machine: decided from samples, with patience both ways.

A person who moved the mouse once has not come back, and a job of a few seconds is no work: what is short
changes nothing. The times are of one clock that never jumps, in seconds.
"""

from collections import deque

WINDOW_S = 60.0  # the load is an average over so long
BACK_S = 10.0  # who touches the machine over so long, within a window, is back
BUSY = 2.0  # an idle machine is busy at so many times the load with which it became idle


class Idleness:
    """Idle after `needed_s` without touches and with a load of at most `most` CPUs.

    `why` says, for people, what keeps it from being idle.
    """

    def __init__(self, needed_s: float, most: float, now: float) -> None:
        self.is_idle, self.why = False, ""
        self.needed_s, self._most = needed_s, most
        self._since = now
        self._touches: deque[float] = deque()
        self._used: deque[tuple[float, float]] = deque()  # when, and the CPU time of others until then

    def look(self, now: float, others_s: float, touched: float | None) -> None:
        """Take a sample: the CPU time that others have used (s, rising); when somebody last touched it."""
        load = self._load(now, others_s)
        new = touched is not None and (not self._touches or touched > self._touches[-1] + 1)
        if touched is not None and new:
            self._touches.append(touched)
        while self._touches and self._touches[0] < now - WINDOW_S:
            self._touches.popleft()
        if self.is_idle:
            self._look_idle(now, load)
        else:
            self._look_used(now, load)

    def remaining_s(self, now: float) -> float:
        """Seconds until it is idle, if nothing happens."""
        return 0.0 if self.is_idle else max(0.0, self._since + self.needed_s - now)

    def _load(self, now: float, others_s: float) -> float:
        """CPUs that others used on the average of the window; 0 while it is too short to tell."""
        self._used.append((now, others_s))
        while len(self._used) > 2 and self._used[1][0] <= now - WINDOW_S:
            self._used.popleft()
        began, before = self._used[0]
        return max(0.0, others_s - before) / (now - began) if now - began >= WINDOW_S / 2 else 0.0

    def _look_idle(self, now: float, load: float) -> None:
        if self._touches and self._touches[-1] - self._touches[0] >= BACK_S:
            self._use(now, "somebody is here")
        elif load > BUSY * self._most:
            self._use(now, "other programs are at work")

    def _look_used(self, now: float, load: float) -> None:
        if self._touches and self._touches[-1] > self._since:
            self._use(self._touches[-1], "somebody is here")
        if load > self._most:
            self._use(now, "other programs are at work")
        if now - self._since >= self.needed_s:
            self.is_idle, self.why = True, ""
            self._touches.clear()

    def _use(self, since: float, why: str) -> None:
        self.is_idle, self._since, self.why = False, since, why
