/* WASI preview 1 for one program: standard streams, arguments, clocks, chance, its end. No file, no environment.
 *
 * Plain system calls on descriptors 0, 1, 2: no thread, no buffer of ours, so a slow reader slows the program.
 * Every pointer comes from the program and is held against its memory first. wasmtime's own WASI reads standard
 * input on another thread and opens more of the system than a jail has.
 */
#ifndef COREHOUR_WASI_H
#define COREHOUR_WASI_H

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "_wasmtime.h"

enum wasi_errno {
    WASI_OK = 0, WASI_AGAIN = 6, WASI_BADF = 8, WASI_FAULT = 21, WASI_INTR = 27, WASI_INVAL = 28, WASI_IO = 29,
    WASI_NOSYS = 52, WASI_NOTSOCK = 57, WASI_NOTSUP = 58, WASI_PIPE = 64, WASI_SPIPE = 70
};
enum { STDIO = 3, MOST_PIECES = 1024 };
static const uint64_t SECOND = UINT64_C(1000000000); /* in nanoseconds */

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

static uint32_t clock_res_get(const union wasmtime_value *v) { return clock_of(v[0].u32, v[1].u32, clock_getres); }
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

static uint32_t on_stream(const union wasmtime_value *v) { return is_open(v[0].u32) ? WASI_SPIPE : WASI_BADF; }
static uint32_t on_open(const union wasmtime_value *v) { return is_open(v[0].u32) ? WASI_OK : WASI_BADF; }
static uint32_t on_none(const union wasmtime_value *v) { (void)v; return WASI_BADF; }
static uint32_t on_socket(const union wasmtime_value *v) { return is_open(v[0].u32) ? WASI_NOTSOCK : WASI_BADF; }
static uint32_t not_here(const union wasmtime_value *v) { (void)v; return WASI_NOSYS; }

/* Waiting: for clocks, and for the standard streams. */
enum { SUBSCRIPTION = 48, EVENT = 32, ON_CLOCK = 0, ON_READ = 1, ON_WRITE = 2 };

static uint64_t now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

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
    for (bool at_once = true;; at_once = false) { /* once without waiting, for errors and what is there already */
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

struct wasi_function {
    const char *name, *takes; /* a letter each: i for i32, l for i64 */
    uint32_t (*does)(const union wasmtime_value *);
};

static struct wasi_function WASI[] = {
    {"args_get", "ii", args_get},
    {"args_sizes_get", "ii", args_sizes_get},
    {"environ_get", "ii", environ_get},
    {"environ_sizes_get", "ii", environ_sizes_get},
    {"clock_res_get", "ii", clock_res_get},
    {"clock_time_get", "ili", clock_time_get},
    {"fd_advise", "illi", on_stream},
    {"fd_allocate", "ill", on_stream},
    {"fd_close", "i", fd_close},
    {"fd_datasync", "i", on_open},
    {"fd_fdstat_get", "ii", fd_fdstat_get},
    {"fd_fdstat_set_flags", "ii", fd_fdstat_set_flags},
    {"fd_fdstat_set_rights", "ill", not_here},
    {"fd_filestat_get", "ii", fd_filestat_get},
    {"fd_filestat_set_size", "il", on_stream},
    {"fd_filestat_set_times", "illi", not_here},
    {"fd_pread", "iiili", on_stream},
    {"fd_prestat_get", "ii", on_none},
    {"fd_prestat_dir_name", "iii", on_none},
    {"fd_pwrite", "iiili", on_stream},
    {"fd_read", "iiii", fd_read},
    {"fd_readdir", "iiili", on_none},
    {"fd_renumber", "ii", not_here},
    {"fd_seek", "ilii", on_stream},
    {"fd_sync", "i", on_open},
    {"fd_tell", "ii", on_stream},
    {"fd_write", "iiii", fd_write},
    {"path_create_directory", "iii", on_none},
    {"path_filestat_get", "iiiii", on_none},
    {"path_filestat_set_times", "iiiilli", on_none},
    {"path_link", "iiiiiii", on_none},
    {"path_open", "iiiiillii", on_none},
    {"path_readlink", "iiiiii", on_none},
    {"path_remove_directory", "iii", on_none},
    {"path_rename", "iiiiii", on_none},
    {"path_symlink", "iiiii", on_none},
    {"path_unlink_file", "iii", on_none},
    {"poll_oneoff", "iiii", poll_oneoff},
    {"proc_exit", "i", proc_exit},
    {"proc_raise", "i", not_here},
    {"random_get", "ii", random_get},
    {"sched_yield", "", sched_yield_},
    {"sock_accept", "iii", on_socket},
    {"sock_recv", "iiiiii", on_socket},
    {"sock_send", "iiiii", on_socket},
    {"sock_shutdown", "ii", on_socket},
};
enum { WASI_COUNT = sizeof WASI / sizeof WASI[0] };

static wasm_trap *serve_wasi(void *self, wasmtime_caller *caller, union wasmtime_value *values, size_t count)
{
    struct wasmtime_extern found;

    (void)count;
    wasi.memory = NULL;
    wasi.memory_size = 0;
    if (wasmtime_caller_export_get(caller, "memory", 6, &found) && found.kind == EXTERN_MEMORY) {
        wasmtime_context *context = wasmtime_caller_context(caller);
        wasi.memory = wasmtime_memory_data(context, &found.of.memory);
        wasi.memory_size = wasmtime_memory_data_size(context, &found.of.memory);
    }
    values[0].i64 = ((struct wasi_function *)self)->does(values);
    return NULL;
}

static void list_types(struct wasm_valtypes *list, const char *letters)
{
    wasm_valtype *types[16];
    size_t count = strlen(letters);

    for (size_t i = 0; i < count; i++)
        types[i] = wasm_valtype_new(letters[i] == 'l' ? WASM_I64 : WASM_I32);
    wasm_valtype_vec_new(list, count, types);
}

/* Tells `linker` of every function above. */
static wasmtime_error *define_wasi(wasmtime_linker *linker)
{
    static const char module[] = "wasi_snapshot_preview1";

    for (size_t i = 0; i < WASI_COUNT; i++) {
        struct wasm_valtypes takes, gives;
        wasmtime_error *error;

        list_types(&takes, WASI[i].takes);
        list_types(&gives, WASI[i].does == proc_exit ? "" : "i");
        error = wasmtime_linker_define_func_unchecked(linker, module, sizeof module - 1, WASI[i].name,
                                                      strlen(WASI[i].name), wasm_functype_new(&takes, &gives),
                                                      serve_wasi, &WASI[i], NULL);
        if (error)
            return error;
    }
    return NULL;
}

#endif
