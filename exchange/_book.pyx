# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled book: `exchange.book.Book` says what each call does, `exchange.book_twin` what it answers.

C structures in growing arrays, no Python object per order. Live orders of a side stand in a treap threaded
with a list, so that matching walks them in order; so do the touched ones among them. Busy and sleeping orders
stand in neither and keep only their entry. Walking costs nothing for them, O(log live) for coming and going.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free as release_memory
from libc.string cimport memcmp, memcpy, memset

from exchange._tree cimport ASK, BID, LIVE, TOUCHED, Links, Order, Tree, insert, precedes, take_out
from exchange.book import (
    FLAGS_MAX,
    BadBookValue,
    DuplicateOrder,
    UnknownOrder,
    check_screen,
    checked,
    checked_numbers,
)
from exchange.book_check import check_state

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef enum:
    NUMBERS = 16
    WORDS = 8  # of 64 flags

cdef int64_t ID_MAX = (<int64_t>1 << 28) - 1
cdef int64_t OPEN_MAX = 0x7FFFFFFF
cdef int64_t PRICE_MAX = <int64_t>1 << 62
cdef int64_t INT64_MAX = 0x7FFFFFFFFFFFFFFF


cdef int64_t whole(str field, object value, int64_t low, int64_t high) except? -1:
    """`exchange.book.checked` at the speed of C where all is well."""
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow != 0 or number < low or number > high:
        checked(field, value, low, high)
    return number


cdef void *room(void *old, size_t *have, size_t wanted, size_t size) except NULL:
    """`old`, or a larger zeroed copy of it with at least `wanted` entries (doubling)."""
    cdef size_t more = have[0]
    cdef void *new
    if wanted <= more:
        return old
    while more < wanted:
        more = 2 * more if more else 64
    new = calloc(more, size)
    if new == NULL:
        raise MemoryError(f"no memory for {more} entries of {size} bytes in the book")
    if old != NULL:
        memcpy(new, old, have[0] * size)
        release_memory(old)
    have[0] = more
    return new


cdef bint among(int32_t account, const int32_t *accounts, int32_t count) noexcept nogil:
    """Whether `account` is one of `count` sorted accounts."""
    cdef int32_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) // 2
        if accounts[middle] < account:
            low = middle + 1
        else:
            high = middle
    return low < count and accounts[low] == account


cdef void read_flags(uint64_t *words, object flags):
    cdef bytes raw = flags.to_bytes(8 * WORDS, "little")
    memcpy(words, <const char *>raw, 8 * WORDS)


cdef int read_numbers(int32_t *into, str field, object numbers) except -1:
    """`exchange.book.checked_numbers` at the speed of C where all is well."""
    cdef int overflow = 0, i
    cdef int64_t number
    if len(numbers) != NUMBERS:
        checked_numbers(field, numbers)
    for i in range(NUMBERS):
        number = PyLong_AsLongLongAndOverflow(numbers[i], &overflow)
        if overflow != 0 or number < -OPEN_MAX - 1 or number > OPEN_MAX:
            checked_numbers(field, numbers)
        into[i] = <int32_t>number
    return 0


