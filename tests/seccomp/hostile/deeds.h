/* Hostile deeds: each is one function that tries one thing, and tells whether it had it.
 *
 * DEED(name, family, what it tries, control, outcome in the jail) { return >= 0 if it was done, or -1 and errno; }
 * Control: what the same program does outside of the jail, as an ordinary user. DOES: it has what it tries.
 * ASKS: the kernel answers (an ordinary user may not, or nothing is there to do it to). DIES: it ends so. Outcome:
 * the signal that kills it, the error that it gets, "keeper" (it goes on until it is killed), "exits N"; "A: ...;
 * B: ..." where levels differ, "x|y" where kernels do. The lines are read by tests/seccomp/hostile/table.py too.
 */
#ifndef COREHOUR_DEEDS_H
#define COREHOUR_DEEDS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct deed {
    const char *name;
    long (*run)(void);
};

#define DEED(NAME, FAMILY, TRIES, CONTROL, OUTCOME)                                     \
    static long deed_##NAME(void);                                                      \
    static const struct deed entry_##NAME __attribute__((section("deeds"), used)) = {#NAME, deed_##NAME}; \
    static long deed_##NAME(void)

#define HONEST(NAME) DEED(NAME, , , , ) /* no hostile one, but what must go on beside them */

extern char buffer[1 << 16];
extern char marked[200]; /* a name under /tmp that nobody else has */
extern struct iovec piece;

void say(const char *text);
long ended(long child); /* waits for a child that ends by itself; passes on an error */
long touch_all(char *memory, size_t size); /* 0, or -1 where there is no memory */

#endif
