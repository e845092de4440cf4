"""Where live orders stand: in runs, one behind the other. A tag ranks its runs by their first orders.

Who arrives goes to the end of the run of its tag and price, who was before all of it to the front: O(1). Who
comes back to a place amid it is a run by itself, O(log runs). Leaving is O(1), and O(log runs) for the first.
A run that is empty may stay for the next order of its price until somebody looks past it, or many are empty.
So what is ranked first may be too good, never too bad; `tidy` makes it true.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free

from exchange._core cimport Core, Listed, Order, Run, Runs, account_of, entry_of, open_of, worth
from exchange._heap cimport Entry, grown
from exchange._ranking cimport Ranking, best_of, rank_in, rank_out, ranked
from exchange._screens cimport Tags, rank_tag


cdef extern from *:
    void __builtin_prefetch(const void *where) nogil

cdef enum:
    FEW_RUNS = 4096  # of more, empty ones are taken away at once
    MOST_EMPTY = 1024  # runs that are empty; more are swept away


cdef inline uint32_t hash_run(const Runs *all, int side, int32_t tag, int64_t price) noexcept nogil:
    """Of a key that nobody can know, so that nobody can choose prices that meet here. No answer depends on it."""
    cdef uint64_t h = (<uint64_t>price ^ all.key) * <uint64_t>0x9E3779B97F4A7C15
    h = (h ^ h >> 29 ^ <uint64_t><uint32_t>(2 * tag + side)) * (all.key | 1)
    return <uint32_t>(h >> 32)


cdef inline uint32_t spot(const Runs *all, int side, int32_t tag, int64_t price, uint32_t h) noexcept nogil:
    """Where in the table this run is, or would be."""
    cdef uint32_t at = h & all.mask
    cdef const Run *run
    while all.table[at].run:
        if all.table[at].hash == h:
            run = &all.runs[all.table[at].run]
            if run.price == price and run.tag == tag and run.side == side:
                break
        at = (at + 1) & all.mask
    return at


cdef inline void widen(Runs *all) noexcept nogil:
    """Double the table."""
    cdef Listed *old = all.table
    cdef uint32_t size = all.mask + 1 if old != NULL else 0, at, to
    all.mask = max(256, 2 * size) - 1
    all.table = <Listed *>grown(NULL, all.mask + 1, sizeof(Listed))
    for at in range(all.mask + 1):
        all.table[at].run = 0
    for at in range(size):
        if old[at].run:
            to = old[at].hash & all.mask
            while all.table[to].run:
                to = (to + 1) & all.mask
            all.table[to] = old[at]
    free(old)


cdef inline void unlist(Runs *all, const Run *run) noexcept nogil:
    """Take a run out of the table; who would not be found behind the gap moves into it."""
    cdef uint32_t gap = spot(all, run.side, run.tag, run.price, hash_run(all, run.side, run.tag, run.price)), at
    all.listed -= 1
    at = (gap + 1) & all.mask
    while all.table[at].run:
        if ((at - all.table[at].hash) & all.mask) >= ((at - gap) & all.mask):
            all.table[gap] = all.table[at]
            gap = at
        at = (at + 1) & all.mask
    all.table[gap].run = 0


cdef inline void set_first(Core *core, int32_t id, int32_t slot) noexcept nogil:
    """Another order is the first of a run; the price is the same, so it only moves where there are strays."""
    cdef Run *run = &core.runs.runs[id]
    cdef Tags *tags = &core.relation.sides[run.side]
    cdef Ranking *ranking = &tags.tags[run.tag].runs
    cdef Entry *place = ranked(ranking, run.price, id, core.runs.where)
    cdef Entry entry = place[0]
    cdef bint best = best_of(ranking).id == id
    run.first = slot
    __builtin_prefetch(&core.orders[core.links[slot].after])  # likely to be the next
    __builtin_prefetch(&core.links[core.links[slot].after])
    entry.place, entry.account = core.orders[slot].place, account_of(core, &core.orders[slot])
    if tags.tags[run.tag].strays:
        rank_out(ranking, run.price, id, core.runs.where)
        rank_in(ranking, entry, core.runs.where)
    else:
        place[0] = entry
    if best or best_of(ranking).id == id:
        rank_tag(tags, run.tag)


cdef inline void begin_run(Core *core, int32_t slot, bint listed, uint32_t at) noexcept nogil:
    """A run of one order; `at` is where in the table it is listed."""
    cdef Runs *all = &core.runs
    cdef Order *order = &core.orders[slot]
    cdef Tags *tags = &core.relation.sides[order.side]
    cdef int32_t id = all.unused
    cdef Run *run
    cdef Entry entry
    if id:
        all.unused = all.runs[id].next
    else:
        if all.top >= all.room:
            all.room = max(64, 2 * all.room)
            all.runs = <Run *>grown(all.runs, all.room, sizeof(Run))
            all.where = <int32_t *>grown(all.where, all.room, sizeof(int32_t))
        all.top = max(1, all.top)
        id = all.top
        all.top += 1
    run = &all.runs[id]
    run.price, run.tag, run.side, run.listed = worth(order), order.tag, order.side, listed
    run.first, run.last = slot, slot
    run.open, run.newest = open_of(order), order.place
    all.count += 1
    order.run, core.links[slot].before, core.links[slot].after = id, 0, 0
    if listed:
        all.table[at].run, all.table[at].hash = id, hash_run(all, order.side, order.tag, run.price)
        all.listed += 1
    else:
        tags.tags[order.tag].strays += 1
    entry = entry_of(core, slot)
    entry.id = id
    rank_in(&tags.tags[order.tag].runs, entry, all.where)
    if best_of(&tags.tags[order.tag].runs).id == id:
        rank_tag(tags, order.tag)


cdef inline void enter_run(Core *core, int32_t slot) noexcept nogil:
    """Put a live order where it stands."""
    cdef Runs *all = &core.runs
    cdef Order *order = &core.orders[slot]
    cdef Tags *tags = &core.relation.sides[order.side]
    cdef uint32_t at, h = hash_run(all, order.side, order.tag, worth(order))
    cdef int32_t id
    cdef Run *run
    if 2 * <uint32_t>all.listed >= all.mask:
        widen(all)
    at = spot(all, order.side, order.tag, worth(order), h)
    id = all.table[at].run
    if not id:
        begin_run(core, slot, True, at)
        return
    run = &all.runs[id]
    run.open += open_of(order)
    if not run.first:
        order.run, core.links[slot].before, core.links[slot].after = id, 0, 0
        run.last, run.newest = slot, order.place
        all.empty -= 1
        set_first(core, id, slot)
    elif run.newest < order.place:
        order.run, core.links[slot].before, core.links[slot].after = id, run.last, 0
        core.links[run.last].after = slot
        run.last, run.newest = slot, order.place
    elif order.place < core.orders[run.first].place:
        order.run, core.links[slot].before, core.links[slot].after = id, 0, run.first
        core.links[run.first].before = slot
        set_first(core, id, slot)
    else:
        run.open -= open_of(order)
        begin_run(core, slot, False, 0)


cdef inline void end_run(Core *core, int32_t id) noexcept nogil:
    """Take an empty run away. O(log runs)."""
    cdef Runs *all = &core.runs
    cdef Run *run = &all.runs[id]
    cdef Tags *tags = &core.relation.sides[run.side]
    cdef Ranking *ranking = &tags.tags[run.tag].runs
    cdef bint best = best_of(ranking).id == id
    rank_out(ranking, run.price, id, all.where)
    if best:
        rank_tag(tags, run.tag)
    if run.listed:
        unlist(all, run)
        all.empty -= 1
    else:
        tags.tags[run.tag].strays -= 1
    run.next, all.unused = all.unused, id
    run.tag = -1
    all.count -= 1


cdef inline void sweep(Core *core) noexcept nogil:
    """Take away all runs that are empty."""
    cdef int32_t id
    for id in range(1, core.runs.top):
        if core.runs.runs[id].tag >= 0 and not core.runs.runs[id].first:
            end_run(core, id)


cdef inline void clear_tag(Core *core, int side, int32_t tag) noexcept nogil:
    """Take away the runs of a tag that has no live orders."""
    cdef const Ranking *ranking = &core.relation.sides[side].tags[tag].runs
    while ranking.size:
        end_run(core, best_of(ranking).id)


cdef inline void tidy_tag(Core *core, int side, int32_t tag) noexcept nogil:
    """See to it that a tag's first run has orders, or that it has none."""
    cdef const Ranking *ranking = &core.relation.sides[side].tags[tag].runs
    while ranking.size and not core.runs.runs[best_of(ranking).id].first:
        end_run(core, best_of(ranking).id)


