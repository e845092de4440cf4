"""Orders: who is live, who is touched, what has partners. What an engine tells the book ends here.

A live order stands in a run. Busy and sleeping ones stand nowhere and cost matching nothing; their own place is
in their key, so they come back to it (R10).
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free

from exchange._core cimport (
    ASK,
    BID,
    INDEX_MASK,
    INT64_MAX,
    INT64_MIN,
    ONCE_TRAIT,
    PARTNERED,
    Account,
    Core,
    Links,
    Machine,
    Order,
    Partner,
    entry_of,
    may_match,
    open_of,
    partners_of,
    worth,
)
from exchange._heap cimport Entry, Heap, clear, grown, push, replace, take, unmap
from exchange._queues cimport __builtin_prefetch, clear_tag, enter_run, free_runs, leave_run
from exchange._screens cimport free_relation, hold_kind, read_row, release_kind, release_screen

# ---- live and touched

cdef inline void touch(Core *core, int32_t slot) noexcept nogil:
    """It may have become able to match, if its price crosses any that is live.

    A bid stands by its own key; an ask first, until its best bid is known.
    """
    cdef int side = core.orders[slot].side
    cdef const Heap *others = &core.relation.sides[1 - side].best
    cdef Entry entry
    if not others.size or others.entries[0].price > -worth(&core.orders[slot]):
        return
    entry = entry_of(core, slot)
    if side == ASK:
        core.asks_touched += 1
        entry.price, entry.place, entry.account = INT64_MIN, 0, 0
        if core.in_touched[slot]:
            replace(&core.touched[ASK], core.in_touched[slot] - 1, entry, core.in_touched)
            return
    if not core.in_touched[slot]:
        push(&core.touched[side], entry, core.in_touched)


cdef inline void untouch(Core *core, int32_t slot) noexcept nogil:
    if core.touched[core.orders[slot].side].size and core.in_touched[slot]:
        take(&core.touched[core.orders[slot].side], core.in_touched[slot] - 1, core.in_touched)


cdef inline void awake(Core *core, int32_t slot) noexcept nogil:
    cdef Order *order = &core.orders[slot]
    order.live = True
    enter_run(core, slot)
    if order.traits & PARTNERED and order.side == BID:
        push(&core.renewals, entry_of(core, slot), core.in_renewals)


cdef inline void sleep(Core *core, int32_t slot, int32_t shown) noexcept nogil:
    """`shown`: the slots that its run counts of it."""
    cdef Order *order = &core.orders[slot]
    order.live = False
    leave_run(core, slot, shown)
    if order.traits & PARTNERED and core.in_renewals[slot]:
        take(&core.renewals, core.in_renewals[slot] - 1, core.in_renewals)
    untouch(core, slot)


cdef inline void refresh(Core *core, int32_t slot, bint changed) noexcept nogil:
    """Put an order where it belongs; one that wakes up, or `changed`, is touched."""
    cdef Order *order = &core.orders[slot]
    if not may_match(core, slot):
        if order.live:
            sleep(core, slot, open_of(order))
    elif not order.live:
        awake(core, slot)
        touch(core, slot)
    elif changed:
        touch(core, slot)


cdef inline void resize(Core *core, int32_t slot, int32_t size, int32_t running) noexcept nogil:
    """Another size, or other contracts running: its open slots change, its place does not."""
    cdef Order *order = &core.orders[slot]
    cdef int32_t shown = open_of(order)
    order.size, order.running = size, running
    if not order.live:
        refresh(core, slot, False)
    elif size <= running:
        sleep(core, slot, shown)
    else:
        core.runs.runs[order.run].open += open_of(order) - shown


# ---- owners

cdef inline int32_t *owner_head(Core *core, const Order *order) noexcept nogil:
    if order.side == BID:
        return &core.accounts[order.owner].orders
    return &core.machines[order.owner].orders


cdef inline void join_owner(Core *core, int32_t slot) noexcept nogil:
    cdef int32_t *head = owner_head(core, &core.orders[slot])
    core.links[slot].owner_before, core.links[slot].owner_after = 0, head[0]
    if head[0]:
        core.links[head[0]].owner_before = slot
    head[0] = slot


cdef inline void leave_owner(Core *core, int32_t slot) noexcept nogil:
    cdef const Links *links = &core.links[slot]
    if links.owner_before:
        core.links[links.owner_before].owner_after = links.owner_after
    else:
        owner_head(core, &core.orders[slot])[0] = links.owner_after
    if links.owner_after:
        core.links[links.owner_after].owner_before = links.owner_before


cdef inline void bound_money(Account *account, int64_t price) noexcept nogil:
    """A bid of this price is the account's: money that moves past its price wakes it, or lets it sleep."""
    if not account.orders:
        account.asleep, account.awake = INT64_MAX, INT64_MIN
    if price > account.free:
        account.asleep = min(account.asleep, price)
    else:
        account.awake = max(account.awake, price)


