/* A price ladder by hand: the limit that the book's plain flow is measured against.
 *
 * Orders have dense ids and prices are indices, both known beforehand; nothing is allocated while it works. A
 * price's orders are a ring of links through a node of its own, a bitmap of three levels finds the next price.
 * It knows limit orders and cancels, one seller, one buyer, and nothing else: no money, no screens, no checks.
 *
 * `ladder_apply` takes operations as small as they can be and says what was filled: the limit. `ladder_answer`
 * takes the book's own requests and gives its results, an answer to each, with full ids.
 */
#include <stdint.h>
#include <stdlib.h>

enum { LEVELS = 1 << 15, WORDS = LEVELS / 64, SUMS = WORDS / 64 };
enum { BID, ASK, CANCEL, REQUEST_CANCEL = 3, INDEX = (1 << 28) - 1 };
enum { MATCH, RESTS, GONE };

typedef struct { uint32_t id, price; int32_t size; uint32_t kind; } Op;
typedef struct { uint32_t bid, ask, price; int32_t size; } Fill;
typedef struct { uint32_t next, prev, price; int32_t size; } Node;

typedef struct { /* exchange/book_records.py */
    int64_t order, other, price, spend, expires;
    int32_t size, owner, screen;
    uint8_t kind, terms;
    uint16_t pad;
} Request;

typedef struct {
    int64_t order, other, price;
    int32_t slots, request;
    uint8_t what, code;
    uint16_t pad;
    uint32_t pad2;
} Result;

typedef struct {
    uint32_t best_bid, best_ask; /* 0 and LEVELS where there is none */
    uint64_t words[WORDS], sums[SUMS], top;
    int64_t *ids; /* of the orders, for ladder_answer */
    Node nodes[]; /* a ring's own node for each price, then the orders */
} Ladder;

Ladder *ladder_new(uint32_t orders) {
    Ladder *book = calloc(1, sizeof(Ladder) + (LEVELS + (size_t)orders) * sizeof(Node));
    if (!book || !(book->ids = calloc(orders, sizeof(int64_t)))) abort();
    for (uint32_t price = 0; price < LEVELS; price++) book->nodes[price].next = book->nodes[price].prev = price;
    book->best_ask = LEVELS;
    return book;
}

void ladder_free(Ladder *book) {
    free(book->ids);
    free(book);
}

static inline uint32_t up(const Ladder *book, uint32_t price) { /* the next price above that has orders */
    uint32_t word = price >> 6, sum = word >> 6;
    uint64_t bits = book->words[word] & (~1ull << (price & 63));
    if (bits) return word << 6 | (uint32_t)__builtin_ctzll(bits);
    bits = book->sums[sum] & (~1ull << (word & 63));
    if (!bits) {
        uint64_t tops = book->top & (~1ull << sum);
        if (!tops) return LEVELS;
        sum = (uint32_t)__builtin_ctzll(tops);
        bits = book->sums[sum];
    }
    word = sum << 6 | (uint32_t)__builtin_ctzll(bits);
    return word << 6 | (uint32_t)__builtin_ctzll(book->words[word]);
}

static inline uint32_t high(uint64_t bits) { return 63 - (uint32_t)__builtin_clzll(bits); }

static inline uint32_t down(const Ladder *book, uint32_t price) { /* the next price below that has orders */
    uint32_t word = price >> 6, sum = word >> 6;
    uint64_t bits = book->words[word] & ((1ull << (price & 63)) - 1);
    if (bits) return word << 6 | high(bits);
    bits = book->sums[sum] & ((1ull << (word & 63)) - 1);
    if (!bits) {
        uint64_t tops = book->top & ((1ull << sum) - 1);
        if (!tops) return 0;
        sum = high(tops);
        bits = book->sums[sum];
    }
    word = sum << 6 | high(bits);
    return word << 6 | high(book->words[word]);
}

