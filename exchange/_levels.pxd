"""What a side shows at each price: a hash table of levels, and a heap of their prices for who wants them in order.

A level is there while a run of orders has its price. Level 0 is nobody.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from exchange._heap cimport Entry, Heap, grown, push, take

ctypedef struct Level:
    int64_t price  # an order's worth, as in Entry
    int64_t open
    int32_t runs
    int32_t next  # links the levels that are not used

ctypedef struct Levels:
    Level *levels
    int32_t *where  # by level, for `prices`
    int32_t *table  # levels by hash of their prices; open addressing, at most half full
    Heap prices
    int32_t top, room, unused  # first level never used; room; first of those not used any more
    uint32_t mask


cdef inline uint32_t hash_price(int64_t price) noexcept nogil:
    return <uint32_t>((<uint64_t>price * <uint64_t>0x9E3779B97F4A7C15) >> 32)


cdef inline void free_levels(Levels *side) noexcept nogil:
    free(side.levels)
    free(side.where)
    free(side.table)
    free(side.prices.entries)


cdef inline uint32_t spot(const Levels *side, int64_t price) noexcept nogil:
    """Where in the table the level of this price is, or would be."""
    cdef uint32_t at = hash_price(price) & side.mask
    while side.table[at] and side.levels[side.table[at]].price != price:
        at = (at + 1) & side.mask
    return at


cdef inline void widen(Levels *side) noexcept nogil:
    """Double the table."""
    cdef int32_t *old = side.table
    cdef uint32_t size = side.mask + 1 if old != NULL else 0, at
    side.mask = max(64, 2 * size) - 1
    side.table = <int32_t *>grown(NULL, side.mask + 1, sizeof(int32_t))
    for at in range(side.mask + 1):
        side.table[at] = 0
    for at in range(size):
        if old[at]:
            side.table[spot(side, side.levels[old[at]].price)] = old[at]
    free(old)


cdef inline int32_t enter_level(Levels *side, int64_t price) noexcept nogil:
    """One run more at this price; returns its level. O(1), O(log levels) where it is the first."""
    cdef uint32_t at
    cdef int32_t level
    cdef Entry entry
    if 2 * <uint32_t>side.prices.size >= side.mask:
        widen(side)
    at = spot(side, price)
    level = side.table[at]
    if not level:
        if side.unused:
            level, side.unused = side.unused, side.levels[side.unused].next
        else:
            if side.top >= side.room:
                side.room = max(64, 2 * side.room)
                side.levels = <Level *>grown(side.levels, side.room, sizeof(Level))
                side.where = <int32_t *>grown(side.where, side.room, sizeof(int32_t))
            side.top = max(1, side.top)
            level = side.top
            side.top += 1
        side.levels[level].price, side.levels[level].open, side.levels[level].runs = price, 0, 0
        side.table[at] = level
        entry.price, entry.place, entry.id, entry.account = price, 0, level, 0
        push(&side.prices, entry, side.where)
    side.levels[level].runs += 1
    return level


cdef inline void leave_level(Levels *side, int32_t level) noexcept nogil:
    """One run less; the last one takes the level away. O(1), O(log levels) where it is the last."""
    cdef uint32_t gap, at, home
    side.levels[level].runs -= 1
    if side.levels[level].runs:
        return
    take(&side.prices, side.where[level] - 1, side.where)
    gap = spot(side, side.levels[level].price)
    at = (gap + 1) & side.mask
    while side.table[at]:  # who would not be found behind the gap moves into it
        home = hash_price(side.levels[side.table[at]].price) & side.mask
        if ((at - home) & side.mask) >= ((at - gap) & side.mask):
            side.table[gap] = side.table[at]
            gap = at
        at = (at + 1) & side.mask
    side.table[gap] = 0
    side.levels[level].next, side.unused = side.unused, level
