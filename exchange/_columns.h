/* Numbers and flags of 64 machines or 64 screens side by side, so that one is compared with 64 at once.
 *
 * 32 columns of 32 bits: 16 numbers, then 16 words of flags. A machine passes a screen when each of its numbers
 * is at least the screen's and each of its words has all bits of the screen's. SSE2, which every x86_64 has. */
#ifndef COREHOUR_COLUMNS_H
#define COREHOUR_COLUMNS_H
#include <emmintrin.h>
#include <stdint.h>

#include "_memory.h"

enum { COLUMNS = 32, NUMBER_COLUMNS = 16, BLOCK = 64 };

typedef struct {
    int32_t columns[COLUMNS][BLOCK];
} Block;

static inline Block *new_block(void)
{
    Block *block = aligned_alloc(64, sizeof(Block));
    if (block == NULL)
        no_memory(1, sizeof(Block));
    memset(block, 0, sizeof(Block));
    return block;
}

/* The 64 bits of 16 vectors of four lanes, each lane all ones or all zeros. */
static inline uint64_t columns_pack(const __m128i lanes[16])
{
    uint64_t bits = 0;
    for (int i = 0; i < 4; i++) {
        __m128i low = _mm_packs_epi32(lanes[4 * i], lanes[4 * i + 1]);
        __m128i high = _mm_packs_epi32(lanes[4 * i + 2], lanes[4 * i + 3]);
        bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high)) << (16 * i);
    }
    return bits;
}

/* Which of the 64 machines of `block` have what is in `row`, in those of its columns that `named` names. */
static inline uint64_t columns_machines(const Block *block, const int32_t *row, uint32_t named, uint64_t among)
{
    const __m128i zero = _mm_setzero_si128();
    __m128i lanes[16];
    for (; named && among; named &= named - 1) {
        int column = __builtin_ctz(named);
        const __m128i *have = (const __m128i *)block->columns[column];
        __m128i want = _mm_set1_epi32(row[column]);
        if (column < NUMBER_COLUMNS) {
            for (int i = 0; i < 16; i++)
                lanes[i] = _mm_cmpgt_epi32(want, _mm_load_si128(have + i));
            among &= ~columns_pack(lanes);
        } else {
            for (int i = 0; i < 16; i++)
                lanes[i] = _mm_cmpeq_epi32(_mm_andnot_si128(_mm_load_si128(have + i), want), zero);
            among &= columns_pack(lanes);
        }
    }
    return among;
}

/* Which of the 64 screens of `block` a machine with `row` passes; `named` has the columns that any of them names. */
static inline uint64_t columns_screens(const Block *block, const int32_t *row, uint32_t named, uint64_t among)
{
    const __m128i zero = _mm_setzero_si128();
    __m128i lanes[16];
    for (; named && among; named &= named - 1) {
        int column = __builtin_ctz(named);
        const __m128i *want = (const __m128i *)block->columns[column];
        __m128i have = _mm_set1_epi32(row[column]);
        if (column < NUMBER_COLUMNS) {
            for (int i = 0; i < 16; i++)
                lanes[i] = _mm_cmpgt_epi32(_mm_load_si128(want + i), have);
            among &= ~columns_pack(lanes);
        } else {
            for (int i = 0; i < 16; i++)
                lanes[i] = _mm_cmpeq_epi32(_mm_andnot_si128(have, _mm_load_si128(want + i)), zero);
            among &= columns_pack(lanes);
        }
    }
    return among;
}

/* Whether one machine of a block passes one screen: the columns that the screen names. */
static inline int columns_one(const Block *machines, int machine, const int32_t *row, uint32_t named)
{
    for (; named; named &= named - 1) {
        int column = __builtin_ctz(named);
        int32_t have = machines->columns[column][machine], want = row[column];
        if (column < NUMBER_COLUMNS ? have < want : (want & ~have) != 0)
            return 0;
    }
    return 1;
}
#endif
