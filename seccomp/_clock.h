/* Clocks, as numbers. */
#ifndef COREHOUR_CLOCK_H
#define COREHOUR_CLOCK_H

#include <stdint.h>
#include <time.h>

static const uint64_t SECOND = UINT64_C(1000000000); /* in nanoseconds */

/* ns; 0 where there is no such clock, or no more. */
static uint64_t now(clockid_t clock)
{
    struct timespec time = {0, 0};

    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static uint64_t now_ms(clockid_t clock) { return now(clock) / 1000000; }

#endif
