/* What a heap does most, without branches that nobody can foretell. */
#ifndef COREHOUR_HEAP_H
#define COREHOUR_HEAP_H
#include <stdint.h>

typedef struct {
    int64_t price; /* of a bid negated, so that less is always better: an order's worth */
    int64_t place;
    int32_t id;
    int32_t account; /* whose it is; for a touched ask the best bid that was found for it */
} Entry;

/* Price, then time (R5), as one number of 128 bits. Who is in a heap has no other's key. */
static inline int precedes(const Entry *a, const Entry *b)
{
    __int128 mine = (__int128)a->price << 64 | ((uint64_t)a->place ^ (UINT64_C(1) << 63));
    __int128 its = (__int128)b->price << 64 | ((uint64_t)b->place ^ (UINT64_C(1) << 63));
    return mine < its;
}

/* Which of the entries from `child` to before `end`, at most four, precedes the others. */
static inline int32_t first_child(const Entry *entries, int32_t child, int32_t end)
{
    int32_t best = child;
    if (child + 4 == end) {
        int32_t left = precedes(&entries[child + 1], &entries[child]) ? child + 1 : child;
        int32_t right = precedes(&entries[child + 3], &entries[child + 2]) ? child + 3 : child + 2;
        return precedes(&entries[right], &entries[left]) ? right : left;
    }
    while (++child < end)
        best = precedes(&entries[child], &entries[best]) ? child : best;
    return best;
}
#endif
