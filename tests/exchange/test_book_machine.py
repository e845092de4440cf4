"""Any sequence of calls gives the same from the compiled book, its twin, and a look at all pairs.

Hypothesis finds the sequence and shrinks it; each has at least 100 steps when nothing fails.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from exchange.book import ASK, BID, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, NUMBERS, PRICE_MAX, Screen
from tests.exchange.book_lockstep import Lockstep

STEPS = 120
EXPECTED = {
    *("set_account", "set_machine", "add_bid", "add_ask", "reprice", "rescreen", "set_open", "remove"),
    *("add_partner", "clear_partners", "next_match", "settled", "match", "match of partners"),
    *("match past a cheaper ask", "match through a screen", "match that money limits"),
    *("UnknownOrder", "DuplicateOrder", "BadBookValue"),
}

prices = st.one_of(st.integers(8, 12), st.sampled_from([0, 1, PRICE_MAX]))
slots = st.sampled_from([4, 1, 2, 3, 5, 0, INT32_MAX])
new_orders = st.integers(0, 60)
orders = st.integers(0, 99)  # which of those that are there; the last few stand for one that is not
accounts = st.sampled_from([0, 1, 2, 3, 0, 1, 2, 3, 4])  # 4 is not there at first
machines = accounts
money = st.sampled_from([200, 30, 25, 20, 10**6, INT64_MAX, 200, 9, INT64_MIN])
numbers = st.sampled_from([1, 1, 1, 2, 2, 0, INT32_MIN, INT32_MAX]).map(lambda n: (n, *[1] * (NUMBERS - 1)))
flags = st.sampled_from([1, 1, 1 | 1 << 511, 0])
screens = st.builds(
    Screen,
    minimums=st.sampled_from([INT32_MIN, INT32_MIN, 1, 1, 2, INT32_MAX]).map(
        lambda n: (n, *[INT32_MIN] * (NUMBERS - 1))
    ),
    flags=st.sampled_from([0, 0, 1, 1, 1 << 511]),
    only=st.sampled_from([frozenset[int](), frozenset[int](), frozenset({1, 2})]),
    blocked=st.sampled_from([frozenset[int](), frozenset[int](), frozenset({3})]),
)


class Market(RuleBasedStateMachine):
    """Calls as an engine makes them, and some that it must not make."""

    step: Lockstep
    steps = 0

    @initialize()
    def start(self) -> None:
        self.step = Lockstep()
        self.place = 0
        for account in range(4):
            self.step.call("set_account", account, True, 35 if account == 0 else 1000)
        for machine in range(4):
            self.step.call("set_machine", machine, machine, [1] * NUMBERS, 1, True)
        for owner in range(4):
            self.step.call("add_bid", owner, owner, 8 + owner, 4, self.next_place(), Screen())
            self.step.call("add_ask", 4 + owner, owner, 11 - owner, 4, self.next_place())

    def next_place(self) -> int:
        self.place += 1
        return self.place

    def pick(self, number: int, side: int | None = None) -> int:
        there = sorted(i for i, o in self.step.truth.orders.items() if side is None or o.side == side)
        return there[number % len(there)] if there and number < 97 else number

    @rule(account=accounts, present=st.sampled_from([True] * 5 + [False]), free=money)
    def set_account(self, account: int, present: bool, free: int) -> None:
        self.step.call("set_account", account, present, free)

    @rule(
        machine=machines,
        account=accounts,
        numbers=numbers,
        flags=flags,
        ready=st.sampled_from([True] * 5 + [False]),
    )
    def set_machine(
        self, machine: int, account: int, numbers: tuple[int, ...], flags: int, ready: bool
    ) -> None:
        self.step.call("set_machine", machine, account, numbers, flags, ready)

    @rule(order=new_orders, account=accounts, price=prices, slots=slots, screen=screens)
    def add_bid(self, order: int, account: int, price: int, slots: int, screen: Screen) -> None:
        self.step.call("add_bid", order, account, price, slots, self.next_place(), screen)

    @rule(order=new_orders, machine=machines, price=prices, slots=slots)
    def add_ask(self, order: int, machine: int, price: int, slots: int) -> None:
        self.step.call("add_ask", order, machine, price, slots, self.next_place())

    @rule(order=orders, price=prices, early=st.booleans())
    def reprice(self, order: int, price: int, early: bool) -> None:
        self.step.call("reprice", self.pick(order), price, -self.next_place() if early else self.next_place())

    @rule(order=orders, screen=screens)
    def rescreen(self, order: int, screen: Screen) -> None:
        self.step.call("rescreen", self.pick(order), screen)

    @rule(order=orders, slots=slots)
    def set_open(self, order: int, slots: int) -> None:
        self.step.call("set_open", self.pick(order), slots)

    @rule(order=orders)
    def remove(self, order: int) -> None:
        self.step.call("remove", self.pick(order))

    @rule(bid=orders, ask=orders, slots=st.integers(-2, 4), mixed=st.integers(0, 9))
    def add_partner(self, bid: int, ask: int, slots: int, mixed: int) -> None:
        sides = (None, None) if mixed == 9 else (BID, ASK)
        self.step.call("add_partner", self.pick(bid, sides[0]), self.pick(ask, sides[1]), slots)

    @rule(bid=st.integers(0, 60), ask=st.integers(0, 60), slots=st.integers(1, 4))
    def slots_return(self, bid: int, ask: int, slots: int) -> None:
        """As at an hour's end (R14)."""
        bid, ask = self.pick(bid, BID), self.pick(ask, ASK)
        for order in (bid, ask):
            self.step.call("set_open", order, slots)
        self.step.call("add_partner", bid, ask, slots - 1)

    @rule()
    def clear_partners(self) -> None:
        self.step.call("clear_partners")

    @rule()
    def match_all(self) -> None:
        self.step.match_all()

    @rule(order=orders)
    def match_one(self, order: int) -> None:
        """A run that is not finished: nothing is settled."""
        self.step.match(arriving=self.pick(order))

    @rule()
    def match_partners(self) -> None:
        self.step.match(partners_only=True)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "step"):
            self.steps += 1
            self.step.check()


def test_any_sequence_of_calls_agrees() -> None:
    seen: Counter[str] = Counter()
    longest = 0

    class Watched(Market):
        def teardown(self) -> None:
            nonlocal longest
            seen.update(self.step.seen)
            longest = max(longest, self.steps)

    run_state_machine_as_test(
        Watched,
        settings=settings(
            max_examples=100,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    missing = {what for what in EXPECTED if not seen[what]}
    assert not missing, f"never happened: {missing}; seen {seen}"
    assert longest >= 100
