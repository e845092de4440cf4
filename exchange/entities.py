"""What the market's state is made of: accounts, machines, orders, contracts, hours, sessions.

Money in micro-credits, instants in µs of market time. `entry` is what the digest covers.
"""

from dataclasses import dataclass, field

from events.profile import Screen
from events.records import Answered, OrdersAnswered

MOST_NUMBERS = 1024  # of a session, behind its newest (R12)
MOST_ANSWERS = 8192  # orders in the answers of a session that are kept
MOST_SESSIONS = 64  # of an account


@dataclass(slots=True)
class Account:
    """Who may act. `present`: a client of his is heard (R6). `votes`: weights by counterparty."""

    key: str
    name: str
    free: int = 0
    held: int = 0
    present: bool = False
    reputation: int = 500_000
    votes: dict[str, list[int]] = field(default_factory=dict)  # [good, erratic]

    def entry(self) -> list[object]:
        """For the digest; the votes are entries of their own."""
        return [self.name, self.free, self.held, self.present, self.reputation]


@dataclass(slots=True)
class Machine:
    """What asks offer. `ready`: stated, heard, not lost. `offered`: CPUs of its asks (R6)."""

    account: str
    name: str
    index: int
    cpus: int = 0
    numbers: dict[str, int] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    ready: bool = False
    offered: int = 0

    def entry(self) -> list[object]:
        """For the digest."""
        return [self.cpus, sorted(self.numbers.items()), self.flags, self.ready, self.offered]


@dataclass(slots=True)
class Order:
    """A standing order. `running`: slots in contracts; `slot`: its id in the book.

    A closed order has size 0 and stays until its last contract ends.
    """

    number: int
    account: str
    is_bid: bool
    price: int
    size: int
    place: int
    expires_us: int
    slot: int
    machine: str = ""
    screen: Screen = field(default_factory=Screen)
    running: int = 0
    claimed: int = 0  # what an ask takes of its machine: its size, or what runs beyond it (R6)

    @property
    def open(self) -> int:
        """Slots that may be matched."""
        return max(0, self.size - self.running)

    def entry(self) -> list[object]:
        """For the digest."""
        screen = [self.screen.minimums, self.screen.flags, self.screen.only, self.screen.blocked]
        return [
            self.account, self.is_bid, self.price, self.size, self.place, self.expires_us, self.machine,
            screen, self.running,
        ]  # fmt: skip


@dataclass(slots=True)
class Contract:
    """One CPU of a match, in its `hour`-th hour. `settled`: that hour is charged or returned."""

    number: int
    bid: int
    ask: int
    buyer: str
    seller: str
    machine: str
    price: int
    until_us: int
    hour: int = 1
    settled: bool = False
    started: bool = False
    confirm_by_us: int = 0  # 0: not sent yet

    def entry(self) -> list[object]:
        """For the digest."""
        return [
            self.bid, self.ask, self.buyer, self.seller, self.machine, self.price, self.until_us, self.hour,
            self.settled, self.started, self.confirm_by_us,
        ]  # fmt: skip


@dataclass(slots=True)
class Hour:
    """A charged hour that may still be voted on, until `until_us` (R26)."""

    buyer: str
    seller: str
    weight: int
    until_us: int
    voters: list[str] = field(default_factory=list)

    def entry(self) -> list[object]:
        """For the digest."""
        return [self.buyer, self.seller, self.weight, self.until_us, self.voters]


@dataclass(slots=True)
class Session:
    """The answers to a session's last numbers (R12): to those at most MOST_NUMBERS behind the highest, and
    to at most MOST_ANSWERS orders, of which one request has many. What is below `floor` was answered, and is
    forgotten.
    """

    highest: int = 0
    floor: int = 0
    orders: int = 0  # in the answers that are kept
    answers: dict[int, Answered | OrdersAnswered] = field(default_factory=dict)

    def is_old(self, number: int) -> bool:
        """Whether a number is refused, since its answer may be forgotten."""
        return number < self.highest - MOST_NUMBERS or number < self.floor

    def remember(self, number: int, answer: Answered | OrdersAnswered) -> list[int]:
        """Keep an answer; returns the numbers whose answers are forgotten for it. O(1) amortised; where many
        orders are forgotten O(answers).
        """
        if number not in self.answers:
            self.orders += _orders_in(answer)
        self.answers[number] = answer
        old: list[int] = []
        if number > self.highest:
            before, self.highest = self.highest - MOST_NUMBERS, number
            least = number - MOST_NUMBERS
            behind = range(before, least) if least - before < len(self.answers) else list(self.answers)
            old = [n for n in behind if n < least and n in self.answers]
            for n in old:
                self._forget(n)
        while self.orders > MOST_ANSWERS:
            lowest = min(self.answers)
            if lowest == number:
                break
            self._forget(lowest)
            self.floor = lowest + 1
            old.append(lowest)
        return old

    def _forget(self, number: int) -> None:
        self.orders -= _orders_in(self.answers.pop(number))


def _orders_in(answer: Answered | OrdersAnswered) -> int:
    return len(answer.answers) if isinstance(answer, OrdersAnswered) else 0
