/* WASI preview 1 for one program: standard streams, arguments, clocks, chance, its end. No file and no
 * environment.
 *
 * Plain system calls on descriptors 0, 1, 2: no thread, no buffer of ours, so a slow reader slows the program.
 * Every pointer comes from the program and is held against its memory first. wasmtime's own WASI reads
 * standard input on another thread and opens more of the system than a jail has.
 */
#ifndef COREHOUR_WASI_FUNCTIONS_H
#define COREHOUR_WASI_FUNCTIONS_H

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "_clock.h"
#include "_wasmtime.h"

enum wasi_errno {
    WASI_OK = 0, WASI_AGAIN = 6, WASI_BADF = 8, WASI_FAULT = 21, WASI_INVAL = 28, WASI_IO = 29,
    WASI_NOSYS = 52, WASI_NOTSOCK = 57, WASI_NOTSUP = 58, WASI_PIPE = 64, WASI_SPIPE = 70
};
enum { STDIO = 3, MOST_PIECES = 1024 };

/* The one program of this process. */
static struct {
    uint8_t *memory;       /* while a call is served */
    uint64_t memory_size;
    const char *arguments; /* each ends with a zero byte */
    uint32_t arguments_size, argument_count;
    bool closed[STDIO];
} wasi;

/* `size` bytes of the program's memory at `place`, or NULL where it has none there. */
static uint8_t *at(uint32_t place, uint64_t size)
{
    return place + size <= wasi.memory_size ? wasi.memory + place : NULL;
}

static uint32_t put_u32(uint32_t place, uint32_t value)
{
    uint8_t *there = at(place, sizeof value);

    if (there == NULL)
        return WASI_FAULT;
    memcpy(there, &value, sizeof value);
    return WASI_OK;
}

static uint32_t put_u64(uint32_t place, uint64_t value)
{
    uint8_t *there = at(place, sizeof value);

    if (there == NULL)
        return WASI_FAULT;
    memcpy(there, &value, sizeof value);
    return WASI_OK;
}

static uint32_t get_u32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static uint64_t get_u64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static uint32_t wasi_error(int error)
{
    return error == EAGAIN ? WASI_AGAIN : error == EBADF ? WASI_BADF : error == EFAULT ? WASI_FAULT
        : error == EINVAL ? WASI_INVAL : error == EPIPE ? WASI_PIPE : error == ESPIPE ? WASI_SPIPE : WASI_IO;
}

static bool is_open(uint32_t fd) { return fd < STDIO && !wasi.closed[fd]; }

/* Its arguments; no environment. */
static uint32_t args_sizes_get(const union wasmtime_value *v)
{
    uint32_t error = put_u32(v[0].u32, wasi.argument_count);
    return error ? error : put_u32(v[1].u32, wasi.arguments_size);
}

static uint32_t args_get(const union wasmtime_value *v)
{
    uint8_t *pointers = at(v[0].u32, UINT64_C(4) * wasi.argument_count);
    uint8_t *text = at(v[1].u32, wasi.arguments_size);
    const char *argument = wasi.arguments;

    if (pointers == NULL || text == NULL)
        return WASI_FAULT;
    for (uint32_t i = 0; i < wasi.argument_count; i++, argument += strlen(argument) + 1) {
        uint32_t place = v[1].u32 + (uint32_t)(argument - wasi.arguments);
        memcpy(pointers + 4 * i, &place, sizeof place);
    }
    if (wasi.arguments_size)
        memcpy(text, wasi.arguments, wasi.arguments_size);
    return WASI_OK;
}

static uint32_t environ_sizes_get(const union wasmtime_value *v)
{
    uint32_t error = put_u32(v[0].u32, 0);
    return error ? error : put_u32(v[1].u32, 0);
}

static uint32_t environ_get(const union wasmtime_value *v)
{
    (void)v;
    return WASI_OK;
}

