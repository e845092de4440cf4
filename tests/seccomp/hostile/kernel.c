/* Rarely used parts of the kernel, where most of its holes were; and other doors into it. */
#include "deeds.h"

#define KERNEL "kernel"

static int allow_all = 0x7fff0000;

DEED(keyctl, KERNEL, "get at the session's keys", ASKS, "SIGSYS") { return syscall(SYS_keyctl, 0, -3, 0); }
DEED(add_key, KERNEL, "store a key", ASKS, "SIGSYS") { return syscall(SYS_add_key, "user", "x", "y", 1, 0); }
DEED(request_key, KERNEL, "ask for a key", ASKS, "SIGSYS") { return syscall(SYS_request_key, "user", "not there", 0, 0); }
DEED(bpf_map, KERNEL, "make a BPF map", ASKS, "SIGSYS") { return syscall(SYS_bpf, 0, buffer, 48); }
DEED(bpf_load, KERNEL, "load a BPF program", ASKS, "SIGSYS") { return syscall(SYS_bpf, 5, buffer, 48); }
DEED(perf, KERNEL, "count events of the CPU (perf_event_open)", ASKS, "SIGSYS")
{
    return syscall(SYS_perf_event_open, buffer, 0, -1, -1, 0);
}
DEED(io_uring, KERNEL, "set up io_uring", ASKS, "SIGSYS") { return syscall(425, 8, buffer); }
DEED(io_uring_enter, KERNEL, "enter io_uring", ASKS, "SIGSYS") { return syscall(426, 0, 1, 0, 0, 0); }
DEED(io_uring_register, KERNEL, "register with io_uring", ASKS, "SIGSYS") { return syscall(427, -1, 0, 0, 0); }
DEED(aio, KERNEL, "set up asynchronous I/O", DOES, "SIGSYS") { return syscall(SYS_io_setup, 8, buffer); }
DEED(userfaultfd, KERNEL, "handle page faults oneself", ASKS, "SIGSYS") { return syscall(SYS_userfaultfd, 1); }
DEED(personality, KERNEL, "read the personality", DOES, "SIGSYS") { return syscall(SYS_personality, 0xffffffff); }
DEED(personality_set, KERNEL, "turn address randomisation off", DOES, "SIGSYS") { return syscall(SYS_personality, 0x0040000); }
DEED(personality_exec, KERNEL, "make all readable memory executable", DOES, "SIGSYS") { return syscall(SYS_personality, 0x0400000); }
DEED(seccomp, KERNEL, "ask what filters can do", DOES, "SIGSYS") { return syscall(SYS_seccomp, 2, 0, &allow_all); }
DEED(seccomp_filter, KERNEL, "add a filter that allows everything", DOES, "SIGSYS")
{
    struct sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, 0x7fff0000}};
    struct sock_fprog filter = {1, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return syscall(SYS_seccomp, 1, 0, &filter);
}
DEED(landlock, KERNEL, "ask for a Landlock ruleset", ASKS, "SIGSYS") { return syscall(444, 0, 0, 1); }
DEED(prctl_dumpable, KERNEL, "become one that may be looked into", DOES, "SIGSYS") { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }
DEED(prctl_orphan, KERNEL, "outlive the keeper", DOES, "SIGSYS") { return prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0); }
DEED(prctl_subreaper, KERNEL, "inherit others' children", DOES, "SIGSYS") { return prctl(36, 1, 0, 0, 0); }
DEED(prctl_name, KERNEL, "take another name", DOES, "EINVAL") { return prctl(PR_SET_NAME, "keeper", 0, 0, 0); }
DEED(prctl_merge, KERNEL, "have equal pages of all programs merged", ASKS, "SIGSYS") { return prctl(67, 1, 0, 0, 0); }
DEED(prctl_speculation, KERNEL, "turn a mitigation off", ASKS, "SIGSYS") { return prctl(53, 0, 2, 0, 0); }
DEED(prctl_timer_slack, KERNEL, "have finer timers", DOES, "SIGSYS") { return prctl(29, 1, 0, 0, 0); }
DEED(capset, KERNEL, "set capabilities", ASKS, "SIGSYS") { return syscall(SYS_capset, buffer, buffer); }
DEED(setuid, KERNEL, "set the user", DOES, "SIGSYS") { return syscall(SYS_setuid, syscall(SYS_getuid)); }
DEED(setuid_root, KERNEL, "become root", ASKS, "SIGSYS") { return syscall(SYS_setresuid, 0, 0, 0); }
DEED(setgroups, KERNEL, "join groups", ASKS, "SIGSYS") { return syscall(SYS_setgroups, 0, 0); }
DEED(setsid, KERNEL, "begin a session", ASKS, "SIGSYS") { return syscall(SYS_setsid); }
DEED(setpgid, KERNEL, "change the process group", ASKS, "SIGSYS") { return syscall(SYS_setpgid, 0, 0); }
DEED(setpriority, KERNEL, "change the priority", DOES, "SIGSYS") { return setpriority(PRIO_PROCESS, 0, 19); }
DEED(scheduler, KERNEL, "run in real time", ASKS, "SIGSYS")
{
    *(int *)buffer = 1;
    return syscall(SYS_sched_setscheduler, 0, 1, buffer);
}
DEED(affinity, KERNEL, "choose other CPUs", DOES, "SIGSYS")
{
    memset(buffer, 255, 128);
    return syscall(SYS_sched_setaffinity, 0, 128, buffer);
}
DEED(ioprio, KERNEL, "change the priority on disks", DOES, "SIGSYS") { return syscall(SYS_ioprio_set, 1, 0, 0); }
DEED(setrlimit, KERNEL, "set a limit", DOES, "SIGSYS")
{
    struct rlimit limit;
    return syscall(SYS_prlimit64, 0, RLIMIT_STACK, 0, &limit) ? -1 : syscall(SYS_setrlimit, RLIMIT_STACK, &limit);
}
DEED(prlimit, KERNEL, "set a limit by prlimit64", DOES, "EPERM")
{
    struct rlimit limit;
    return syscall(SYS_prlimit64, 0, RLIMIT_STACK, 0, &limit) ? -1
        : syscall(SYS_prlimit64, 0, RLIMIT_STACK, &limit, 0);
}
DEED(shmget, KERNEL, "make shared memory (System V)", DOES, "SIGSYS")
{
    long id = syscall(SYS_shmget, 0, 4096, 0600 | 01000);
    return id < 0 ? -1 : syscall(SYS_shmctl, id, 0, 0);
}
DEED(msgget, KERNEL, "make a queue of messages (System V)", DOES, "SIGSYS")
{
    long id = syscall(SYS_msgget, 0, 0600 | 01000);
    return id < 0 ? -1 : syscall(SYS_msgctl, id, 0, 0);
}
DEED(semget, KERNEL, "make semaphores (System V)", DOES, "SIGSYS")
{
    long id = syscall(SYS_semget, 0, 1, 0600 | 01000);
    return id < 0 ? -1 : syscall(SYS_semctl, id, 0, 0, 0);
}
DEED(mq_open, KERNEL, "make a queue of messages (POSIX)", ASKS, "SIGSYS") { return syscall(SYS_mq_open, "not-there", 0, 0, 0); }
DEED(futex_pi, KERNEL, "lock with priority inheritance", DOES, "ENOSYS")
{
    *(int *)buffer = 0;
    return syscall(SYS_futex, buffer, 6, 0, 0, 0, 0);
}
DEED(futex_requeue, KERNEL, "requeue waiters", DOES, "exits 0") { return syscall(SYS_futex, buffer, 3, 1, 1, buffer + 64, 0); }
DEED(membarrier, KERNEL, "have all CPUs interrupted", DOES, "ENOSYS") { return syscall(SYS_membarrier, 0, 0, 0); }
DEED(modify_ldt, KERNEL, "read its table of segments", DOES, "SIGSYS") { return syscall(SYS_modify_ldt, 0, buffer, 100); }
DEED(modify_ldt_set, KERNEL, "make a 16-bit segment", ASKS, "SIGSYS") { return syscall(SYS_modify_ldt, 1, buffer, 16); }
DEED(iopl, KERNEL, "use ports of the machine", ASKS, "SIGSYS") { return syscall(SYS_iopl, 3); }
DEED(ioperm, KERNEL, "use one port of the machine", ASKS, "SIGSYS") { return syscall(SYS_ioperm, 0x80, 1, 1); }
DEED(arch_get_fs, KERNEL, "arch_prctl, beyond what a start needs", DOES, "EINVAL") { return syscall(SYS_arch_prctl, 0x1003, buffer); }
DEED(arch_cpuid, KERNEL, "trap the CPUID instruction", ASKS, "EINVAL") { return syscall(SYS_arch_prctl, 0x1012, 7); }
DEED(arch_permissions, KERNEL, "ask for wider registers (AMX)", ASKS, "EINVAL") { return syscall(SYS_arch_prctl, 0x1023, 99); }
DEED(syslog, KERNEL, "read the kernel's messages", ASKS, "SIGSYS") { return syscall(SYS_syslog, 3, buffer, 100); }
DEED(reboot, KERNEL, "reboot", ASKS, "SIGSYS") { return syscall(SYS_reboot, 0, 0, 0, 0); }
DEED(kexec, KERNEL, "load another kernel", ASKS, "SIGSYS") { return syscall(SYS_kexec_load, 0, 99, 0, 0); }
DEED(init_module, KERNEL, "load a module", ASKS, "SIGSYS") { return syscall(SYS_init_module, buffer, 0, ""); }
DEED(clock_settime, KERNEL, "set the clock", ASKS, "SIGSYS") { return syscall(SYS_clock_settime, 99, buffer); }
DEED(adjtimex, KERNEL, "read how the clock is kept", DOES, "SIGSYS") { return syscall(SYS_adjtimex, buffer); }
DEED(swapoff, KERNEL, "turn swap off", ASKS, "SIGSYS") { return syscall(SYS_swapoff, "/not/there"); }
DEED(quotactl, KERNEL, "ask after quotas", ASKS, "SIGSYS") { return syscall(SYS_quotactl, 0, 0, 0, 0); }
DEED(acct, KERNEL, "keep accounts of processes", ASKS, "SIGSYS") { return syscall(SYS_acct, "/not/there"); }
DEED(mlock, KERNEL, "keep memory from being swapped", ASKS, "SIGSYS") { return syscall(SYS_mlockall, 99); }
DEED(mbind, KERNEL, "choose where memory lies", ASKS, "EPERM") { return syscall(SYS_mbind, buffer, 0, 99, 0, 0, 0); }
DEED(remap_file_pages, KERNEL, "rearrange pages", ASKS, "SIGSYS") { return syscall(SYS_remap_file_pages, buffer, 0, 0, 0, 0); }
DEED(pkey, KERNEL, "make a protection key", ASKS, "SIGSYS") { return syscall(SYS_pkey_alloc, 0, 0); }
DEED(no_such_call, KERNEL, "a call that no kernel has", ASKS, "SIGSYS") { return syscall(600); }

