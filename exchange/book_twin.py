"""The book's specification in code: plain Python on sorted containers, with the answers of the compiled book.

An order is *live* while it could be matched (R6, R11): open, and its buyer present and funded, or its
machine ready. A live order is *touched* when it may have become able to match since `settled`. A pair of
which neither is touched could have matched before, so it cannot match now: untouched bids look at touched
asks alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sortedcontainers import SortedDict

from exchange.book import (
    ASK,
    BID,
    FLAGS_MAX,
    ID_LIMIT,
    INT32_MAX,
    INT64_MAX,
    INT64_MIN,
    PRICE_MAX,
    BadBookValue,
    DuplicateOrder,
    Match,
    Screen,
    UnknownOrder,
    check_screen,
    checked,
    checked_numbers,
)


@dataclass(slots=True)
class _Order:
    order: int
    side: int
    owner: int  # a bid's account, an ask's machine
    price: int
    open: int
    place: int
    screen: Screen

    @property
    def key(self) -> tuple[int, int, int]:
        """Return what sorts the best first: price, then time (R5)."""
        return (-self.price if self.side == BID else self.price, self.place, self.order)


@dataclass(slots=True)
class _Account:
    present: bool = False
    free: int = 0
    bids: dict[int, _Order] = field(default_factory=dict)


@dataclass(slots=True)
class _Machine:
    account: int
    numbers: tuple[int, ...]
    flags: int
    ready: bool
    asks: dict[int, _Order] = field(default_factory=dict)


class Book:
    """The twin; see `exchange.book.Book` for what each call does."""

    def __init__(self) -> None:
        self._orders: dict[int, _Order] = {}
        self._accounts: dict[int, _Account] = {}
        self._machines: dict[int, _Machine] = {}
        self._live = (SortedDict(), SortedDict())  # by side: key -> order
        self._touched = (SortedDict(), SortedDict())
        self._partners: dict[tuple[int, int], int] = {}  # (bid, ask) -> slots, never 0

    # ---- who may match

    def set_account(self, account: int, present: bool, free: int) -> None:
        """Wake or let sleep the bids of an account that came, left, or has other money (R6, R11)."""
        account = checked("account", account, 0, ID_LIMIT - 1)
        free = checked("free", free, INT64_MIN, INT64_MAX)
        entry = self._accounts.setdefault(account, _Account())
        entry.present, entry.free = bool(present), free
        for bid in entry.bids.values():
            self._refresh(bid)

    def set_machine(
        self, machine: int, account: int, numbers: Sequence[int], flags: int, ready: bool
    ) -> None:
        """Wake or let sleep the asks of a machine; another profile touches them (R6, R24)."""
        machine = checked("machine", machine, 0, ID_LIMIT - 1)
        account = checked("account", account, 0, ID_LIMIT - 1)
        numbers = checked_numbers("numbers", numbers)
        flags = checked("flags", flags, 0, FLAGS_MAX)
        entry = self._machines.setdefault(machine, _Machine(account, numbers, flags, False))
        changed = (entry.account, entry.numbers, entry.flags) != (account, numbers, flags)
        entry.account, entry.numbers, entry.flags, entry.ready = account, numbers, flags, bool(ready)
        for ask in entry.asks.values():
            self._refresh(ask, touch=changed)

    def _may_match(self, order: _Order) -> bool:
        if order.side == ASK:
            return order.open > 0 and self._machines[order.owner].ready
        account = self._accounts[order.owner]
        return order.open > 0 and account.present and account.free >= order.price

    def _refresh(self, order: _Order, touch: bool = False) -> None:
        """Put an order where it belongs; one that wakes up is touched."""
        live, touched, key = self._live[order.side], self._touched[order.side], order.key
        if not self._may_match(order):
            live.pop(key, None)
            touched.pop(key, None)
        elif touch or key not in live:
            live[key] = touched[key] = order

    # ---- orders

    def add_bid(self, order: int, account: int, price: int, open: int, place: int, screen: Screen) -> None:
        """Add a bid to its account and, where it may match, to the book."""
        new = self._new(order, BID, account, "account", price, open, place)
        if new.owner not in self._accounts:
            raise BadBookValue(f"account {account} was never set: call set_account first")
        check_screen(screen)
        new.screen = screen
        self._orders[new.order] = self._accounts[new.owner].bids[new.order] = new
        self._refresh(new)

    def add_ask(self, order: int, machine: int, price: int, open: int, place: int) -> None:
        """Add an ask to its machine and, where it may match, to the book."""
        new = self._new(order, ASK, machine, "machine", price, open, place)
        if new.owner not in self._machines:
            raise BadBookValue(f"machine {machine} was never set: call set_machine first")
        self._orders[new.order] = self._machines[new.owner].asks[new.order] = new
        self._refresh(new)

    def _new(self, order: int, side: int, owner: int, word: str, price: int, open: int, place: int) -> _Order:
        order = checked("order", order, 0, ID_LIMIT - 1)
        if order in self._orders:
            raise DuplicateOrder(order)
        owner = checked(word, owner, 0, ID_LIMIT - 1)
        price = checked("price", price, 0, PRICE_MAX)
        open = checked("open", open, 0, INT32_MAX)
        return _Order(
            order, side, owner, price, open, checked("place", place, INT64_MIN, INT64_MAX), Screen()
        )

    def _find(self, order: int) -> _Order:
        if order not in self._orders:
            raise UnknownOrder(order)
        return self._orders[order]

    def reprice(self, order: int, price: int, place: int) -> None:
        """Move an order to another limit and place in time: a new arrival (R9)."""
        entry = self._find(order)
        price = checked("price", price, 0, PRICE_MAX)
        place = checked("place", place, INT64_MIN, INT64_MAX)
        self._leave(entry)
        entry.price, entry.place = price, place
        self._refresh(entry)

    def rescreen(self, order: int, screen: Screen) -> None:
        """Give a bid another screen; it keeps its place and is touched (R9)."""
        entry = self._find(order)
        if entry.side != BID:
            raise BadBookValue(f"order {order} is an ask: only a bid has a screen")
        check_screen(screen)
        entry.screen = screen
        self._refresh(entry, touch=True)

    def set_open(self, order: int, open: int) -> None:
        """Set the free slots; an order that was busy returns to its own place (R10)."""
        entry = self._find(order)
        entry.open = checked("open", open, 0, INT32_MAX)
        self._refresh(entry)

    def remove(self, order: int) -> None:
        """Take an order out; its id is unknown from now on."""
        entry = self._find(order)
        self._leave(entry)
        del self._orders[order]
        if entry.side == BID:
            del self._accounts[entry.owner].bids[order]
        else:
            del self._machines[entry.owner].asks[order]
        self._partners = {pair: slots for pair, slots in self._partners.items() if order not in pair}

    def _leave(self, order: _Order) -> None:
        self._live[order.side].pop(order.key, None)
        self._touched[order.side].pop(order.key, None)

    def add_partner(self, bid: int, ask: int, slots: int) -> None:
        """Count slots whose last partner was this ask, never below none (R14)."""
        if self._find(bid).side != BID:
            raise BadBookValue(f"bid is {bid}: this order is an ask")
        if self._find(ask).side != ASK:
            raise BadBookValue(f"ask is {ask}: this order is a bid")
        slots = checked("slots", slots, -INT32_MAX, INT32_MAX) + self._partners.pop((bid, ask), 0)
        if slots > 0:
            self._partners[bid, ask] = slots

    def clear_partners(self) -> None:
        """Forget all partners (R14)."""
        self._partners.clear()

    # ---- matching

    def next_match(self, arriving: int = -1, partners_only: bool = False) -> Match | None:
        """Return the first pair with its price (R7) and the slots that it can open (R11)."""
        arriving = checked("arriving", arriving, -1, ID_LIMIT - 1)
        for bid in self._bids_to_ask_for():
            ask = self._first_ask(bid, partners_only)
            if ask is not None:
                price = bid.price if ask.order == arriving else ask.price
                slots = min(bid.open, ask.open, self._partners.get((bid.order, ask.order), INT32_MAX))
                if price > 0:
                    slots = min(slots, 1 + (self._accounts[bid.owner].free - bid.price) // price)
                return bid.order, ask.order, price, slots
        return None

    def _bids_to_ask_for(self) -> Iterator[_Order]:
        """Yield, best first, the bids that a touched ask could meet, then the other touched ones."""
        asks = self._touched[ASK]
        lowest = asks.peekitem(0)[1].price if asks else PRICE_MAX + 1
        for bid in self._live[BID].values():
            if bid.price < lowest:
                break
            yield bid
        for bid in self._touched[BID].values():
            if bid.price < lowest:
                yield bid

    def _first_ask(self, bid: _Order, partners_only: bool) -> _Order | None:
        """Return the cheapest eligible ask: of that price the first last partner, or else the first (R14)."""
        asks: SortedDict = (self._live if bid.key in self._touched[BID] else self._touched)[ASK]
        first: _Order | None = None
        for ask in asks.values():
            if ask.price > (bid.price if first is None else first.price):
                break
            partner = (bid.order, ask.order) in self._partners
            if (partner or not partners_only) and self._passes(bid, ask):
                if partner or not self._partners:
                    return ask  # type: ignore[no-any-return]
                first = first or ask
        return first

    def _passes(self, bid: _Order, ask: _Order) -> bool:
        """Tell whether the machine and its seller pass the bid's screen (R6); the prices cross already."""
        machine, screen = self._machines[ask.owner], bid.screen
        return (
            machine.account != bid.owner
            and (not screen.only or machine.account in screen.only)
            and machine.account not in screen.blocked
            and screen.flags & ~machine.flags == 0
            and all(number >= least for number, least in zip(machine.numbers, screen.minimums, strict=True))
        )

    def settled(self) -> None:
        """Forget what was touched: nothing can match now."""
        for touched in self._touched:
            touched.clear()

    # ---- what is there

    def depth(self, side: int) -> list[tuple[int, int]]:
        """Return (price, open slots) of the live orders, best first (R11)."""
        levels: dict[int, int] = {}
        for order in self._live[checked("side", side, BID, ASK)].values():
            levels[order.price] = levels.get(order.price, 0) + order.open
        return list(levels.items())

    def best(self, side: int) -> int | None:
        """Return the best live price."""
        live = self._live[checked("side", side, BID, ASK)]
        return live.peekitem(0)[1].price if live else None

    def __len__(self) -> int:
        return len(self._orders)

    def _check(self) -> None:
        dump = f"\norders {self._orders}\naccounts {self._accounts}\nmachines {self._machines}"
        for side in (BID, ASK):
            live = {o.key: o for o in self._orders.values() if o.side == side and self._may_match(o)}
            assert dict(self._live[side]) == live, f"live of side {side}: {self._live[side]}{dump}"
            assert self._touched[side].keys() <= live.keys(), f"touched: {self._touched[side]}{dump}"
        owned = [o for a in self._accounts.values() for o in a.bids.values() if o.side == BID]
        owned += [o for m in self._machines.values() for o in m.asks.values() if o.side == ASK]
        assert sorted(o.order for o in owned) == sorted(self._orders), f"orders and owners{dump}"
        for (bid, ask), slots in self._partners.items():
            assert slots > 0 and self._orders[bid].side == BID and self._orders[ask].side == ASK, dump
