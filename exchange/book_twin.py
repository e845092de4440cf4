"""The book's specification in code: plain Python on sorted containers, with the answers of the compiled book.

Here stand the told level and what the book shows; what is done when it is asked, in `exchange.matcher_twin`.

An order is *live* while it could be matched (R6, R11): open, and its buyer present and funded, or its
machine ready. A live order is *touched* when it may have become able to match since `settled`. A pair of
which neither is touched could have matched before, so it cannot match now: untouched bids look at touched
asks alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import index
from typing import Final

from sortedcontainers import SortedSet

from exchange import book_records as records
from exchange import matcher_twin as matcher
from exchange.book import (
    ASK,
    BID,
    FLAGS_MAX,
    ID_LIMIT,
    INDEX_BITS,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    NO_BOUND,
    NOBODY,
    NUMBERS,
    PLACE_MAX,
    PRICE_MAX,
    BadBookValue,
    DuplicateOrder,
    FinishedOrder,
    Match,
    Quote,
    Results,
    Screen,
    UnknownOrder,
    check_screen,
    checked,
    checked_numbers,
    plain_screen,
)
from exchange.book_records import STANDING, Buffer
from exchange.matcher_twin import Rows
from exchange.twin_orders import PLAIN, Account, Ask, Bid, Machine, Side

ENDLESS: Final = 1 << 128  # money: more than all that there is could cost


class Book:
    """The twin; see `exchange.book.Book` for what each call does."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.machines: dict[int, Machine] = {}
        self.orders: dict[int, Bid | Ask] = {}  # index -> the order that has it
        self.numbers: dict[int, int] = {}  # index -> number of the last order that took it
        self.bids, self.asks = Side(), Side()
        self.partners: dict[tuple[Bid, Ask], int] = {}  # slots, never 0 (R14)
        self.expiries = SortedSet()  # (expires, id) of the orders that expire
        self.last_place = 0
        self.screens: dict[int, Screen] = {0: PLAIN}  # handle -> screen
        self.handles: dict[Screen, int] = {PLAIN: 0}
        self.keeps: dict[int, int] = {0: 1}  # handle -> keeps without their drops; the first is always kept
        self.next_handle = 1

    # ---- who may match

    def set_account(self, account: int, present: bool, free: int) -> None:
        """Wake or let sleep the bids of an account that came, left, or has other money (R6, R11)."""
        account = checked("account", account, 0, ID_LIMIT - 1)
        free = checked("free", free, INT64_MIN, INT64_MAX)
        entry = self.accounts.setdefault(account, Account(False, 0))
        was_present, entry.present = entry.present, bool(present)
        if entry.present != was_present:
            entry.free = free
            for bid in entry.bids.values():
                self.bids.refresh(bid)
        else:
            self.set_free(entry, free)

    def set_free(self, account: Account, free: int) -> None:
        """Give an account other money: the bids with a limit in between wake or fall asleep."""
        low, high = sorted((account.free, free))
        account.free = free
        for key in list(account.bids.irange((low + 1,), (high + 1,))):
            self.bids.refresh(account.bids[key])

    def set_machine(
        self, machine: int, account: int, numbers: Sequence[int], flags: int, ready: bool
    ) -> None:
        """Wake or let sleep the asks of a machine; another profile touches them (R6, R24)."""
        machine = checked("machine", machine, 0, ID_LIMIT - 1)
        account = checked("account", account, 0, ID_LIMIT - 1)
        numbers = checked_numbers("numbers", numbers)
        flags = checked("flags", flags, 0, FLAGS_MAX)
        entry = self.machines.setdefault(machine, Machine(account, numbers, flags, False))
        changed = (entry.seller, entry.numbers, entry.flags) != (account, numbers, flags)
        entry.seller, entry.numbers, entry.flags, entry.ready = account, numbers, flags, bool(ready)
        for ask in entry.asks.values():
            self.asks.refresh(ask, touch=changed)

    def set_ready(self, machine: int, ready: bool) -> None:
        """Wake or let sleep the asks of a machine (R6)."""
        entry = self.machine(machine)
        entry.ready = bool(ready)
        for ask in entry.asks.values():
            self.asks.refresh(ask)

    def set_number(self, machine: int, attribute: int, value: int) -> None:
        """Change one number of a profile, which touches the machine's asks (R27)."""
        entry = self.machine(machine)
        attribute = checked("attribute", attribute, 0, NUMBERS - 1)
        value = checked("value", value, INT32_MIN, INT32_MAX)
        changed = entry.numbers[attribute] != value
        entry.numbers = (*entry.numbers[:attribute], value, *entry.numbers[attribute + 1 :])
        for ask in entry.asks.values():
            self.asks.refresh(ask, touch=changed)

    def account(self, account: int) -> Account:
        """Return an account that was set."""
        number = checked("account", account, 0, ID_LIMIT - 1)
        if number not in self.accounts:
            raise BadBookValue(f"account {account} was never set: call set_account first")
        return self.accounts[number]

    def machine(self, machine: int) -> Machine:
        """Return a machine that was set."""
        number = checked("machine", machine, 0, ID_LIMIT - 1)
        if number not in self.machines:
            raise BadBookValue(f"machine {machine} was never set: call set_machine first")
        return self.machines[number]

    # ---- screens by handle

    def keep_screen(self, screen: Screen) -> int:
        """Return the handle of a screen, a new one where it has none."""
        screen = plain_screen(screen)
        check_screen(screen)
        handle = self.handles.get(screen)
        if handle is None:
            handle, self.next_handle = self.next_handle, self.next_handle + 1
            self.handles[screen], self.screens[handle], self.keeps[handle] = handle, screen, 0
        self.keeps[handle] += 1
        return handle

    def drop_screen(self, handle: int) -> None:
        """Forget a handle with the last of its keeps."""
        handle = index(handle)
        if self.keeps.get(handle, 0) <= (handle == 0):
            raise BadBookValue(f"handle is {handle}: no screen is kept under it")
        self.keeps[handle] -= 1
        if self.keeps[handle] == 0:
            del self.handles[self.screens.pop(handle)], self.keeps[handle]

    # ---- orders

    def add_bid(
        self,
        order: int,
        account: int,
        price: int,
        open: int,
        place: int,
        screen: Screen,
        spend: int = NO_BOUND,
    ) -> None:
        """Add a bid to its account and, where it may match, to the book."""
        self.check_new(order)
        bid = Bid(
            id=index(order),
            account=self.account(account),
            buyer=index(account),
            price=checked("price", price, 0, PRICE_MAX),
            size=checked("open", open, 0, INT32_MAX),
            place=checked("place", place, INT64_MIN, PLACE_MAX),
        )
        screen = plain_screen(screen)
        check_screen(screen)
        bid.screen, bid.spend = screen, checked("spend", spend, 0, INT64_MAX)
        self.enter(bid)

    def add_ask(self, order: int, machine: int, price: int, open: int, place: int) -> None:
        """Add an ask to its machine and, where it may match, to the book."""
        self.check_new(order)
        ask = Ask(
            id=index(order),
            machine=self.machine(machine),
            price=checked("price", price, 0, PRICE_MAX),
            size=checked("open", open, 0, INT32_MAX),
            place=checked("place", place, INT64_MIN, PLACE_MAX),
        )
        self.enter(ask)

    def check_new(self, order: int) -> None:
        """Raise where this id may not be taken."""
        id = checked("order", order, 0, INT64_MAX)
        if id & (ID_LIMIT - 1) in self.orders:
            raise DuplicateOrder(order)
        if id >> INDEX_BITS <= self.numbers.get(id & (ID_LIMIT - 1), -1):
            raise FinishedOrder(order)

    def enter(self, order: Bid | Ask) -> None:
        """Put a checked order into the book."""
        self.orders[order.index] = order
        self.numbers[order.index] = order.id >> INDEX_BITS
        if order.expires:
            self.expiries.add((order.expires, order.id))
        if isinstance(order, Ask):
            order.machine.asks[order.index] = order
        self.put(order)

    def put(self, order: Bid | Ask) -> None:
        """Give an order the place that it has by its price and its `place`."""
        self.last_place = max(self.last_place, order.place)
        if isinstance(order, Bid):
            order.account.bids[order.price, order.index] = order
        self.refresh(order)

    def pull(self, order: Bid | Ask) -> None:
        """Take an order from its place, before it gets another or is gone."""
        if isinstance(order, Bid):
            del order.account.bids[order.price, order.index]
        self.side(order).leave(order)

    def side(self, order: Bid | Ask) -> Side:
        """Return the side that an order is on."""
        return self.bids if isinstance(order, Bid) else self.asks

    def refresh(self, order: Bid | Ask, touch: bool = False) -> None:
        """See `Side.refresh`."""
        self.side(order).refresh(order, touch)

    def find(self, order: int) -> Bid | Ask:
        """Return the order with this id."""
        id = index(order)
        found = self.orders.get(id & (ID_LIMIT - 1))
        if found is not None and found.id == id:
            return found
        if id >= 0 and id >> INDEX_BITS <= self.numbers.get(id & (ID_LIMIT - 1), -1):
            raise FinishedOrder(order)
        raise UnknownOrder(order)

    def reprice(self, order: int, price: int, place: int) -> None:
        """Move an order to another limit and place in time: a new arrival (R9)."""
        entry = self.find(order)
        price = checked("price", price, 0, PRICE_MAX)
        place = checked("place", place, INT64_MIN, PLACE_MAX)
        self.pull(entry)
        entry.price, entry.place = price, place
        self.put(entry)

    def rescreen(self, order: int, screen: Screen) -> None:
        """Give a bid another screen; it keeps its place and is touched (R9)."""
        entry = self.find(order)
        if not isinstance(entry, Bid):
            raise BadBookValue(f"order {order} is an ask: only a bid has a screen")
        screen = plain_screen(screen)
        check_screen(screen)
        entry.screen = screen
        self.refresh(entry, touch=True)

    def set_open(self, order: int, open: int) -> None:
        """Set the free slots; an order that was busy returns to its own place (R10)."""
        entry = self.find(order)
        entry.size = min(entry.running + checked("open", open, 0, INT32_MAX), INT32_MAX)
        self.refresh(entry)

    def set_spend(self, order: int, spend: int) -> None:
        """Set what a bid may still spend; it wakes or falls asleep (R3)."""
        entry = self.find(order)
        if not isinstance(entry, Bid):
            raise BadBookValue(f"order {order} is an ask: only a bid has a most to spend")
        entry.spend = checked("spend", spend, 0, INT64_MAX)
        self.refresh(entry)

    def remove(self, order: int) -> None:
        """Take an order out; its id is finished from now on."""
        self.end(self.find(order))

    def end(self, order: Bid | Ask) -> None:
        """Take an order out."""
        self.pull(order)
        if isinstance(order, Ask):
            del order.machine.asks[order.index]
        del self.orders[order.index]
        self.expiries.discard((order.expires, order.id))
        if self.partners:
            self.partners = {pair: slots for pair, slots in self.partners.items() if order not in pair}

    def add_partner(self, bid: int, ask: int, slots: int) -> None:
        """Count slots whose last partner was this ask, never below none (R14)."""
        buying = self.find(bid)
        if not isinstance(buying, Bid):
            raise BadBookValue(f"bid is {bid}: this order is an ask")
        selling = self.find(ask)
        if not isinstance(selling, Ask):
            raise BadBookValue(f"ask is {ask}: this order is a bid")
        self.count_partners(buying, selling, checked("slots", slots, -INT32_MAX, INT32_MAX))

    def count_partners(self, bid: Bid, ask: Ask, slots: int) -> None:
        """Add to the slots that this pair had together."""
        slots += self.partners.pop((bid, ask), 0)
        if slots > 0:
            self.partners[bid, ask] = slots

    def clear_partners(self) -> None:
        """Forget all partners (R14)."""
        self.partners.clear()

    # ---- matching

    def next_match(self, arriving: int = -1, partners_only: bool = False) -> Match | None:
        """Return the first pair with its price (R7) and the slots that it can open (R11)."""
        arriving = checked("arriving", arriving, -1, INT64_MAX)
        pair = self.first_pair(partners_only)
        return None if pair is None else self.terms(*pair, arriving)

    def first_pair(self, partners_only: bool = False) -> tuple[Bid, Ask] | None:
        """Return the first bid that has an eligible ask, with that ask (R5)."""
        for bid in self._bids_to_ask_for():
            ask = self._first_ask(bid, partners_only)
            if ask is not None:
                return bid, ask
        return None

    def _bids_to_ask_for(self) -> Iterator[Bid]:
        """Yield, best first, the bids that a touched ask could meet, then the other touched ones."""
        lowest = PRICE_MAX + 1
        if self.asks.touched:
            lowest = self.asks.touched.peekitem(0)[1].price
            for bid in self.bids.live.values():
                if bid.price < lowest:
                    break
                yield bid
        for bid in self.bids.touched.values():
            if bid.price < lowest:
                yield bid

    def _first_ask(self, bid: Bid, partners_only: bool) -> Ask | None:
        """Return the cheapest eligible ask: of that price the first last partner, or else the first (R14)."""
        asks = self.asks.live if bid.key in self.bids.touched else self.asks.touched
        first: Ask | None = None
        ask: Ask
        for ask in asks.values():
            if ask.price > (bid.price if first is None else first.price):
                break
            partner = bool(self.partners) and (bid, ask) in self.partners
            if partners_only and not partner:
                continue
            if ask.machine.seller != bid.buyer and ask.machine.passes(bid.screen):
                if partner or not self.partners:
                    return ask
                first = first or ask
        return first

    def terms(self, bid: Bid, ask: Ask, arriving: int) -> Match:
        """Return what a pair agrees on: the price (R7), and slots while they can be paid one by one (R11)."""
        price = bid.price if ask.id == arriving else ask.price
        slots = min(bid.open, ask.open, self.partners.get((bid, ask), INT32_MAX))
        if price > 0:
            slots = min(slots, 1 + (min(bid.account.free, bid.spend) - bid.price) // price)
        return bid.id, ask.id, price, slots

    def settled(self) -> None:
        """Forget what was touched: nothing can match now."""
        self.bids.touched.clear()
        self.asks.touched.clear()

    # ---- asked

    def apply(self, requests: Buffer, results: Results | None = None) -> Rows:
        """Do an array of requests; see `exchange.matcher_twin`."""
        return matcher.apply(self, requests, results)

    def bid(
        self,
        order: int,
        account: int,
        price: int,
        size: int,
        screen: int = 0,
        terms: int = STANDING,
        spend: int = NO_BOUND,
        expires: int = 0,
    ) -> list[Match]:
        """Place one bid."""
        rows = matcher.one(
            self, records.BID, order, owner=account, price=price, size=size, screen=screen, terms=terms,
            spend=spend, expires=expires,
        )  # fmt: skip
        return matcher.matches(rows)

    def ask(
        self, order: int, machine: int, price: int, size: int, terms: int = STANDING, expires: int = 0
    ) -> list[Match]:
        """Place one ask."""
        rows = matcher.one(
            self, records.ASK, order, owner=machine, price=price, size=size, terms=terms, expires=expires
        )
        return matcher.matches(rows)

    def amend(self, order: int, price: int = -1, size: int = -1, screen: int = -1) -> list[Match]:
        """Give one order new terms (R9)."""
        rows = matcher.one(self, records.AMEND, order, price=price, size=size, screen=screen)
        return matcher.matches(rows)

    def cancel(self, order: int) -> int:
        """End one order."""
        return matcher.one(self, records.CANCEL, order)[-1][3]

    # ---- what is there

    def quote_bid(self, account: int, price: int, size: int, screen: Screen, spend: int = NO_BOUND) -> Quote:
        """Return what a bid would get (R6, R7, R11)."""
        checked("account", account, NOBODY, ID_LIMIT - 1)
        free = ENDLESS if account == NOBODY else self.account(account).free
        price = checked("price", price, 0, PRICE_MAX)
        size = checked("size", size, 0, INT32_MAX)
        screen = plain_screen(screen)
        check_screen(screen)
        spend = checked("spend", spend, 0, INT64_MAX)
        money = free if spend == NO_BOUND else min(free, spend)
        return matcher.offer(self, account, price, size, screen, money)

    def quote_ask(self, machine: int, price: int, size: int) -> Quote:
        """Return what an ask would sell (R6, R7, R11)."""
        entry = self.machine(machine)
        price = checked("price", price, 0, PRICE_MAX)
        return matcher.demand(self, entry, price, checked("size", size, 0, INT32_MAX))

    def depth(self, side: int, most: int = INT32_MAX) -> list[tuple[int, int]]:
        """Return (price, open slots) of the live orders, best first (R11)."""
        orders = (self.bids, self.asks)[checked("side", side, BID, ASK)].live.values()
        return _levels(orders, checked("most", most, 0, INT32_MAX))

    def depth_for(
        self, screen: Screen, price: int = PRICE_MAX, most: int = INT32_MAX
    ) -> list[tuple[int, int]]:
        """Return (price, open slots) of the live asks that pass a screen, best first."""
        screen = plain_screen(screen)
        check_screen(screen)
        price = checked("price", price, 0, PRICE_MAX)
        asks = (a for a in self.asks.live.values() if a.price <= price and a.machine.passes(screen))
        return _levels(asks, checked("most", most, 0, INT32_MAX))

    def best(self, side: int) -> int | None:
        """Return the best live price."""
        live = (self.bids, self.asks)[checked("side", side, BID, ASK)].live
        return live.peekitem(0)[1].price if live else None

    def __len__(self) -> int:
        return len(self.orders)

    def _check(self) -> None:
        try:
            self._check_all()
        except AssertionError as broken:
            dump = f"orders: {self.orders}\naccounts: {self.accounts}\nmachines: {self.machines}"
            raise AssertionError(f"{broken}\n{dump}") from broken

    def _check_all(self) -> None:
        for kind, side in ((Bid, self.bids), (Ask, self.asks)):
            live = {o.key: o for o in self.orders.values() if isinstance(o, kind) and o.is_live}
            assert dict(side.live) == live, f"live {kind.__name__}s: {side.live}, not {live}"
            assert side.touched.keys() <= live.keys(), f"touched {kind.__name__}s: {side.touched}"
        for at, order in self.orders.items():
            assert (order.index, order.id >> INDEX_BITS) == (at, self.numbers[at]), f"ids of {order}"
            assert order.size >= 0 and order.running >= 0, f"slots of {order}"
            assert not (order.once and order.running), f"slots of {order} do not come back"
        owned = [o for a in self.accounts.values() for o in a.bids.values()]
        owned += [o for m in self.machines.values() for o in m.asks.values()]
        assert sorted(map(id, owned)) == sorted(map(id, self.orders.values())), f"owners: {owned}"
        for (bid, ask), slots in self.partners.items():
            assert slots > 0 and self.orders[bid.index] is bid and self.orders[ask.index] is ask, "partners"
        wanted = {(o.expires, o.id) for o in self.orders.values() if o.expires}
        assert wanted == self.expiries, f"expiries: {self.expiries}"
        assert self.keeps.keys() == set(self.handles.values()) == self.screens.keys(), "handles"


def _levels(orders: Iterator[Bid | Ask], most: int) -> list[tuple[int, int]]:
    levels: dict[int, int] = {}
    for order in orders:
        if order.price not in levels and len(levels) == most:
            break
        levels[order.price] = levels.get(order.price, 0) + order.open
    return list(levels.items())
