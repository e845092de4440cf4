"""Which machines pass which screens.

Orders of a side that are alike in this are one *tag*: bids of one screen, asks of machines of one profile (a
*kind*). A tag keeps its runs of live orders, and a side the heap of its tags by their best orders. Numbers
and flags stand in columns, 64 tags a block, so that one screen is held against 64 kinds at once, and one kind
against 64 screens. What a screen has been held against is remembered as a row of bits by kind, and kept true as
kinds come and go, within a bound of memory.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from exchange._heap cimport Entry, Heap, aligned, grown, push, replace, take
from exchange._ranking cimport Ranking, best_of, free_ranking

cdef extern from "_columns.h" nogil:
    uint64_t columns_machines(
        const int32_t *columns, int64_t room, int64_t at, const int32_t *row, const uint8_t *named, int count,
        uint64_t among)
    uint64_t columns_screens(
        const int32_t *columns, int64_t room, int64_t at, const int32_t *row, uint32_t named, uint64_t among)
    int columns_one(
        const int32_t *columns, int64_t room, int64_t machine, const int32_t *row, const uint8_t *named, int count)
    int64_t columns_least(
        const uint64_t *bits, int64_t words, const int64_t *values, int64_t bound, int32_t *at, int *ties)
    int64_t columns_least_of(
        const int32_t *places, int64_t count, const int64_t *values, int64_t bound, int32_t *at, int *ties)
    int bits_in(uint64_t bits)
    void __builtin_prefetch(const void *where)
    int __builtin_ctzll(uint64_t bits)

cdef enum:
    BID = 0
    ASK = 1
    COLUMNS = 32  # 16 numbers, then 16 words of 32 flags
    NUMBERS = 16
    BLOCK = 64
    FEW = 32  # a screen that no more than this part of all kinds pass has a list of them

cdef extern from "stdint.h" nogil:
    int64_t NONE "INT64_MAX"  # no order is worth as little

ctypedef struct Tag:
    Ranking runs  # of its live orders, by their first
    int64_t holders  # machines of a kind; bids with a screen, and keeps of it
    uint32_t hash
    uint64_t *accepted  # of a kind: by screen whether it passes, as it was when there were
    uint64_t since  # so many changes of screens; and so many words of bits
    int32_t words
    int32_t strays  # runs that are not listed: the only ones whose price another run may have
    int32_t next  # links the kinds of one hash; and the tags that are not used

ctypedef struct Top:
    int64_t place
    int32_t run
    int32_t account

ctypedef struct Tags:  # of one side; 0 is no kind, and the screen that asks nothing
    Tag *tags
    int64_t *prices  # by tag: of its best run; NONE where there is none
    Top *tops  # by tag: what else is asked of that run's first order
    int32_t *where  # by tag, for `best`
    int32_t *columns  # COLUMNS of `room` entries by tag, one behind the other, on lines of the cache
    uint64_t *used  # by block: which of its tags are used
    uint32_t *named  # by block: columns that a screen in it names
    Heap best  # by their best runs
    int32_t top, room, unused

ctypedef struct Demand:  # a screen's
    int32_t row[32]
    uint32_t named  # its columns that ask something,
    uint8_t order[32]  # and these again, what most fail first
    int32_t count
    int32_t only  # how many `accounts` are allowed alone, the first ones; 0: everybody
    int32_t blocked  # how many are refused, those behind them; both parts are sorted
    int32_t kept  # handles given for it
    int32_t *accounts
    uint64_t *passing  # by kind; NULL where it has not been held against them
    int64_t passes  # how many bits that has
    int32_t *few  # these kinds, in any order, where they are few among all; else NULL
    int32_t few_room
    uint8_t idle  # it waits to be forgotten
    uint8_t sought  # somebody looked for machines that pass it

ctypedef struct Relation:
    Tags sides[2]
    Demand *demands
    int32_t *buckets  # kinds by hash
    uint32_t mask
    uint64_t key  # of their hash
    int32_t kinds
    uint64_t *accepted  # scratch: by screen
    int64_t words, most_words  # of all `passing`; of all `accepted` a fourth at most
    int64_t accepted_words
    int32_t hand  # where the next row to be forgotten is looked for
    uint64_t changes  # of which screens there are
    int32_t *idle  # screens that nobody has any more
    int32_t idles


# ---- tags of a side

cdef inline int32_t blocks_of(const Tags *side) noexcept nogil:
    return (side.top + BLOCK - 1) // BLOCK


cdef inline int32_t new_tag(Tags *side) noexcept nogil:
    """A tag that nobody holds. May move all arrays."""
    cdef int32_t tag, room, block, column
    cdef int32_t *columns
    if side.unused:
        tag, side.unused = side.unused, side.tags[side.unused].next
    else:
        if side.top == side.room:
            room = max(BLOCK, 2 * side.room)
            side.tags = <Tag *>grown(side.tags, room, sizeof(Tag))
            side.prices = <int64_t *>grown(side.prices, room, sizeof(int64_t))
            side.tops = <Top *>grown(side.tops, room, sizeof(Top))
            side.where = <int32_t *>grown(side.where, room, sizeof(int32_t))
            columns = <int32_t *>aligned(COLUMNS * <size_t>room, sizeof(int32_t))
            for column in range(COLUMNS):
                if side.room:
                    memcpy(columns + column * <size_t>room, side.columns + column * <size_t>side.room,
                           side.room * sizeof(int32_t))
                memset(columns + column * <size_t>room + side.room, 0, (room - side.room) * sizeof(int32_t))
            free(side.columns)
            side.columns = columns
            side.used = <uint64_t *>grown(side.used, room // BLOCK, sizeof(uint64_t))
            side.named = <uint32_t *>grown(side.named, room // BLOCK, sizeof(uint32_t))
            for block in range(side.room // BLOCK, room // BLOCK):
                side.used[block], side.named[block] = 0, 0
            side.room = room
        tag = side.top
        side.top += 1
    memset(&side.tags[tag], 0, sizeof(Tag))
    side.prices[tag], side.where[tag] = NONE, 0
    side.used[tag // BLOCK] |= <uint64_t>1 << (tag % BLOCK)
    return tag


cdef inline void drop_tag(Tags *side, int32_t tag) noexcept nogil:
    """Nobody holds it any more; it has no orders."""
    free_ranking(&side.tags[tag].runs)
    side.used[tag // BLOCK] &= ~(<uint64_t>1 << (tag % BLOCK))
    side.tags[tag].next, side.unused = side.unused, tag


cdef inline void free_tags(Tags *side) noexcept nogil:
    cdef int32_t at
    for at in range(side.top):
        free_ranking(&side.tags[at].runs)
        free(side.tags[at].accepted)
    free(side.tags)
    free(side.prices)
    free(side.tops)
    free(side.where)
    free(side.columns)
    free(side.used)
    free(side.named)
    free(side.best.entries)


cdef inline void rank_tag(Tags *side, int32_t tag) noexcept nogil:
    """Another order is the tag's best, or none is. O(log tags)."""
    cdef Entry entry
    if not side.tags[tag].runs.size:
        side.prices[tag] = NONE
        if side.where[tag]:
            take(&side.best, side.where[tag] - 1, side.where)
        return
    entry = best_of(&side.tags[tag].runs)[0]
    side.prices[tag], side.tops[tag].place = entry.price, entry.place
    side.tops[tag].run, side.tops[tag].account = entry.id, entry.account
    entry.id = tag
    if side.where[tag] and side.best.size == 1:
        side.best.entries[0] = entry
    elif side.where[tag]:
        replace(&side.best, side.where[tag] - 1, entry, side.where)
    else:
        push(&side.best, entry, side.where)


