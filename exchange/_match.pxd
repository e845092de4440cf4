"""Matching: the one way in which a bid and an ask meet (R5-R7, R11, R14).

While nothing is touched no pair is eligible. So only pairs with a touched side can be: a touched bid looks for
its best ask; a touched ask for its best bid, and remembers it. The best of these bids is served first, from the
best of all asks that it could meet. What finds nothing is touched no more.
"""

from libc.stdint cimport int32_t, int64_t

from exchange._core cimport PARTNERED, Core, Order, entry_of, open_of, partners_of, worth
from exchange._heap cimport Entry, Heap, precedes, replace
from exchange._orders cimport partner_entry, untouch
from exchange._screens cimport ASK, BID, allows, kind_passes
from exchange._search cimport Seeker, add_children, add_step, affordable, first_of, seeker_of, take_step

ctypedef struct Pair:
    int32_t bid  # slots in Core.orders
    int32_t ask
    int64_t price
    int64_t slots


cdef inline bint passes(const Core *core, int32_t bid, int32_t ask) noexcept nogil:
    """Whether machine and seller pass the bid's screen (R6)."""
    cdef int32_t seller = core.machines[core.orders[ask].owner].account
    cdef int32_t screen = core.orders[bid].tag
    return (seller != core.orders[bid].owner and kind_passes(&core.relation, screen, core.orders[ask].tag)
            and allows(&core.relation.demands[screen], seller))


cdef inline int32_t first_partner(const Core *core, int32_t bid, int64_t price) noexcept nogil:
    """The first of the bid's last partners at most as dear that it could meet, or 0. O(its partners)."""
    cdef int32_t entry = partners_of(core, bid), ask, first = 0
    cdef Entry its, best = entry_of(core, 0)
    while entry:
        ask = core.partners[entry].orders[ASK]
        entry = core.partners[entry].after[BID]
        if not core.orders[ask].live or core.orders[ask].price > price or not passes(core, bid, ask):
            continue
        its = entry_of(core, ask)
        if not first or precedes(&its, &best):
            first, best = ask, its
    return first


cdef inline int32_t first_ask(Core *core, int32_t bid) noexcept nogil:
    """The cheapest eligible ask: of that price the first last partner, or else the first (R14)."""
    cdef Seeker who = seeker_of(core, bid)
    cdef int32_t ask = first_of(core, &who), partner
    if not ask or not partners_of(core, bid):
        return ask
    partner = first_partner(core, bid, core.orders[ask].price)
    return partner if partner else ask


cdef inline int32_t bid_of_touched(Core *core) noexcept nogil:
    """The best bid that any touched ask could meet, or 0; asks that could meet none are touched no more."""
    cdef Heap *touched = &core.touched[ASK]
    cdef Entry top
    cdef Seeker who
    cdef int32_t bid
    while touched.size:
        top = touched.entries[0]
        bid = top.account
        if bid and core.orders[bid].live and core.orders[bid].place == top.place and (
                worth(&core.orders[bid]) == top.price and passes(core, bid, top.id)):
            return bid
        who = seeker_of(core, top.id)
        bid = first_of(core, &who)
        if not bid:
            untouch(core, top.id)
            continue
        top.price, top.place, top.account = worth(&core.orders[bid]), core.orders[bid].place, bid
        replace(touched, 0, top, core.in_touched)
    return 0


cdef inline bint find(Core *core, Pair *pair) noexcept nogil:
    """The first eligible pair; changes what is touched, no order."""
    cdef int32_t of_asks = bid_of_touched(core), bid
    cdef Heap *touched = &core.touched[BID]
    cdef Entry its = entry_of(core, of_asks)
    while touched.size and not (of_asks and precedes(&its, &touched.entries[0])):
        bid = touched.entries[0].id
        pair.bid, pair.ask = bid, first_ask(core, bid)
        if pair.ask:
            return True
        untouch(core, bid)
    if of_asks:
        pair.bid, pair.ask = of_asks, core.touched[ASK].entries[0].id
        if core.touched[ASK].size > 1:
            pair.ask = first_ask(core, of_asks)
    return of_asks != 0


cdef inline bint find_partners(Core *core, Pair *pair) noexcept nogil:
    """The first eligible pair of last partners (R21)."""
    cdef Heap *bids = &core.renewals
    cdef int32_t at
    core.steps_size = 0
    if bids.size:
        add_step(core, bids.entries[0].price, bids.entries[0].place, 0, 0)
    while core.steps_size:
        at = take_step(core).at
        pair.bid = bids.entries[at].id
        pair.ask = first_partner(core, pair.bid, core.orders[pair.bid].price)
        if pair.ask:
            return True
        add_children(core, bids, at, 0, 0)
    return False


cdef inline void settle_terms(const Core *core, Pair *pair, int32_t arriving) noexcept nogil:
    """The execution price (R7), and how many slots the pair can open one by one (R3, R11)."""
    cdef const Order *bid = &core.orders[pair.bid]
    cdef const Order *ask = &core.orders[pair.ask]
    cdef int32_t entry = 0
    cdef int64_t budget
    if bid.traits & ask.traits & PARTNERED:
        entry = partner_entry(core, pair.bid, pair.ask)
    pair.price = bid.price if pair.ask == arriving else ask.price
    pair.slots = min(open_of(bid), open_of(ask))
    if entry:
        pair.slots = min(pair.slots, core.partners[entry].slots)
    budget = min(core.accounts[bid.owner].free, bid.spend)
    if pair.slots > 1 and (budget >> 31) < bid.price:  # a division is dear
        pair.slots = min(pair.slots, affordable(budget, bid.price, pair.price))
