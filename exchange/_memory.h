/* Memory of the book.
 *
 * zeroed(): arrays that are addressed by id. New entries are zero, and cost nothing until they are touched; what
 * was there before is copied, so that it comes to lie on large pages too. Ids are dense. NULL where there is no
 * memory; `old` is then as it was.
 * grown(): heaps, levels and scratch, in the middle of a change. Without memory there the process ends: half a
 * change must never be seen, and whoever keeps a log starts again from it. */
#ifndef COREHOUR_MEMORY_H
#define COREHOUR_MEMORY_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static inline void no_memory(size_t entries, size_t size)
{
    fprintf(stderr, "the book has no memory for %zu entries of %zu bytes\n", entries, size);
    abort();
}

enum { HUGE_PAGE = 1 << 21 };

/* Large arrays on large pages: who looks for one order among a million must not look for its page first. */
static inline void *on_huge_pages(void *array, size_t bytes)
{
    uintptr_t begin = ((uintptr_t)array + 4095) & ~(uintptr_t)4095;
    if (bytes >= HUGE_PAGE)
        (void)madvise((void *)begin, ((uintptr_t)array + bytes - begin) & ~(size_t)4095, MADV_HUGEPAGE);
    return array;
}

static inline void *grown(void *old, size_t entries, size_t size)
{
    void *more = realloc(old, entries * size);
    if (more == NULL)
        no_memory(entries, size);
    return on_huge_pages(more, entries * size);
}

/* A new array that begins with a line of the cache. */
static inline void *aligned(size_t entries, size_t size)
{
    void *array = aligned_alloc(64, (entries * size + 63) & ~(size_t)63);
    if (array == NULL)
        no_memory(entries, size);
    return on_huge_pages(array, entries * size);
}

#ifdef __SANITIZE_ADDRESS__ /* so that each array has its guards */
static inline void *zeroed(void *old, size_t have, size_t entries, size_t size)
{
    void *more = calloc(entries, size);
    if (more != NULL && old != NULL) {
        memcpy(more, old, have * size);
        free(old);
    }
    return more;
}

static inline void unmap(void *array, size_t entries, size_t size)
{
    (void)entries, (void)size;
    free(array);
}
#else
static inline void unmap(void *array, size_t entries, size_t size)
{
    if (array != NULL)
        munmap(array, entries * size);
}

static inline void *zeroed(void *old, size_t have, size_t entries, size_t size)
{
    void *more = mmap(NULL, entries * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1, 0);
    if (more == MAP_FAILED)
        return NULL;
    on_huge_pages(more, entries * size);
    if (old != NULL)
        memcpy(more, old, have * size);
    unmap(old, have, size);
    return more;
}
#endif
#endif
