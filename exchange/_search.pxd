"""Finding: the best order that an order could meet, and walks through all of them by price and time.

Two ways, and each is good where the other is bad. *Walking* goes through the other side's tags, the one with the
best order first, and skips a tag that does not fit as a whole: soon there where many fit. *Sifting* holds one
screen against all kinds (or one kind against all screens), 64 at once, and looks at the tags that fit: soon there
where few do. A search walks for about as long as sifting would take, and then sifts.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free

from exchange._heap cimport ARITY, Entry, Heap, grown
from exchange._core cimport INT64_MAX, Core, Run, Step, account_of, open_of, worth
from exchange._queues cimport tidy, tidy_tag
from exchange._ranking cimport Ranking
from exchange._screens cimport (
    ASK,
    BID,
    BLOCK,
    NONE,
    Tags,
    Top,
    __builtin_ctzll,
    __builtin_prefetch,
    accepting_kind,
    allows,
    blocks_of,
    columns_least,
    columns_least_of,
    kind_passes,
    passing,
)

ctypedef struct Seeker:
    int side
    int32_t account  # whose own orders are passed over; -1: nobody's
    int32_t tag  # a bid's screen, an ask's kind
    int64_t bound  # the worst price, as the other side's worth
    int32_t patience  # tags and orders that do not fit, before a walk becomes a sifting
    bint sifted

ctypedef struct Found:  # see exchange.book.Quote
    int64_t slots
    uint64_t cost  # its low bits, and the high ones: many accounts can pay more than one
    uint64_t cost_high
    int64_t worst


cdef inline Seeker seeker_of(const Core *core, int32_t slot) noexcept nogil:
    """What an order seeks."""
    cdef Seeker who
    who.side, who.tag = core.orders[slot].side, core.orders[slot].tag
    who.account = account_of(core, &core.orders[slot])
    who.bound = -worth(&core.orders[slot])
    who.patience, who.sifted = 0, False
    return who


cdef inline bint fits(const Core *core, const Seeker *who, int32_t tag) noexcept nogil:
    """Whether orders of this tag of the other side may meet the seeker."""
    if who.side == BID:
        return kind_passes(&core.relation, who.tag, tag)
    return kind_passes(&core.relation, tag, who.tag) and allows(&core.relation.demands[tag], who.account)


cdef inline bint meets(const Core *core, const Seeker *who, int32_t account) noexcept nogil:
    """Whether orders of this account of the other side may meet the seeker, their tag fitting."""
    if account == who.account:
        return False
    return who.side == ASK or allows(&core.relation.demands[who.tag], account)


cdef inline const uint64_t *sift(Core *core, const Seeker *who) noexcept nogil:
    """By tag of the other side: whether it fits, lists of sellers apart."""
    if who.side == BID:
        return passing(&core.relation, who.tag)
    return accepting_kind(&core.relation, who.tag)


cdef inline int32_t patience_for(Core *core, const Seeker *who) noexcept nogil:
    """How many steps of a walk cost as much as sifting; 0 where it is better to sift at once."""
    cdef const Tags *kinds = &core.relation.sides[ASK]
    cdef int64_t passes, sifting
    if who.side == ASK:
        return 8 if blocks_of(&core.relation.sides[BID]) == 1 else 0
    if core.relation.demands[who.tag].passing == NULL:
        if core.relation.demands[who.tag].sought:
            return 0
        core.relation.demands[who.tag].sought = True
        return 8 + blocks_of(kinds) // 8
    passes = core.relation.demands[who.tag].passes
    if core.relation.demands[who.tag].few != NULL:
        return 0
    sifting = 2 + blocks_of(kinds) // 64 + passes // 8
    return <int32_t>min(2 * sifting, 1 << 30) if kinds.top < sifting * passes else 0


cdef inline bint is_before(const Core *core, int32_t a, int32_t b) noexcept nogil:
    """Price, then time, of two orders of one side (R5)."""
    if core.orders[a].price != core.orders[b].price:
        return worth(&core.orders[a]) < worth(&core.orders[b])
    return core.orders[a].place < core.orders[b].place


# ---- walking

cdef inline void add_step(Core *core, int64_t price, int64_t place, int32_t at, int32_t tag) noexcept nogil:
    cdef int32_t spot = core.steps_size, above
    if spot == core.steps_room:
        core.steps_room = max(64, 2 * core.steps_room)
        core.steps = <Step *>grown(core.steps, core.steps_room, sizeof(Step))
    core.steps_size += 1
    while spot:
        above = (spot - 1) // 2
        if core.steps[above].price < price or (
                core.steps[above].price == price and core.steps[above].place <= place):
            break
        core.steps[spot] = core.steps[above]
        spot = above
    core.steps[spot].price, core.steps[spot].place = price, place
    core.steps[spot].at, core.steps[spot].tag = at, tag


cdef inline Step take_step(Core *core) noexcept nogil:
    """The first step by price and time."""
    cdef Step first = core.steps[0], last
    cdef Step *steps = core.steps
    cdef int32_t spot = 0, child, size
    core.steps_size -= 1
    size = core.steps_size
    last = steps[size]
    while True:
        child = 2 * spot + 1
        if child >= size:
            break
        if child + 1 < size and (steps[child + 1].price < steps[child].price or (
                steps[child + 1].price == steps[child].price and steps[child + 1].place < steps[child].place)):
            child += 1
        if last.price < steps[child].price or (
                last.price == steps[child].price and last.place <= steps[child].place):
            break
        steps[spot] = steps[child]
        spot = child
    steps[spot] = last
    return first


cdef inline void add_children(Core *core, const Heap *heap, int32_t at, int32_t tag, int64_t bound) noexcept nogil:
    cdef int32_t child
    for child in range(ARITY * at + 1, min(ARITY * at + 1 + ARITY, heap.size)):
        if heap.entries[child].price <= bound:
            add_step(core, heap.entries[child].price, heap.entries[child].place, child, tag)


cdef inline int32_t next_ranked(Core *core, const Ranking *runs, Step step, int64_t bound) noexcept nogil:
    """The run of a step through a tag's ranking; what is behind it becomes steps."""
    cdef const Entry *entry
    cdef int32_t child
    if step.at >= 0:
        if step.at:
            entry = &runs.row[step.at - 1]
            if entry.price <= bound:
                add_step(core, entry.price, entry.place, step.at - 1, step.tag)
        elif runs.rest.size and runs.rest.entries[0].price <= bound:
            add_step(core, runs.rest.entries[0].price, runs.rest.entries[0].place, -1, step.tag)
        return runs.row[step.at].id
    step.at = -1 - step.at
    for child in range(ARITY * step.at + 1, min(ARITY * step.at + 1 + ARITY, runs.rest.size)):
        if runs.rest.entries[child].price <= bound:
            add_step(core, runs.rest.entries[child].price, runs.rest.entries[child].place, -1 - child, step.tag)
    return runs.rest.entries[step.at].id


