"""Which units are waiting, running, done: decisions alone, no I/O."""

from collections import deque
from collections.abc import Iterable

from buyer.job import Ended

MOST_CRASHES = 3  # runs of one unit that ended by a signal, were refused, or wrote too much
MOST_LOSSES = 20  # runs of one unit whose contract or link broke
MOST_REFUSALS = 3  # runs in a row that sellers refused to start


class Work:
    """The units of a job on their way. A unit is waiting, or runs on one contract, or has ended.

    `lost` counts runs that were lost in all. Every operation is O(1).
    """

    def __init__(self, names: Iterable[str], ended: dict[str, Ended], crashes: dict[str, int]) -> None:
        self.names = list(names)
        self.ended = {name: ended[name] for name in self.names if name in ended}
        self.crashes = dict(crashes)
        self.losses: dict[str, int] = {}
        self.lost = 0
        self.refusals = 0
        self.waiting = deque(name for name in self.names if name not in self.ended)
        self.running: dict[int, str] = {}

    @property
    def unfinished(self) -> int:
        """How many units have not ended."""
        return len(self.names) - len(self.ended)

    def take(self, contract: int) -> str | None:
        """The next unit for an idle contract, None if none waits."""
        assert contract not in self.running
        if not self.waiting:
            return None
        name = self.running[contract] = self.waiting.popleft()
        return name

    def end(self, contract: int, ended: Ended) -> str:
        """The unit on the contract ended by itself."""
        name = self.running.pop(contract)
        assert name not in self.ended
        self.ended[name] = ended
        return name

    def lose(self, contract: int) -> Ended | None:
        """The contract or its link broke: the unit waits again, first in line.

        Returns how it ended where it was lost too often to be sent again.
        """
        name = self.running.pop(contract)
        self.lost += 1
        self.losses[name] = self.losses.get(name, 0) + 1
        if self.losses[name] < MOST_LOSSES:
            self.waiting.appendleft(name)
            return None
        self.ended[name] = Ended(1, 0, f"lost {MOST_LOSSES} times with its contract", contract)
        return self.ended[name]

    def release(self, contract: int) -> None:
        """The run, if there is one, was given up by ourselves: its unit waits again, nothing is counted."""
        if contract in self.running:
            self.waiting.appendleft(self.running.pop(contract))

    def crash(self, contract: int, ended: Ended) -> Ended | None:
        """The run was killed, refused, or wrote too much: the unit waits again, last in line.

        Returns how it ended where it crashed too often.
        """
        name = self.running.pop(contract)
        self.crashes[name] = self.crashes.get(name, 0) + 1
        if self.crashes[name] < MOST_CRASHES:
            self.waiting.append(name)
            return None
        self.ended[name] = ended
        return ended