#define DOORS "other entries"

DEED(x32, DOORS, "an x32 call: getpid", ASKS, "SIGSYS") { return syscall(0x40000000 | SYS_getpid); }
DEED(x32_open, DOORS, "an x32 call: open", ASKS, "SIGSYS") { return syscall(0x40000000 | SYS_open, "/etc/passwd", 0); }
DEED(x32_exec, DOORS, "an x32 call: execve (520)", ASKS, "SIGSYS") { return syscall(0x40000000 | 520, "/not/there", 0, 0); }
DEED(negative, DOORS, "a negative call", ASKS, "SIGSYS") { return syscall(-2); }
DEED(high_number, DOORS, "open, with bits above the 32nd in its number", DOES, "EACCES")
{
    return syscall(0x700000000L | SYS_open, "/etc/passwd", O_RDONLY);
}

static long int80(long number, long first, long second)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(0L)
                     : "memory", "r8", "r9", "r10", "r11");
    if ((int)result < 0) {
        errno = -(int)result;
        return -1;
    }
    return result;
}

DEED(int80, DOORS, "a 32-bit call by int 0x80: getpid", ASKS, "SIGSYS") { return int80(20, 0, 0); }
DEED(int80_as_read, DOORS, "a 32-bit number that is harmless in 64 bits (1: exit)", ASKS, "SIGSYS") { return int80(3, 0, 0); }

