"""What the book is made of: its structures, and what can be said of an order at a glance.

Slot 0 of every array is nobody. An order's slot is its index plus one.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from exchange._heap cimport Entry, Heap
from exchange._screens cimport ASK, BID, Relation

cdef extern from "stdint.h" nogil:
    int64_t INT64_MAX
    int64_t INT64_MIN

cdef enum:
    INDEX_MASK = 0xFFFFFFF  # exchange.book.INDEX_BITS of an id
    ONCE_TRAIT = 1  # slots that match do not come back
    PARTNERED = 2  # it has partners

ctypedef struct Order:  # a line of the cache
    int64_t id
    int64_t price
    int64_t place
    int64_t spend  # the most that a bid may still spend
    int64_t expires  # 0: never
    int32_t size
    int32_t running
    int32_t owner  # a bid's account, an ask's machine
    int32_t tag  # a bid's screen, an ask's kind
    int32_t run  # while live
    uint8_t side
    uint8_t there  # 0: never was an order here; 1: there was; 2: there is
    uint8_t live
    uint8_t traits

ctypedef struct Links:  # an order's neighbours; apart, so that few lines are touched when it goes
    int32_t before  # in its run, while live
    int32_t after
    int32_t owner_before  # among its owner's orders
    int32_t owner_after

ctypedef struct Run:  # live orders of one tag and price, one behind the other by their places
    int64_t price  # an order's worth
    int64_t open  # slots of its orders
    int64_t newest  # no order of it has a later place
    int32_t tag
    uint8_t side
    uint8_t listed  # found by tag and price; who comes back amid such a run is a run by itself
    int32_t first  # 0: it is empty, and kept for who comes next
    int32_t last
    int32_t next  # links the runs that are not used

ctypedef struct Listed:
    int32_t run  # 0 in a free spot
    uint32_t hash

ctypedef struct Runs:
    Run *runs
    int32_t *where  # by run, its place in its tag's ranking
    Listed *table  # listed runs by hash; open addressing, at most half full
    uint64_t key  # of their hash
    int32_t top, room, unused, listed
    int32_t count, empty  # how many are used; how many of these are empty
    uint32_t mask

ctypedef struct Account:
    int64_t free
    int64_t asleep  # while its free money is below this, and not below the other, none of its bids wakes up
    int64_t awake  # or falls asleep: prices of bids, the least that it can't pay and the most that it can
    int64_t taken  # scratch: what a quote has taken of it so far
    int32_t orders
    uint8_t known
    uint8_t present

ctypedef struct Machine:
    int32_t account
    int32_t kind
    int32_t orders
    uint8_t known
    uint8_t ready

ctypedef struct Partner:  # R14: slots of bid whose last partner was ask; in a list of each
    int32_t orders[2]  # by side
    int64_t slots  # 0 in an entry that is not used, linked by after[0]
    int32_t before[2]
    int32_t after[2]

ctypedef struct Step:  # of a walk through orders by price and time
    int64_t price
    int64_t place
    int32_t at
    int32_t tag  # `at` is in this tag's ranking of runs; -1: in the side's heap of tags; -2: an order

ctypedef struct Core:
    Order *orders
    Links *links
    int32_t *partners_of  # by slot, first of the order's partner entries where it is PARTNERED
    int32_t *in_touched  # by slot, places in heaps: of those touched,
    int32_t *in_renewals  # of live bids that have partners,
    int32_t *in_expiry  # of those that expire
    Account *accounts
    Machine *machines
    Partner *partners
    size_t orders_room, accounts_room, machines_room
    Relation relation
    Runs runs
    Heap touched[2]
    Heap renewals
    Heap expiry
    Heap hungry  # screens by their best bids, of those whose bids may meet a touched ask
    int32_t *in_hungry
    uint64_t asks_touched  # how often an ask was; as it was when `hungry` was made
    uint64_t hungry_since
    int32_t partners_top, partners_room, partners_unused
    int64_t last_place
    int64_t count
    Step *steps
    int32_t steps_size, steps_room


cdef inline int64_t worth(const Order *order) noexcept nogil:
    """Its price, turned so that less is better."""
    return order.price if order.side == ASK else -order.price


cdef inline int32_t open_of(const Order *order) noexcept nogil:
    return order.size - order.running if order.size > order.running else 0


cdef inline int32_t partners_of(const Core *core, int32_t slot) noexcept nogil:
    """The first of its partner entries."""
    return core.partners_of[slot] if core.orders[slot].traits & PARTNERED else 0


cdef inline int32_t account_of(const Core *core, const Order *order) noexcept nogil:
    return order.owner if order.side == BID else core.machines[order.owner].account


cdef inline Entry entry_of(const Core *core, int32_t slot) noexcept nogil:
    cdef const Order *order = &core.orders[slot]
    cdef Entry entry
    entry.price, entry.place, entry.id = worth(order), order.place, slot
    entry.account = account_of(core, order)
    return entry


cdef inline bint may_match(const Core *core, int32_t slot) noexcept nogil:
    """Whether an order is to be live (R3, R6, R11)."""
    cdef const Order *order = &core.orders[slot]
    cdef const Account *account
    if order.size <= order.running:
        return False
    if order.side == ASK:
        return core.machines[order.owner].ready
    account = &core.accounts[order.owner]
    return account.present and account.free >= order.price and order.spend >= order.price
