"""A heap of four that knows where each of its entries stands, so that any of them can leave.

The root is the entry that precedes all others; an entry's children are at 4*at+1 .. 4*at+4. `where` is an array
by entry id: its place in the heap plus one, 0 for who is not in it.
"""

from libc.stdint cimport int32_t, int64_t

cdef extern from "_memory.h" nogil:
    void *aligned(size_t entries, size_t size)
    void *grown(void *old, size_t entries, size_t size)
    void *zeroed(void *old, size_t have, size_t entries, size_t size)
    void unmap(void *array, size_t entries, size_t size)

cdef enum:
    ARITY = 4

cdef extern from "_heap.h" nogil:
    ctypedef struct Entry:
        int64_t price  # of a bid negated, so that less is always better: an order's worth
        int64_t place
        int32_t id
        int32_t account  # whose it is; for a touched ask the best bid that was found for it
    bint precedes(const Entry *a, const Entry *b)
    int32_t first_child(const Entry *entries, int32_t child, int32_t end)

ctypedef struct Heap:
    Entry *entries
    int32_t size
    int32_t room


cdef inline void rise(Heap *heap, int32_t at, Entry entry, int32_t *where) noexcept nogil:
    """Put `entry` at `at`, which is free, or above it."""
    cdef int32_t above
    while at:
        above = (at - 1) // ARITY
        if not precedes(&entry, &heap.entries[above]):
            break
        heap.entries[at] = heap.entries[above]
        where[heap.entries[at].id] = at + 1
        at = above
    heap.entries[at] = entry
    where[entry.id] = at + 1


cdef inline void sink(Heap *heap, int32_t at, Entry entry, int32_t *where) noexcept nogil:
    """Put `entry` at `at`, which is free, or below it."""
    cdef int32_t child, best
    while True:
        child = ARITY * at + 1
        if child >= heap.size:
            break
        best = first_child(heap.entries, child, min(child + ARITY, heap.size))
        if not precedes(&heap.entries[best], &entry):
            break
        heap.entries[at] = heap.entries[best]
        where[heap.entries[at].id] = at + 1
        at = best
    heap.entries[at] = entry
    where[entry.id] = at + 1


cdef inline void push(Heap *heap, Entry entry, int32_t *where) noexcept nogil:
    """Add an entry whose id is not in it. O(log n), O(1) where it is late among them."""
    if heap.size == heap.room:
        heap.room = max(1, 2 * heap.room)
        heap.entries = <Entry *>grown(heap.entries, heap.room, sizeof(Entry))
    heap.size += 1
    rise(heap, heap.size - 1, entry, where)


cdef inline void replace(Heap *heap, int32_t at, Entry entry, int32_t *where) noexcept nogil:
    """Put `entry` in the place of the one at `at`, which has left, or is this one with another key. O(log n)."""
    if at and precedes(&entry, &heap.entries[(at - 1) // ARITY]):
        rise(heap, at, entry, where)
    else:
        sink(heap, at, entry, where)


cdef inline void take(Heap *heap, int32_t at, int32_t *where) noexcept nogil:
    """Take out the entry at `at`. O(log n)."""
    where[heap.entries[at].id] = 0
    heap.size -= 1
    if at != heap.size:
        replace(heap, at, heap.entries[heap.size], where)


cdef inline void clear(Heap *heap, int32_t *where) noexcept nogil:
    """Take out all. O(n)."""
    cdef int32_t at
    for at in range(heap.size):
        where[heap.entries[at].id] = 0
    heap.size = 0
