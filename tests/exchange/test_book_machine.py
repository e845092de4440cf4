"""Any calls and requests give the same from the compiled book, its twin, and a look at all pairs.

Hypothesis finds the sequence and shrinks it; each has at least 100 steps when nothing fails.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from exchange import book_records as r
from exchange.book import (
    ASK,
    BID,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    NO_BOUND,
    NOBODY,
    NUMBERS,
    PRICE_MAX,
    Screen,
    order_id,
)
from exchange.matcher_twin import Request
from exchange.twin_orders import PLAIN, Bid
from tests.exchange.book_lockstep import NO_SLOT, Lockstep

STEPS = 110
EXPECTED = {
    *("set_account", "set_machine", "set_ready", "set_number", "add_bid", "add_ask", "reprice", "rescreen"),
    *("set_open", "set_spend", "remove", "add_partner", "clear_partners", "next_match", "settled"),
    *("keep_screen", "drop_screen", "quote_bid", "quote_ask", "depth_for", "bid", "ask", "amend", "cancel"),
    *("match", "match of partners", "match past a cheaper ask", "match through a screen"),
    *("match that money limits", "UnknownOrder", "FinishedOrder", "DuplicateOrder", "BadBookValue"),
    *(f"MATCH of {kind}" for kind in ("BID", "ASK", "AMEND", "CANCEL", "SETTLE", "ACCOUNT", "READY")),
    *(f"RESTS of {terms} {side}" for terms in ("STANDING", "ONCE", "POST_ONLY") for side in ("BID", "ASK")),
    *("GONE of IOC BID", "GONE of IOC ASK"),
    *("GONE of MARKET BID", "GONE of CANCEL", "RESTS of AMEND", "GONE of AMEND", "EXPIRED of EXPIRE"),
    *(f"BID refused: {code}" for code in ("DUPLICATE", "BAD_VALUE", "UNFUNDED", "NOT_WHOLE", "WOULD_MATCH")),
    *(f"AMEND refused: {code}" for code in ("UNKNOWN", "FINISHED", "WRONG_SIDE", "UNFUNDED")),
    *(f"RETURN refused: {code}" for code in ("UNKNOWN", "WRONG_SIDE", "BAD_VALUE")),
}

prices = st.one_of(st.integers(8, 12), st.sampled_from([0, 1, PRICE_MAX]))
sizes = st.sampled_from([4, 1, 2, 3, 5, INT32_MAX])
slots = st.sampled_from([4, 1, 2, 3, 5, 0, INT32_MAX])
orders = st.integers(0, 99)  # which of those that are there; the last few stand for one that is not
owners = st.sampled_from([0, 1, 2, 3, 0, 1, 2, 3, 4])  # 4 is not there at first
money = st.sampled_from([200, 30, 25, 20, 10**6, INT64_MAX, 200, 9, INT64_MIN])
spends = st.sampled_from([NO_BOUND, NO_BOUND, 200, 30, 12, 9, 0])
places = st.booleans()
present = st.sampled_from([True] * 5 + [False])
numbers = st.sampled_from([1, 1, 1, 2, 2, 0, INT32_MIN, INT32_MAX])
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


class Draft(NamedTuple):
    """A request whose orders and screen are still to be picked."""

    kind: int
    order: int
    fresh: int  # index of a new order
    other: int
    price: int
    size: int
    spend: int
    expires: int
    owner: int
    slot: int
    terms: int
    wild: int


KINDS = [r.BID, r.ASK, r.BID, r.ASK, r.AMEND, r.AMEND, r.CANCEL, r.RETURN, r.RETURN, r.SETTLE, r.ACCOUNT]
TERMS = [
    r.STANDING,
    r.STANDING,
    r.STANDING,
    r.ONCE,
    r.IOC,
    r.FOK,
    r.MARKET,
    r.POST_ONLY,
    r.POST_ONLY | r.ONCE,
]
drafts = st.builds(
    Draft,
    kind=st.sampled_from([*KINDS, r.READY, r.NUMBER, r.EXPIRE]),
    order=orders,
    fresh=st.integers(0, 30),
    other=orders,
    price=prices,
    size=sizes,
    spend=spends,
    expires=st.sampled_from([0, 0, 1, 2, 3, INT64_MAX]),
    owner=owners,
    slot=st.integers(0, 5),
    terms=st.sampled_from(TERMS),
    wild=st.integers(0, 30),
)


class Market(RuleBasedStateMachine):
    """Calls and requests as an engine makes them, and some that it must not make."""

    step: Lockstep
    steps = 0

    @initialize()
    def start(self) -> None:
        self.step = Lockstep()
        self.early = 0
        self.contracts: list[tuple[int, int, int]] = []
        self.slots = [0]
        for account in range(4):
            self.step.call("set_account", account, True, 35 if account == 0 else 1000)
        for machine in range(4):
            self.step.call("set_machine", machine, machine, [1] * NUMBERS, 1, True)
        for owner in range(4):
            self.step.call("add_bid", owner, owner, 8 + owner, 4, self.place(False), PLAIN)
            self.step.call("add_ask", 4 + owner, owner, 11 - owner, 4, self.place(False))

    def place(self, early: bool) -> int:
        if early:
            self.early += 1
            return -self.early
        return self.step.twin.last_place + 1

    def pick(self, number: int, side: int | None = None) -> int:
        """One of the orders that are there; for the last few numbers one that is not, or no longer."""
        there = sorted(
            o.id
            for o in self.step.twin.orders.values()
            if side is None or isinstance(o, Bid) == (side == BID)
        )
        if there and number < 96:
            return there[number % len(there)]
        gone = sorted(self.step.twin.numbers.items())
        return order_id(gone[number % len(gone)][1], gone[number % len(gone)][0]) if number < 98 else number

    def new(self, index: int) -> int:
        return order_id(self.step.twin.numbers.get(index, -1) + 1, index)

    # ---- told

    @rule(account=owners, present=present, free=money)
    def set_account(self, account: int, present: bool, free: int) -> None:
        self.step.call("set_account", account, present, free)

    @rule(machine=owners, account=owners, number=numbers, flags=flags, ready=present)
    def set_machine(self, machine: int, account: int, number: int, flags: int, ready: bool) -> None:
        self.step.call("set_machine", machine, account, [number, *[1] * (NUMBERS - 1)], flags, ready)

    @rule(machine=owners, ready=present)
    def set_ready(self, machine: int, ready: bool) -> None:
        self.step.call("set_ready", machine, ready)

    @rule(machine=owners, number=numbers)
    def set_number(self, machine: int, number: int) -> None:
        self.step.call("set_number", machine, 0, number)

    @rule(screen=screens, gone=st.integers(0, 9))
    def keep_screen(self, screen: Screen, gone: int) -> None:
        self.slots.append(self.step.keep(screen))
        if 0 < gone < len(self.slots):
            self.step.drop(self.slots.pop(gone))
        elif gone == 9:
            self.step.drop(NO_SLOT)

    @rule(index=st.integers(0, 30), account=owners, price=prices, slots=slots, screen=screens, spend=spends)
    def add_bid(self, index: int, account: int, price: int, slots: int, screen: Screen, spend: int) -> None:
        self.step.call("add_bid", self.new(index), account, price, slots, self.place(False), screen, spend)

    @rule(index=st.integers(0, 30), machine=owners, price=prices, slots=slots, early=places)
    def add_ask(self, index: int, machine: int, price: int, slots: int, early: bool) -> None:
        self.step.call("add_ask", self.new(index), machine, price, slots, self.place(early))

    @rule(order=orders, price=prices, early=places)
    def reprice(self, order: int, price: int, early: bool) -> None:
        self.step.call("reprice", self.pick(order), price, self.place(early))

    @rule(order=orders, screen=screens)
    def rescreen(self, order: int, screen: Screen) -> None:
        self.step.call("rescreen", self.pick(order), screen)

    @rule(order=orders, slots=slots)
    def set_open(self, order: int, slots: int) -> None:
        self.step.call("set_open", self.pick(order), slots)

    @rule(order=orders, spend=spends)
    def set_spend(self, order: int, spend: int) -> None:
        self.step.call("set_spend", self.pick(order, BID), spend)

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

    # ---- asked

    def request(self, draft: Draft) -> Request:
        new = draft.kind in (r.BID, r.ASK)
        q = Request(
            kind=draft.kind,
            order=self.new(draft.fresh) if new else self.pick(draft.order),
            price=draft.price,
            size=draft.size,
            spend=draft.spend,
            expires=draft.expires,
            owner=draft.owner,
            screen=self.slots[draft.slot % len(self.slots)],
            terms=draft.terms,
        )
        if q.kind == r.RETURN and self.contracts:
            bid, ask, slots = self.contracts.pop(draft.other % len(self.contracts))
            q = q._replace(order=bid, other=ask, size=slots)
            if draft.wild == 1:
                return q._replace(order=ask, other=bid)
        elif q.kind in (r.ACCOUNT, r.READY):
            q = q._replace(size=int(draft.size > 1), price=draft.spend)
        elif q.kind == r.NUMBER:
            q = q._replace(other=0, price=draft.size % 3)
        elif q.kind == r.EXPIRE:
            q = q._replace(price=draft.expires)
        elif q.kind == r.AMEND:
            found = self.step.twin.orders.get(q.order % 2**28)
            q = q._replace(
                price=q.price if draft.spend < 100 else -1,
                size=q.size if draft.fresh % 2 else -1,
                screen=q.screen if draft.slot % 2 and (isinstance(found, Bid) or draft.wild < 5) else -1,
            )
        elif q.kind == r.BID and q.terms == r.MARKET and q.spend == NO_BOUND and draft.wild:
            q = q._replace(spend=40)
        if draft.wild == 2:
            q = q._replace(order=self.pick(draft.order))
        elif draft.wild == 3:
            q = q._replace(size=draft.fresh % 3 - 1)
        elif draft.wild == 4:
            q = q._replace(terms=5 + draft.fresh)
        return q

    @rule(batch=st.lists(drafts, min_size=4, max_size=10))
    def apply_many(self, batch: list[Draft]) -> None:
        self.apply(batch)

    @rule(batch=st.lists(drafts, min_size=1, max_size=3))
    def apply(self, batch: list[Draft]) -> None:
        rows = self.step.apply([self.request(draft) for draft in batch])
        self.contracts += [(bid, ask, slots) for bid, ask, _, slots, _, what, _ in rows if what == r.MATCH]

    @rule(draft=drafts)
    def single(self, draft: Draft) -> None:
        q = self.request(draft)
        if q.kind == r.BID:
            self.step.ask(
                *("bid", q.order, q.owner, q.price, q.size),
                screen=q.screen, terms=q.terms, spend=q.spend, expires=q.expires,
            )  # fmt: skip
        elif q.kind == r.ASK:
            self.step.ask("ask", q.order, q.owner, q.price, q.size, terms=q.terms, expires=q.expires)
        elif q.kind == r.AMEND:
            self.step.ask("amend", q.order, price=q.price, size=q.size, screen=q.screen)
        else:
            self.step.ask("cancel", q.order)

    @rule(account=owners, price=prices, size=slots, screen=screens, spend=spends)
    def query(self, account: int, price: int, size: int, screen: Screen, spend: int) -> None:
        self.step.call("quote_bid", NOBODY if account == 4 else account, price, size, screen, spend)
        self.step.call("quote_ask", account, price, size)
        self.step.call("depth_for", screen, price, size)

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
            max_examples=200,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    missing = {what for what in EXPECTED if not seen[what]}
    assert not missing, f"never happened: {missing}; seen {seen}"
    assert longest >= 100
