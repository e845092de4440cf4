/* Numbers and flags of many machines, or many screens, in columns, so that one is held against 64 at once.
 *
 * 32 columns of 32 bits: 16 numbers, then 16 words of flags. A machine passes a screen when each of its numbers
 * is at least the screen's, and each of its words has all bits of the screen's. */
#ifndef COREHOUR_COLUMNS_H
#define COREHOUR_COLUMNS_H
#include <immintrin.h>
#include <stdint.h>

enum { COLUMNS = 32, NUMBER_COLUMNS = 16, BLOCK = 64 };

static inline int bits_in(uint64_t bits)
{
    bits -= (bits >> 1) & 0x5555555555555555u;
    bits = (bits & 0x3333333333333333u) + ((bits >> 2) & 0x3333333333333333u);
    return (int)((((bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0Fu) * 0x0101010101010101u) >> 56);
}

/* Of 64 entries of a column: which are less than `limit`? */
static inline uint64_t sse_less(const int32_t *column, int32_t limit)
{
    const __m128i *in = (const __m128i *)column;
    __m128i all = _mm_set1_epi32(limit);
    uint64_t bits = 0;
    for (int i = 0; i < 4; i++) {
        __m128i low = _mm_packs_epi32(_mm_cmpgt_epi32(all, in[4 * i]), _mm_cmpgt_epi32(all, in[4 * i + 1]));
        __m128i high = _mm_packs_epi32(_mm_cmpgt_epi32(all, in[4 * i + 2]), _mm_cmpgt_epi32(all, in[4 * i + 3]));
        bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high)) << (16 * i);
    }
    return bits;
}

/* ... which are more than `limit`? */
static inline uint64_t sse_more(const int32_t *column, int32_t limit)
{
    const __m128i *in = (const __m128i *)column;
    __m128i all = _mm_set1_epi32(limit);
    uint64_t bits = 0;
    for (int i = 0; i < 4; i++) {
        __m128i low = _mm_packs_epi32(_mm_cmpgt_epi32(in[4 * i], all), _mm_cmpgt_epi32(in[4 * i + 1], all));
        __m128i high = _mm_packs_epi32(_mm_cmpgt_epi32(in[4 * i + 2], all), _mm_cmpgt_epi32(in[4 * i + 3], all));
        bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high)) << (16 * i);
    }
    return bits;
}

/* ... which have, xor `flip`, none of the bits of `mask`? */
static inline uint64_t sse_none(const int32_t *column, int32_t flip, int32_t mask)
{
    const __m128i *in = (const __m128i *)column;
    __m128i zero = _mm_setzero_si128(), turn = _mm_set1_epi32(flip), keep = _mm_set1_epi32(mask), found[16];
    uint64_t bits = 0;
    for (int i = 0; i < 16; i++)
        found[i] = _mm_cmpeq_epi32(_mm_and_si128(_mm_xor_si128(in[i], turn), keep), zero);
    for (int i = 0; i < 4; i++) {
        __m128i low = _mm_packs_epi32(found[4 * i], found[4 * i + 1]);
        __m128i high = _mm_packs_epi32(found[4 * i + 2], found[4 * i + 3]);
        bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high)) << (16 * i);
    }
    return bits;
}

#define WIDE __attribute__((target("avx512f"))) static inline

WIDE uint64_t wide_less(const int32_t *column, int32_t limit)
{
    __m512i all = _mm512_set1_epi32(limit);
    uint64_t bits = 0;
    for (int i = 0; i < 4; i++)
        bits |= (uint64_t)_mm512_cmplt_epi32_mask(_mm512_load_si512(column + 16 * i), all) << (16 * i);
    return bits;
}

WIDE uint64_t wide_more(const int32_t *column, int32_t limit)
{
    __m512i all = _mm512_set1_epi32(limit);
    uint64_t bits = 0;
    for (int i = 0; i < 4; i++)
        bits |= (uint64_t)_mm512_cmpgt_epi32_mask(_mm512_load_si512(column + 16 * i), all) << (16 * i);
    return bits;
}

WIDE uint64_t wide_none(const int32_t *column, int32_t flip, int32_t mask)
{
    __m512i turn = _mm512_set1_epi32(flip), keep = _mm512_set1_epi32(mask);
    uint64_t bits = 0;
    for (int i = 0; i < 4; i++)
        bits |= (uint64_t)_mm512_testn_epi32_mask(
                    _mm512_xor_si512(_mm512_load_si512(column + 16 * i), turn), keep) << (16 * i);
    return bits;
}