cdef inline void tell_account(Core *core, int32_t index, bint present, int64_t free) noexcept nogil:
    """O(1) unless a bid may wake or fall asleep by it, then O(its bids)."""
    cdef Account *account = &core.accounts[index]
    cdef bint was = account.present
    cdef int32_t bid = account.orders
    account.known, account.present, account.free = True, present, free
    if not bid or (present == was and account.awake <= free < account.asleep):
        return
    account.asleep, account.awake = INT64_MAX, INT64_MIN
    while bid:
        bound_money(account, core.orders[bid].price)
        refresh(core, bid, False)
        bid = core.links[bid].owner_after


cdef inline void tell_ready(Core *core, int32_t index, bint ready) noexcept nogil:
    cdef Machine *machine = &core.machines[index]
    cdef int32_t ask = machine.orders
    machine.ready = ready
    while ask:
        refresh(core, ask, False)
        ask = core.links[ask].owner_after


cdef inline void tell_machine(
    Core *core, int32_t index, int32_t account, const int32_t *row, bint ready
) noexcept nogil:
    """Its profile and seller; its asks go to their new kind, at their own places. O(its asks * log n)."""
    cdef Machine *machine = &core.machines[index]
    cdef int32_t old = machine.kind, kind = hold_kind(&core.relation, row), ask = machine.orders
    cdef bint changed = kind != old or account != machine.account
    if changed:
        while ask:  # out of the old heap by the old key
            if core.orders[ask].live:
                leave_run(core, ask, open_of(&core.orders[ask]))
            ask = core.links[ask].owner_after
    machine.known, machine.account, machine.kind = True, account, kind
    if old:
        if core.relation.sides[ASK].tags[old].holders == 1:
            clear_tag(core, ASK, old)
        release_kind(&core.relation, old)
    machine.ready = ready
    ask = machine.orders
    while ask:
        core.orders[ask].tag = kind
        if changed and core.orders[ask].live:
            enter_run(core, ask)
        refresh(core, ask, changed)
        ask = core.links[ask].owner_after


cdef inline void tell_number(Core *core, int32_t index, int column, int32_t value) noexcept nogil:
    cdef int32_t row[32]
    read_row(&core.relation.sides[ASK], core.machines[index].kind, row)
    row[column] = value
    tell_machine(core, index, core.machines[index].account, row, core.machines[index].ready)


# ---- partners (R14)

cdef inline int32_t partner_entry(const Core *core, int32_t bid, int32_t ask) noexcept nogil:
    """The pair's entry or 0; both lists are walked at once, so the shorter one is what it costs."""
    cdef int32_t of_bid = partners_of(core, bid), of_ask = partners_of(core, ask)
    while of_bid and of_ask:
        if core.partners[of_bid].orders[ASK] == ask:
            return of_bid
        if core.partners[of_ask].orders[BID] == bid:
            return of_ask
        of_bid, of_ask = core.partners[of_bid].after[BID], core.partners[of_ask].after[ASK]
    return 0


cdef inline void drop_partner(Core *core, int32_t entry) noexcept nogil:
    cdef Partner *partner = &core.partners[entry]
    cdef int32_t bid = partner.orders[BID]
    cdef int side
    for side in range(2):
        if partner.before[side]:
            core.partners[partner.before[side]].after[side] = partner.after[side]
        else:
            core.partners_of[partner.orders[side]] = partner.after[side]
            if not partner.after[side]:
                core.orders[partner.orders[side]].traits &= ~PARTNERED
        if partner.after[side]:
            core.partners[partner.after[side]].before[side] = partner.before[side]
    partner.slots, partner.after[0], core.partners_unused = 0, core.partners_unused, entry
    if not partners_of(core, bid) and core.in_renewals[bid]:
        take(&core.renewals, core.in_renewals[bid] - 1, core.in_renewals)


