"""A tag's runs by price and time: the best few in a row, the best of them last, all others in a heap.

What comes and goes does so near the best, so most of the work is at the end of the row. Every run of the row
precedes every run of the heap, and the row is empty only where there is none. `where` is an array by run: its
place in the heap plus one, -1 in a row, 0 for who is in neither.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free
from libc.string cimport memmove

from exchange._heap cimport Entry, Heap, grown, precedes, push, take

cdef enum:
    ROW = 256  # at most so many in a row

ctypedef struct Ranking:
    Entry *row
    int32_t size
    int32_t room
    Heap rest


cdef inline const Entry *best_of(const Ranking *all) noexcept nogil:
    """The first by price and time; there is one."""
    return &all.row[all.size - 1]


cdef inline int32_t spot_in_row(const Ranking *all, int64_t price, int32_t id) noexcept nogil:
    """Where in the row an entry of this price is."""
    cdef int32_t low = 0, high = all.size, middle
    if all.row[all.size - 1].id == id:
        return all.size - 1
    while low < high:
        middle = (low + high) // 2
        if all.row[middle].price > price:
            low = middle + 1
        else:
            high = middle
    while all.row[low].id != id:
        low += 1
    return low


cdef inline void shed(Ranking *all, int32_t *where) noexcept nogil:
    """The worse half of the row goes into the heap."""
    cdef int32_t at
    for at in range(ROW // 2):
        push(&all.rest, all.row[at], where)
    all.size -= ROW // 2
    memmove(all.row, all.row + ROW // 2, all.size * sizeof(Entry))


cdef inline void refill(Ranking *all, int32_t *where) noexcept nogil:
    """The best of the heap come into the row, which is empty."""
    cdef int32_t at = min(ROW // 2, all.rest.size)
    all.size = at
    while at:
        at -= 1
        all.row[at] = all.rest.entries[0]
        take(&all.rest, 0, where)
        where[all.row[at].id] = -1


cdef inline void rank_in(Ranking *all, Entry entry, int32_t *where) noexcept nogil:
    """Add a run that is not there. O(log n); O(1) near the best."""
    cdef int32_t low = 0, high, middle
    if all.size == ROW:
        shed(all, where)
    if all.rest.size and precedes(&all.row[0], &entry):
        push(&all.rest, entry, where)
        return
    if all.size == all.room:
        all.room = max(1, 2 * all.room)
        all.row = <Entry *>grown(all.row, all.room, sizeof(Entry))
    high = all.size
    while low < high:
        middle = (low + high) // 2
        if precedes(&entry, &all.row[middle]):
            low = middle + 1
        else:
            high = middle
    memmove(all.row + low + 1, all.row + low, (all.size - low) * sizeof(Entry))
    all.row[low] = entry
    all.size += 1
    where[entry.id] = -1


cdef inline void rank_out(Ranking *all, int64_t price, int32_t id, int32_t *where) noexcept nogil:
    """Take out a run of this price. O(log n); O(1) for the best."""
    cdef int32_t at
    if where[id] > 0:
        take(&all.rest, where[id] - 1, where)
        return
    at = spot_in_row(all, price, id)
    all.size -= 1
    memmove(all.row + at, all.row + at + 1, (all.size - at) * sizeof(Entry))
    where[id] = 0
    if not all.size and all.rest.size:
        refill(all, where)


cdef inline Entry *ranked(Ranking *all, int64_t price, int32_t id, const int32_t *where) noexcept nogil:
    """The entry of a run of this price. O(log n); O(1) for the best."""
    if where[id] > 0:
        return &all.rest.entries[where[id] - 1]
    return &all.row[spot_in_row(all, price, id)]


cdef inline void free_ranking(Ranking *all) noexcept nogil:
    free(all.row)
    free(all.rest.entries)
    all.row, all.rest.entries = NULL, NULL
    all.size, all.room, all.rest.size, all.rest.room = 0, 0, 0, 0