cdef inline bint tidy(Core *core, int side, int64_t bound) noexcept nogil:
    """See to it that a side's first run has orders; False where it has none within a bound."""
    cdef Tags *tags = &core.relation.sides[side]
    cdef const Entry *best = tags.best.entries
    cdef int32_t id
    while tags.best.size and best.price <= bound:
        id = tags.tops[best.id].run
        if core.runs.runs[id].first:
            return True
        end_run(core, id)
    return False


cdef inline void leave_run(Core *core, int32_t slot, int32_t shown) noexcept nogil:
    """Take a live order out of where it stands. `shown`: the slots that its run counts of it."""
    cdef Runs *all = &core.runs
    cdef Order *order = &core.orders[slot]
    cdef Run *run = &all.runs[order.run]
    cdef int32_t id = order.run, before = core.links[slot].before, after = core.links[slot].after
    run.open -= shown
    if after:
        core.links[after].before = before
    else:
        run.last = before
    if before:
        core.links[before].after = after
        return
    if after:
        set_first(core, id, after)
    elif run.listed:
        run.first = 0
        all.empty += 1
        if all.count > FEW_RUNS:
            end_run(core, id)
        elif all.empty > MOST_EMPTY:
            sweep(core)
    else:
        end_run(core, id)


cdef inline void free_runs(Runs *all) noexcept nogil:
    free(all.runs)
    free(all.where)
    free(all.table)