cdef inline void new_partner(Core *core, int32_t bid, int32_t ask, int64_t slots) noexcept nogil:
    cdef int32_t entry = core.partners_unused
    cdef int32_t ends[2]
    cdef Partner *partner
    cdef int side
    ends[BID], ends[ASK] = bid, ask
    if entry:
        core.partners_unused = core.partners[entry].after[0]
    else:
        entry = core.partners_top
        core.partners_top += 1
        if entry >= core.partners_room:
            core.partners_room = max(64, 2 * core.partners_room)
            core.partners = <Partner *>grown(core.partners, core.partners_room, sizeof(Partner))
    partner = &core.partners[entry]
    partner.slots = slots
    for side in range(2):
        partner.orders[side], partner.before[side] = ends[side], 0
        partner.after[side] = partners_of(core, ends[side])
        if partner.after[side]:
            core.partners[partner.after[side]].before[side] = entry
        core.partners_of[ends[side]] = entry
        core.orders[ends[side]].traits |= PARTNERED
    if core.orders[bid].live and not core.in_renewals[bid]:
        push(&core.renewals, entry_of(core, bid), core.in_renewals)


cdef inline void tell_partner(Core *core, int32_t bid, int32_t ask, int64_t slots) noexcept nogil:
    """Count slots of this pair, never below none. O(partners of the one that has fewer)."""
    cdef int32_t entry = partner_entry(core, bid, ask)
    if entry:
        core.partners[entry].slots += slots
        if core.partners[entry].slots <= 0:
            drop_partner(core, entry)
    elif slots > 0:
        new_partner(core, bid, ask, slots)


cdef inline void forget_partners(Core *core) noexcept nogil:
    cdef int32_t entry
    for entry in range(1, core.partners_top):
        if core.partners[entry].slots:
            core.orders[core.partners[entry].orders[BID]].traits &= ~PARTNERED
            core.orders[core.partners[entry].orders[ASK]].traits &= ~PARTNERED
    core.partners_top, core.partners_unused = 1, 0
    clear(&core.renewals, core.in_renewals)


# ---- orders

cdef inline int32_t slot_of_id(const Core *core, int64_t order) noexcept nogil:
    """The slot of a living order; 0 where there is none."""
    cdef int64_t slot = (order & INDEX_MASK) + 1
    if order < 0 or slot >= <int64_t>core.orders_room:
        return 0
    return <int32_t>slot if core.orders[slot].there == 2 and core.orders[slot].id == order else 0


cdef inline bint was_there(const Core *core, int64_t order) noexcept nogil:
    """Whether an id that no living order has was an order's, or can't be one's any more."""
    cdef int64_t slot = (order & INDEX_MASK) + 1
    if order < 0 or slot >= <int64_t>core.orders_room or not core.orders[slot].there:
        return False
    return order <= core.orders[slot].id


cdef inline void expect_lists(const Core *core, int32_t slot) noexcept nogil:
    """Have fetched those before and behind an order in its lists."""
    cdef const Links *links = &core.links[slot]
    __builtin_prefetch(&core.links[links.before])
    __builtin_prefetch(&core.links[links.after])
    __builtin_prefetch(&core.links[links.owner_before])
    __builtin_prefetch(&core.links[links.owner_after])


cdef inline void expect_order(const Core *core, int64_t id) noexcept nogil:
    """Have fetched an order that a request to come is about."""
    cdef int64_t slot = (id & INDEX_MASK) + 1
    if slot < <int64_t>core.orders_room:
        __builtin_prefetch(&core.orders[slot])
        __builtin_prefetch(&core.links[slot])


cdef inline void expect_neighbours(const Core *core, int64_t id) noexcept nogil:
    """Have fetched what is looked at with it."""
    cdef int64_t slot = (id & INDEX_MASK) + 1
    if slot < <int64_t>core.orders_room and core.orders[slot].live:
        expect_lists(core, <int32_t>slot)


