/* Lies about how it ended. The node must say what really happened; where a program may say it itself (its status,
 * its output), it is the program's own word. */
#include "deeds.h"

#define LIES "forged status"

struct report { /* what a keeper tells the node: seccomp/_keeper.h */
    int32_t kind, step, value, padding;
    int64_t cpu_us, memory_kb;
};

DEED(forge_report, LIES, "write a keeper's report on every descriptor but its own three", DOES, "EBADF")
{
    struct report report = {'E', 0, 0, 0, 0, 0};
    long result = -1;
    for (int fd = 3; fd < 1024; fd++)
        if (write(fd, &report, sizeof report) > 0)
            result = 0;
    return result;
}
DEED(forge_failure, LIES, "tell the keeper that it never began", DOES, "EBADF")
{
    int32_t failure[2] = {1, 1};
    long result = -1;
    for (int fd = 3; fd < 1024; fd++)
        if (write(fd, failure, sizeof failure) > 0)
            result = 0;
    return result;
}
DEED(forge_on_output, LIES, "write a keeper's report to standard error", DOES, "exits 0")
{
    struct report report = {'E', 0, 0, 0, 0, 0};
    return write(2, &report, sizeof report);
}
DEED(command_keeper, LIES, "send the keeper a command on every descriptor", DOES, "EBADF")
{
    long result = -1;
    for (int fd = 3; fd < 1024; fd++)
        if (write(fd, "C", 1) > 0)
            result = 0;
    return result;
}
DEED(read_others, LIES, "read every descriptor but its own three", ASKS, "EBADF")
{
    struct pollfd one = {0, POLLIN, 0};
    for (int fd = 3; fd < 1024; fd++) {
        one.fd = fd;
        if (poll(&one, 1, 0) > 0 && !(one.revents & POLLNVAL) && read(fd, buffer, 1) > 0)
            return 0;
    }
    errno = EBADF;
    return -1;
}
DEED(exit_as_killed, LIES, "exit with 137, as a shell says of a killed program", DIES, "exits 137") { _exit(137); }
DEED(exit_as_failed, LIES, "exit with 127, as a start that failed", DIES, "exits 127") { _exit(127); }
DEED(exit_large, LIES, "exit with more than 8 bits", DIES, "exits 1") { _exit(0x101); }
DEED(exit_alone, LIES, "end its first thread alone", DIES, "exits 9") { syscall(SYS_exit, 9); return 0; }
DEED(abort, LIES, "abort", DIES, "SIGABRT|SIGSEGV") { abort(); }
DEED(die_of_sigsys, LIES, "send itself SIGSYS, as if seccomp had", DIES, "A: exits 0; B: SIGSYS")
{
    return syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSYS);
}
DEED(die_of_sigkill, LIES, "send itself SIGKILL, as if memory had run out", DIES, "A: exits 0; B: SIGKILL")
{
    return syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGKILL);
}
DEED(die_of_real_time, LIES, "send itself a signal without a name", DIES, "A: exits 0; B: signal 45")
{
    return syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 45);
}
DEED(catch_sigsys, LIES, "catch SIGSYS and go on", DOES, "SIGSYS")
{
    signal(SIGSYS, SIG_IGN);
    return syscall(SYS_getppid);
}
DEED(crash, LIES, "crash", DIES, "SIGSEGV") { return *(volatile int *)8; }
DEED(divide, LIES, "divide by zero", DIES, "SIGFPE") 
{
    __asm__ volatile("idivl %1" ::"a"(1), "r"(0), "d"(0));
    return 0;
}
DEED(privileged, LIES, "halt the CPU", DIES, "SIGSEGV") { __asm__ volatile("hlt"); return 0; }
DEED(port, LIES, "write to a port of the machine", DIES, "SIGSEGV")
{
    __asm__ volatile("outb %%al, %%dx" ::"a"(0), "d"(0x80));
    return 0;
}
DEED(unmap_all, LIES, "take all of its own memory away", DIES, "SIGSEGV") { return munmap(0, 0x7ffffffff000UL); }
DEED(stop_clock, LIES, "read the time stamp counter, which a benchmark could lie with", DOES, "exits 0")
{
    unsigned low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return 0;
}

HONEST(add_up)
{
    long sum = 0, length;
    while ((length = read(0, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < length; at++)
            sum += (unsigned char)buffer[at];
    snprintf(buffer, 100, "%ld", sum);
    say(buffer);
    _exit(0);
}
