/* WASI's way to wait: for clocks, and for the standard streams. */
#ifndef COREHOUR_WASI_WAIT_H
#define COREHOUR_WASI_WAIT_H

#include <poll.h>

#include "_wasi_functions.h"

enum { SUBSCRIPTION = 48, EVENT = 32, ON_CLOCK = 0, ON_READ = 1, ON_WRITE = 2 };

/* Nanoseconds until the clock of a subscription rings, `waited` after it was asked for; or an error of it. */
static uint32_t until_clock(const uint8_t *asked, uint64_t waited, uint64_t *left)
{
    uint32_t clock = get_u32(asked + 16);
    uint64_t when = get_u64(asked + 24), passed = waited;

    if (clock > CLOCK_MONOTONIC)
        return clock > CLOCK_THREAD_CPUTIME_ID ? WASI_INVAL : WASI_NOTSUP;
    if (asked[40] & 1) /* a moment, not a time from now on */
        passed = now((clockid_t)clock);
    *left = when > passed ? when - passed : 0;
    return WASI_OK;
}

/* Looks at one subscription: returns true if it has something to say, written to `event`. */
static bool look(const uint8_t *asked, uint8_t *event, const struct pollfd *streams, uint64_t waited)
{
    uint16_t error = WASI_OK;
    uint64_t left = 0;
    uint8_t kind = asked[8];
    bool hung_up = false;

    if (kind == ON_CLOCK) {
        error = (uint16_t)until_clock(asked, waited, &left);
        if (error == WASI_OK && left > 0)
            return false;
    } else {
        uint32_t fd = get_u32(asked + 16);
        if (kind > ON_WRITE || !is_open(fd) || (fd == 0) != (kind == ON_READ))
            error = WASI_BADF;
        else if (streams[fd].revents == 0)
            return false;
        else
            hung_up = streams[fd].revents & (POLLHUP | POLLERR);
    }
    uint8_t said[EVENT] = {0};
    uint64_t bytes = kind != ON_CLOCK && error == WASI_OK; /* at least one; nobody counts them */
    memcpy(said, asked, 8);
    memcpy(said + 8, &error, sizeof error);
    said[10] = kind;
    memcpy(said + 16, &bytes, sizeof bytes);
    said[24] = hung_up;
    memcpy(event, said, EVENT);
    return true;
}

static uint32_t poll_oneoff(const union wasmtime_value *v)
{
    uint32_t count = v[2].u32, events = 0;
    const uint8_t *asked = at(v[0].u32, (uint64_t)SUBSCRIPTION * count);
    uint8_t *told = at(v[1].u32, (uint64_t)EVENT * count);
    uint64_t began = now(CLOCK_MONOTONIC);

    if (count == 0)
        return WASI_INVAL;
    if (asked == NULL || told == NULL || (v[1].u32 < v[0].u32 + (uint64_t)SUBSCRIPTION * count
                                          && v[0].u32 < v[1].u32 + (uint64_t)EVENT * count))
        return WASI_FAULT; /* nor may what is told lie upon what was asked */
    for (bool at_once = true;; at_once = false) { /* first without waiting: errors, and what is there */
        struct pollfd streams[STDIO] = {{-1, POLLIN, 0}, {-1, POLLOUT, 0}, {-1, POLLOUT, 0}};
        uint64_t wait = at_once ? 0 : UINT64_MAX, left, waited = now(CLOCK_MONOTONIC) - began;

        for (uint32_t i = 0; i < count; i++) {
            const uint8_t *one = asked + (size_t)SUBSCRIPTION * i;
            if (one[8] == ON_CLOCK) {
                if (until_clock(one, waited, &left) == WASI_OK && left < wait)
                    wait = left;
            } else if (is_open(get_u32(one + 16))) {
                streams[get_u32(one + 16)].fd = (int)get_u32(one + 16);
            }
        }
        struct timespec time = {(time_t)(wait / SECOND), (long)(wait % SECOND)};
        if (ppoll(streams, STDIO, wait == UINT64_MAX ? NULL : &time, NULL) < 0 && errno != EINTR)
            return wasi_error(errno);
        waited = now(CLOCK_MONOTONIC) - began;
        for (uint32_t i = 0; i < count; i++)
            events += look(asked + (size_t)SUBSCRIPTION * i, told + (size_t)EVENT * events, streams, waited);
        if (events)
            return put_u32(v[3].u32, events);
    }
}

#endif
