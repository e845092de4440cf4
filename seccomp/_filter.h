/* The system call filter: a table of what is allowed, and the few lines that turn it into BPF.
 *
 * Whatever is not in the table kills the whole process. So does every other way into the kernel: 32-bit
 * calls (int 0x80) and the x32 calls. Numbers 335 and 336 (uretprobe, uprobe) never pass a filter on newer
 * kernels; outside of a probe's trampoline they do nothing but kill their caller.
 */
#ifndef COREHOUR_FILTER_H
#define COREHOUR_FILTER_H

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_statx
#define SYS_statx 332
#endif
#ifndef SYS_rseq
#define SYS_rseq 334
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif

enum { NATIVE = 1, PYTHON = 2, WASM = 4, ALL = 7 }; /* whose rule it is */
enum { ALONE = 8 };      /* a rule for native programs that are alone in their pid namespace */
enum { COMPILE = 16, TEMPLATE = WASM | COMPILE }; /* what compiles wasm and makes copies of itself */
enum { PROGRAM_FD = 3 }; /* where the program lies, until it was started or read */

#define ALLOW SECCOMP_RET_ALLOW
#define REFUSE(error) (SECCOMP_RET_ERRNO | (error))
#define INT 0xffffffffu     /* the kernel looks at the lower half of an int alone */
#define LONG UINT64_MAX     /* a pointer or a long */
#define SELF 0xfeedfacefeedu /* stands for the program's own process id */

struct rule {
    int number;        /* system call */
    int profile;       /* NATIVE, PYTHON, WASM, COMPILE, or several */
    uint32_t action;   /* taken if all conditions hold; else the rules below are tried */
    struct {
        int argument;  /* 0 to 5 */
        uint64_t mask; /* 0: no condition */
        uint64_t value;
    } when[3];
};

/* What clone must be asked for to make a thread and nothing else. Where its id and its storage lie is as each
 * libc likes it: SETTLS, PARENT_SETTID, CHILD_CLEARTID, and the old DETACHED that musl sends along. */
#define THREAD 0x50f00u /* CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM */
#define THREADS_OWN (~UINT64_C(0x780000))
/* PRIVATE, FIXED, ANONYMOUS, 32BIT, NORESERVE, POPULATE, NONBLOCK, STACK, FIXED_NOREPLACE, and two that do
 * nothing; never shared, locked, huge or growing by itself. */
#define MAP_HARMLESS (~UINT64_C(0x13d850))
#define MAP_OWN 0x22u /* PRIVATE and ANONYMOUS */