/* Machines from `at` on, a block of 64: which of `among` have what is in `row`, in the `named` columns? */
#define MACHINES(NAME, KIND, SET)                                                                                  \
    SET uint64_t NAME(const int32_t *columns, int64_t room, int64_t at, const int32_t *row, const uint8_t *named,   \
                      int count, uint64_t among)                                                                   \
    {                                                                                                              \
        for (int i = 0; i < count && among; i++) {                                                                 \
            const int32_t *column = columns + named[i] * room + at;                                                \
            among &= named[i] < NUMBER_COLUMNS ? ~KIND##_less(column, row[named[i]])                               \
                                               : KIND##_none(column, -1, row[named[i]]);                           \
        }                                                                                                          \
        return among;                                                                                              \
    }

/* Screens from `at` on: which of `among` does a machine with `row` pass? `named`: columns that any of them names. */
#define SCREENS(NAME, KIND, SET)                                                                                   \
    SET uint64_t NAME(const int32_t *columns, int64_t room, int64_t at, const int32_t *row, uint32_t named,         \
                      uint64_t among)                                                                              \
    {                                                                                                              \
        for (; named && among; named &= named - 1) {                                                               \
            int i = __builtin_ctz(named);                                                                          \
            const int32_t *column = columns + i * room + at;                                                       \
            among &= i < NUMBER_COLUMNS ? ~KIND##_more(column, row[i]) : KIND##_none(column, 0, ~row[i]);          \
        }                                                                                                          \
        return among;                                                                                              \
    }

MACHINES(sse_machines, sse, static inline)
MACHINES(wide_machines, wide, WIDE)
SCREENS(sse_screens, sse, static inline)
SCREENS(wide_screens, wide, WIDE)

/* 0 until it is known; then 1 or 2. COREHOUR_NARROW in the environment asks for the narrow one. */
static int columns_width;

static inline int is_wide(void)
{
    if (!columns_width)
        columns_width = __builtin_cpu_supports("avx512f") && getenv("COREHOUR_NARROW") == NULL ? 2 : 1;
    return columns_width == 2;
}

static inline uint64_t columns_machines(const int32_t *columns, int64_t room, int64_t at, const int32_t *row,
                                        const uint8_t *named, int count, uint64_t among)
{
    return is_wide() ? wide_machines(columns, room, at, row, named, count, among)
                     : sse_machines(columns, room, at, row, named, count, among);
}

static inline uint64_t columns_screens(const int32_t *columns, int64_t room, int64_t at, const int32_t *row,
                                       uint32_t named, uint64_t among)
{
    return is_wide() ? wide_screens(columns, room, at, row, named, among)
                     : sse_screens(columns, room, at, row, named, among);
}

/* The least of `values` at `count` places, at most `bound`; `at` is one of them, -1 if there is none; `ties`:
 * whether another is as little. Without branches that nobody can foretell. */
static inline int64_t columns_least_of(const int32_t *places, int64_t count, const int64_t *values, int64_t bound,
                                       int32_t *at, int *ties)
{
    int64_t least = bound < INT64_MAX ? bound + 1 : bound;
    int32_t best = -1;
    int equal = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t value = values[places[i]];
        equal = value < least ? 0 : equal | (value == least);
        best = value < least ? places[i] : best;
        least = value < least ? value : least;
    }
    *at = best;
    *ties = equal;
    return least;
}

/* The same at the places of `bits`. */
static inline int64_t columns_least(const uint64_t *bits, int64_t words, const int64_t *values, int64_t bound,
                                    int32_t *at, int *ties)
{
    int64_t least = bound < INT64_MAX ? bound + 1 : bound;
    int32_t best = -1;
    int equal = 0;
    for (int64_t word = 0; word < words; word++)
        for (uint64_t left = bits[word]; left; left &= left - 1) {
            int32_t place = (int32_t)(word * BLOCK) + __builtin_ctzll(left);
            int64_t value = values[place];
            equal = value < least ? 0 : equal | (value == least);
            best = value < least ? place : best;
            least = value < least ? value : least;
        }
    *at = best;
    *ties = equal;
    return least;
}

/* Whether one machine passes one screen: the columns that the screen names. */
static inline int columns_one(const int32_t *columns, int64_t room, int64_t machine, const int32_t *row,
                              const uint8_t *named, int count)
{
    for (int i = 0; i < count; i++) {
        int32_t have = columns[named[i] * room + machine], want = row[named[i]];
        if (named[i] < NUMBER_COLUMNS ? have < want : (want & ~have) != 0)
            return 0;
    }
    return 1;
}
#endif