cdef inline void begin_walk(Core *core, const Seeker *who) noexcept nogil:
    cdef const Heap *best = &core.relation.sides[1 - who.side].best
    core.steps_size = 0
    if best.size and best.entries[0].price <= who.bound:
        add_step(core, best.entries[0].price, best.entries[0].place, 0, -1)


cdef inline void begin_sifted(Core *core, Seeker *who) noexcept nogil:
    """Walk through the tags that fit alone."""
    cdef Tags *others = &core.relation.sides[1 - who.side]
    cdef const uint64_t *fit = sift(core, who)
    cdef uint64_t bits
    cdef int32_t block, tag
    core.steps_size, who.sifted = 0, True
    for block in range(blocks_of(others)):
        bits = fit[block]
        while bits:
            tag = block * BLOCK + __builtin_ctzll(bits)
            bits &= bits - 1
            if others.prices[tag] <= who.bound and others.prices[tag] != NONE and (
                    who.side == BID or allows(&core.relation.demands[tag], who.account)):
                add_step(core, others.prices[tag], others.tops[tag].place, others.tags[tag].runs.size - 1, tag)


cdef inline int32_t next_step(Core *core, Seeker *who) noexcept nogil:
    """The next order that the seeker could meet; 0: there is none; -1: patience is at an end."""
    cdef Tags *others = &core.relation.sides[1 - who.side]
    cdef Step step
    cdef int32_t tag, slot, behind
    while core.steps_size:
        step = take_step(core)
        if step.tag == -1:
            add_children(core, &others.best, step.at, -1, who.bound)
            tag = others.best.entries[step.at].id
            if fits(core, who, tag):
                add_step(core, step.price, step.place, others.tags[tag].runs.size - 1, tag)
                continue
        else:
            slot = step.at
            if step.tag >= 0:
                slot = core.runs.runs[next_ranked(core, &others.tags[step.tag].runs, step, who.bound)].first
                if not slot:
                    who.patience -= 1
                    continue
            behind = core.links[slot].after
            if behind:
                add_step(core, step.price, core.orders[behind].place, behind, -2)
            if meets(core, who, account_of(core, &core.orders[slot])):
                return slot
        if not who.sifted:
            who.patience -= 1
            if who.patience < 0:
                return -1
    return 0


