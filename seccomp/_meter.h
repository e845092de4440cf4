/* What a program uses, as /proc tells it: the keeper looks every now and then.
 *
 * Limits of address space alone would be too strict for programs that reserve much and use little, as Go's do,
 * and the limit of data forgets what was written to and then made read-only. The limit of CPU time counts ticks,
 * which with few of them can be far from the truth.
 */
#ifndef COREHOUR_METER_H
#define COREHOUR_METER_H

#include <dirent.h>

#include "_clock.h"
#include "_layers.h"

/* Why the keeper killed a program. */
enum reason { NO_REASON, TOO_MUCH_MEMORY, TOO_MANY_THREADS, TOO_MUCH_CPU };

enum { STATUS_MOST = 4096 };                 /* bytes of a status file that are read */
enum { PAUSE_LEAST = 20, PAUSE_MOST = 100 }; /* ms between two looks; one takes some 20 us */
enum { FILLED_PER_MS = 4 << 20 };            /* bytes that one core can write to for the first time */
enum { NEVER_SEEN_MOST = 10 };               /* looks in a row that find no living thread */

struct meter {
    int status;      /* /proc/<program>/status */
    int threads;     /* /proc/<program>/task */
    clockid_t clock; /* of the CPU time of all its threads */
    unsigned unseen; /* looks in a row that found nothing */
};

/* The number behind `key` in a status file; 0 where there is none. */
static uint64_t number_after(const char *text, const char *key)
{
    uint64_t number = 0;

    text = strstr(text, key);
    if (text == NULL)
        return 0;
    for (text += strlen(key); *text == ' ' || *text == '\t'; text++)
        ;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (uint64_t)(*text - '0');
    return number;
}

/* Reads a status file from its beginning into `text`; false if its process is gone. */
static bool read_status(int fd, char text[STATUS_MOST])
{
    ssize_t length = pread(fd, text, STATUS_MOST - 1, 0);

    text[length < 0 ? 0 : length] = '\0';
    return length > 0;
}

/* How many tasks this machine has, our user's among them: what RLIMIT_NPROC counts is no more. To count our
 * user's alone takes longer than all the rest of a start. */
static uint64_t tasks_of_all(void)
{
    char text[STATUS_MOST];
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    uint64_t count = fd >= 0 && read_status(fd, text) ? number_after(text, "/") : 0;

    close(fd);
    return count;
}

static int open_process(pid_t pid, const char *name, int flags)
{
    char path[40];
    size_t at = sizeof path - 1 - strlen(name);

    memcpy(path + at, name, strlen(name) + 1);
    for (; pid > 0; pid /= 10)
        path[--at] = (char)('0' + pid % 10);
    at -= strlen("/proc/");
    memcpy(path + at, "/proc/", strlen("/proc/"));
    return open(path + at, O_RDONLY | O_CLOEXEC | flags);
}

/* Of the CPU time of all threads of a process; as clock_getcpuclockid makes it. */
static clockid_t cpu_clock(pid_t pid)
{
    return (clockid_t)(~(unsigned)pid << 3 | 2);
}

static int open_meter(pid_t program, struct meter *meter)
{
    meter->status = open_process(program, "/status", 0);
    meter->threads = open_process(program, "/task", O_DIRECTORY);
    meter->clock = cpu_clock(program);
    return meter->status < 0 || meter->threads < 0 ? -1 : 0;
}

/* Bytes in memory and swap, page tables included; 0 in the status of a thread that has ended. */
static uint64_t memory_in(const char *status)
{
    return (number_after(status, "\nVmRSS:") + number_after(status, "\nVmSwap:")
            + number_after(status, "\nVmPTE:")) << 10;
}

/* The same of any thread that lives, for it is common to all; 0 if there is none. */
static uint64_t memory_of_threads(int fd)
{
    char entries[4096], text[STATUS_MOST], path[32];
    uint64_t used = 0;
    long length;

    if (lseek(fd, 0, SEEK_SET))
        return 0;
    while (used == 0 && (length = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0)
        for (long at = 0; used == 0 && at < length; at += ((struct dirent64 *)(entries + at))->d_reclen) {
            const char *name = ((struct dirent64 *)(entries + at))->d_name;
            size_t digits = strspn(name, "0123456789");
            int file;

            if (digits == 0 || digits + sizeof "/status" > sizeof path)
                continue;
            memcpy(path, name, digits);
            memcpy(path + digits, "/status", sizeof "/status");
            file = openat(fd, path, O_RDONLY | O_CLOEXEC);
            if (file < 0)
                continue;
            if (read_status(file, text))
                used = memory_in(text);
            close(file);
        }
    return used;
}

/* ms until `left` may be used up at `speed` for each ms: when to look again. */
static int pause_of(uint64_t left, uint64_t speed)
{
    left /= speed;
    return left < PAUSE_LEAST ? PAUSE_LEAST : left > PAUSE_MOST ? PAUSE_MOST : (int)left;
}

/* Looks at what the program uses. Returns why to kill it, or else in how many ms to look again. */
static enum reason measure(const struct jail *jail, struct meter *meter, int *pause)
{
    char text[STATUS_MOST];
    uint64_t used, cpu = now_ms(meter->clock);

    if (cpu >= jail->cpu_seconds * 1000)
        return TOO_MUCH_CPU;
    *pause = pause_of(jail->cpu_seconds * 1000 - cpu, 1);
    if (!jail->resident)
        return NO_REASON;
    if (read_status(meter->status, text) && number_after(text, "\nThreads:") > jail->threads)
        return TOO_MANY_THREADS;
    used = memory_in(text);
    if (used == 0) /* its first thread has ended; others may live on */
        used = memory_of_threads(meter->threads);
    meter->unseen = used == 0 ? meter->unseen + 1 : 0;
    if (used > jail->resident || meter->unseen > NEVER_SEEN_MOST)
        return TOO_MUCH_MEMORY;
    if (pause_of(jail->resident - used, FILLED_PER_MS) < *pause)
        *pause = pause_of(jail->resident - used, FILLED_PER_MS);
    return NO_REASON;
}

#endif
