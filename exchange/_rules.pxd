"""Requests done by the market's rules (R3, R5-R11, R14): what `exchange.book_records` says, in C."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t

from exchange._core cimport (
    INDEX_MASK,
    INT64_MAX,
    ONCE_TRAIT,
    PARTNERED,
    Core,
    Order,
    may_match,
    open_of,
)
from exchange._match cimport Pair, find, settle_terms
from exchange._orders cimport (
    change_screen,
    discard,
    expect_lists,
    forget_partners,
    forget_touched,
    move_order,
    partner_entry,
    refresh,
    resize,
    rest,
    slot_of_id,
    store,
    tell_account,
    tell_number,
    tell_partner,
    tell_ready,
    was_there,
)
from exchange._screens cimport ASK, BID, Demand, among, release_screen
from exchange._search cimport Found, Seeker, first_of, quote_to_ask, quote_to_bid, seeker_of

cdef enum Kind:
    DO_BID, DO_ASK, DO_AMEND, DO_CANCEL, DO_RETURN, DO_SETTLE, DO_ACCOUNT, DO_READY, DO_NUMBER, DO_EXPIRE

cdef enum Terms:
    STANDING, ONCE, IOC, FOK, MARKET
    POST_ONLY = 8

cdef enum What:
    MATCH, RESTS, GONE, EXPIRED, REFUSED

cdef enum Code:
    DONE, UNKNOWN, DUPLICATE, FINISHED, BAD_VALUE, WRONG_SIDE, UNFUNDED, NOT_WHOLE, WOULD_MATCH, NO_MEMORY
    NO_ROOM = 255  # not said: more is to be made, and the request done again

cdef enum Field:
    F_ORDER, F_OTHER, F_PRICE, F_SPEND, F_EXPIRES, F_SIZE, F_OWNER, F_SCREEN, F_KIND, F_TERMS

cdef extern from *:
    """
    #define PRICE_MAX (INT64_C(1) << 62)
    """
    int64_t PRICE_MAX
    int64_t INT32_MAX
    int64_t INT32_MIN

cdef extern from "_rules.h" nogil:
    ctypedef struct Request:
        int64_t order
        int64_t other
        int64_t price
        int64_t spend
        int64_t expires
        int32_t size
        int32_t owner
        int32_t screen
        uint8_t kind
        uint8_t terms
        uint16_t pad

    ctypedef struct Result:
        int64_t order
        int64_t other
        int64_t price
        int32_t slots
        int32_t request
        uint8_t what
        uint8_t code

    ctypedef struct Rows:
        Result *rows
        int64_t size
        int64_t room

    void say(
        Rows *out, int32_t request, int what, int code, int64_t order, int64_t other, int64_t price, int32_t slots)


# ---- matching

cdef inline void use_slots(Core *core, int32_t slot, int32_t slots, bint arriving) noexcept nogil:
    """Slots of an order have matched; one that arrives is nowhere yet."""
    cdef Order *order = &core.orders[slot]
    if arriving:
        if order.traits & ONCE_TRAIT:
            order.size -= slots
        else:
            order.running += slots
    elif not order.traits & ONCE_TRAIT:
        resize(core, slot, order.size, order.running + slots)
    elif order.size == slots:
        discard(core, slot)
    else:
        resize(core, slot, order.size - slots, 0)


cdef inline void take_match(
    Core *core, Pair *pair, int32_t arriving, bint settled, int32_t request, Rows *out
) noexcept nogil:
    """A match takes its slots, and holds its money (R3)."""
    cdef int32_t buyer = core.orders[pair.bid].owner, slots
    cdef int64_t cost
    settle_terms(core, pair, arriving)
    slots, cost = <int32_t>pair.slots, pair.slots * pair.price
    say(out, request, MATCH, DONE, core.orders[pair.bid].id, core.orders[pair.ask].id, pair.price, slots)
    if core.orders[pair.bid].traits & core.orders[pair.ask].traits & PARTNERED and (
            partner_entry(core, pair.bid, pair.ask)):
        tell_partner(core, pair.bid, pair.ask, -pair.slots)
    if core.orders[pair.bid].spend != INT64_MAX:
        core.orders[pair.bid].spend -= cost
    use_slots(core, pair.ask, slots, settled and pair.ask == arriving)
    use_slots(core, pair.bid, slots, settled and pair.bid == arriving)
    tell_account(core, buyer, core.accounts[buyer].present, core.accounts[buyer].free - cost)
    if core.orders[pair.bid].live and core.orders[pair.bid].spend < core.orders[pair.bid].price:
        refresh(core, pair.bid, False)


cdef inline void match_all(Core *core, int32_t arriving, int32_t request, Rows *out) noexcept nogil:
    """Match until nothing matches, and forget who were partners."""
    cdef Pair pair
    while (core.touched[BID].size or core.touched[ASK].size) and find(core, &pair):
        take_match(core, &pair, arriving, False, request, out)
    if core.partners_top > 1:
        forget_partners(core)
    if core.touched[BID].size or core.touched[ASK].size:
        forget_touched(core)


# ---- orders

cdef inline int32_t check_id(const Core *core, int64_t order) noexcept nogil:
    """Why an order may not have this id; 0 if it may."""
    if order < 0:
        return BAD_VALUE
    if <size_t>(order & INDEX_MASK) + 1 >= core.orders_room:
        return 0
    if core.orders[(order & INDEX_MASK) + 1].there == 2:
        return DUPLICATE
    return FINISHED if was_there(core, order) else 0


cdef inline int check_bid(const Core *core, const Request *r, int32_t *field) noexcept nogil:
    cdef int code = check_id(core, r.order)
    cdef int terms = r.terms & ~POST_ONLY
    field[0] = F_ORDER
    if code:
        return code
    field[0] = F_OWNER
    if r.owner < 0 or <size_t>r.owner >= core.accounts_room or not core.accounts[r.owner].known:
        return BAD_VALUE
    field[0] = F_PRICE
    if r.terms != MARKET and (r.price < 0 or r.price > PRICE_MAX):
        return BAD_VALUE
    field[0] = F_SPEND
    if r.spend < 0 or (r.terms == MARKET and r.spend == INT64_MAX):
        return BAD_VALUE
    field[0] = F_EXPIRES
    if r.expires < 0:
        return BAD_VALUE
    field[0] = F_SIZE
    if r.size < 1:
        return BAD_VALUE
    field[0] = F_SCREEN
    if not is_kept(core, r.screen):
        return BAD_VALUE
    field[0] = F_TERMS
    return BAD_VALUE if terms > MARKET or (r.terms & POST_ONLY and terms > ONCE) else 0


cdef inline int check_ask(const Core *core, const Request *r, int32_t *field) noexcept nogil:
    cdef int code = check_id(core, r.order)
    cdef int terms = r.terms & ~POST_ONLY
    field[0] = F_ORDER
    if code:
        return code
    field[0] = F_OWNER
    if not is_machine(core, r.owner):
        return BAD_VALUE
    field[0] = F_PRICE
    if r.price < 0 or r.price > PRICE_MAX:
        return BAD_VALUE
    field[0] = F_EXPIRES
    if r.expires < 0:
        return BAD_VALUE
    field[0] = F_SIZE
    if r.size < 1:
        return BAD_VALUE
    field[0] = F_TERMS
    return BAD_VALUE if terms > FOK or (r.terms & POST_ONLY and terms > ONCE) else 0


cdef inline bint is_kept(const Core *core, int32_t screen) noexcept nogil:
    """Whether a handle is kept."""
    return 0 <= screen < core.relation.sides[BID].top and core.relation.demands[screen].kept > 0


cdef inline bint is_machine(const Core *core, int32_t machine) noexcept nogil:
    return 0 <= machine and <size_t>machine < core.machines_room and core.machines[machine].known


cdef inline Found quote_bid(
    Core *core, int32_t account, int32_t screen, int64_t price, int64_t size, int64_t spend, bint market
) noexcept nogil:
    cdef Seeker who
    cdef int64_t budget = spend if spend != INT64_MAX else -1
    cdef Found nothing
    if account >= 0:
        budget = min(spend, core.accounts[account].free)
        if budget < 0:
            nothing.slots = nothing.worst = 0
            nothing.cost = nothing.cost_high = 0
            return nothing
    who.side, who.account, who.tag, who.bound, who.sifted = BID, account, screen, price, False
    return quote_to_bid(core, &who, size, budget, -1 if market else price)


cdef inline Found quote_ask(Core *core, int32_t machine, int64_t price, int64_t size) noexcept nogil:
    cdef Seeker who
    who.side, who.account, who.tag = ASK, core.machines[machine].account, core.machines[machine].kind
    who.bound, who.sifted = -price, False
    return quote_to_ask(core, &who, size)


cdef inline void arrive(
    Core *core, int32_t slot, int32_t over, bint stays, int32_t request, Rows *out
) noexcept nogil:
    """Match an order that arrives where nothing else can match, and say what became of it.

    It is not in the book while it matches, and what never rests never is. `over`: slots that are not its size.
    """
    cdef Order *order = &core.orders[slot]
    cdef Seeker who = seeker_of(core, slot)
    cdef Pair pair
    cdef int32_t other
    while True:
        other = first_of(core, &who)
        if not other or not may_match(core, slot):
            break
        expect_lists(core, other)
        pair.bid = slot if order.side == BID else other
        pair.ask = other if order.side == BID else slot
        take_match(core, &pair, slot, True, request, out)
    if stays and order.size:
        rest(core, slot)
        say(out, request, RESTS, DONE, order.id, -1, order.price, open_of(order))
        return
    order.there = 1
    if order.side == BID:
        release_screen(&core.relation, order.tag)
    say(out, request, GONE, DONE, order.id, -1, -1, order.size + over)


cdef inline int do_bid(Core *core, const Request *r, int32_t request, Rows *out, int32_t *field) noexcept nogil:
    cdef int code = check_bid(core, r, field), terms = r.terms & ~POST_ONLY
    cdef int64_t free = 0, price = r.price
    cdef int32_t size = r.size, slot
    cdef Found quote
    cdef bint here
    if code:
        return code
    here, free = core.accounts[r.owner].present, core.accounts[r.owner].free
    if terms == MARKET:
        if r.spend == 0 or free < r.spend:
            return UNFUNDED
    elif free < price or r.spend < price:
        return UNFUNDED
    if r.terms & POST_ONLY or terms == FOK:
        quote = quote_bid(core, r.owner, r.screen, price, 1 if r.terms & POST_ONLY else size, r.spend, False)
        if r.terms & POST_ONLY and here and quote.slots:
            return WOULD_MATCH
        if terms == FOK and (not here or quote.slots < size):
            return NOT_WHOLE
    elif terms == MARKET:
        quote = quote_bid(core, r.owner, r.screen, PRICE_MAX, size, r.spend, True)
        size, price = <int32_t>quote.slots, quote.worst
    if <size_t>(r.order & INDEX_MASK) + 1 >= core.orders_room:
        return NO_ROOM
    core.relation.sides[BID].tags[r.screen].holders += 1
    slot = store(core, r.order, BID, r.owner, r.screen, price, size, core.last_place + 1, r.spend,
                 r.expires if terms <= ONCE else 0, terms != STANDING)
    arrive(core, slot, r.size - size, terms <= ONCE, request, out)
    return DONE


cdef inline int do_ask(Core *core, const Request *r, int32_t request, Rows *out, int32_t *field) noexcept nogil:
    cdef int code = check_ask(core, r, field), terms = r.terms & ~POST_ONLY
    cdef int32_t slot
    cdef Found quote
    cdef bint here
    if code:
        return code
    here = core.machines[r.owner].ready
    if r.terms & POST_ONLY or terms == FOK:
        quote = quote_ask(core, r.owner, r.price, 1 if r.terms & POST_ONLY else r.size)
        if r.terms & POST_ONLY and here and quote.slots:
            return WOULD_MATCH
        if terms == FOK and (not here or quote.slots < r.size):
            return NOT_WHOLE
    if <size_t>(r.order & INDEX_MASK) + 1 >= core.orders_room:
        return NO_ROOM
    slot = store(core, r.order, ASK, r.owner, core.machines[r.owner].kind, r.price, r.size,
                 core.last_place + 1, INT64_MAX, r.expires if terms <= ONCE else 0, terms != STANDING)
    arrive(core, slot, 0, terms <= ONCE, request, out)
    return DONE


cdef inline bint within(const Demand *new, const Demand *old) noexcept nogil:
    """Whether a screen is as narrow as another, or narrower, part by part (R9)."""
    cdef int i
    for i in range(16):
        if new.row[i] < old.row[i]:
            return False
    for i in range(16, 32):
        if old.row[i] & ~new.row[i]:
            return False
    if old.only and not new.only:
        return False
    if old.only:
        for i in range(new.only):
            if not among(new.accounts[i], old.accounts, old.only):
                return False
    for i in range(old.blocked):
        if not among(old.accounts[old.only + i], new.accounts + new.only, new.blocked):
            return False
    return True


cdef inline int code_of_missing(const Core *core, int64_t order) noexcept nogil:
    return FINISHED if was_there(core, order) else UNKNOWN


cdef inline int do_cancel(Core *core, int64_t order, int32_t request, Rows *out) noexcept nogil:
    cdef int32_t slot = slot_of_id(core, order)
    if not slot:
        return code_of_missing(core, order)
    say(out, request, GONE, DONE, order, -1, -1, open_of(&core.orders[slot]))
    discard(core, slot)
    return DONE


cdef inline int do_amend(Core *core, const Request *r, int32_t request, Rows *out, int32_t *field) noexcept nogil:
    """R9: what makes a new arrival, and what keeps its place."""
    cdef int32_t slot = slot_of_id(core, r.order), size
    cdef Order *order = &core.orders[slot]
    cdef int64_t price
    cdef bint arrives
    if not slot:
        return code_of_missing(core, r.order)
    field[0] = F_PRICE
    if r.price < -1 or r.price > PRICE_MAX:
        return BAD_VALUE
    field[0] = F_SIZE
    if r.size < -1:
        return BAD_VALUE
    field[0] = F_SCREEN
    if r.screen != -1 and order.side == ASK and r.screen >= 0:
        return WRONG_SIDE
    if r.screen != -1 and not is_kept(core, r.screen):
        return BAD_VALUE
    if r.size == 0:
        return do_cancel(core, r.order, request, out)
    price = order.price if r.price == -1 else r.price
    size = order.size if r.size == -1 else r.size
    arrives = price != order.price or size > order.size
    if r.screen != -1 and not within(&core.relation.demands[r.screen], &core.relation.demands[order.tag]):
        arrives = True
    if arrives and order.side == BID and (
            core.accounts[order.owner].free < price or order.spend < price):
        return UNFUNDED
    if r.screen != -1 and r.screen != order.tag:
        core.relation.sides[BID].tags[r.screen].holders += 1
        change_screen(core, slot, r.screen)
    resize(core, slot, size, order.running)
    if arrives:
        move_order(core, slot, price, core.last_place + 1)
    match_all(core, slot if arrives else 0, request, out)
    if core.orders[slot].there == 2:
        say(out, request, RESTS, DONE, r.order, -1, core.orders[slot].price, open_of(&core.orders[slot]))
    else:
        say(out, request, GONE, DONE, r.order, -1, -1, 0)
    return DONE


# ---- the others

cdef inline int do_return(Core *core, const Request *r, int32_t *field) noexcept nogil:
    """Slots whose hour has ended go back to their own place (R10); of who is finished, or sold once, to nobody."""
    cdef int32_t ends[2]
    cdef int64_t ids[2]
    cdef int side
    ids[BID], ids[ASK] = r.order, r.other
    for side in range(2):
        ends[side] = slot_of_id(core, ids[side])
        if not ends[side] and code_of_missing(core, ids[side]) == UNKNOWN:
            return UNKNOWN
    for side in range(2):
        if ends[side] and core.orders[ends[side]].side != side:
            return WRONG_SIDE
        if core.orders[ends[side]].traits & ONCE_TRAIT:
            ends[side] = 0
    field[0] = F_SIZE
    if r.size < 1:
        return BAD_VALUE
    for side in range(2):
        if ends[side] and core.orders[ends[side]].running < r.size:
            return BAD_VALUE
    for side in range(2):
        if ends[side]:
            resize(core, ends[side], core.orders[ends[side]].size, core.orders[ends[side]].running - r.size)
    if ends[BID] and ends[ASK]:
        tell_partner(core, ends[BID], ends[ASK], r.size)
    return DONE


cdef inline int do_owner(Core *core, const Request *r, int32_t *field) noexcept nogil:
    """ACCOUNT, READY, NUMBER: who has money, who is there, what a machine is."""
    field[0] = F_OWNER
    if r.kind == DO_ACCOUNT:
        if r.owner < 0 or r.owner > INDEX_MASK:
            return BAD_VALUE
    elif not is_machine(core, r.owner):
        return BAD_VALUE
    if r.kind == DO_NUMBER:
        field[0] = F_OTHER
        if r.other < 0 or r.other >= 16:
            return BAD_VALUE
        field[0] = F_PRICE
        if r.price < INT32_MIN or r.price > INT32_MAX:
            return BAD_VALUE
        tell_number(core, r.owner, <int>r.other, <int32_t>r.price)
        return DONE
    field[0] = F_SIZE
    if r.size < 0 or r.size > 1:
        return BAD_VALUE
    if r.kind == DO_ACCOUNT:
        if <size_t>r.owner >= core.accounts_room:
            return NO_ROOM
        tell_account(core, r.owner, r.size, r.price)
    else:
        tell_ready(core, r.owner, r.size)
    return DONE


cdef inline void do_expire(Core *core, int64_t now, int32_t request, Rows *out) noexcept nogil:
    cdef int32_t slot
    while core.expiry.size and core.expiry.entries[0].price <= now:
        slot = core.expiry.entries[0].id
        say(out, request, EXPIRED, DONE, core.orders[slot].id, -1, -1, open_of(&core.orders[slot]))
        discard(core, slot)


cdef inline bint do_request(Core *core, const Request *r, int32_t request, Rows *out) noexcept nogil:
    """Do one request; False where there must be more room first, and nothing is done. O(log n) for each match."""
    cdef int code = DONE, kind = r.kind
    cdef int32_t field = -1
    if (core.touched[BID].size | core.touched[ASK].size | (core.partners_top - 1)) and kind != DO_RETURN:
        match_all(core, 0, request, out)
    if kind == DO_BID:
        code = do_bid(core, r, request, out, &field)
    elif kind == DO_ASK:
        code = do_ask(core, r, request, out, &field)
    elif kind == DO_CANCEL:
        code = do_cancel(core, r.order, request, out)
    elif kind == DO_AMEND:
        code = do_amend(core, r, request, out, &field)
    elif kind == DO_RETURN:
        code = do_return(core, r, &field)
    elif kind == DO_EXPIRE:
        do_expire(core, r.price, request, out)
    elif kind == DO_ACCOUNT or kind == DO_READY or kind == DO_NUMBER:
        code = do_owner(core, r, &field)
        if core.touched[BID].size or core.touched[ASK].size:
            match_all(core, 0, request, out)
    elif kind != DO_SETTLE:
        field, code = F_KIND, BAD_VALUE
    if code == NO_ROOM:
        return False
    if code:
        say(out, request, REFUSED, code, r.order, field if code == BAD_VALUE else -1, -1, 0)
    return True
