"""Seeded stress: long mixed runs give the same from the compiled book, its twin, and in small from all pairs.

COREHOUR_STRESS_OPS sets the number of operations of the long run.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from exchange.book import ASK, BID, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, NUMBERS, PRICE_MAX, Screen
from tests.exchange.book_lockstep import PLAIN, Lockstep

OPS = int(os.environ.get("COREHOUR_STRESS_OPS", "40000"))
ACCOUNTS, MACHINES = 9, 14

ALWAYS = {
    *("set_account", "set_machine", "add_bid", "add_ask", "reprice", "rescreen", "set_open", "remove"),
    *("add_partner", "clear_partners", "next_match", "settled", "depth", "best"),
    *("UnknownOrder", "DuplicateOrder", "BadBookValue"),
    *("match", "match of partners", "match of some of the slots had", "match at the resting bid's price"),
    *("match that money limits", "match through a screen"),
    *("halt", "freeze", "hour's end", "extreme price", "bid that sleeps", "ask that sleeps"),
}


class Flow:
    """Random but likely traffic; never more than `most` orders at once."""

    def __init__(self, seed: int, most: int, oracle: bool) -> None:
        self.random, self.most = Random(seed), most
        self.step = Lockstep(oracle)
        self.place = 0
        self.contracts: list[tuple[int, int, int]] = []
        self.screens = [PLAIN] + [self.screen() for _ in range(12)]
        for account in range(ACCOUNTS):
            self.step.call("set_account", account, True, 500)
        for machine in range(MACHINES):
            self.machine(machine)

    def screen(self) -> Screen:
        r = self.random
        minimums = tuple(r.choice([INT32_MIN] * 30 + [0, 1, 2, INT32_MAX]) for _ in range(NUMBERS))
        only = r.sample(range(ACCOUNTS), 5) if r.random() < 0.2 else []
        blocked = r.sample(range(ACCOUNTS + 2), r.choice([0, 0, 0, 2]))
        return Screen(minimums, r.choice([0, 0, 1, 1 << 70, 1 << 511]), frozenset(only), frozenset(blocked))

    def machine(self, machine: int) -> None:
        r = self.random
        numbers = [r.choice([2, 2, 2, 3, 3, 1, 0, INT32_MAX, INT32_MIN]) for _ in range(NUMBERS)]
        flags = r.choice([0, 1, (1 << 512) - 1, 1 | 1 << 70])
        account = machine % ACCOUNTS if r.random() < 0.9 else r.randrange(ACCOUNTS)
        self.step.call("set_machine", machine, account, numbers, flags, r.random() < 0.8)

    def price(self) -> int:
        if self.random.random() < 0.02:
            self.step.seen["extreme price"] += 1
            return self.random.choice([0, 1, PRICE_MAX, PRICE_MAX - 1])
        return self.random.randint(35, 60)

    def order(self) -> int:
        """One that is there, or now and then one that is not."""
        orders = self.step.truth.orders
        if not orders or self.random.random() < 0.02:
            return self.random.choice([-1, 0, 5, 10**6, 2**28, 2**63])
        return self.random.choice(list(orders))

    def next_place(self) -> int:
        self.place += 1
        return self.place if self.random.random() < 0.9 else -self.place

    def act(self) -> int:
        """Make one change; return the ask that arrived with it, or -1."""
        r, call = self.random, self.step.call
        orders = self.step.truth.orders
        what = r.random()
        if what < 0.45:
            if len(orders) < self.most:
                return self.add()
            call("remove", self.order())
        elif what < 0.55:
            call("remove", self.order())
        elif what < 0.65:
            order = self.order()
            call("reprice", order, self.price(), self.next_place())
            return order if order in orders and orders[order].side == ASK else -1
        elif what < 0.68:
            call("rescreen", self.order(), r.choice(self.screens))
        elif what < 0.76:
            call("set_open", self.order(), r.choice([0, 0, 1, 2, 5, INT32_MAX]))
        elif what < 0.86:
            free = r.choice([0, 50, 60, 200, 1000, 5000, 20000, INT64_MAX, PRICE_MAX, INT64_MIN])
            call("set_account", r.randrange(ACCOUNTS), r.random() < 0.85, free)
        elif what < 0.91:
            self.machine(r.randrange(MACHINES))
        elif what < 0.92:
            call("add_partner", self.order(), self.order(), r.choice([-3, 1, 2, INT32_MAX]))
        elif what < 0.93:
            self.wrong()
        else:
            self.hour_ends()
        return -1

    def add(self) -> int:
        r, call = self.random, self.step.call
        order, slots = r.randrange(8 * self.most), r.choice([0, 1, 1, 2, 4, INT32_MAX])
        if r.random() < 0.5:
            screen = r.choice(self.screens) if r.random() < 0.9 else self.screen()
            call("add_bid", order, r.randrange(ACCOUNTS), self.price(), slots, self.next_place(), screen)
            return -1
        call("add_ask", order, r.randrange(MACHINES), self.price(), slots, self.next_place())
        return order

    def wrong(self) -> None:
        """Values outside their range: refused by both, with the same words."""
        calls: list[tuple[object, ...]] = [
            ("add_bid", 2**28, 0, 1, 1, 0, PLAIN),
            ("add_bid", 10**6, ACCOUNTS, 1, 1, 0, PLAIN),
            ("add_bid", 10**6, 0, PRICE_MAX + 1, 1, 0, PLAIN),
            ("add_bid", 10**6, 0, 1, 1, 0, Screen(minimums=(0,))),
            ("add_bid", 10**6, 0, 1, 1, 0, Screen(flags=1 << 512)),
            ("add_ask", 10**6, MACHINES, 1, 1, 0),
            ("add_ask", 10**6, 0, 1, INT32_MAX + 1, 0),
            ("add_ask", 10**6, 0, 1, 1, INT64_MAX + 1),
            ("set_machine", 0, 0, [0] * 15, 0, True),
            ("set_machine", 0, 0, [0] * 15 + [INT32_MAX + 1], 0, True),
            ("set_account", 0, True, INT64_MAX + 1),
            ("next_match", -2),
            ("depth", 2),
        ]
        self.step.call(*self.random.choice(calls))  # type: ignore[arg-type]

    def hour_ends(self) -> None:
        """Some contracts' slots return together, and know their last partners (R14)."""
        self.random.shuffle(self.contracts)
        orders = self.step.truth.orders
        for bid, ask, slots in self.contracts[:30]:
            if bid not in orders or ask not in orders or (orders[bid].side, orders[ask].side) != (BID, ASK):
                continue
            for order in (bid, ask):
                self.step.call("set_open", order, min(INT32_MAX, orders[order].open + slots))
            self.step.call("add_partner", bid, ask, slots)
            self.step.seen["hour's end"] += 1
        del self.contracts[:30]

    def run(self, ops: int) -> None:
        """Act; between acts the market matches, or is halted or frozen for a while."""
        step, state = self.step, "open"
        for number in range(ops):
            arriving = self.act()
            if number % 50 == 0:
                state = self.random.choice(["open", "open", "open", "halt", "freeze"])
            step.seen[state] += 1
            if state == "open":
                self.contracts += [(b, a, n) for b, a, _, n in step.match_all(arriving)]
                step.call("clear_partners")
            elif state == "halt":
                while (found := step.match(partners_only=True)) is not None:
                    self.contracts.append((found[0], found[1], found[3]))
            del self.contracts[200:]
            if number % max(97, ops // 500) == 0:
                step.check()
                for i, o in step.truth.orders.items():
                    asleep = o.open > 0 and not step.truth.awake(i)
                    step.seen["bid that sleeps" if o.side == BID else "ask that sleeps"] += asleep


def test_a_long_mixed_run_agrees_with_the_twin() -> None:
    flow = Flow(seed=20261124, most=150, oracle=False)
    flow.run(OPS)
    missing = {what for what in ALWAYS if not flow.step.seen[what]}
    assert not missing, f"never happened: {missing}"


@pytest.mark.parametrize("seed", range(6))
def test_short_mixed_runs_agree_with_all_pairs(seed: int) -> None:
    flow = Flow(seed=seed, most=40, oracle=True)
    flow.run(4000)
    missing = {what for what in ALWAYS | {"match past a cheaper ask"} if not flow.step.seen[what]}
    assert not missing, f"never happened: {missing}"
