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

enum { NATIVE = 1, PYTHON = 2, BOTH = 3, WASM = 4 }; /* whose rule it is */
enum { COMPILE = 16 }; /* of what compiles wasm and makes copies of itself, with the rules of WASM too */
enum { PROGRAM_FD = 3 };                   /* where the program lies, until it was started or read */

#define ALLOW SECCOMP_RET_ALLOW
#define REFUSE(error) (SECCOMP_RET_ERRNO | (error))
#define INT 0xffffffffu     /* the kernel looks at the lower half of an int alone */
#define LONG UINT64_MAX     /* a pointer or a long */
#define SELF 0xfeedfacefeedu /* stands for the program's own process id */

struct rule {
    int number;        /* system call */
    int profile;       /* NATIVE, PYTHON or BOTH */
    uint32_t action;   /* taken if all conditions hold; else the rules below are tried */
    struct {
        int argument;  /* 0 to 5 */
        uint64_t mask; /* 0: no condition */
        uint64_t value;
    } when[3];
};

static const struct rule RULES[] = {
    /* wasm: a template compiles, hears its keeper, and makes copies that its keeper minds */
    {SYS_mprotect, COMPILE, ALLOW, {{2, LONG, 5}}}, /* machine code: it can be read and run, not written */
    {SYS_clone, COMPILE, ALLOW, {{0, LONG, 0x8000 | 17}, {1, LONG, 0}}}, /* CLONE_PARENT and SIGCHLD */
    {SYS_prctl, COMPILE, ALLOW, {{0, INT, 1}, {1, LONG, 9}}},            /* PR_SET_PDEATHSIG, SIGKILL */
    {SYS_seccomp, COMPILE, ALLOW, {{0, INT, 1}, {1, INT, 0}}},           /* a stricter filter */
    {SYS_recvmsg, COMPILE, ALLOW, {{0, INT, PROGRAM_FD + 1}}},
    {SYS_recvmsg, WASM, ALLOW, {{0, INT, PROGRAM_FD}}}, /* what it runs with, once; the fd is closed then */
    {SYS_read, WASM, ALLOW, {{0}}},
    {SYS_write, WASM, ALLOW, {{0}}},
    {SYS_readv, WASM, ALLOW, {{0}}},
    {SYS_writev, WASM, ALLOW, {{0}}},
    {SYS_close, WASM, ALLOW, {{0}}},
    {SYS_lseek, WASM, ALLOW, {{0}}},
    {SYS_fstat, WASM, ALLOW, {{0}}},
    {SYS_poll, WASM, ALLOW, {{0}}},
    {SYS_ppoll, WASM, ALLOW, {{0}}},
    {SYS_brk, WASM, ALLOW, {{0}}},
    {SYS_munmap, WASM, ALLOW, {{0}}},
    {SYS_mremap, WASM, ALLOW, {{0}}},
    {SYS_madvise, WASM, ALLOW, {{0}}},
    {SYS_clock_gettime, WASM, ALLOW, {{0}}},
    {SYS_clock_getres, WASM, ALLOW, {{0}}},
    {SYS_clock_nanosleep, WASM, ALLOW, {{0}}},
    {SYS_nanosleep, WASM, ALLOW, {{0}}},
    {SYS_restart_syscall, WASM, ALLOW, {{0}}},
    {SYS_getrandom, WASM, ALLOW, {{0}}},
    {SYS_getpid, WASM, ALLOW, {{0}}},
    {SYS_gettid, WASM, ALLOW, {{0}}},
    {SYS_sched_yield, WASM, ALLOW, {{0}}},
    {SYS_rt_sigaction, WASM, ALLOW, {{0}}},
    {SYS_rt_sigprocmask, WASM, ALLOW, {{0}}},
    {SYS_rt_sigreturn, WASM, ALLOW, {{0}}},
    {SYS_sigaltstack, WASM, ALLOW, {{0}}},
    {SYS_exit, WASM, ALLOW, {{0}}},
    {SYS_exit_group, WASM, ALLOW, {{0}}},
    {SYS_mmap, WASM, ALLOW, {{2, 4, 0}}},
    {SYS_mprotect, WASM, ALLOW, {{2, 4, 0}}},
    {SYS_futex, WASM, ALLOW, {{1, INT & ~0x180u, 0}}},
    {SYS_futex, WASM, ALLOW, {{1, INT & ~0x180u, 1}}},
    {SYS_sched_getaffinity, WASM, ALLOW, {{0, INT, 0}}},
    {SYS_prlimit64, WASM, ALLOW, {{0, INT, 0}, {2, LONG, 0}}},
    {SYS_open, WASM, REFUSE(EACCES), {{0}}},
    {SYS_openat, WASM, REFUSE(EACCES), {{0}}},
    {SYS_readlink, WASM, REFUSE(EACCES), {{0}}},
    {SYS_tgkill, WASM, ALLOW, {{0, INT, SELF}, {1, INT, SELF}}},

    /* standard input, output, error */
    {SYS_read, BOTH, ALLOW, {{0}}},
    {SYS_write, BOTH, ALLOW, {{0}}},
    {SYS_readv, BOTH, ALLOW, {{0}}},
    {SYS_writev, BOTH, ALLOW, {{0}}},
    {SYS_close, BOTH, ALLOW, {{0}}},
    {SYS_lseek, BOTH, ALLOW, {{0}}},
    {SYS_fstat, BOTH, ALLOW, {{0}}},
    {SYS_poll, BOTH, ALLOW, {{0}}},
    {SYS_ppoll, BOTH, ALLOW, {{0}}},
    {SYS_select, BOTH, ALLOW, {{0}}},
    {SYS_pselect6, BOTH, ALLOW, {{0}}},
    {SYS_fcntl, BOTH, ALLOW, {{1, INT, 1}}}, /* F_GETFD */
    {SYS_fcntl, BOTH, ALLOW, {{1, INT, 3}}}, /* F_GETFL */
    {SYS_fcntl, BOTH, REFUSE(EINVAL), {{0}}},
    {SYS_ioctl, BOTH, REFUSE(ENOTTY), {{1, INT, 0x5401}}}, /* TCGETS: "is it a terminal?" */
    {SYS_ioctl, BOTH, REFUSE(ENOTTY), {{1, INT, 0x5413}}}, /* TIOCGWINSZ */
    {SYS_ioctl, BOTH, REFUSE(ENOTTY), {{1, INT, 0x541b}}}, /* FIONREAD */
    /* memory */
    {SYS_brk, BOTH, ALLOW, {{0}}},
    {SYS_mmap, NATIVE, ALLOW, {{0}}},
    {SYS_mmap, PYTHON, ALLOW, {{2, 4, 0}}}, /* not PROT_EXEC */
    {SYS_mmap, PYTHON, REFUSE(EPERM), {{0}}},
    {SYS_mprotect, NATIVE, ALLOW, {{0}}},
    {SYS_mprotect, PYTHON, ALLOW, {{2, 4, 0}}},
    {SYS_mprotect, PYTHON, REFUSE(EPERM), {{0}}},
    {SYS_munmap, BOTH, ALLOW, {{0}}},
    {SYS_mremap, BOTH, ALLOW, {{0}}},
    {SYS_madvise, BOTH, ALLOW, {{0}}},
    {SYS_futex, BOTH, ALLOW, {{1, INT & ~0x180u, 0}}},  /* FUTEX_WAIT; the bits are PRIVATE and REALTIME */
    {SYS_futex, BOTH, ALLOW, {{1, INT & ~0x180u, 1}}},  /* FUTEX_WAKE */
    {SYS_futex, BOTH, ALLOW, {{1, INT & ~0x180u, 9}}},  /* FUTEX_WAIT_BITSET */
    {SYS_futex, BOTH, ALLOW, {{1, INT & ~0x180u, 10}}}, /* FUTEX_WAKE_BITSET */
    /* time, chance, what it may know of itself */
    {SYS_clock_gettime, BOTH, ALLOW, {{0}}},
    {SYS_clock_getres, BOTH, ALLOW, {{0}}},
    {SYS_gettimeofday, BOTH, ALLOW, {{0}}},
    {SYS_time, BOTH, ALLOW, {{0}}},
    {SYS_nanosleep, BOTH, ALLOW, {{0}}},
    {SYS_clock_nanosleep, BOTH, ALLOW, {{0}}},
    {SYS_restart_syscall, BOTH, ALLOW, {{0}}}, /* the kernel's own, when a sleep goes on after a freeze */
    {SYS_getrandom, BOTH, ALLOW, {{0}}},
    {SYS_getpid, BOTH, ALLOW, {{0}}},
    {SYS_gettid, BOTH, ALLOW, {{0}}},
    {SYS_getrusage, BOTH, ALLOW, {{0}}},
    {SYS_sysinfo, BOTH, ALLOW, {{0}}}, /* glibc's qsort asks how much memory there is, and trusts the answer */
    {SYS_sched_yield, BOTH, ALLOW, {{0}}},
    {SYS_sched_getaffinity, BOTH, ALLOW, {{0, INT, 0}}},
    {SYS_prlimit64, BOTH, ALLOW, {{0, INT, 0}, {2, LONG, 0}}}, /* read its own limits, set none */
    /* its own signals: handlers (SIGQUIT is how the market says "finish"), and abort() */
    {SYS_rt_sigaction, BOTH, ALLOW, {{0}}},
    {SYS_rt_sigprocmask, BOTH, ALLOW, {{0}}},
    {SYS_rt_sigreturn, BOTH, ALLOW, {{0}}},
    {SYS_sigaltstack, BOTH, ALLOW, {{0}}},
    {SYS_tgkill, BOTH, ALLOW, {{0, INT, SELF}, {1, INT, SELF}}},
    /* its end */
    {SYS_exit, BOTH, ALLOW, {{0}}},
    {SYS_exit_group, BOTH, ALLOW, {{0}}},
    /* what a static executable does before main() */
    {SYS_execveat, NATIVE, ALLOW, {{0, INT, PROGRAM_FD}, {4, INT, 0x1000}}}, /* AT_EMPTY_PATH; the fd closes */
    {SYS_arch_prctl, NATIVE, ALLOW, {{0, INT, 0x1002}}},                     /* ARCH_SET_FS */
    {SYS_arch_prctl, NATIVE, REFUSE(EINVAL), {{0}}},
    {SYS_set_tid_address, NATIVE, ALLOW, {{0}}},
    {SYS_set_robust_list, NATIVE, ALLOW, {{0}}},
    {SYS_rseq, NATIVE, REFUSE(ENOSYS), {{0}}},
    {SYS_readlink, BOTH, REFUSE(EACCES), {{0}}},
    {SYS_readlinkat, BOTH, REFUSE(EACCES), {{0}}},
    {SYS_newfstatat, BOTH, REFUSE(EACCES), {{0}}}, /* takes an absolute path with any flags; stdio bears a no */
    {SYS_statx, BOTH, REFUSE(ENOSYS), {{0}}},
    {SYS_clone3, BOTH, REFUSE(ENOSYS), {{0}}}, /* its arguments cannot be seen from here */
    /* Python asks for files where it could as well do without: it gets an exception, not its death */
    {SYS_open, PYTHON, REFUSE(EACCES), {{0}}},
    {SYS_openat, PYTHON, REFUSE(EACCES), {{0}}},
    {SYS_stat, PYTHON, REFUSE(EACCES), {{0}}},
    {SYS_lstat, PYTHON, REFUSE(EACCES), {{0}}},
    {SYS_access, PYTHON, REFUSE(EACCES), {{0}}},
    {SYS_faccessat2, PYTHON, REFUSE(EACCES), {{0}}},
    {SYS_getcwd, PYTHON, REFUSE(EACCES), {{0}}},
    {SYS_mbind, PYTHON, REFUSE(EPERM), {{0}}}, /* OpenBLAS would choose where its memory lies */
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
        at = put(code, at, BPF_LD | BPF_W | BPF_ABS, number, 0, 0);
        at = put(code, at, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)rule->number, 0, 0);
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
