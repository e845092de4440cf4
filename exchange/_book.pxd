"""The compiled book's structures, for cimport. Slot 0 of every array stands for nobody."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from exchange._tree cimport Order, Tree

ctypedef struct Account:
    int64_t free
    int64_t lowest  # bounds of its bids' prices: free money that moves outside them wakes nobody
    int64_t highest
    int32_t orders
    uint8_t known
    uint8_t present

ctypedef struct Machine:
    int32_t numbers[16]
    uint64_t flags[8]
    int32_t account
    int32_t orders
    uint8_t known
    uint8_t ready

ctypedef struct Demand:  # an interned screen
    int32_t minimums[16]
    uint64_t flags[8]
    int32_t *accounts  # those only allowed, then those blocked, each sorted
    int32_t only
    int32_t blocked
    int64_t bids  # how many have it

ctypedef struct Partner:  # R14: slots of bid whose last partner was ask; in a list of each
    int32_t orders[2]  # by side
    int64_t slots  # 0 in a free entry, which is linked by after[0]
    int32_t before[2]
    int32_t after[2]

ctypedef struct Pair:
    int32_t bid
    int32_t ask
    int64_t price
    int64_t slots

cdef class Book:
    cdef Order *orders
    cdef Account *accounts
    cdef Machine *machines
    cdef Demand *demands
    cdef Partner *partners
    cdef int32_t *slots  # order id -> slot
    cdef size_t orders_room, accounts_room, machines_room, demands_room, partners_room, slots_room
    cdef int32_t orders_top, demands_top, partners_top  # first entry never used
    cdef int32_t orders_free, partners_free  # first of the free entries below it
    cdef int32_t count
    cdef int32_t cursor  # live bids before it have no eligible ask; back to the first when anything is touched
    cdef Tree live[2]  # by side
    cdef Tree touched[2]
    cdef dict interned  # Screen -> index in demands
    cdef list screens  # index in demands -> Screen or None
    cdef list screens_free

    cdef void wake(self, Account *entry) noexcept nogil
    cdef bint may_match(self, const Order *order) noexcept nogil
    cdef void refresh(self, int32_t slot, bint touch) noexcept nogil
    cdef void sleep(self, int32_t slot) noexcept nogil
    cdef void untouch(self, int32_t slot) noexcept nogil
    cdef Order read_order(self, order, int side, str word, owner, price, open, place) except *
    cdef void store(self, const Order *new) noexcept nogil
    cdef int32_t *owner_head(self, const Order *order) noexcept nogil
    cdef int32_t slot_of(self, object order) except 0
    cdef int32_t intern(self, object screen) except 0
    cdef int fill_demand(self, Demand *demand, object screen) except -1
    cdef void release(self, int32_t at)
    cdef bint passes(self, int32_t bid, int32_t ask) noexcept nogil
    cdef int32_t partner_entry(self, int32_t bid, int32_t ask) noexcept nogil
    cdef void drop_partner(self, int32_t entry) noexcept nogil
    cdef bint find(self, Pair *pair) noexcept nogil
    cdef int32_t first_ask(self, int32_t bid, const Tree *asks) noexcept nogil
    cdef bint find_partners(self, Pair *pair) noexcept nogil
    cdef void settle_terms(self, Pair *pair, int64_t arriving) noexcept nogil
