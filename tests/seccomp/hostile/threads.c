/* Threads: a program may have some, and nothing that is more than a thread. */
#include "deeds.h"

#define THREADS "threads"
#define FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

static char stacks[200][1 << 12] __attribute__((aligned(16)));

static int ends(void *unused)
{
    (void)unused;
    syscall(SYS_exit, 0);
    return 0;
}
static int waits(void *unused)
{
    (void)unused;
    for (;;)
        syscall(SYS_ppoll, 0, 0, 0, 0, 0);
}
static int spins(void *unused)
{
    (void)unused;
    for (;;)
        __asm__ volatile("");
}
static int takes_memory(void *unused)
{
    (void)unused;
    struct timespec time = {0, 600000000};
    if (touch_all(mmap(0, 30 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 30 << 20))
        _exit(1);
    nanosleep(&time, 0);
    say("escaped\n");
    _exit(0);
}
static long begin(int (*what)(void *), int number, unsigned long flags)
{
    return clone(what, stacks[number] + sizeof stacks[number], (int)flags, 0);
}

DEED(thread, THREADS, "make a thread, as libraries do", DOES, "A: exits 0; B: exits 0|EAGAIN") { return begin(ends, 0, FLAGS); }
DEED(thread_bomb, THREADS, "have 200 threads", DOES, "A: EAGAIN; B: EAGAIN|thread limit")
{
    struct timespec time = {0, 600000000}; /* as long as the keeper may need to look */
    for (int i = 0; i < 200; i++)
        if (begin(waits, i, FLAGS) < 0)
            return -1;
    nanosleep(&time, 0);
    return 0;
}
DEED(thread_churn, THREADS, "threads that end at once, over and over", ASKS, "A: keeper; B: keeper|thread limit")
{
    say("begun\n");
    for (int i = 0;; i++)
        if (begin(ends, i % 200, FLAGS) < 0)
            syscall(SYS_sched_yield);
}
DEED(thread_spin, THREADS, "compute in as many threads as there may be", ASKS, "A: keeper; B: keeper|EAGAIN")
{
    for (int i = 0; i < 3; i++)
        if (begin(spins, i, FLAGS) < 0)
            return -1;
    say("begun\n");
    return spins(0);
}
DEED(thread_orphan, THREADS, "go on when the first thread has ended", ASKS, "A: keeper; B: keeper|EAGAIN")
{
    if (begin(spins, 0, FLAGS) < 0)
        return -1;
    say("begun\n");
    syscall(SYS_exit, 0);
    return 0;
}
DEED(thread_memory, THREADS, "take too much memory when the first thread has ended", DOES, "A: memory limit; B: memory limit|EAGAIN")
{
    if (begin(takes_memory, 0, FLAGS) < 0)
        return -1;
    syscall(SYS_exit, 0);
    return 0;
}
DEED(thread_robust, THREADS, "a list of locks that lies in the kernel, to be walked at its end", DIES, "exits 0")
{
    syscall(SYS_set_robust_list, 0xffffffff81000000UL, 24);
    syscall(SYS_set_tid_address, 0xffffffff81000000UL);
    _exit(0);
}

DEED(thread_user, THREADS, "a thread in another user namespace", ASKS, "SIGSYS") { return begin(ends, 0, FLAGS | CLONE_NEWUSER); }
DEED(thread_world, THREADS, "a thread in another mount namespace", ASKS, "SIGSYS") { return begin(ends, 0, FLAGS | CLONE_NEWNS); }
DEED(thread_sibling, THREADS, "a thread that is a sibling", ASKS, "SIGSYS") { return begin(ends, 0, FLAGS | CLONE_PARENT); }
DEED(thread_traced, THREADS, "a thread that is traced too", DOES, "SIGSYS") { return begin(ends, 0, FLAGS | CLONE_PTRACE); }
DEED(thread_untraced, THREADS, "a thread that is not traced", DOES, "SIGSYS") { return begin(ends, 0, FLAGS | CLONE_UNTRACED); }
DEED(thread_vfork, THREADS, "a thread that is waited for", DOES, "SIGSYS") { return begin(ends, 0, FLAGS | CLONE_VFORK); }
DEED(thread_pidfd, THREADS, "a thread with a descriptor for it", ASKS, "SIGSYS") { return begin(ends, 0, FLAGS | CLONE_PIDFD); }
DEED(thread_io, THREADS, "a thread that shares its place on disks", DOES, "SIGSYS") { return begin(ends, 0, FLAGS | CLONE_IO); }
DEED(thread_tkill, THREADS, "signal the thread with the next number", ASKS, "A: ESRCH; B: SIGSYS")
{
    return syscall(SYS_tkill, getpid() + 1, 0);
}