static const struct rule RULES[] = {
    /* what threads and standard streams need most comes first: the kernel goes through the list each time */
    {SYS_futex, NATIVE, ALLOW, {{1, INT & ~0x181u, 0}}}, /* FUTEX_WAIT, WAKE; the bits are PRIVATE and REALTIME */
    {SYS_futex, NATIVE, ALLOW, {{1, INT & ~0x180u, 9}}}, /* FUTEX_WAIT_BITSET */
    {SYS_futex, NATIVE, ALLOW, {{1, INT & ~0x180u, 10}}}, /* FUTEX_WAKE_BITSET */
    /* Others have pages of libraries in common, where one could wake another: they have the private ones. */
    {SYS_futex, PYTHON | WASM, ALLOW, {{1, INT & ~0x101u, 0x80}}},
    {SYS_futex, PYTHON | WASM, ALLOW, {{1, INT & ~0x100u, 0x89}}},
    {SYS_futex, PYTHON | WASM, ALLOW, {{1, INT & ~0x100u, 0x8a}}},
    {SYS_futex, NATIVE, ALLOW, {{1, INT & ~0x180u, 3}}}, /* FUTEX_REQUEUE */
    {SYS_futex, NATIVE, ALLOW, {{1, INT & ~0x181u, 4}}}, /* FUTEX_CMP_REQUEUE, WAKE_OP */
    {SYS_futex, NATIVE, REFUSE(ENOSYS), {{0}}},          /* those with priorities */
    /* standard input, output, error */
    {SYS_read, ALL, ALLOW, {{0}}},
    {SYS_write, ALL, ALLOW, {{0}}},
    {SYS_readv, ALL, ALLOW, {{0}}},
    {SYS_writev, ALL, ALLOW, {{0}}},
    {SYS_close, ALL, ALLOW, {{0}}},
    {SYS_lseek, ALL, ALLOW, {{0}}},
    {SYS_fstat, ALL, ALLOW, {{0}}},
    {SYS_poll, ALL, ALLOW, {{0}}},
    {SYS_ppoll, ALL, ALLOW, {{0}}},
    {SYS_select, ALL, ALLOW, {{0}}},
    {SYS_pselect6, ALL, ALLOW, {{0}}},
    {SYS_fcntl, ALL, ALLOW, {{1, INT, 1}}}, /* F_GETFD */
    {SYS_fcntl, ALL, ALLOW, {{1, INT, 3}}}, /* F_GETFL */
    {SYS_fcntl, ALL, REFUSE(EINVAL), {{0}}},
    {SYS_ioctl, ALL, REFUSE(ENOTTY), {{1, INT, 0x5401}}}, /* TCGETS: "is it a terminal?" */
    {SYS_ioctl, ALL, REFUSE(ENOTTY), {{1, INT, 0x5413}}}, /* TIOCGWINSZ */
    {SYS_ioctl, ALL, REFUSE(ENOTTY), {{1, INT, 0x541b}}}, /* FIONREAD */
    /* memory */
    {SYS_brk, ALL, ALLOW, {{0}}},
    {SYS_mmap, NATIVE, ALLOW, {{3, MAP_HARMLESS, MAP_OWN}}},
    {SYS_mmap, PYTHON | WASM, ALLOW, {{3, MAP_HARMLESS, MAP_OWN}, {2, 4, 0}}}, /* not PROT_EXEC */
    {SYS_mmap, ALL, REFUSE(EPERM), {{0}}},
    {SYS_mprotect, NATIVE, ALLOW, {{2, ~UINT64_C(7), 0}}}, /* PROT_READ, WRITE, EXEC; nothing that grows */
    {SYS_mprotect, COMPILE, ALLOW, {{2, LONG, 5}}},        /* machine code: to read and run, not to write */
    {SYS_mprotect, PYTHON | WASM, ALLOW, {{2, ~UINT64_C(3), 0}}},
    {SYS_mprotect, ALL, REFUSE(EPERM), {{0}}},
    {SYS_munmap, ALL, ALLOW, {{0}}},
    {SYS_mremap, ALL, ALLOW, {{3, ~UINT64_C(3), 0}}}, /* MREMAP_MAYMOVE, FIXED */
    {SYS_mremap, ALL, REFUSE(EINVAL), {{0}}},
    {SYS_madvise, ALL, ALLOW, {{2, INT & ~3u, 0}}},  /* NORMAL, RANDOM, SEQUENTIAL, WILLNEED */
    {SYS_madvise, ALL, ALLOW, {{2, INT, 4}}},        /* DONTNEED */
    {SYS_madvise, ALL, ALLOW, {{2, INT, 8}}},        /* FREE */
    {SYS_madvise, ALL, ALLOW, {{2, INT & ~1u, 14}}}, /* HUGEPAGE, NOHUGEPAGE */
    {SYS_madvise, ALL, REFUSE(EINVAL), {{0}}},       /* sharing equal pages tells of others; poison, swapping */
    /* time, chance, what it may know of itself */
    {SYS_clock_gettime, ALL, ALLOW, {{0}}},
    {SYS_clock_getres, ALL, ALLOW, {{0}}},
    {SYS_gettimeofday, ALL, ALLOW, {{0}}},
    {SYS_time, ALL, ALLOW, {{0}}},
    {SYS_nanosleep, ALL, ALLOW, {{0}}},
    {SYS_clock_nanosleep, ALL, ALLOW, {{0}}},
    {SYS_restart_syscall, ALL, ALLOW, {{0}}}, /* the kernel's own, when a sleep goes on after a freeze */
    {SYS_getrandom, ALL, ALLOW, {{0}}},
    {SYS_getpid, ALL, ALLOW, {{0}}},
    {SYS_gettid, ALL, ALLOW, {{0}}},
    {SYS_getrusage, ALL, ALLOW, {{0}}},
    {SYS_sysinfo, ALL, ALLOW, {{0}}}, /* glibc's qsort asks how much memory there is, and trusts the answer */
    {SYS_sched_yield, ALL, ALLOW, {{0}}},
    {SYS_sched_getaffinity, ALL, ALLOW, {{0, INT, 0}}},
    {SYS_sched_getaffinity, ALL, REFUSE(ENOSYS), {{0}}}, /* glibc asks by the thread's id; so it does without */
    {SYS_prlimit64, ALL, ALLOW, {{0, INT, 0}, {2, LONG, 0}}}, /* read its own limits */
    {SYS_prlimit64, ALL, REFUSE(EPERM), {{0, INT, 0}}},       /* set none: Zig would have a larger stack */
    {SYS_getrlimit, NATIVE, ALLOW, {{0}}},
    /* its own signals: handlers (SIGQUIT is how the market says "finish"), and abort() */
    {SYS_rt_sigaction, ALL, ALLOW, {{0}}},
    {SYS_rt_sigprocmask, ALL, ALLOW, {{0}}},
    {SYS_rt_sigreturn, ALL, ALLOW, {{0}}},
    {SYS_sigaltstack, ALL, ALLOW, {{0}}},
    {SYS_rt_sigtimedwait, NATIVE, ALLOW, {{0}}},
    {SYS_rt_sigsuspend, NATIVE, ALLOW, {{0}}},
    {SYS_pause, NATIVE, ALLOW, {{0}}},
    {SYS_tgkill, ALL, REFUSE(EPERM), {{2, INT, 18}}}, /* SIGCONT would undo a freeze */
    {SYS_tkill, NATIVE, REFUSE(EPERM), {{1, INT, 18}}},
    {SYS_tgkill, ALL, ALLOW, {{0, INT, SELF}}}, /* any thread of its own */
    {SYS_tgkill, COMPILE, REFUSE(EPERM), {{0}}}, /* abort() of a copy, who has an id of its own: it ends anyhow */
    {SYS_tkill, NATIVE, ALLOW, {{0, INT, SELF}}}, /* musl's raise; a thread's id says not whose it is, so: */
    {SYS_tkill, ALONE, ALLOW, {{0}}},             /* where nobody else is, any */
    /* its end */
    {SYS_exit, ALL, ALLOW, {{0}}},
    {SYS_exit_group, ALL, ALLOW, {{0}}},
    /* threads */
    {SYS_clone, NATIVE, ALLOW, {{0, THREADS_OWN, THREAD}}},
    {SYS_clone, COMPILE, ALLOW, {{0, LONG, 0x8000 | 17}, {1, LONG, 0}}}, /* CLONE_PARENT and SIGCHLD: a copy */
    {SYS_clone, PYTHON | WASM, REFUSE(EAGAIN), {{0, THREADS_OWN, THREAD}}},
    {SYS_clone3, ALL, REFUSE(ENOSYS), {{0}}}, /* its arguments cannot be seen from here; clone is tried next */
    {SYS_membarrier, NATIVE, REFUSE(ENOSYS), {{0}}},
    {SYS_prctl, ALL, REFUSE(EINVAL), {{0, INT, 15}}},         /* PR_SET_NAME: of a thread */
    {SYS_prctl, ALL, REFUSE(EINVAL), {{0, INT, 0x53564d41}}}, /* PR_SET_VMA: of memory */
    /* Go's scheduler sleeps in epoll and is woken by an event, older ones by a pipe; it ends without them */
    {SYS_epoll_create1, NATIVE, ALLOW, {{0}}},
    {SYS_epoll_ctl, NATIVE, ALLOW, {{0}}},
    {SYS_epoll_pwait, NATIVE, ALLOW, {{0}}},
    {SYS_epoll_wait, NATIVE, ALLOW, {{0}}},                    /* Rust's mio */
    {SYS_eventfd2, NATIVE, ALLOW, {{1, INT & ~0x80800u, 0}}},  /* EFD_CLOEXEC, NONBLOCK */
    {SYS_pipe2, NATIVE, ALLOW, {{1, INT & ~0x80800u, 0}}},     /* O_CLOEXEC, NONBLOCK; no notification queue */
    /* what a static executable does before main() */
    {SYS_execveat, NATIVE, ALLOW, {{0, INT, PROGRAM_FD}, {4, INT, 0x1000}}}, /* AT_EMPTY_PATH; the fd closes */
    {SYS_arch_prctl, NATIVE, ALLOW, {{0, INT, 0x1002}}},                     /* ARCH_SET_FS */
    {SYS_arch_prctl, NATIVE, REFUSE(EINVAL), {{0}}},
    {SYS_set_tid_address, NATIVE, ALLOW, {{0}}},
    {SYS_set_robust_list, NATIVE, ALLOW, {{0}}},
    {SYS_rseq, NATIVE, REFUSE(ENOSYS), {{0}}},
    /* wasm: a template hears its keeper, and closes its copies in; a copy hears once what it runs with */
    {SYS_recvmsg, COMPILE, ALLOW, {{0, INT, PROGRAM_FD + 1}}},
    {SYS_recvmsg, WASM, ALLOW, {{0, INT, PROGRAM_FD}}}, /* closed before the program runs, and nothing opens */
    {SYS_prctl, COMPILE, ALLOW, {{0, INT, 1}, {1, LONG, 9}}},  /* PR_SET_PDEATHSIG, SIGKILL */
    {SYS_seccomp, COMPILE, ALLOW, {{0, INT, 1}, {1, INT, 0}}}, /* a filter on top of this one */
    /* Asked for in good faith, where one could as well do without: how many CPUs, where am I, a faster copy.
     * An error, not the end. Whatever it is that is asked for, nobody looks at it. */
    {SYS_open, ALL, REFUSE(EACCES), {{0}}},
    {SYS_openat, ALL, REFUSE(EACCES), {{0}}},
    {SYS_stat, ALL, REFUSE(EACCES), {{0}}},
    {SYS_lstat, ALL, REFUSE(EACCES), {{0}}},
    {SYS_access, ALL, REFUSE(EACCES), {{0}}},
    {SYS_faccessat2, ALL, REFUSE(EACCES), {{0}}},
    {SYS_readlink, ALL, REFUSE(EACCES), {{0}}},
    {SYS_readlinkat, ALL, REFUSE(EACCES), {{0}}},
    {SYS_newfstatat, ALL, REFUSE(EACCES), {{0}}}, /* takes an absolute path with any flags; stdio bears a no */
    {SYS_statx, ALL, REFUSE(ENOSYS), {{0}}},
    {SYS_getcwd, ALL, REFUSE(EACCES), {{0}}},
    {SYS_uname, NATIVE, REFUSE(EPERM), {{0}}},
    {SYS_splice, NATIVE, REFUSE(ENOSYS), {{0}}},
    {SYS_sendfile, NATIVE, REFUSE(ENOSYS), {{0}}},
    {SYS_copy_file_range, NATIVE, REFUSE(ENOSYS), {{0}}},
    {SYS_mbind, NATIVE | PYTHON, REFUSE(EPERM), {{0}}}, /* OpenBLAS would choose where its memory lies */
};