DEED(far_int80, DOORS, "a far jump into the 32-bit segment, and a call from there: getpid", ASKS, "SIGSYS")
{
    unsigned char *low = mmap((void *)0x20000000, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t target = (uint32_t)(uintptr_t)low + 14;
    long result;
    const unsigned char code[] = {
        0xb8, 20, 0, 0, 0,            /* mov $20, %eax */
        0xcd, 0x80,                   /* int $0x80 */
        0xea, 0, 0, 0, 0, 0x33, 0,    /* ljmp to the 64-bit segment, right behind */
        0xff, 0xa1, 0, 0x10, 0, 0,    /* jmp *4096(%rcx) */
    };

    if (low == MAP_FAILED)
        return -1;
    memcpy(low, code, sizeof code);
    memcpy(low + 8, &target, 4);
    __asm__ volatile("mov %%rsp, 4104(%%rcx)\n\t" /* the upper half of a register may be lost on the way */
                     "mov %%rbp, 4112(%%rcx)\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "mov %%rax, 4096(%%rcx)\n\t"
                     "lea 8000(%%rcx), %%rsp\n\t"
                     "pushq $0x23\n\t"
                     "pushq %%rcx\n\t"
                     "lretq\n\t"
                     "1: mov 4104(%%rcx), %%rsp\n\t"
                     "mov 4112(%%rcx), %%rbp\n\t"
                     : "=a"(result) : "c"(low)
                     : "memory", "rbx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15");
    return result;
}
DEED(vsyscall, DOORS, "the old fixed page of calls: getcpu", ASKS, "SIGSYS|SIGSEGV")
{
    return ((long (*)(void *, void *, void *))0xffffffffff600800UL)(buffer, buffer, 0);
}