cdef inline void set_bound(Core *core, int32_t slot, int64_t spend, int64_t expires) noexcept nogil:
    """The most that it may spend, and when it expires. O(1), O(log n) where it expires."""
    cdef Entry entry
    core.orders[slot].spend, core.orders[slot].expires = spend, expires
    if core.in_expiry[slot]:
        take(&core.expiry, core.in_expiry[slot] - 1, core.in_expiry)
    if expires:
        entry.price, entry.place, entry.id, entry.account = expires, core.orders[slot].id, slot, 0
        push(&core.expiry, entry, core.in_expiry)


cdef inline int32_t store(
    Core *core, int64_t id, int side, int32_t owner, int32_t tag, int64_t price, int32_t size, int64_t place,
    int64_t spend, int64_t expires, bint once,
) noexcept nogil:
    """Write down a checked order, for which there is room and whose screen has been held; `rest` is to follow."""
    cdef int32_t slot = <int32_t>(id & INDEX_MASK) + 1
    cdef Order *order = &core.orders[slot]
    order.id, order.price, order.place, order.size, order.running = id, price, place, size, 0
    order.owner, order.tag = owner, tag
    order.side, order.there, order.live, order.traits = side, 2, False, ONCE_TRAIT if once else 0
    order.spend, order.expires = spend, expires
    core.last_place = max(core.last_place, place)
    return slot


cdef inline void rest(Core *core, int32_t slot) noexcept nogil:
    """Put an order that was written down into the book."""
    cdef Order *order = &core.orders[slot]
    if order.side == BID:
        bound_money(&core.accounts[order.owner], order.price)
    if order.expires:
        set_bound(core, slot, order.spend, order.expires)
    join_owner(core, slot)
    core.count += 1
    if may_match(core, slot):
        awake(core, slot)


cdef inline void discard(Core *core, int32_t slot) noexcept nogil:
    """Take an order out; it is finished."""
    cdef Order *order = &core.orders[slot]
    if order.live:
        sleep(core, slot, open_of(order))
    while order.traits & PARTNERED:
        drop_partner(core, core.partners_of[slot])
    if order.expires:
        take(&core.expiry, core.in_expiry[slot] - 1, core.in_expiry)
    leave_owner(core, slot)
    if order.side == BID:
        release_screen(&core.relation, order.tag)
    order.there = 1
    core.count -= 1


cdef inline void move_order(Core *core, int32_t slot, int64_t price, int64_t place) noexcept nogil:
    """Another limit, and another place in time (R9)."""
    cdef Order *order = &core.orders[slot]
    if order.live:
        sleep(core, slot, open_of(order))
    order.price, order.place = price, place
    if order.side == BID:
        bound_money(&core.accounts[order.owner], price)
    core.last_place = max(core.last_place, place)
    refresh(core, slot, False)


cdef inline void change_screen(Core *core, int32_t slot, int32_t screen) noexcept nogil:
    """Another screen, held for it already, at its own place (R9)."""
    cdef Order *order = &core.orders[slot]
    cdef int32_t old = order.tag
    if order.live:
        leave_run(core, slot, open_of(order))
    order.tag = screen
    if order.live:
        enter_run(core, slot)
    release_screen(&core.relation, old)
    refresh(core, slot, True)


cdef inline void forget_touched(Core *core) noexcept nogil:
    clear(&core.touched[BID], core.in_touched)
    clear(&core.touched[ASK], core.in_touched)


cdef inline void free_core(Core *core) noexcept nogil:
    cdef int side
    unmap(core.orders, core.orders_room, sizeof(Order))
    unmap(core.links, core.orders_room, sizeof(Links))
    unmap(core.partners_of, core.orders_room, sizeof(int32_t))
    unmap(core.in_touched, core.orders_room, sizeof(int32_t))
    unmap(core.in_renewals, core.orders_room, sizeof(int32_t))
    unmap(core.in_expiry, core.orders_room, sizeof(int32_t))
    unmap(core.accounts, core.accounts_room, sizeof(Account))
    unmap(core.machines, core.machines_room, sizeof(Machine))
    free(core.partners)
    free(core.steps)
    free(core.renewals.entries)
    free(core.expiry.entries)
    free(core.hungry.entries)
    free(core.in_hungry)
    for side in range(2):
        free(core.touched[side].entries)
    free_runs(&core.runs)
    free_relation(&core.relation)