/* Time and chance. Clocks 0 to 3 are Linux's own: realtime, monotonic, CPU time of process and thread. */
static uint32_t clock_of(uint32_t clock, uint32_t place, int (*ask)(clockid_t, struct timespec *))
{
    struct timespec time;

    if (clock > 3 || ask((clockid_t)clock, &time))
        return WASI_INVAL;
    return put_u64(place, (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec);
}

static uint32_t clock_res_get(const union wasmtime_value *v)
{
    return clock_of(v[0].u32, v[1].u32, clock_getres);
}

static uint32_t clock_time_get(const union wasmtime_value *v)
{
    return clock_of(v[0].u32, v[2].u32, clock_gettime); /* v[1] is how precise it need be */
}

static uint32_t random_get(const union wasmtime_value *v)
{
    size_t left = v[1].u32;
    uint8_t *there = at(v[0].u32, left);

    if (there == NULL)
        return WASI_FAULT;
    while (left > 0) {
        ssize_t length = getrandom(there, left, 0);
        if (length < 0 && errno == EINTR)
            continue;
        if (length < 0)
            return wasi_error(errno);
        there += length;
        left -= (size_t)length;
    }
    return WASI_OK;
}

static uint32_t sched_yield_(const union wasmtime_value *v)
{
    (void)v;
    sched_yield();
    return WASI_OK;
}

static uint32_t proc_exit(const union wasmtime_value *v) { _exit((int)(v[0].u32 & 0xff)); }

/* Standard input, output, error. */
static uint32_t move(const union wasmtime_value *v, ssize_t (*with)(int, const struct iovec *, int))
{
    struct iovec pieces[MOST_PIECES];
    uint32_t count = v[2].u32 < MOST_PIECES ? v[2].u32 : MOST_PIECES; /* the rest at the next call */
    const uint8_t *listed = at(v[1].u32, UINT64_C(8) * count);
    ssize_t moved;

    if (!is_open(v[0].u32))
        return WASI_BADF;
    if (listed == NULL)
        return WASI_FAULT;
    for (uint32_t i = 0; i < count; i++) {
        pieces[i].iov_len = get_u32(listed + 8 * i + 4);
        pieces[i].iov_base = at(get_u32(listed + 8 * i), pieces[i].iov_len);
        if (pieces[i].iov_base == NULL)
            return WASI_FAULT;
    }
    do
        moved = with((int)v[0].u32, pieces, (int)count);
    while (moved < 0 && errno == EINTR);
    return moved < 0 ? wasi_error(errno) : put_u32(v[3].u32, (uint32_t)moved);
}

static uint32_t fd_read(const union wasmtime_value *v) { return v[0].u32 ? WASI_BADF : move(v, readv); }
static uint32_t fd_write(const union wasmtime_value *v) { return v[0].u32 ? move(v, writev) : WASI_BADF; }

static uint32_t fd_close(const union wasmtime_value *v)
{
    if (!is_open(v[0].u32))
        return WASI_BADF;
    wasi.closed[v[0].u32] = true;
    close((int)v[0].u32);
    return WASI_OK;
}

static uint32_t fd_fdstat_get(const union wasmtime_value *v)
{
    enum { FD_READ = 1 << 1, FD_WRITE = 1 << 6, FILESTAT_GET = 1 << 21, POLL = 1 << 27 };
    uint8_t *there = at(v[1].u32, 24);
    uint64_t rights = (v[0].u32 ? FD_WRITE : FD_READ) | FILESTAT_GET | POLL;

    if (!is_open(v[0].u32))
        return WASI_BADF;
    if (there == NULL)
        return WASI_FAULT;
    memset(there, 0, 24); /* of unknown type: WASI has no word for a pipe */
    memcpy(there + 8, &rights, sizeof rights);
    return WASI_OK;
}

static uint32_t fd_filestat_get(const union wasmtime_value *v)
{
    uint8_t *there = at(v[1].u32, 64);

    if (!is_open(v[0].u32))
        return WASI_BADF;
    if (there == NULL)
        return WASI_FAULT;
    memset(there, 0, 64);
    return WASI_OK;
}

static uint32_t fd_fdstat_set_flags(const union wasmtime_value *v)
{
    return !is_open(v[0].u32) ? WASI_BADF : v[1].u32 ? WASI_NOTSUP : WASI_OK;
}

static uint32_t if_open(const union wasmtime_value *v, uint32_t error)
{
    return is_open(v[0].u32) ? error : WASI_BADF;
}

static uint32_t on_stream(const union wasmtime_value *v) { return if_open(v, WASI_SPIPE); }
static uint32_t on_socket(const union wasmtime_value *v) { return if_open(v, WASI_NOTSOCK); }
static uint32_t on_open(const union wasmtime_value *v) { return if_open(v, WASI_OK); }
static uint32_t on_none(const union wasmtime_value *v) { (void)v; return WASI_BADF; }
static uint32_t not_here(const union wasmtime_value *v) { (void)v; return WASI_NOSYS; }

#endif
