/* The records of exchange.book_records, and how results are written down. */
#ifndef COREHOUR_RULES_H
#define COREHOUR_RULES_H
#include <stdint.h>

#include "_memory.h"

typedef struct {
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
    Result *rows;
    int64_t size, room;
} Rows;

static __attribute__((noinline)) void more_rows(Rows *out)
{
    out->room = out->room ? 2 * out->room : 64;
    out->rows = grown(out->rows, (size_t)out->room, sizeof(Result));
}

static inline __attribute__((always_inline)) void say(Rows *out, int32_t request, int what, int code, int64_t order,
                                                      int64_t other, int64_t price, int32_t slots)
{
    if (__builtin_expect(out->size == out->room, 0))
        more_rows(out);
    out->rows[out->size++] = (Result){order, other, price, slots, request, (uint8_t)what, (uint8_t)code, 0, 0};
}
#endif