enum { RULE_COUNT = sizeof RULES / sizeof RULES[0], FILTER_MOST = 8 + RULE_COUNT * 21 };

static unsigned put(struct sock_filter *code, unsigned at, uint16_t op, uint32_t k, uint8_t yes, uint8_t no)
{
    code[at] = (struct sock_filter){.code = op, .jt = yes, .jf = no, .k = k};
    return at + 1;
}

/* One half of an argument must be `value` under `mask`; otherwise jump ahead, later patched to the rule's end. */
static unsigned put_half(struct sock_filter *code, unsigned at, uint32_t offset, uint32_t mask, uint32_t value)
{
    if (mask == 0)
        return at;
    at = put(code, at, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
    at = put(code, at, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
    return put(code, at, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 0);
}

/* Writes the filter of `profile` for process `self` into `code` (FILTER_MOST long); returns its length. */
static unsigned assemble_filter(struct sock_filter *code, int profile, uint32_t self)
{
    const uint32_t number = offsetof(struct seccomp_data, nr);
    bool loaded = true; /* the number, and not an argument that the rule before looked at */
    unsigned at = 0;

    at = put(code, at, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    at = put(code, at, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    at = put(code, at, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
    at = put(code, at, BPF_LD | BPF_W | BPF_ABS, number, 0, 0);
    at = put(code, at, BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1); /* the x32 bit, and negative numbers */
    at = put(code, at, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
    for (unsigned r = 0; r < RULE_COUNT; r++) {
        const struct rule *rule = &RULES[r];
        unsigned first = at;

        if (!(rule->profile & profile))
            continue;
        if (!loaded)
            at = put(code, at, BPF_LD | BPF_W | BPF_ABS, number, 0, 0);
        at = put(code, at, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)rule->number, 0, 0);
        loaded = rule->when[0].mask == 0;
        for (unsigned c = 0; c < 3 && rule->when[c].mask != 0; c++) {
            uint32_t low = offsetof(struct seccomp_data, args) + 8u * (uint32_t)rule->when[c].argument;
            uint64_t value = rule->when[c].value == SELF ? self : rule->when[c].value;
            uint64_t mask = rule->when[c].mask;

            at = put_half(code, at, low, (uint32_t)mask, (uint32_t)value);
            at = put_half(code, at, low + 4, (uint32_t)(mask >> 32), (uint32_t)(value >> 32));
        }
        at = put(code, at, BPF_RET | BPF_K, rule->action, 0, 0);
        for (unsigned i = first; i < at; i++)
            if (code[i].code == (BPF_JMP | BPF_JEQ | BPF_K))
                code[i].jf = (uint8_t)(at - i - 1);
    }
    return put(code, at, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
}

#endif