cdef class Book:
    """The compiled book; see `exchange.book.Book` for what each call does."""

    def __cinit__(self):
        self.orders_top = self.demands_top = self.partners_top = 1
        self.touched[BID].links = self.touched[ASK].links = TOUCHED
        self.interned, self.screens, self.screens_free = {}, [None], []
        self.orders = <Order *>room(NULL, &self.orders_room, 64, sizeof(Order))
        self.demands = <Demand *>room(NULL, &self.demands_room, 64, sizeof(Demand))
        self.partners = <Partner *>room(NULL, &self.partners_room, 64, sizeof(Partner))

    def __dealloc__(self):
        cdef int32_t i
        if self.demands != NULL:
            for i in range(self.demands_top):
                release_memory(self.demands[i].accounts)
        release_memory(self.orders)
        release_memory(self.accounts)
        release_memory(self.machines)
        release_memory(self.demands)
        release_memory(self.partners)
        release_memory(self.slots)

    # ---- who may match

    def set_account(self, account, present, free):
        cdef int64_t index = whole("account", account, 0, ID_MAX)
        cdef int64_t money = whole("free", free, -INT64_MAX - 1, INT64_MAX), old
        cdef bint here = present, was
        self.accounts = <Account *>room(self.accounts, &self.accounts_room, index + 1, sizeof(Account))
        cdef Account *entry = &self.accounts[index]
        old, was = entry.free, entry.present
        entry.known, entry.present, entry.free = True, here, money
        if here != was or (here and max(old, money) >= entry.lowest and min(old, money) < entry.highest):
            self.wake(entry)

    cdef void wake(self, Account *entry) noexcept nogil:
        """Put all bids of an account where they belong, and make the bounds of their prices exact."""
        cdef int32_t bid = entry.orders
        entry.lowest, entry.highest = INT64_MAX, 0
        while bid:
            entry.lowest = min(entry.lowest, self.orders[bid].price)
            entry.highest = max(entry.highest, self.orders[bid].price)
            self.refresh(bid, False)
            bid = self.orders[bid].owner_after

    def set_machine(self, machine, account, numbers, flags, ready):
        cdef int64_t index = whole("machine", machine, 0, ID_MAX)
        cdef Machine new
        cdef Machine *entry
        cdef int32_t ask
        memset(&new, 0, sizeof(Machine))
        new.account = <int32_t>whole("account", account, 0, ID_MAX)
        read_numbers(new.numbers, "numbers", numbers)
        read_flags(new.flags, checked("flags", flags, 0, FLAGS_MAX))
        new.known, new.ready = True, bool(ready)
        self.machines = <Machine *>room(self.machines, &self.machines_room, index + 1, sizeof(Machine))
        entry = &self.machines[index]
        cdef bint changed = (
            entry.account != new.account
            or memcmp(entry.numbers, new.numbers, sizeof(new.numbers)) != 0
            or memcmp(entry.flags, new.flags, sizeof(new.flags)) != 0
        )
        ask = new.orders = entry.orders
        entry[0] = new
        while ask:
            self.refresh(ask, changed)
            ask = self.orders[ask].owner_after

    cdef bint may_match(self, const Order *order) noexcept nogil:
        """Whether an order is live (R6, R11)."""
        if order.open == 0:
            return False
        if order.side == ASK:
            return self.machines[order.owner].ready
        return self.accounts[order.owner].present and self.accounts[order.owner].free >= order.price

    cdef void refresh(self, int32_t slot, bint touch) noexcept nogil:
        """Put an order where it belongs; one that wakes up is touched."""
        cdef Order *order = &self.orders[slot]
        if not self.may_match(order):
            self.sleep(slot)
        elif touch or not order.live:
            if not order.live:
                order.live = True
                insert(self.orders, &self.live[order.side], slot)
            if not order.touched:
                order.touched = True
                insert(self.orders, &self.touched[order.side], slot)
            self.cursor = self.live[BID].first

    cdef void sleep(self, int32_t slot) noexcept nogil:
        cdef Order *order = &self.orders[slot]
        if order.live:
            if self.cursor == slot:
                self.cursor = order.links[LIVE].after
            order.live = False
            take_out(self.orders, &self.live[order.side], slot)
        self.untouch(slot)

    cdef void untouch(self, int32_t slot) noexcept nogil:
        if self.orders[slot].touched:
            self.orders[slot].touched = False
            take_out(self.orders, &self.touched[self.orders[slot].side], slot)

    # ---- orders

    def add_bid(self, order, account, price, open, place, screen):
        cdef Order new = self.read_order(order, BID, "account", account, price, open, place)
        if new.owner >= <int64_t>self.accounts_room or not self.accounts[new.owner].known:
            raise BadBookValue(f"account {account} was never set: call set_account first")
        new.screen = self.intern(screen)
        cdef Account *entry = &self.accounts[new.owner]
        entry.lowest = min(entry.lowest, new.price) if entry.orders else new.price
        entry.highest = max(entry.highest, new.price) if entry.orders else new.price
        self.store(&new)

    def add_ask(self, order, machine, price, open, place):
        cdef Order new = self.read_order(order, ASK, "machine", machine, price, open, place)
        if new.owner >= <int64_t>self.machines_room or not self.machines[new.owner].known:
            raise BadBookValue(f"machine {machine} was never set: call set_machine first")
        self.store(&new)

    cdef Order read_order(self, order, int side, str word, owner, price, open, place) except *:
        """Check a new order and make room for it."""
        cdef Order new
        memset(&new, 0, sizeof(Order))
        cdef int64_t id = whole("order", order, 0, ID_MAX)
        if id < <int64_t>self.slots_room and self.slots[id]:
            raise DuplicateOrder(order)
        new.id, new.side = <int32_t>id, side
        new.owner = <int32_t>whole(word, owner, 0, ID_MAX)
        new.price = whole("price", price, 0, PRICE_MAX)
        new.open = <int32_t>whole("open", open, 0, OPEN_MAX)
        new.place = whole("place", place, -INT64_MAX - 1, INT64_MAX)
        self.slots = <int32_t *>room(self.slots, &self.slots_room, id + 1, sizeof(int32_t))
        if not self.orders_free:
            self.orders = <Order *>room(self.orders, &self.orders_room, self.orders_top + 1, sizeof(Order))
        return new

    cdef void store(self, const Order *new) noexcept nogil:
        """Give a checked order its slot and its place among its owner's orders and in the book."""
        cdef int32_t slot = self.orders_free
        cdef int32_t *head
        if slot:
            self.orders_free = self.orders[slot].owner_after
        else:
            slot = self.orders_top
            self.orders_top += 1
        self.orders[slot] = new[0]
        self.slots[new.id] = slot
        self.count += 1
        head = self.owner_head(new)
        self.orders[slot].owner_after = head[0]
        if head[0]:
            self.orders[head[0]].owner_before = slot
        head[0] = slot
        self.refresh(slot, False)

    cdef int32_t *owner_head(self, const Order *order) noexcept nogil:
        if order.side == BID:
            return &self.accounts[order.owner].orders
        return &self.machines[order.owner].orders

    cdef int32_t slot_of(self, object order) except 0:
        cdef int overflow = 0
        cdef int64_t id = PyLong_AsLongLongAndOverflow(order, &overflow)
        if overflow or id < 0 or id >= <int64_t>self.slots_room or not self.slots[id]:
            raise UnknownOrder(order)
        return self.slots[id]

    def reprice(self, order, price, place):
        cdef int32_t slot = self.slot_of(order)
        cdef int64_t limit = whole("price", price, 0, PRICE_MAX)
        cdef int64_t when = whole("place", place, -INT64_MAX - 1, INT64_MAX)
        cdef Account *entry
        self.sleep(slot)
        self.orders[slot].price, self.orders[slot].place = limit, when
        if self.orders[slot].side == BID:
            entry = &self.accounts[self.orders[slot].owner]
            entry.lowest, entry.highest = min(entry.lowest, limit), max(entry.highest, limit)
        self.refresh(slot, False)

    def rescreen(self, order, screen):
        cdef int32_t slot = self.slot_of(order), old
        if self.orders[slot].side != BID:
            raise BadBookValue(f"order {order} is an ask: only a bid has a screen")
        old, self.orders[slot].screen = self.orders[slot].screen, self.intern(screen)
        self.release(old)
        self.refresh(slot, True)

    def set_open(self, order, open):
        cdef int32_t slot = self.slot_of(order)
        self.orders[slot].open = <int32_t>whole("open", open, 0, OPEN_MAX)
        self.refresh(slot, False)

    def remove(self, order):
        cdef int32_t slot = self.slot_of(order)
        cdef Order *old = &self.orders[slot]
        self.sleep(slot)
        while old.partners:
            self.drop_partner(old.partners)
        if old.owner_before:
            self.orders[old.owner_before].owner_after = old.owner_after
        else:
            self.owner_head(old)[0] = old.owner_after
        if old.owner_after:
            self.orders[old.owner_after].owner_before = old.owner_before
        self.slots[old.id] = 0
        self.count -= 1
        if old.side == BID:
            self.release(old.screen)
        old.id, old.owner_after, self.orders_free = -1, self.orders_free, slot

    # ---- screens: equal ones are one demand

    cdef int32_t intern(self, object screen) except 0:
        """Return the demand of a screen, with one bid more."""
        cdef int32_t at
        known = self.interned.get(screen)
        if known is not None:
            at = known
        else:
            check_screen(screen)
            if not self.screens_free:
                self.demands = <Demand *>room(
                    self.demands, &self.demands_room, self.demands_top + 1, sizeof(Demand))
                self.screens_free.append(self.demands_top)
                self.screens.append(None)
                self.demands_top += 1
            at = self.screens_free[len(self.screens_free) - 1]
            self.fill_demand(&self.demands[at], screen)
            self.screens_free.pop()
            self.screens[at] = screen
            self.interned[screen] = at
        self.demands[at].bids += 1
        return at

    cdef int fill_demand(self, Demand *demand, object screen) except -1:
        cdef list accounts = sorted(screen.only) + sorted(screen.blocked)
        cdef int32_t *copy = <int32_t *>calloc(len(accounts) + 1, sizeof(int32_t))
        cdef Py_ssize_t i
        if copy == NULL:
            raise MemoryError(f"no memory for the {len(accounts)} accounts of a screen")
        for i in range(len(accounts)):
            copy[i] = accounts[i]
        memset(demand, 0, sizeof(Demand))
        demand.accounts, demand.only, demand.blocked = copy, len(screen.only), len(screen.blocked)
        read_numbers(demand.minimums, "screen.minimums", screen.minimums)
        read_flags(demand.flags, screen.flags)
        return 0

    cdef void release(self, int32_t at):
        """Take one bid from a demand; the last one takes the demand away."""
        self.demands[at].bids -= 1
        if self.demands[at].bids == 0:
            del self.interned[self.screens[at]]
            self.screens[at] = None
            self.screens_free.append(at)
            release_memory(self.demands[at].accounts)
            self.demands[at].accounts = NULL

    cdef bint passes(self, int32_t bid, int32_t ask) noexcept nogil:
        """Whether machine and seller pass the bid's screen (R6)."""
        cdef const Machine *machine = &self.machines[self.orders[ask].owner]
        cdef const Demand *demand = &self.demands[self.orders[bid].screen]
        cdef uint64_t missing = 0
        cdef int i, short = 0
        if machine.account == self.orders[bid].owner:
            return False
        for i in range(WORDS):
            missing |= demand.flags[i] & ~machine.flags[i]
        for i in range(NUMBERS):
            short |= machine.numbers[i] < demand.minimums[i]
        if missing or short:
            return False
        if demand.only and not among(machine.account, demand.accounts, demand.only):
            return False
        return not demand.blocked or not among(machine.account, demand.accounts + demand.only, demand.blocked)

    # ---- last partners (R14)

    def add_partner(self, bid, ask, slots):
        cdef int32_t ends[2]
        cdef int32_t entry
        cdef Partner *partner
        cdef int side
        ends[BID] = self.slot_of(bid)
        if self.orders[ends[BID]].side != BID:
            raise BadBookValue(f"bid is {bid}: this order is an ask")
        ends[ASK] = self.slot_of(ask)
        if self.orders[ends[ASK]].side != ASK:
            raise BadBookValue(f"ask is {ask}: this order is a bid")
        cdef int64_t more = whole("slots", slots, -OPEN_MAX, OPEN_MAX)
        entry = self.partner_entry(ends[BID], ends[ASK])
        if entry:
            self.partners[entry].slots += more
            if self.partners[entry].slots <= 0:
                self.drop_partner(entry)
        elif more > 0:
            entry = self.partners_free
            if entry:
                self.partners_free = self.partners[entry].after[0]
            else:
                entry = self.partners_top
                self.partners = <Partner *>room(
                    self.partners, &self.partners_room, entry + 1, sizeof(Partner))
                self.partners_top += 1
            partner = &self.partners[entry]
            partner.slots = more
            for side in range(2):
                partner.orders[side], partner.before[side] = ends[side], 0
                partner.after[side] = self.orders[ends[side]].partners
                if partner.after[side]:
                    self.partners[partner.after[side]].before[side] = entry
                self.orders[ends[side]].partners = entry

    def clear_partners(self):
        cdef int32_t entry
        for entry in range(1, self.partners_top):
            if self.partners[entry].slots:
                self.orders[self.partners[entry].orders[BID]].partners = 0
                self.orders[self.partners[entry].orders[ASK]].partners = 0
        self.partners_top, self.partners_free = 1, 0

    cdef int32_t partner_entry(self, int32_t bid, int32_t ask) noexcept nogil:
        """The pair's entry or 0; both lists are walked at once, so the shorter one is what it costs."""
        cdef int32_t of_bid = self.orders[bid].partners, of_ask = self.orders[ask].partners
        while of_bid and of_ask:
            if self.partners[of_bid].orders[ASK] == ask:
                return of_bid
            if self.partners[of_ask].orders[BID] == bid:
                return of_ask
            of_bid, of_ask = self.partners[of_bid].after[BID], self.partners[of_ask].after[ASK]
        return 0

    cdef void drop_partner(self, int32_t entry) noexcept nogil:
        cdef Partner *partner = &self.partners[entry]
        cdef int side
        for side in range(2):
            if partner.before[side]:
                self.partners[partner.before[side]].after[side] = partner.after[side]
            else:
                self.orders[partner.orders[side]].partners = partner.after[side]
            if partner.after[side]:
                self.partners[partner.after[side]].before[side] = partner.before[side]
        partner.slots, partner.after[0], self.partners_free = 0, self.partners_free, entry

    # ---- matching

    def next_match(self, arriving=-1, partners_only=False):
        cdef int64_t newcomer = whole("arriving", arriving, -1, ID_MAX)
        cdef Pair pair
        if not (self.find_partners(&pair) if partners_only else self.find(&pair)):
            return None
        self.settle_terms(&pair, newcomer)
        return self.orders[pair.bid].id, self.orders[pair.ask].id, pair.price, pair.slots

    cdef bint find(self, Pair *pair) noexcept nogil:
        """The first eligible pair (R5, R14). Only pairs with a touched side can be eligible.

        First the bids that a touched ask could meet, from the cursor on; then the other touched ones. A bid
        that finds nothing is passed for good, until something is touched again.
        """
        cdef int32_t lowest = self.touched[ASK].first
        while lowest and self.cursor and self.orders[self.cursor].price >= self.orders[lowest].price:
            pair.bid = self.cursor
            pair.ask = self.first_ask(
                pair.bid, &self.live[ASK] if self.orders[pair.bid].touched else &self.touched[ASK])
            if pair.ask:
                return True
            self.untouch(pair.bid)
            self.cursor = self.orders[pair.bid].links[LIVE].after
        while self.touched[BID].first:
            pair.bid = self.touched[BID].first
            pair.ask = self.first_ask(pair.bid, &self.live[ASK])
            if pair.ask:
                return True
            self.untouch(pair.bid)
        return False

    cdef int32_t first_ask(self, int32_t bid, const Tree *asks) noexcept nogil:
        """The cheapest eligible ask: of that price the first last partner, or else the first (R14)."""
        cdef int32_t ask = asks.first, entry, other, partner = 0
        while ask and self.orders[ask].price <= self.orders[bid].price and not self.passes(bid, ask):
            ask = self.orders[ask].links[asks.links].after
        if not ask or self.orders[ask].price > self.orders[bid].price:
            return 0
        if self.partner_entry(bid, ask):
            return ask
        entry = self.orders[bid].partners
        while entry:
            other = self.partners[entry].orders[ASK]
            if self.orders[other].live and self.orders[other].price == self.orders[ask].price:
                if not partner or precedes(&self.orders[other], &self.orders[partner]):
                    if self.passes(bid, other):
                        partner = other
            entry = self.partners[entry].after[BID]
        return partner if partner else ask

    cdef bint find_partners(self, Pair *pair) noexcept nogil:
        """The first eligible pair of last partners (R21)."""
        cdef Order *orders = self.orders
        cdef int32_t entry, bid, ask
        pair.bid = pair.ask = 0
        for entry in range(1, self.partners_top):
            if self.partners[entry].slots == 0:
                continue
            bid, ask = self.partners[entry].orders[BID], self.partners[entry].orders[ASK]
            if not orders[bid].live or not orders[ask].live or orders[bid].price < orders[ask].price:
                continue
            if pair.bid == bid:
                if not precedes(&orders[ask], &orders[pair.ask]):
                    continue
            elif pair.bid and not precedes(&orders[bid], &orders[pair.bid]):
                continue
            if self.passes(bid, ask):
                pair.bid, pair.ask = bid, ask
        return pair.bid != 0

    cdef void settle_terms(self, Pair *pair, int64_t arriving) noexcept nogil:
        """The execution price (R7), and how many slots the pair can open one by one (R11)."""
        cdef const Order *bid = &self.orders[pair.bid]
        cdef const Order *ask = &self.orders[pair.ask]
        cdef int32_t entry = self.partner_entry(pair.bid, pair.ask)
        pair.price = bid.price if ask.id == arriving else ask.price
        pair.slots = min(bid.open, ask.open)
        if entry:
            pair.slots = min(pair.slots, self.partners[entry].slots)
        if pair.price:
            pair.slots = min(pair.slots, 1 + (self.accounts[bid.owner].free - bid.price) // pair.price)

    def settled(self):
        cdef int side
        cdef int32_t slot
        for side in range(2):
            slot = self.touched[side].first
            while slot:
                self.orders[slot].touched = False
                slot = self.orders[slot].links[TOUCHED].after
            self.touched[side].root = self.touched[side].first = 0

    # ---- what is there

    def depth(self, side):
        cdef int32_t slot = self.live[whole("side", side, BID, ASK)].first
        cdef int64_t price, slots
        cdef list levels = []
        while slot:
            price, slots = self.orders[slot].price, 0
            while slot and self.orders[slot].price == price:
                slots += self.orders[slot].open
                slot = self.orders[slot].links[LIVE].after
            levels.append((price, slots))
        return levels

    def best(self, side):
        cdef int32_t slot = self.live[whole("side", side, BID, ASK)].first
        return self.orders[slot].price if slot else None

    def __len__(self):
        return self.count

    def _check(self):
        check_state(self._state())

    def _state(self):
        """All that the book holds, as plain Python, for `exchange.book_check`."""
        cdef size_t i
        return {
            "orders": [self.orders[i] for i in range(self.orders_top)],
            "slots": {i: self.slots[i] for i in range(self.slots_room) if self.slots[i]},
            "accounts": {i: self.accounts[i] for i in range(self.accounts_room) if self.accounts[i].known},
            "machines": {i: self.machines[i] for i in range(self.machines_room) if self.machines[i].known},
            "partners": [self.partners[i] for i in range(self.partners_top)],
            "bids_of_screens": [self.demands[i].bids for i in range(self.demands_top)],
            "screens": list(self.screens),
            "screens_free": list(self.screens_free),
            "interned": dict(self.interned),
            "live": [self.live[0], self.live[1]],
            "touched": [self.touched[0], self.touched[1]],
            "count": self.count,
            "cursor": self.cursor,
            "orders_free": self.orders_free,
            "partners_free": self.partners_free,
        }