cdef inline int32_t next_order(Core *core, Seeker *who, int32_t last) noexcept nogil:
    """The next order in a walk that goes on as long as one likes; `last` is the one before, 0 at first."""
    cdef int32_t slot = next_step(core, who)
    if slot < 0:
        begin_sifted(core, who)
        slot = next_step(core, who)
        while slot and last and (slot == last or is_before(core, slot, last)):
            slot = next_step(core, who)
    return slot


cdef inline void begin_runs(Core *core, int side) noexcept nogil:
    """Walk through a side's runs by price."""
    cdef const Heap *best = &core.relation.sides[side].best
    core.steps_size = 0
    if best.size:
        add_step(core, best.entries[0].price, best.entries[0].place, 0, -1)


cdef inline const Run *next_run(Core *core, int side) noexcept nogil:
    """The next run that has orders, or NULL."""
    cdef const Tags *tags = &core.relation.sides[side]
    cdef const Run *run
    cdef int32_t tag
    cdef Step step
    while core.steps_size:
        step = take_step(core)
        if step.tag < 0:
            add_children(core, &tags.best, step.at, -1, INT64_MAX)
            tag = tags.best.entries[step.at].id
            step.tag, step.at = tag, tags.tags[tag].runs.size - 1
        run = &core.runs.runs[next_ranked(core, &tags.tags[step.tag].runs, step, INT64_MAX)]
        if run.first:
            return run
    return NULL


# ---- the first

cdef inline int32_t first_met(
    const Core *core, const Seeker *who, const Entry *entries, int32_t count, int64_t bound, int32_t best
) noexcept nogil:
    """The first order in these runs that the seeker may meet, or `best` if that is before them all."""
    cdef int32_t at, slot
    for at in range(count):
        if entries[at].price > bound:
            continue
        slot = core.runs.runs[entries[at].id].first
        while slot and not (best and is_before(core, best, slot)):
            if meets(core, who, account_of(core, &core.orders[slot])):
                best = slot
                break
            slot = core.links[slot].after
    return best


cdef inline int32_t best_of_tag(const Core *core, const Seeker *who, int32_t tag, int64_t bound) noexcept nogil:
    """The first order of a tag that may meet the seeker, where its very first may not. O(orders of the tag)."""
    cdef const Ranking *runs = &core.relation.sides[1 - who.side].tags[tag].runs
    cdef int32_t best = first_met(core, who, runs.row, runs.size, bound, 0)
    return best if best else first_met(core, who, runs.rest.entries, runs.rest.size, bound, 0)


cdef inline int32_t best_of_all(Core *core, const Seeker *who, const uint64_t *fit) noexcept nogil:
    """The first order that the seeker could meet where some best ones may not: one tag after the other."""
    cdef Tags *others = &core.relation.sides[1 - who.side]
    cdef uint64_t bits
    cdef int32_t block, tag, found, best = 0
    cdef int64_t bound = who.bound
    for block in range(blocks_of(others)):
        bits = fit[block]
        while bits:
            tag = block * BLOCK + __builtin_ctzll(bits)
            bits &= bits - 1
            if others.prices[tag] > bound or others.prices[tag] == NONE or (
                    who.side == ASK and not allows(&core.relation.demands[tag], who.account)):
                continue
            found = best_of_tag(core, who, tag, bound)
            if found and not (best and is_before(core, best, found)):
                best, bound = found, worth(&core.orders[found])
    return best


cdef inline int32_t earliest(const Tags *tags, const uint64_t *fit, int64_t price, int32_t best) noexcept nogil:
    """Of the tags that fit and have this price the one whose first order came first; `best` is one of them."""
    cdef int32_t block, tag
    cdef uint64_t bits
    for block in range(blocks_of(tags)):
        bits = fit[block]
        while bits:
            tag = block * BLOCK + __builtin_ctzll(bits)
            bits &= bits - 1
            if tags.prices[tag] == price and tags.tops[tag].place < tags.tops[best].place:
                best = tag
    return best


cdef inline int32_t sifted_first(Core *core, const Seeker *who) noexcept nogil:
    """The first order that the seeker could meet, by sifting: first the best tag, by what lies together."""
    cdef Tags *others = &core.relation.sides[1 - who.side]
    cdef const uint64_t *fit = sift(core, who)
    cdef int32_t best
    cdef int64_t price
    cdef int ties
    while True:
        if who.side == BID and core.relation.demands[who.tag].few != NULL:
            price = columns_least_of(core.relation.demands[who.tag].few, core.relation.demands[who.tag].passes,
                                     others.prices, who.bound, &best, &ties)
        else:
            price = columns_least(fit, blocks_of(others), others.prices, who.bound, &best, &ties)
        if best < 0 or price == NONE:
            return 0
        if ties:
            best = earliest(others, fit, price, best)
        __builtin_prefetch(&others.tags[best])
        if not core.runs.runs[others.tops[best].run].first:
            tidy_tag(core, 1 - who.side, best)
        elif meets(core, who, others.tops[best].account) and (
                who.side == BID or allows(&core.relation.demands[best], who.account)):
            return core.runs.runs[others.tops[best].run].first
        else:
            return best_of_all(core, who, fit)


