# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled book: `exchange.book.Book` says what each call does, `exchange.book_twin` what it answers.

Everything is C in `exchange/_*.pxd`, from the bottom up: `_heap` and `_ranking`, `_screens` (which machines pass
which screens), `_core` and `_queues` (where orders stand), `_orders` (who is live), `_search` (the best that
passes), `_match` (the one way to match) and `_rules` (requests). Here Python's values become C's, and back. No Python object per order; arrays grow by
doubling, and nothing is allocated while they are large enough.
"""

from operator import index

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free as release_memory, malloc
from libc.string cimport memcpy, memset

from exchange._core cimport (
    INDEX_MASK,
    INT64_MAX,
    INT64_MIN,
    Account,
    Core,
    Links,
    Machine,
    Order,
    Run,
    open_of,
    partners_of,
)
from exchange._heap cimport Heap, zeroed
from exchange._match cimport Pair, find, find_partners, settle_terms
from exchange._orders cimport (
    change_screen,
    discard,
    expect_neighbours,
    expect_order,
    forget_partners,
    forget_touched,
    free_core,
    move_order,
    refresh,
    resize,
    rest,
    set_bound,
    slot_of_id,
    store,
    tell_account,
    tell_machine,
    tell_number,
    tell_partner,
    tell_ready,
    touch,
    was_there,
)
from exchange._queues cimport clear_tag, tidy
from exchange._rules cimport (
    BAD_VALUE,
    DO_AMEND,
    DO_ACCOUNT,
    DO_ASK,
    DO_BID,
    DO_CANCEL,
    DUPLICATE,
    FINISHED,
    INT32_MAX,
    INT32_MIN,
    MATCH,
    NO_MEMORY,
    PRICE_MAX,
    REFUSED,
    UNKNOWN,
    WRONG_SIDE,
    Request,
    Result,
    Rows,
    check_id,
    do_request,
    is_kept,
    is_machine,
    quote_ask,
    quote_bid,
    say,
)
from exchange._screens cimport (
    ASK,
    BID,
    BLOCK,
    Demand,
    Tags,
    drop_screen,
    expect_screen,
    new_screen,
    new_tag,
    read_row,
    release_screen,
)
from exchange._search cimport (
    Found,
    Seeker,
    begin_runs,
    begin_walk,
    next_order,
    next_run,
    patience_for,
)

from exchange.book import (
    FLAGS_MAX,
    BadBookValue,
    DuplicateOrder,
    FinishedOrder,
    OrderRefused,
    Quote,
    Screen,
    UnknownOrder,
    UnsettledBook,
    check_screen,
    checked,
    checked_numbers,
    plain_screen,
)
from exchange.book_check import check_state
from exchange.book_records import REQUEST_FIELDS, SAYS, says_of

cdef extern from "Python.h":
    bint PyLong_CheckExact(object value)
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef int64_t ID_MAX = INDEX_MASK
cdef enum:
    AHEAD = 6  # requests whose memory is fetched while others are done,
    FEW = 4096  # unless there are so few orders that it is at hand

cdef int64_t PLACE_MAX = PRICE_MAX  # so that there is always a next one
cdef object NOTHING_YET = object()  # no caller has it
cdef int64_t LEAST_WORDS = 1 << 21  # 16 MiB of what screens remember, or two words for each order
cdef Py_ssize_t RESULT_SIZE = sizeof(Result)
cdef bytes RESULT_FORMAT = b"T{<q:order:q:other:q:price:i:slots:i:request:B:what:B:code:H:pad:I:pad2:}"


include "_values.pxi"


@cython.final
cdef class Results:
    """RESULT records of `exchange.book_records`, as a read-only buffer; `rows` has them as tuples."""

    def __dealloc__(self):
        release_memory(self.out.rows)

    def __len__(self):
        return self.out.size

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("the results can't be written to")
        self.shape = self.out.size
        view.buf, view.obj, view.len = self.out.rows, self, self.out.size * RESULT_SIZE
        view.readonly, view.itemsize, view.ndim = True, RESULT_SIZE, 1
        view.format = <char *>RESULT_FORMAT if flags & PyBUF_FORMAT else NULL
        view.shape, view.strides = &self.shape, &RESULT_SIZE
        view.suboffsets = view.internal = NULL
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1

    def rows(self):
        """The records as tuples (order, other, price, slots, request, what, code)."""
        cdef Result *row
        cdef int64_t at
        cdef list found = []
        self.exports += 1  # nobody fills it again meanwhile
        try:
            for at in range(self.out.size):
                row = &self.out.rows[at]
                found.append((row.order, row.other, row.price, row.slots, row.request, row.what, row.code))
        finally:
            self.exports -= 1
        return found


@cython.final
cdef class Book:
    """The compiled book; see `exchange.book.Book` for what each call does."""

    def __cinit__(self):
        self.interned, self.screens = {}, []
        self.lately, self.lately_tag = NOTHING_YET, -1
        self.core.partners_top = 1
        self.core.runs.key = self.core.relation.key = hash_key(<void *>self)
        self.room_for_order(62)
        self.room_for_account(63)
        self.room_for_machine(63)
        new_tag(&self.core.relation.sides[ASK])  # no kind
        self.core.relation.sides[ASK].used[0] = 0
        self.intern(Screen())
        self.core.relation.demands[0].kept = 1

    def __dealloc__(self):
        release_memory(self.scratch.rows)
        free_core(&self.core)

    cdef int room_for_order(self, int64_t order) except -1:
        cdef size_t have = self.core.orders_room, room = <size_t>(order & ID_MAX) + 2
        if order < 0 or room <= have:
            return 0
        room = min(max(room, 2 * have), <size_t>ID_MAX + 2)
        self.core.relation.most_words = max(LEAST_WORDS, 2 * <int64_t>room)
        self.core.orders = <Order *>array(self.core.orders, have, room, sizeof(Order))
        self.core.links = <Links *>array(self.core.links, have, room, sizeof(Links))
        self.core.partners_of = <int32_t *>array(self.core.partners_of, have, room, sizeof(int32_t))
        self.core.in_touched = <int32_t *>array(self.core.in_touched, have, room, sizeof(int32_t))
        self.core.in_renewals = <int32_t *>array(self.core.in_renewals, have, room, sizeof(int32_t))
        self.core.in_expiry = <int32_t *>array(self.core.in_expiry, have, room, sizeof(int32_t))
        self.core.orders_room = room
        return 0

    cdef int room_for_account(self, int64_t account) except -1:
        cdef size_t have = self.core.accounts_room, room = <size_t>account + 1
        if account < 0 or account > ID_MAX or room <= have:
            return 0
        room = min(max(room, 2 * have), <size_t>ID_MAX + 1)
        self.core.accounts = <Account *>array(self.core.accounts, have, room, sizeof(Account))
        self.core.accounts_room = room
        return 0

    cdef int room_for_machine(self, int64_t machine) except -1:
        cdef size_t have = self.core.machines_room, room = <size_t>machine + 1
        if room <= have:
            return 0
        room = min(max(room, 2 * have), <size_t>ID_MAX + 1)
        self.core.machines = <Machine *>array(self.core.machines, have, room, sizeof(Machine))
        self.core.machines_room = room
        return 0

    # ---- screens: equal ones are one

    cdef object plain(self, object screen):
        """The same screen in its plain form; the last one that was interned is so already."""
        return screen if screen is self.lately else plain_screen(screen)

    cdef int check_new(self, object screen) except -1:
        """Check the values of a plain screen; of one that is known they were checked before."""
        if screen is not self.lately and screen not in self.interned:
            check_screen(screen)
        return 0

    cdef int32_t intern(self, object screen) except -1:
        """The tag of a plain screen that was checked, with one holder more."""
        cdef Demand demand
        cdef int32_t tag, i
        cdef list accounts
        if screen is self.lately:
            self.core.relation.sides[BID].tags[self.lately_tag].holders += 1
            return self.lately_tag
        known = self.interned.get(screen)
        if known is None:
            memset(&demand, 0, sizeof(Demand))
            read_numbers(demand.row, "screen.minimums", screen.minimums)
            read_flags(&demand.row[16], screen.flags)
            for i in range(32):
                if demand.row[i] != (INT32_MIN if i < 16 else 0):
                    demand.named |= <uint32_t>1 << i
            accounts = sorted(screen.only) + sorted(screen.blocked)
            if accounts:
                demand.only, demand.blocked = len(screen.only), len(screen.blocked)
                demand.accounts = <int32_t *>malloc(len(accounts) * sizeof(int32_t))
                if demand.accounts == NULL:
                    raise MemoryError("no memory for a screen's accounts")
                for i in range(<int32_t>len(accounts)):
                    demand.accounts[i] = accounts[i]
            known = self.interned.get(screen)  # a collection may have run meanwhile, and anything with it
            if known is not None:
                release_memory(demand.accounts)
        if known is None:
            tag = new_screen(&self.core.relation, &demand)
            if tag == <int32_t>len(self.screens):
                self.screens.append(screen)
            else:
                self.screens[tag] = screen
            self.interned[screen] = tag
        else:
            tag = known
        self.core.relation.sides[BID].tags[tag].holders += 1
        self.lately, self.lately_tag = screen, tag
        return tag

    cdef int forget_idle(self) except -1:
        """Forget the screens that nobody holds any more."""
        cdef int32_t tag
        while self.core.relation.idles:
            self.core.relation.idles -= 1
            tag = self.core.relation.idle[self.core.relation.idles]
            self.core.relation.demands[tag].idle = False
            if not self.core.relation.sides[BID].tags[tag].holders:
                del self.interned[self.screens[tag]]
                self.screens[tag] = None
                if tag == self.lately_tag:
                    self.lately = NOTHING_YET
                clear_tag(&self.core, BID, tag)
                drop_screen(&self.core.relation, tag)
        return 0

    def keep_screen(self, screen):
        """Return a handle for `screen`, for requests until `drop_screen`; each keep wants its drop."""
        screen = self.plain(screen)
        self.check_new(screen)
        cdef int32_t tag = self.intern(screen)
        self.core.relation.demands[tag].kept += 1
        return tag

    def drop_screen(self, handle):
        """End one `keep_screen`. Bids that have the screen keep it. Raises BadBookValue for no handle."""
        cdef int overflow = 0
        handle = exact(handle)
        cdef int64_t tag = PyLong_AsLongLongAndOverflow(handle, &overflow)
        if overflow or tag < 0 or tag > INT32_MAX or not is_kept(&self.core, <int32_t>tag) or (
                tag == 0 and self.core.relation.demands[0].kept == 1):
            raise BadBookValue(f"handle is {handle}: no screen is kept under it")
        self.core.relation.demands[tag].kept -= 1
        release_screen(&self.core.relation, <int32_t>tag)
        self.forget_idle()

    # ---- told: who may match

    def set_account(self, account, present, free):
        """Set whether a buyer's client is present (R6) and the account's free money (int64, R11)."""
        cdef bint here = present
        account, free = exact(account), exact(free)
        cdef int64_t index = whole("account", account, 0, ID_MAX)
        cdef int64_t money = whole("free", free, INT64_MIN, INT64_MAX)
        self.room_for_account(index)
        tell_account(&self.core, <int32_t>index, here, money)

    def set_machine(self, machine, account, numbers, flags, ready):
        """Set a machine's seller, profile (R24, R27), and whether it is ready (R6)."""
        cdef bint is_ready = ready
        machine, account, flags = exact(machine), exact(account), exact(flags)
        cdef int64_t index = whole("machine", machine, 0, ID_MAX)
        cdef int64_t seller = whole("account", account, 0, ID_MAX)
        cdef int32_t row[32]
        read_numbers(row, "numbers", numbers)
        read_flags(&row[16], checked("flags", flags, 0, FLAGS_MAX))
        self.room_for_machine(index)
        tell_machine(&self.core, <int32_t>index, <int32_t>seller, row, is_ready)

    def set_ready(self, machine, ready):
        """Set whether a machine that was set before is ready (R6). O(its asks * log n)."""
        cdef bint is_ready = ready
        tell_ready(&self.core, self.known_machine(exact(machine)), is_ready)

    def set_number(self, machine, attribute, value):
        """Set one number of a machine that was set before, such as its reputation (R27); as `set_machine`."""
        machine, attribute, value = exact(machine), exact(attribute), exact(value)
        cdef int32_t index = self.known_machine(machine)
        cdef int64_t column = whole("attribute", attribute, 0, 15)
        tell_number(&self.core, index, <int>column, <int32_t>whole("value", value, INT32_MIN, INT32_MAX))

    cdef int32_t known_machine(self, object machine) except -1:
        cdef int64_t index = whole("machine", machine, 0, ID_MAX)
        if not is_machine(&self.core, <int32_t>index):
            raise BadBookValue(f"machine {machine} was never set: call set_machine first")
        return <int32_t>index

    cdef int32_t known_account(self, object account, int64_t least) except? -1:
        cdef int64_t index = whole("account", account, least, ID_MAX)
        if index >= 0 and (
                <size_t>index >= self.core.accounts_room or not self.core.accounts[index].known):
            raise BadBookValue(f"account {account} was never set: call set_account first")
        return <int32_t>index

    # ---- told: orders

    cdef int64_t new_id(self, object order) except -1:
        cdef int64_t id = whole("order", order, 0, INT64_MAX)
        cdef int code = check_id(&self.core, id)
        if code:
            raise DuplicateOrder(order) if code == DUPLICATE else FinishedOrder(order)
        return id

    def add_bid(self, order, account, price, open, place, screen, spend=INT64_MAX):
        """Add a bid of an account that was set before; `spend` is the most that it may still spend (R3)."""
        order, account, price, open = exact(order), exact(account), exact(price), exact(open)
        place, spend, screen = exact(place), exact(spend), self.plain(screen)
        cdef int64_t id = self.new_id(order)
        cdef int32_t owner = self.known_account(account, 0)
        cdef int64_t limit = whole("price", price, 0, PRICE_MAX)
        cdef int64_t size = whole("open", open, 0, INT32_MAX)
        cdef int64_t when = whole("place", place, INT64_MIN, PLACE_MAX)
        self.check_new(screen)
        cdef int64_t most = whole("spend", spend, 0, INT64_MAX)
        cdef int32_t tag = self.intern(screen)
        try:
            self.new_id(order)  # still: a collection may have run
            self.room_for_order(id)
        except BaseException:
            release_screen(&self.core.relation, tag)
            self.forget_idle()
            raise
        self.enter(store(&self.core, id, BID, owner, tag, limit, <int32_t>size, when, most, 0, False))

    def add_ask(self, order, machine, price, open, place):
        """Add an ask of a machine that was set before. Raises as `add_bid`. O(log n)."""
        order, machine, price = exact(order), exact(machine), exact(price)
        open, place = exact(open), exact(place)
        cdef int64_t id = self.new_id(order)
        cdef int32_t owner = self.known_machine(machine)
        cdef int64_t limit = whole("price", price, 0, PRICE_MAX)
        cdef int64_t size = whole("open", open, 0, INT32_MAX)
        cdef int64_t when = whole("place", place, INT64_MIN, PLACE_MAX)
        self.room_for_order(id)
        self.enter(store(&self.core, id, ASK, owner, self.core.machines[owner].kind, limit, <int32_t>size, when,
                         INT64_MAX, 0, False))

    cdef void enter(self, int32_t slot) noexcept:
        rest(&self.core, slot)
        if self.core.orders[slot].live:
            touch(&self.core, slot)

    cdef int32_t slot_of(self, object order) except 0:
        cdef int overflow = 0
        cdef int64_t id = PyLong_AsLongLongAndOverflow(order, &overflow)
        cdef int32_t slot = 0 if overflow else slot_of_id(&self.core, id)
        if not slot:
            raise FinishedOrder(order) if not overflow and was_there(&self.core, id) else UnknownOrder(order)
        return slot

    cdef int32_t slot_of_bid(self, object order, str has) except 0:
        cdef int32_t slot = self.slot_of(order)
        if self.core.orders[slot].side != BID:
            raise BadBookValue(f"order {order} is an ask: only a bid has {has}")
        return slot

    def reprice(self, order, price, place):
        """Give an order another limit and place in time (R9)."""
        order, price, place = exact(order), exact(price), exact(place)
        cdef int32_t slot = self.slot_of(order)
        cdef int64_t limit = whole("price", price, 0, PRICE_MAX)
        cdef int64_t when = whole("place", place, INT64_MIN, PLACE_MAX)
        move_order(&self.core, slot, limit, when)

    def rescreen(self, order, screen):
        """Give a bid another screen at its old place (R9). O(log n), and O(k) where the screen is new."""
        order, screen = exact(order), self.plain(screen)
        cdef int32_t slot = self.slot_of_bid(order, "a screen")
        self.check_new(screen)
        cdef int32_t tag = self.intern(screen)
        try:
            slot = self.slot_of_bid(order, "a screen")  # still: a collection may have run
        except BaseException:
            release_screen(&self.core.relation, tag)
            self.forget_idle()
            raise
        change_screen(&self.core, slot, tag)
        self.forget_idle()

    def set_open(self, order, open):
        """Set how many slots are free to be matched; 0 is busy (R10). O(log n)."""
        order, open = exact(order), exact(open)
        cdef int32_t slot = self.slot_of(order)
        cdef int64_t size = whole("open", open, 0, INT32_MAX)
        resize(&self.core, slot, <int32_t>min(INT32_MAX, size + self.core.orders[slot].running),
               self.core.orders[slot].running)

    def set_spend(self, order, spend):
        """Set the most that a bid may still spend (R3); below its price it is not live. O(log n)."""
        order, spend = exact(order), exact(spend)
        cdef int32_t slot = self.slot_of_bid(order, "a most to spend")
        cdef int64_t most = whole("spend", spend, 0, INT64_MAX)
        set_bound(&self.core, slot, most, self.core.orders[slot].expires)
        refresh(&self.core, slot, False)

    def remove(self, order):
        """Take an order out, with what was known of its partners; it is finished. O(log n)."""
        discard(&self.core, self.slot_of(exact(order)))
        self.forget_idle()

    # ---- told: last partners

    def add_partner(self, bid, ask, slots):
        """Add slots of this bid whose last partner was this ask (R14); less than none in sum is none."""
        bid, ask, slots = exact(bid), exact(ask), exact(slots)
        cdef int32_t of_bid = self.slot_of(bid), of_ask
        if self.core.orders[of_bid].side != BID:
            raise BadBookValue(f"bid is {bid}: this order is an ask")
        of_ask = self.slot_of(ask)
        if self.core.orders[of_ask].side != ASK:
            raise BadBookValue(f"ask is {ask}: this order is a bid")
        tell_partner(&self.core, of_bid, of_ask, whole("slots", slots, -INT32_MAX, INT32_MAX))

    def clear_partners(self):
        """Forget all partners: the slots that returned together have been settled (R14)."""
        forget_partners(&self.core)

    # ---- told: matching

    def next_match(self, arriving=-1, partners_only=False):
        """Return the first match as (bid, ask, execution price, slots), or None; changes no order."""
        cdef bint renewals = partners_only
        cdef int64_t newcomer = whole("arriving", exact(arriving), -1, INT64_MAX)
        cdef Pair pair
        if not (find_partners(&self.core, &pair) if renewals else find(&self.core, &pair)):
            return None
        settle_terms(&self.core, &pair, slot_of_id(&self.core, newcomer))
        return self.core.orders[pair.bid].id, self.core.orders[pair.ask].id, pair.price, pair.slots

    def settled(self):
        """Forget what was touched: the engine promises that `next_match()` over all pairs returns None."""
        forget_touched(&self.core)

    # ---- asked

    cdef int do_in_more_room(self, const Request *request, int32_t position, Rows *out) except -1:
        """A request whose order or account is beyond the arrays."""
        try:
            if request.kind == DO_ACCOUNT:
                self.room_for_account(request.owner)
            else:
                self.room_for_order(request.order)
        except MemoryError:
            say(out, position, REFUSED, NO_MEMORY, request.order, -1, -1, 0)
            return 0
        if not do_request(&self.core, request, position, out):
            raise AssertionError("there is room, and it is not enough")
        return 0

    def apply(self, requests, results=None):
        """Do the requests (REQUEST records, one after the other) and match after each (R5)."""
        cdef Results into = Results() if results is None else results
        cdef Py_buffer view
        cdef void *copy = NULL
        PyObject_GetBuffer(requests, &view, PyBUF_ND | PyBUF_FORMAT)
        try:
            if into.exports:
                raise BufferError("somebody has a view of these results: release it first, or take others")
            if view.len % sizeof(Request):
                raise BadBookValue(f"requests has {view.len} bytes: it must be records of {sizeof(Request)}")
            if view.itemsize not in (1, sizeof(Request)) or (
                    view.format != NULL and (view.format[0] == c">" or b">" in <bytes>view.format)):
                raise BadBookValue("requests has other items: it must be bytes, or an array of REQUEST_FIELDS")
            if <size_t>view.buf % sizeof(int64_t):
                copy = malloc(view.len)
                if copy == NULL:
                    raise MemoryError("no memory for a copy of the requests")
                memcpy(copy, view.buf, view.len)
            done(self, <const Request *>(copy if copy != NULL else view.buf), view.len // sizeof(Request), into)
        finally:
            release_memory(copy)
            PyBuffer_Release(&view)
        return into

    cdef int check_settled(self) except -1:
        """Refuse a single call while something waits to be matched: it could not say so."""
        cdef Pair pair
        if (self.core.touched[BID].size or self.core.touched[ASK].size) and find(&self.core, &pair):
            raise UnsettledBook()
        forget_partners(&self.core)
        forget_touched(&self.core)
        return 0

    cdef list matches(self, const Request *request, int32_t *gone):
        """Do a single request; raise what refuses it."""
        cdef Rows out = self.scratch
        cdef list found = []
        cdef Result *row
        cdef int64_t at
        self.check_settled()
        memset(&self.scratch, 0, sizeof(Rows))  # while it is read, nobody else writes to it
        out.size = 0
        try:
            if not do_request(&self.core, request, 0, &out):
                self.do_in_more_room(request, 0, &out)
            self.forget_idle()
            for at in range(out.size):
                row = &out.rows[at]
                if row.what == MATCH:
                    found.append((row.order, row.other, row.price, row.slots))
                elif row.what == REFUSED:
                    raise refusal(request, row)
                elif gone != NULL:
                    gone[0] = row.slots
        finally:
            if self.scratch.rows == NULL:
                self.scratch = out
            else:
                release_memory(out.rows)
        return found

    def bid(self, order, account, price, size, screen=0, terms=0, spend=INT64_MAX, expires=0):
        """Place a bid, as a BID request; `screen` is a handle, 0 for none. Returns its matches."""
        cdef Request request
        request.kind, request.other, request.pad = DO_BID, -1, 0
        request.order = fitting("order", order, INT64_MIN, INT64_MAX)
        request.owner = <int32_t>fitting("account", account, INT32_MIN, INT32_MAX)
        request.price = fitting("price", price, INT64_MIN, INT64_MAX)
        request.size = <int32_t>fitting("size", size, INT32_MIN, INT32_MAX)
        request.screen = <int32_t>fitting("screen", screen, INT32_MIN, INT32_MAX)
        request.terms = fitting("terms", terms, 0, 255)
        request.spend = fitting("spend", spend, INT64_MIN, INT64_MAX)
        request.expires = fitting("expires", expires, INT64_MIN, INT64_MAX)
        return self.matches(&request, NULL)

    def ask(self, order, machine, price, size, terms=0, expires=0):
        """Place an ask, as an ASK request. Returns matches and raises as `bid`."""
        cdef Request request
        request.kind, request.other, request.spend, request.screen, request.pad = DO_ASK, -1, INT64_MAX, 0, 0
        request.order = fitting("order", order, INT64_MIN, INT64_MAX)
        request.owner = <int32_t>fitting("machine", machine, INT32_MIN, INT32_MAX)
        request.price = fitting("price", price, INT64_MIN, INT64_MAX)
        request.size = <int32_t>fitting("size", size, INT32_MIN, INT32_MAX)
        request.terms = fitting("terms", terms, 0, 255)
        request.expires = fitting("expires", expires, INT64_MIN, INT64_MAX)
        return self.matches(&request, NULL)

    def amend(self, order, price=-1, size=-1, screen=-1):
        """Give an order new terms, as an AMEND request (R9); -1 leaves a term as it is. Raises as `bid`."""
        cdef Request request
        memset(&request, 0, sizeof(Request))
        request.kind, request.order = DO_AMEND, named_order(order)
        request.price = fitting("price", price, INT64_MIN, INT64_MAX)
        request.size = <int32_t>fitting("size", size, INT32_MIN, INT32_MAX)
        request.screen = <int32_t>fitting("screen", screen, INT32_MIN, INT32_MAX)
        return self.matches(&request, NULL)

    def cancel(self, order):
        """End an order; returns the slots that were still open. Raises UnknownOrder, FinishedOrder."""
        cdef Request request
        cdef int32_t gone = 0
        memset(&request, 0, sizeof(Request))
        request.kind, request.order = DO_CANCEL, named_order(order)
        self.matches(&request, &gone)
        return gone

    # ---- what is there

    def quote_bid(self, account, price, size, screen, spend=INT64_MAX):
        """What a bid would get if it came now: up to `size` slots at `price` or better (R6, R7, R11)."""
        account, price, size, spend = exact(account), exact(price), exact(size), exact(spend)
        screen = plain_screen(screen)
        cdef int32_t who = self.known_account(account, -1), tag
        cdef int64_t limit = whole("price", price, 0, PRICE_MAX)
        cdef int64_t most = whole("size", size, 0, INT32_MAX)
        cdef Found found
        check_screen(screen)
        cdef int64_t money = whole("spend", spend, 0, INT64_MAX)
        tag = self.intern(screen)
        found = quote_bid(&self.core, who, tag, limit, most, money, False)
        release_screen(&self.core.relation, tag)
        self.forget_idle()
        return Quote(found.slots, (<object>found.cost_high << 64) + found.cost, found.worst)

    def quote_ask(self, machine, price, size):
        """What an ask of a machine would sell if it came now, at `price` or better."""
        machine, price, size = exact(machine), exact(price), exact(size)
        cdef int32_t index = self.known_machine(machine)
        cdef int64_t limit = whole("price", price, 0, PRICE_MAX)
        cdef int64_t most = whole("size", size, 0, INT32_MAX)
        cdef Found found = quote_ask(&self.core, index, limit, most)
        return Quote(found.slots, (<object>found.cost_high << 64) + found.cost, found.worst)

    def depth(self, side, most=INT32_MAX):
        """Return (price, open slots), best first, of what is live on side BID or ASK (R11)."""
        cdef bint asks = whole("side", exact(side), BID, ASK)
        cdef int64_t levels = whole("most", exact(most), 0, INT32_MAX)
        cdef const Run *run
        cdef Rows shown
        cdef int64_t price
        memset(&shown, 0, sizeof(Rows))
        begin_runs(&self.core, ASK if asks else BID)
        while shown.size <= levels:
            run = next_run(&self.core, ASK if asks else BID)
            if run == NULL:
                break
            show(&shown, run.price if asks else -run.price, run.open)
        return levels_of(&shown, levels)

    def depth_for(self, screen, price=PRICE_MAX, most=INT32_MAX):
        """Return (price, open slots), best first, of live asks that pass `screen` at `price` or better."""
        cdef Seeker who
        cdef int32_t slot = 0
        cdef Rows shown
        screen, price, most = plain_screen(screen), exact(price), exact(most)
        check_screen(screen)
        who.bound = whole("price", price, 0, PRICE_MAX)
        cdef int64_t levels = whole("most", most, 0, INT32_MAX)
        memset(&shown, 0, sizeof(Rows))
        who.side, who.account, who.tag, who.sifted = BID, -1, self.intern(screen), False
        who.patience = patience_for(&self.core, &who)
        begin_walk(&self.core, &who)
        while shown.size <= levels:
            slot = next_order(&self.core, &who, slot)
            if not slot:
                break
            show(&shown, self.core.orders[slot].price, open_of(&self.core.orders[slot]))
        release_screen(&self.core.relation, who.tag)
        self.forget_idle()
        return levels_of(&shown, levels)

    def best(self, side):
        """Return the best price of what is live on side BID or ASK, or None. O(1)."""
        cdef bint asks = whole("side", exact(side), BID, ASK)
        cdef Heap *best = &self.core.relation.sides[ASK if asks else BID].best
        if not tidy(&self.core, ASK if asks else BID, INT64_MAX):
            return None
        return best.entries[0].price if asks else -best.entries[0].price

    def __len__(self):
        """Return the number of orders, busy and sleeping ones included."""
        return self.core.count

    def _check(self):
        """Verify every invariant; raise AssertionError with the state where one is broken. O(orders)."""
        check_state(self._state())

    def _state(self):
        """All that the book holds, as plain Python, for `exchange.book_check`."""
        return state_of(self)


cdef int done(Book book, const Request *requests, int64_t count, Results into) except -1:
    """Do `count` requests; the results are in `into`, emptied before."""
    cdef int64_t at, ahead = count if book.core.count > FEW else 0
    into.out.size = 0
    for at in range(count):
        if at + 2 * AHEAD < ahead:
            expect_order(&book.core, requests[at + 2 * AHEAD].order)
            if requests[at + 2 * AHEAD].kind == DO_BID:
                expect_screen(&book.core.relation, requests[at + 2 * AHEAD].screen)
        if at + AHEAD < ahead:
            expect_neighbours(&book.core, requests[at + AHEAD].order)
        if not do_request(&book.core, &requests[at], <int32_t>at, &into.out):
            book.do_in_more_room(&requests[at], <int32_t>at, &into.out)
    if book.core.relation.idles:
        book.forget_idle()
    return 0


include "_dump.pxi"