cdef inline void read_row(const Tags *side, int32_t tag, int32_t *row) noexcept nogil:
    cdef int i
    for i in range(COLUMNS):
        row[i] = side.columns[i * <size_t>side.room + tag]


# ---- who passes what

cdef inline bint among(int32_t account, const int32_t *accounts, int32_t count) noexcept nogil:
    """Whether `account` is one of `count` sorted accounts."""
    cdef int32_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) // 2
        if accounts[middle] < account:
            low = middle + 1
        else:
            high = middle
    return low < count and accounts[low] == account


cdef inline bint allows(const Demand *demand, int32_t seller) noexcept nogil:
    """Whether a screen lets this seller pass. O(log of its lists)."""
    if demand.accounts == NULL:
        return True
    if demand.only and not among(seller, demand.accounts, demand.only):
        return False
    return not among(seller, demand.accounts + demand.only, demand.blocked)


cdef inline bint kind_passes(const Relation *all, int32_t screen, int32_t kind) noexcept nogil:
    """Whether machines of a kind pass a screen, sellers apart. O(columns that it names)."""
    cdef const Demand *demand = &all.demands[screen]
    if not demand.named:
        return True
    if demand.passing != NULL:
        return (demand.passing[kind // BLOCK] >> (kind % BLOCK)) & 1
    return columns_one(all.sides[ASK].columns, all.sides[ASK].room, kind, demand.row, demand.order, demand.count)


cdef inline void expect_screen(const Relation *all, int32_t screen) noexcept nogil:
    """Have fetched what is looked at first of a screen."""
    if 0 < screen < all.sides[BID].top:
        __builtin_prefetch(&all.demands[screen].passing)
        __builtin_prefetch(&all.demands[screen].accounts)


cdef inline uint64_t *accepting(Relation *all, const int32_t *row) noexcept nogil:
    """By screen: whether a machine with this row passes. Scratch, good until the next call. O(screens / 64)."""
    cdef Tags *screens = &all.sides[BID]
    cdef int32_t block
    for block in range(blocks_of(screens)):
        all.accepted[block] = columns_screens(
            screens.columns, screens.room, block * BLOCK, row, screens.named[block], screens.used[block])
    return all.accepted


cdef inline void forget_accepted(Relation *all, int32_t kind) noexcept nogil:
    cdef Tag *tag = &all.sides[ASK].tags[kind]
    if tag.accepted != NULL:
        free(tag.accepted)
        tag.accepted = NULL
        all.accepted_words -= tag.words


cdef inline const uint64_t *accepting_kind(Relation *all, int32_t kind) noexcept nogil:
    """The same of a kind; remembered, where there is room, until there are other screens."""
    cdef Tag *tag = &all.sides[ASK].tags[kind]
    cdef int32_t words = blocks_of(&all.sides[BID])
    cdef int32_t row[32]
    if tag.accepted != NULL and tag.since == all.changes:
        return tag.accepted
    read_row(&all.sides[ASK], kind, row)
    accepting(all, row)
    if words == 1 or (tag.accepted == NULL and 4 * (all.accepted_words + words) > all.most_words):
        return all.accepted
    if tag.accepted == NULL or tag.words != words:
        forget_accepted(all, kind)
        tag.accepted, tag.words = <uint64_t *>grown(NULL, words, sizeof(uint64_t)), words
        all.accepted_words += words
    tag.since = all.changes
    memcpy(tag.accepted, all.accepted, words * sizeof(uint64_t))
    return tag.accepted


cdef inline void forget_passing(Relation *all, int32_t screen) noexcept nogil:
    if all.demands[screen].passing != NULL:
        free(all.demands[screen].passing)
        free(all.demands[screen].few)
        all.demands[screen].passing, all.demands[screen].few = NULL, NULL
        all.words -= all.sides[ASK].room // BLOCK


cdef inline void order_columns(const Tags *kinds, Demand *demand) noexcept nogil:
    """Have a screen's columns looked at first that few of a sample of kinds pass."""
    cdef int passes[32]
    cdef int32_t step = max(1, blocks_of(kinds) // 8), block, i, j
    cdef uint8_t column
    for i in range(demand.count):
        passes[demand.order[i]] = 0
        block = 0
        while block < blocks_of(kinds):
            passes[demand.order[i]] += bits_in(columns_machines(
                kinds.columns, kinds.room, block * BLOCK, demand.row, &demand.order[i], 1, kinds.used[block]))
            block += step
    for i in range(1, demand.count):
        column, j = demand.order[i], i
        while j and passes[demand.order[j - 1]] > passes[column]:
            demand.order[j] = demand.order[j - 1]
            j -= 1
        demand.order[j] = column


cdef inline void list_few(const Tags *kinds, Demand *demand) noexcept nogil:
    """Write down which kinds pass a screen that few pass."""
    cdef int32_t block, count = 0
    cdef uint64_t bits
    demand.few_room = <int32_t>max(8, demand.passes + demand.passes // 2)
    demand.few = <int32_t *>grown(NULL, demand.few_room, sizeof(int32_t))
    for block in range(blocks_of(kinds)):
        bits = demand.passing[block]
        while bits:
            demand.few[count] = block * BLOCK + __builtin_ctzll(bits)
            bits &= bits - 1
            count += 1


cdef inline void change_few(Demand *demand, int32_t kind, bint comes, int32_t kinds) noexcept nogil:
    """A kind that passes comes, or goes; `passes` is not yet changed. O(1), or O(passes)."""
    cdef int32_t at = 0
    if not comes:
        while demand.few[at] != kind:
            at += 1
        demand.few[at] = demand.few[demand.passes - 1]
    elif demand.passes < demand.few_room:
        demand.few[demand.passes] = kind
    elif FEW * demand.passes > 2 * kinds:
        free(demand.few)
        demand.few = NULL
    else:
        demand.few_room *= 2
        demand.few = <int32_t *>grown(demand.few, demand.few_room, sizeof(int32_t))
        demand.few[demand.passes] = kind


cdef inline uint64_t *passing(Relation *all, int32_t screen) noexcept nogil:
    """By kind: whether it passes the screen. O(kinds / 64) where that is not known; it is remembered."""
    cdef Demand *demand = &all.demands[screen]
    cdef Tags *kinds = &all.sides[ASK]
    cdef int64_t words = kinds.room // BLOCK, tries = 2 * <int64_t>all.sides[BID].top
    cdef int32_t block
    if demand.passing != NULL:
        return demand.passing
    while all.words + words > all.most_words and all.words and tries:
        all.hand = all.hand + 1 if all.hand + 1 < all.sides[BID].top else 0
        forget_passing(all, all.hand)
        tries -= 1
    demand.passing = <uint64_t *>grown(NULL, words, sizeof(uint64_t))
    all.words += words
    demand.passes = 0
    order_columns(kinds, demand)
    for block in range(blocks_of(kinds)):
        demand.passing[block] = columns_machines(
            kinds.columns, kinds.room, block * BLOCK, demand.row, demand.order, demand.count, kinds.used[block])
        if demand.passing[block]:
            demand.passes += bits_in(demand.passing[block])
    for block in range(blocks_of(kinds), words):
        demand.passing[block] = 0
    if FEW * demand.passes <= kinds.top:
        list_few(kinds, demand)
    return demand.passing


cdef inline void mark_kind(Relation *all, int32_t kind, const int32_t *row, bint comes) noexcept nogil:
    """Keep what screens remember true: a kind comes, or goes. O(screens / 64 + those that it passes)."""
    cdef uint64_t *accepted
    cdef uint64_t bits, bit = <uint64_t>1 << (kind % BLOCK)
    cdef int32_t block, word = kind // BLOCK
    cdef Demand *demand
    if not all.words:
        return
    accepted = accepting(all, row)
    for block in range(blocks_of(&all.sides[BID])):
        bits = accepted[block]
        while bits:
            demand = &all.demands[block * BLOCK + __builtin_ctzll(bits)]
            bits &= bits - 1
            if demand.passing != NULL:
                demand.passing[word] = demand.passing[word] | bit if comes else demand.passing[word] & ~bit
                if demand.few != NULL:
                    change_few(demand, kind, comes, all.sides[ASK].top)
                demand.passes += 1 if comes else -1


# ---- kinds: equal profiles are one

cdef inline uint32_t hash_row(const int32_t *row, uint64_t key) noexcept nogil:
    """Of a key that nobody can know; no answer depends on it."""
    cdef uint64_t h = key
    cdef int i
    for i in range(0, COLUMNS, 2):
        h = (h ^ (<uint64_t><uint32_t>row[i] | <uint64_t><uint32_t>row[i + 1] << 32)) * (key | 1)
        h ^= h >> 29
    return <uint32_t>(h >> 32)


cdef inline void write_row(Tags *side, int32_t tag, const int32_t *row) noexcept nogil:
    cdef int i
    for i in range(COLUMNS):
        side.columns[i * <size_t>side.room + tag] = row[i]


cdef inline void rehash_kinds(Relation *all) noexcept nogil:
    cdef int32_t at
    cdef uint32_t bucket
    cdef Tags *kinds = &all.sides[ASK]
    all.mask = max(64, 2 * (all.mask + 1)) - 1
    all.buckets = <int32_t *>grown(all.buckets, all.mask + 1, sizeof(int32_t))
    memset(all.buckets, 0, (all.mask + 1) * sizeof(int32_t))
    for at in range(1, kinds.top):
        if kinds.tags[at].holders:
            bucket = kinds.tags[at].hash & all.mask
            kinds.tags[at].next, all.buckets[bucket] = all.buckets[bucket], at


cdef inline int32_t hold_kind(Relation *all, const int32_t *row) noexcept nogil:
    """The kind of this profile, with one holder more. O(1); a new one O(screens / 64)."""
    cdef Tags *kinds = &all.sides[ASK]
    cdef uint32_t h = hash_row(row, all.key)
    cdef int32_t kind, screen, room = kinds.room
    cdef int32_t other[32]
    if <uint32_t>all.kinds >= all.mask:
        rehash_kinds(all)
    kind = all.buckets[h & all.mask]
    while kind:
        if kinds.tags[kind].hash == h:
            read_row(kinds, kind, other)
            if memcmp(row, other, sizeof(other)) == 0:
                kinds.tags[kind].holders += 1
                return kind
        kind = kinds.tags[kind].next
    if not kinds.unused and kinds.top == kinds.room:  # what is remembered has no room for more
        for screen in range(all.sides[BID].top):
            forget_passing(all, screen)
    kind = new_tag(kinds)
    write_row(kinds, kind, row)
    kinds.tags[kind].holders, kinds.tags[kind].hash = 1, h
    kinds.tags[kind].next, all.buckets[h & all.mask] = all.buckets[h & all.mask], kind
    all.kinds += 1
    mark_kind(all, kind, row, True)
    return kind


cdef inline void release_kind(Relation *all, int32_t kind) noexcept nogil:
    """One holder less; with the last one it goes. O(1), or O(screens / 64)."""
    cdef Tags *kinds = &all.sides[ASK]
    cdef int32_t row[32]
    cdef int32_t *link
    kinds.tags[kind].holders -= 1
    if kinds.tags[kind].holders:
        return
    read_row(kinds, kind, row)
    forget_accepted(all, kind)
    mark_kind(all, kind, row, False)
    link = &all.buckets[kinds.tags[kind].hash & all.mask]
    while link[0] != kind:
        link = &kinds.tags[link[0]].next
    link[0] = kinds.tags[kind].next
    all.kinds -= 1
    drop_tag(kinds, kind)


# ---- screens; Python keeps which is which

cdef inline int32_t new_screen(Relation *all, const Demand *demand) noexcept nogil:
    """A screen with this demand (whose accounts it takes over), and no holder yet."""
    cdef Tags *screens = &all.sides[BID]
    cdef int32_t room = screens.room, screen = new_tag(screens)
    cdef int i
    if room != screens.room:
        all.demands = <Demand *>grown(all.demands, screens.room, sizeof(Demand))
        all.accepted = <uint64_t *>grown(all.accepted, screens.room // BLOCK, sizeof(uint64_t))
        all.idle = <int32_t *>grown(all.idle, screens.room, sizeof(int32_t))
    all.changes += 1
    all.demands[screen] = demand[0]
    all.demands[screen].count = 0
    for i in range(COLUMNS):
        if demand.named >> i & 1:
            all.demands[screen].order[all.demands[screen].count] = i
            all.demands[screen].count += 1
    write_row(screens, screen, demand.row)
    screens.named[screen // BLOCK] |= demand.named
    return screen


cdef inline void release_screen(Relation *all, int32_t screen) noexcept nogil:
    """One holder less; with the last one it waits to be forgotten."""
    all.sides[BID].tags[screen].holders -= 1
    if not all.sides[BID].tags[screen].holders and not all.demands[screen].idle:
        all.demands[screen].idle = True
        all.idle[all.idles] = screen
        all.idles += 1


cdef inline void drop_screen(Relation *all, int32_t screen) noexcept nogil:
    """Forget a screen that nobody holds."""
    cdef Tags *screens = &all.sides[BID]
    cdef int32_t block = screen // BLOCK, at
    all.changes += 1
    forget_passing(all, screen)
    free(all.demands[screen].accounts)
    all.demands[screen].accounts = NULL
    drop_tag(screens, screen)
    screens.named[block] = 0
    for at in range(block * BLOCK, min(screens.top, (block + 1) * BLOCK)):
        if screens.used[block] >> (at % BLOCK) & 1:
            screens.named[block] |= all.demands[at].named


cdef inline void free_relation(Relation *all) noexcept nogil:
    cdef int32_t at
    for at in range(all.sides[BID].top):
        free(all.demands[at].accounts)
        free(all.demands[at].passing)
        free(all.demands[at].few)
    free_tags(&all.sides[BID])
    free_tags(&all.sides[ASK])
    free(all.demands)
    free(all.buckets)
    free(all.accepted)
    free(all.idle)