cdef inline int32_t first_of(Core *core, Seeker *who) noexcept nogil:
    """The best live order that the seeker could meet (R5, R6), or 0."""
    cdef const Tags *others = &core.relation.sides[1 - who.side]
    cdef const Top *top
    cdef int32_t slot
    if not tidy(core, 1 - who.side, who.bound):
        return 0
    if fits(core, who, others.best.entries[0].id):
        top = &others.tops[others.best.entries[0].id]
        if meets(core, who, top.account):
            return core.runs.runs[top.run].first
    who.patience = patience_for(core, who)
    if who.patience:
        begin_walk(core, who)
        slot = next_step(core, who)
        if slot >= 0:
            return slot
    return sifted_first(core, who)


# ---- how much

cdef inline int64_t affordable(int64_t budget, int64_t need, int64_t price) noexcept nogil:
    """Slots that open one by one at `price`, while `budget` is at least `need` before each (R11)."""
    if budget < need:
        return 0
    return 1 + (budget - need) // price if price else INT64_MAX


cdef extern from *:
    """
    static inline void add_product(uint64_t *low, uint64_t *high, int64_t a, int64_t b)
    {
        unsigned __int128 sum = ((unsigned __int128)*high << 64 | *low) + (unsigned __int128)a * (uint64_t)b;
        *low = (uint64_t)sum;
        *high = (uint64_t)(sum >> 64);
    }
    """
    void add_product(uint64_t *low, uint64_t *high, int64_t a, int64_t b) nogil


cdef inline Found quote_to_bid(
    Core *core, Seeker *who, int64_t size, int64_t budget, int64_t limit
) noexcept nogil:
    """Up to `size` slots, with so much money (-1: endless).

    `limit` is what R11 asks before each, -1: the price itself.
    """
    cdef Found quote
    cdef int32_t slot = 0
    cdef int64_t slots, price
    quote.slots = quote.worst = 0
    quote.cost = quote.cost_high = 0
    who.patience = patience_for(core, who)
    begin_walk(core, who)
    while quote.slots < size:
        slot = next_order(core, who, slot)
        if not slot:
            break
        price = core.orders[slot].price
        slots = affordable(budget, limit if limit >= 0 else price, price) if budget >= 0 else INT64_MAX
        if slots == 0:
            break
        slots = min(slots, min(size - quote.slots, <int64_t>open_of(&core.orders[slot])))
        if budget >= 0:
            budget -= slots * price
        quote.slots += slots
        add_product(&quote.cost, &quote.cost_high, slots, price)
        quote.worst = price
    return quote


cdef inline Found quote_to_ask(Core *core, Seeker *who, int64_t size) noexcept nogil:
    """Up to `size` slots, each at its bid's price; several bids of one account share its money."""
    cdef Found quote
    cdef int32_t slot = 0, taken = 0, at
    cdef int64_t slots, price, budget
    cdef int32_t *buyers = NULL
    cdef int32_t room = 0
    quote.slots = quote.worst = 0
    quote.cost = quote.cost_high = 0
    who.patience = patience_for(core, who)
    begin_walk(core, who)
    while quote.slots < size:
        slot = next_order(core, who, slot)
        if not slot:
            break
        price = core.orders[slot].price
        budget = min(core.accounts[core.orders[slot].owner].free - core.accounts[core.orders[slot].owner].taken,
                     core.orders[slot].spend)
        slots = min(affordable(budget, price, price),
                    min(size - quote.slots, <int64_t>open_of(&core.orders[slot])))
        if slots == 0:
            continue
        if not core.accounts[core.orders[slot].owner].taken and price:
            if taken == room:
                room = max(16, 2 * room)
                buyers = <int32_t *>grown(buyers, room, sizeof(int32_t))
            buyers[taken] = core.orders[slot].owner
            taken += 1
        core.accounts[core.orders[slot].owner].taken += slots * price
        quote.slots += slots
        add_product(&quote.cost, &quote.cost_high, slots, price)
        quote.worst = price
    for at in range(taken):
        core.accounts[buyers[at]].taken = 0
    free(buyers)
    return quote