static inline void empty(Ladder *book, uint32_t price) { /* the last order at a price is gone */
    uint32_t word = price >> 6, sum = word >> 6;
    if (!(book->words[word] &= ~(1ull << (price & 63))))
        if (!(book->sums[sum] &= ~(1ull << (word & 63)))) book->top &= ~(1ull << sum);
    if (price == book->best_ask) book->best_ask = up(book, price);
    else if (price == book->best_bid) book->best_bid = down(book, price);
}

static inline void unlink_node(Ladder *book, const Node *node) {
    Node *nodes = book->nodes;
    nodes[node->next].prev = node->prev;
    nodes[node->prev].next = node->next;
    if (node->next == node->prev) empty(book, node->price); /* both are the ring's own */
}

static inline void rest(Ladder *book, uint32_t id, int is_bid, uint32_t price, int32_t size) {
    Node *nodes = book->nodes;
    uint32_t at = LEVELS + id, last = nodes[price].prev;
    nodes[at] = (Node){price, last, price, size};
    nodes[last].next = nodes[price].prev = at;
    if (last != price) return;
    uint32_t word = price >> 6, sum = word >> 6;
    book->words[word] |= 1ull << (price & 63);
    book->sums[sum] |= 1ull << (word & 63);
    book->top |= 1ull << sum;
    if (is_bid) {
        if (price > book->best_bid) book->best_bid = price;
    } else if (price < book->best_ask) book->best_ask = price;
}

static inline int32_t take(Ladder *book, uint32_t first, int32_t size) { /* slots of an order, `size` at most */
    Node *node = &book->nodes[first];
    int32_t slots = node->size < size ? node->size : size;
    if (!(node->size -= slots)) unlink_node(book, node);
    return slots;
}

/* Does the operations; returns the number of fills written to `fills`. */
int64_t ladder_apply(Ladder *book, const Op *op, int64_t count, Fill *fills) {
    Fill *fill = fills;
    for (const Op *end = op + count; op < end; op++) {
        if (op->kind == CANCEL) {
            unlink_node(book, &book->nodes[LEVELS + op->id]);
            continue;
        }
        for (int32_t size = op->size; size;) {
            uint32_t best = op->kind == BID ? book->best_ask : book->best_bid;
            if (op->kind == BID ? best > op->price : best < op->price) {
                rest(book, op->id, op->kind == BID, op->price, size);
                break;
            }
            uint32_t first = book->nodes[best].next;
            int32_t slots = take(book, first, size);
            *fill++ = op->kind == BID ? (Fill){op->id, first - LEVELS, best, slots}
                                      : (Fill){first - LEVELS, op->id, best, slots};
            size -= slots;
        }
    }
    return fill - fills;
}

/* Does the requests; returns the number of results written to `results`. */
int64_t ladder_answer(Ladder *book, const Request *requests, int64_t count, Result *results) {
    Result *result = results;
    for (int32_t at = 0; at < count; at++) {
        const Request *request = &requests[at];
        uint32_t id = (uint32_t)(request->order & INDEX);
        int is_bid = request->kind == BID;
        int32_t size = request->size;
        if (request->kind == REQUEST_CANCEL) {
            Node *node = &book->nodes[LEVELS + id];
            *result++ = (Result){request->order, -1, -1, node->size, at, GONE, 0, 0, 0};
            unlink_node(book, node);
            continue;
        }
        while (size) {
            uint32_t best = is_bid ? book->best_ask : book->best_bid;
            if (is_bid ? best > request->price : best < request->price) {
                rest(book, id, is_bid, (uint32_t)request->price, size);
                book->ids[id] = request->order;
                break;
            }
            uint32_t first = book->nodes[best].next;
            int64_t other = book->ids[first - LEVELS];
            int32_t slots = take(book, first, size);
            *result++ = (Result){is_bid ? request->order : other, is_bid ? other : request->order, best, slots,
                                 at, MATCH, 0, 0, 0};
            size -= slots;
        }
        *result++ = (Result){request->order, -1, size ? request->price : -1, size, at, size ? RESTS : GONE, 0, 0, 0};
    }
    return result - results;
}
