/* Too much of everything. In the jail they have 16 MiB, and each bomb is small enough to be let off outside. */
#include "deeds.h"

#define BOMBS "bombs"
#define MEMORY (64u << 20)

static void *map(size_t size, int protection, int flags)
{
    return mmap(0, size, protection, MAP_ANONYMOUS | flags, -1, 0);
}

DEED(memory_heap, BOMBS, "64 MiB of heap", DOES, "ENOMEM")
{
    char *end = sbrk(0);
    if (syscall(SYS_brk, end + MEMORY) < (long)(end + MEMORY)) {
        errno = ENOMEM;
        return -1;
    }
    return touch_all(end, MEMORY);
}
DEED(memory_private, BOMBS, "64 MiB by mmap", DOES, "ENOMEM")
{
    return touch_all(map(MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE), MEMORY);
}
DEED(memory_unreserved, BOMBS, "the same with MAP_NORESERVE", DOES, "ENOMEM")
{
    return touch_all(map(MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE), MEMORY);
}
DEED(memory_shared, BOMBS, "64 MiB of shared memory, which some limits do not count", DOES, "EPERM")
{
    return touch_all(map(MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED), MEMORY);
}
DEED(memory_stacks, BOMBS, "64 MiB that call themselves a stack (MAP_GROWSDOWN)", DOES, "EPERM")
{
    return touch_all(map(MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_GROWSDOWN), MEMORY);
}
DEED(memory_unprotected, BOMBS, "64 MiB mapped without rights, which are given later", DOES, "ENOMEM")
{
    char *memory = map(MEMORY, PROT_NONE, MAP_PRIVATE);
    if (memory == MAP_FAILED || mprotect(memory, MEMORY, PROT_READ | PROT_WRITE))
        return -1;
    return touch_all(memory, MEMORY);
}
DEED(memory_pieces, BOMBS, "64 MiB in pieces of 64 KiB", DOES, "ENOMEM|memory limit")
{
    for (unsigned at = 0; at < MEMORY; at += 1 << 16)
        if (touch_all(map(1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE), 1 << 16))
            return -1;
    return 0;
}
DEED(memory_remapped, BOMBS, "a page that grows to 64 MiB (mremap)", DOES, "ENOMEM")
{
    char *memory = map(4096, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    memory = mremap(memory, 4096, MEMORY, MREMAP_MAYMOVE);
    return touch_all(memory, MEMORY);
}
DEED(memory_remapped_shared, BOMBS, "the same with shared memory", DOES, "EPERM")
{
    char *memory = map(MEMORY, PROT_NONE, MAP_SHARED);
    if (memory == MAP_FAILED || mprotect(memory, MEMORY, PROT_READ | PROT_WRITE))
        return -1;
    return touch_all(memory, MEMORY);
}
DEED(memory_huge_pages, BOMBS, "64 MiB in huge pages, if there are any", ASKS, "EPERM")
{
    return touch_all(map(MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_HUGETLB), MEMORY);
}
DEED(memory_locked, BOMBS, "memory that is never swapped (MAP_LOCKED)", DOES, "EPERM")
{
    return touch_all(map(1 << 15, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_LOCKED), 1 << 15);
}
DEED(memory_address_space, BOMBS, "a hundred terabytes of addresses", DOES, "ENOMEM")
{
    for (int i = 0; i < 100; i++)
        if (map(1UL << 40, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE) == MAP_FAILED)
            return -1;
    return 0;
}
DEED(memory_tables, BOMBS, "a page table for every page: one byte in each of 1,000 times 2 MiB", DOES, "ENOMEM")
{
    for (int i = 0; i < 1000; i++) {
        volatile char *memory = map(2u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
        if (memory == MAP_FAILED)
            return -1;
        memory[i] = 1;
    }
    return 0;
}
DEED(memory_mappings, BOMBS, "30,000 mappings of one page, which cost the kernel 6 MiB", DOES, "exits 0")
{
    for (int i = 0; i < 30000; i++)
        if (map(4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE) == MAP_FAILED)
            return -1;
    return 0;
}
static void hold(void)
{
    struct timespec time = {0, 600000000}; /* as long as the keeper may need to look */
    while (nanosleep(&time, &time))
        ;
}
DEED(memory_held, BOMBS, "30 MiB, which its limit of address space allows and that of memory does not", DOES, "memory limit")
{
    long result = touch_all(map(30 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE), 30 << 20);
    hold();
    return result;
}
DEED(memory_read_only, BOMBS, "64 MiB, each piece made read-only so that the limit of data forgets it", DOES, "memory limit")
{
    for (unsigned at = 0; at < MEMORY; at += 1 << 20) {
        char *part = map(1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        if (touch_all(part, 1 << 20) || mprotect(part, 1 << 20, PROT_READ))
            return -1;
    }
    hold();
    return 0;
}
DEED(memory_zero, BOMBS, "a mapping at address 0", ASKS, "EPERM|EACCES")
{
    return mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ? -1 : 0;
}
DEED(memory_kernel, BOMBS, "a mapping among the kernel's addresses", ASKS, "ENOMEM")
{
    return mmap((void *)0xffff800000000000UL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
        == MAP_FAILED ? -1 : 0;
}
DEED(memory_poison, BOMBS, "declare its memory broken (MADV_HWPOISON)", ASKS, "EPERM|EINVAL")
{
    return madvise((char *)((uintptr_t)buffer & ~4095UL), 4096, 100);
}

static __attribute__((noinline)) long deeper(volatile char *above, int depth)
{
    volatile char frame[4096];
    frame[0] = above[0];
    return depth == 0 ? frame[0] : deeper(frame, depth - 1) + frame[0] * 0;
}
DEED(stack_endless, BOMBS, "a recursion without end", DIES, "SIGSEGV")
{
    return deeper(buffer, INT_MAX);
}
DEED(stack_handler, BOMBS, "a recursion whose crash is caught, again and again", DIES, "SIGSEGV")
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = (void (*)(int))deeper; /* which crashes in its turn */
    sigaction(SIGSEGV, &action, 0);
    return deeper(buffer, INT_MAX);
}

DEED(descriptors, BOMBS, "as many descriptors as there are", DOES, "SIGSYS")
{
    for (int i = 0; i < 100; i++)
        if (syscall(SYS_dup, 1) < 0)
            return -1;
    return 0;
}
DEED(pipes, BOMBS, "as many pipes as there are", DOES, "EMFILE")
{
    for (int i = 0; i < 50; i++)
        if (syscall(SYS_pipe2, buffer, 0))
            return -1;
    return 0;
}
DEED(events, BOMBS, "as many eventfds as there are", DOES, "EMFILE")
{
    for (int i = 0; i < 50; i++)
        if (syscall(SYS_eventfd2, 0, 0) < 0)
            return -1;
    return 0;
}
DEED(pipe_filled, BOMBS, "fill pipes with what no limit of memory counts", DOES, "EMFILE")
{
    int ends[2];
    for (int i = 0; i < 50; i++) {
        if (syscall(SYS_pipe2, ends, O_NONBLOCK))
            return -1;
        while (write(ends[1], buffer, 4096) > 0)
            ;
    }
    return 0;
}
DEED(disk, BOMBS, "fill the disk", DOES, "EACCES")
{
    long fd = syscall(SYS_open, marked, O_CREAT | O_WRONLY, 0600), written;
    if (fd < 0)
        return -1;
    written = write((int)fd, buffer, sizeof buffer);
    unlink(marked);
    return written;
}
DEED(memory_file, BOMBS, "fill a file in memory", DOES, "SIGSYS")
{
    long fd = syscall(SYS_memfd_create, "x", 0);
    return fd < 0 ? -1 : ftruncate((int)fd, 1 << 20);
}
DEED(timers, BOMBS, "timers without end (timer_create)", DOES, "SIGSYS")
{
    for (int i = 0; i < 100; i++)
        if (syscall(SYS_timer_create, 1, 0, buffer))
            return -1;
    return 0;
}
DEED(timerfd, BOMBS, "timers that are descriptors", DOES, "SIGSYS") { return syscall(SYS_timerfd_create, 1, 0); }
DEED(setitimer, BOMBS, "a signal every microsecond (setitimer)", DOES, "SIGSYS")
{
    long times[4] = {0, 0, 0, 0};
    return syscall(SYS_setitimer, 0, times, 0);
}
DEED(alarm, BOMBS, "an alarm", DOES, "SIGSYS") { return syscall(SYS_alarm, 0); }
DEED(inherited_signals, BOMBS, "block or ignore every signal, then end", DOES, "exits 0")
{
    sigset_t all;
    sigfillset(&all);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_IGN);
    return sigprocmask(SIG_SETMASK, &all, 0);
}
DEED(writes_huge, BOMBS, "write 2 GiB in one call from memory that is not there", ASKS, "EFAULT")
{
    return write(1, (void *)0x1000, 0x7fffffff);
}
DEED(reads_kernel, BOMBS, "read into the kernel's memory", ASKS, "EFAULT")
{
    errno = 0;
    if (read(0, (void *)0xffffffff81000000UL, 4096) == 0)
        errno = EFAULT; /* end of file came first */
    return -1;
}

/* Of these the test is how they end: each goes on for ever, and is killed. */
#define ENDLESS "without end"

static void pause_for_ever(void)
{
    syscall(SYS_ppoll, 0, 0, 0, 0, 0);
}
static void block_all(void)
{
    sigset_t all;
    sigfillset(&all);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_IGN);
    sigprocmask(SIG_SETMASK, &all, 0);
}
DEED(spin, ENDLESS, "compute past the end of its hour", ASKS, "keeper") { say("begun\n"); for (;;) __asm__ volatile(""); }
DEED(spin_deaf, ENDLESS, "the same with every signal blocked and ignored", ASKS, "keeper")
{
    block_all();
    say("begun\n");
    for (;;)
        __asm__ volatile("");
}
DEED(spin_calls, ENDLESS, "nothing but system calls", ASKS, "keeper") { say("begun\n"); for (;;) syscall(SYS_sched_yield); }
DEED(spin_memory, ENDLESS, "take and give back memory, over and over", ASKS, "keeper")
{
    say("begun\n");
    for (;;) {
        char *memory = map(1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        touch_all(memory, 1 << 20);
        munmap(memory, 1 << 20);
    }
}
DEED(spin_random, ENDLESS, "take all of the kernel's random numbers", ASKS, "keeper")
{
    say("begun\n");
    for (;;)
        syscall(SYS_getrandom, buffer, sizeof buffer, 0);
}
DEED(sleep, ENDLESS, "sleep for ever with every signal blocked", ASKS, "keeper")
{
    struct timespec long_time = {1L << 40, 0};
    block_all();
    say("begun\n");
    for (;;)
        nanosleep(&long_time, 0);
}
DEED(futex, ENDLESS, "wait for what never comes", ASKS, "keeper")
{
    *(int *)buffer = 0;
    say("begun\n");
    for (;;)
        syscall(SYS_futex, buffer, 0, 0, 0, 0, 0);
}
DEED(stop_self, ENDLESS, "stop itself, so that nobody could continue or end it", ASKS, "keeper")
{
    say("begun\n");
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP); /* as first of its namespace it is spared */
    for (;;)
        pause_for_ever();
}
DEED(flood, ENDLESS, "write to standard output without end", ASKS, "keeper")
{
    say("begun\n");
    for (;;)
        if (write(1, buffer, sizeof buffer) < 0)
            return -1;
}
DEED(flood_errors, ENDLESS, "write to standard error without end", ASKS, "keeper")
{
    say("begun\n");
    for (;;)
        if (write(2, buffer, sizeof buffer) < 0)
            return -1;
}
DEED(flood_deaf, ENDLESS, "go on writing where nobody reads, without a look at errors", ASKS, "keeper")
{
    block_all();
    say("begun\n");
    for (;;)
        if (write(1, buffer, 1) < 0 && write(2, buffer, 1) < 0)
            ;
}
DEED(never_reads, ENDLESS, "never read its input", ASKS, "keeper")
{
    say("begun\n");
    for (;;)
        pause_for_ever();
}
DEED(reads_endless, ENDLESS, "read an input that has no end", ASKS, "keeper")
{
    say("begun\n");
    for (;;)
        if (read(0, buffer, sizeof buffer) < 0)
            return -1;
}
DEED(never_closes, ENDLESS, "close its output and go on", ASKS, "keeper")
{
    say("begun\n");
    close(0);
    close(1);
    close(2);
    for (;;)
        pause_for_ever();
}
