"""Orders, and a treap of them: the best first, threaded with a list in its order. Slot 0 is nobody.

A node's weight is a hash of its slot, so a tree is as balanced as a random one and the same in every run.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

cdef enum:
    BID = 0
    ASK = 1
    LIVE = 0
    TOUCHED = 1

ctypedef struct Links:  # an order's node in one tree
    int32_t left
    int32_t right
    int32_t before
    int32_t after

ctypedef struct Order:
    int64_t price
    int64_t place
    int32_t id  # -1 in a free slot
    int32_t open
    int32_t owner  # a bid's account, an ask's machine
    int32_t screen  # a bid's demand
    int32_t owner_before  # the owner's orders, in a list
    int32_t owner_after  # also links the free slots
    int32_t partners  # first of the order's partner entries
    uint8_t side
    uint8_t live
    uint8_t touched
    Links links[2]  # LIVE, TOUCHED

ctypedef struct Tree:
    int32_t root
    int32_t first
    int32_t links  # which of an order's links are its


cdef inline uint32_t weight(int32_t slot) noexcept nogil:
    cdef uint32_t h = <uint32_t>slot * <uint32_t>0x9E3779B1
    h = (h ^ (h >> 16)) * <uint32_t>0x85EBCA6B
    h = (h ^ (h >> 13)) * <uint32_t>0xC2B2AE35
    return h ^ (h >> 16)


cdef inline bint precedes(const Order *a, const Order *b) noexcept nogil:
    """Price, then time (R5), of two orders of one side."""
    if a.price != b.price:
        return (a.price < b.price) == (a.side == ASK)
    if a.place != b.place:
        return a.place < b.place
    return a.id < b.id


cdef inline void insert(Order *orders, Tree *tree, int32_t slot) noexcept nogil:
    cdef int w = tree.links
    cdef int32_t before = 0, after = 0, at
    cdef int32_t *link = &tree.root
    cdef int32_t *left = &orders[slot].links[w].left
    cdef int32_t *right = &orders[slot].links[w].right
    while link[0] and weight(link[0]) >= weight(slot):
        at = link[0]
        if precedes(&orders[slot], &orders[at]):
            after, link = at, &orders[at].links[w].left
        else:
            before, link = at, &orders[at].links[w].right
    at, link[0] = link[0], slot
    while at:  # what is below is split into what goes left and right of the new node
        if precedes(&orders[slot], &orders[at]):
            after, right[0], right = at, at, &orders[at].links[w].left
            at = right[0]
        else:
            before, left[0], left = at, at, &orders[at].links[w].right
            at = left[0]
    left[0] = right[0] = 0
    orders[slot].links[w].before, orders[slot].links[w].after = before, after
    if before:
        orders[before].links[w].after = slot
    else:
        tree.first = slot
    if after:
        orders[after].links[w].before = slot


cdef inline void take_out(Order *orders, Tree *tree, int32_t slot) noexcept nogil:
    cdef int w = tree.links
    cdef int32_t left = orders[slot].links[w].left, right = orders[slot].links[w].right
    cdef int32_t before = orders[slot].links[w].before, after = orders[slot].links[w].after
    cdef int32_t *link = &tree.root
    while link[0] != slot:
        if precedes(&orders[slot], &orders[link[0]]):
            link = &orders[link[0]].links[w].left
        else:
            link = &orders[link[0]].links[w].right
    while left and right:  # both subtrees become one
        if weight(left) >= weight(right):
            link[0], link = left, &orders[left].links[w].right
            left = link[0]
        else:
            link[0], link = right, &orders[right].links[w].left
            right = link[0]
    link[0] = left if left else right
    if before:
        orders[before].links[w].after = after
    else:
        tree.first = after
    if after:
        orders[after].links[w].before = before
