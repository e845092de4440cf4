"""Matching: the one way in which a bid and an ask meet (R5-R7, R11, R14).

While nothing is touched no pair is eligible. So only pairs with a touched side can be: a touched bid looks for
its best ask; a touched ask for its best bid, and remembers it; of many touched asks the bids are gone through
instead. The best of these bids is served first, from the best of all asks that it could meet. What finds nothing
is touched no more.
"""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from exchange._core cimport PARTNERED, Core, Order, entry_of, open_of, partners_of, worth
from exchange._heap cimport ARITY, Entry, Heap, grown, precedes, push, replace, take
from exchange._orders cimport partner_entry, untouch
from exchange._queues cimport tidy_tag
from exchange._ranking cimport Ranking
from exchange._screens cimport ASK, BID, NONE, Tags, allows, kind_passes
from exchange._search cimport (
    Seeker,
    add_step,
    affordable,
    begin_walk,
    first_of,
    is_before,
    next_step,
    seeker_of,
    take_step,
)

cdef enum:
    MANY_ASKS = 16  # touched; of fewer each one's best bid is looked for
    FEW_STRANGERS = 64  # asks before the first partner that a bid looks at one by one

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
    """The cheapest eligible ask: of that price the first last partner, or else the first (R14).

    O(log n); where it has partners, but not the first, as many more steps as there are strangers before one.
    """
    cdef Seeker who = seeker_of(core, bid)
    cdef int32_t ask = first_of(core, &who), other, steps = FEW_STRANGERS
    if not ask or not core.orders[bid].traits & PARTNERED or partner_entry(core, bid, ask):
        return ask
    who.bound, who.patience = core.orders[ask].price, steps
    begin_walk(core, &who)
    while steps:
        other = next_step(core, &who)
        if other <= 0:
            break
        if core.orders[other].traits & PARTNERED and partner_entry(core, bid, other):
            return other
        steps -= 1
    other = first_partner(core, bid, core.orders[ask].price) if steps == 0 or other < 0 else 0
    return other if other else ask


# ---- where many asks are touched, the bids are gone through: one could be every ask's best

cdef inline int32_t other_of_tag(Core *core, int32_t tag, int32_t bid) noexcept nogil:
    """The best bid of a screen that has an ask, where its best finds only asks of its own account, or 0."""
    cdef const Ranking *runs = &core.relation.sides[BID].tags[tag].runs
    cdef Seeker who = seeker_of(core, bid)
    cdef int32_t owner = core.orders[bid].owner, best = 0, at, slot
    who.account = -1
    if not first_of(core, &who):
        return 0
    for at in range(runs.size + runs.rest.size):
        slot = core.runs.runs[
            runs.row[at].id if at < runs.size else runs.rest.entries[at - runs.size].id].first
        while slot and not (best and is_before(core, best, slot)):
            if core.orders[slot].owner != owner and first_ask(core, slot):
                best = slot
                break
            slot = core.links[slot].after
    return best


cdef inline void begin_hungry(Core *core) noexcept nogil:
    """All screens that have live bids may have one for a touched ask."""
    cdef const Tags *screens = &core.relation.sides[BID]
    cdef int32_t at
    core.in_hungry = <int32_t *>grown(core.in_hungry, screens.room, sizeof(int32_t))
    memset(core.in_hungry, 0, screens.room * sizeof(int32_t))
    core.hungry.size, core.hungry_since = 0, core.asks_touched
    for at in range(screens.best.size):
        push(&core.hungry, screens.best.entries[at], core.in_hungry)
        core.hungry.entries[core.in_hungry[screens.best.entries[at].id] - 1].account = 0


cdef inline int32_t hungry_bid(Core *core) noexcept nogil:
    """The best bid that has an ask, until another ask is touched. O(log n) for each; a screen without one goes."""
    cdef const Tags *screens = &core.relation.sides[BID]
    cdef Entry top
    cdef int32_t bid
    if core.hungry_since != core.asks_touched:
        begin_hungry(core)
    while core.hungry.size:
        top = core.hungry.entries[0]
        tidy_tag(core, BID, top.id)
        if screens.prices[top.id] == NONE:
            take(&core.hungry, 0, core.in_hungry)
            continue
        bid = top.account  # not the screen's best, but the best that has an ask
        if bid and core.orders[bid].live and core.orders[bid].place == top.place and first_ask(core, bid):
            return bid
        if bid or top.price != screens.prices[top.id] or top.place != screens.tops[top.id].place:
            top.price, top.place, top.account = screens.prices[top.id], screens.tops[top.id].place, 0
            replace(&core.hungry, 0, top, core.in_hungry)
            continue
        bid = core.runs.runs[screens.tops[top.id].run].first
        if first_ask(core, bid):
            return bid
        bid = other_of_tag(core, top.id, bid)
        if not bid:
            take(&core.hungry, 0, core.in_hungry)
            continue
        top.price, top.place, top.account = worth(&core.orders[bid]), core.orders[bid].place, bid
        replace(&core.hungry, 0, top, core.in_hungry)
    return 0


cdef inline int32_t bid_of_touched(Core *core) noexcept nogil:
    """The best bid that any touched ask could meet, or 0; asks that could meet none are touched no more."""
    cdef Heap *touched = &core.touched[ASK]
    cdef Entry top
    cdef Seeker who
    cdef int32_t bid
    if touched.size > MANY_ASKS:
        return hungry_bid(core)
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
    cdef int32_t at, child
    core.steps_size = 0
    if bids.size:
        add_step(core, bids.entries[0].price, bids.entries[0].place, 0, 0)
    while core.steps_size:
        at = take_step(core).at
        pair.bid = bids.entries[at].id
        pair.ask = first_partner(core, pair.bid, core.orders[pair.bid].price)
        if pair.ask:
            return True
        for child in range(ARITY * at + 1, min(ARITY * at + 1 + ARITY, bids.size)):
            add_step(core, bids.entries[child].price, bids.entries[child].place, child, 0)
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
