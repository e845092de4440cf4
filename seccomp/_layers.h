/* The layers of the jail, each a function that returns 0, or -1 with errno.
 *
 * All of this runs in a process that was just forked: plain system calls, no allocation, no locks.
 */
#ifndef COREHOUR_LAYERS_H
#define COREHOUR_LAYERS_H

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "_filter.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif

enum { NAMESPACES = 1, LANDLOCK = 2, SECCOMP = 4 }; /* the optional layers, as bits */
enum { NOBODY = 65534 };                            /* who a program is, inside */
enum { OWN_USERS = 0x7f000000 };                    /* and more: what programs are under root; nobody has these */
enum { MOST_DESCRIPTORS = 8 }; /* three streams, and what Go's scheduler needs: epoll, a pipe or an event */

/* Where a start can fail. The names are what Python shows; keep both lists alike. */
enum step {
    STARTED, STEP_FORK, STEP_KEEPER, STEP_DESCRIPTORS, STEP_NAMESPACES, STEP_USER_MAP, STEP_ROOT, STEP_LIMITS,
    STEP_NO_NEW_PRIVS, STEP_LANDLOCK, STEP_CAPABILITIES, STEP_ORPHAN, STEP_SECCOMP, STEP_EXEC, STEP_METER,
    STEP_CGROUP, STEP_COUNT
};
static const char *const STEP_NAMES[STEP_COUNT] = {
    "started", "fork", "keeper", "descriptors", "namespaces", "user map", "empty root", "limits",
    "no_new_privs", "landlock", "capabilities", "keeper lost", "seccomp", "exec", "meter", "cgroup"
};

struct jail {
    unsigned layers;          /* NAMESPACES | LANDLOCK | SECCOMP */
    int profile;              /* NATIVE, PYTHON, WASM or TEMPLATE: which filter, and what comes then */
    bool trial;               /* confine, report, exit: how the layers are probed */
    uint64_t address_space;   /* bytes */
    uint64_t data;            /* bytes of it that may be written to, without stacks */
    uint64_t resident;        /* bytes in memory and swap; the keeper looks. 0: the other two are enough */
    uint64_t stack;           /* bytes */
    unsigned threads;         /* how many, its first included */
    uint64_t cpu_seconds;     /* of all its threads */
    int nice;                 /* added to the niceness */
    bool idle;                /* runs only where nobody else wants to */
    bool pinned;              /* to `cpus` */
    cpu_set_t cpus;
    uint64_t tasks;           /* what RLIMIT_NPROC must be for that many threads; the keeper finds out */
    char uid_map[48], gid_map[48];
    int descriptors[6];       /* program, stdin, stdout, stderr, control; what to write to for a cgroup, or -1 */
    char *const *arguments;   /* NULL at its end */
};

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t length = (ssize_t)strlen(text), written;
    int error;

    if (fd < 0)
        return -1;
    written = write(fd, text, (size_t)length);
    error = errno;
    close(fd);
    errno = error;
    return written == length ? 0 : -1;
}

/* A user namespace knows nobody until it is told. */
static int map_user(const struct jail *jail)
{
    return write_file("/proc/self/setgroups", "deny") || write_file("/proc/self/uid_map", jail->uid_map)
        || write_file("/proc/self/gid_map", jail->gid_map) ? -1 : 0;
}

/* Everything is gone but an empty directory that nothing can be written to. */
static int empty_root(void)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)
        || mount("jail", "/proc", "tmpfs", flags, "size=4k,nr_inodes=1,mode=0555")
        || chdir("/proc") || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/")
        || mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL)
        || sethostname("jail", 4) ? -1 : 0;
}

/* Those that the keeper of a template sets anew on each of its copies, from outside. */
static bool is_per_copy(__rlimit_resource_t what)
{
    return what == RLIMIT_NPROC || what == RLIMIT_NOFILE || what == RLIMIT_CPU || what == RLIMIT_DATA
        || what == RLIMIT_AS;
}

static int set_limits(const struct jail *jail)
{
    const bool native = jail->profile == NATIVE, several = native || jail->profile == TEMPLATE;
    /* A core of 1 byte is the one that is not even handed to a program that the machine has for cores (which runs
     * as root and would read a stranger's memory): with 0 it would be. */
    const struct { __rlimit_resource_t what; uint64_t most; } limits[] = {
        {RLIMIT_CORE, 1}, {RLIMIT_FSIZE, 0}, {RLIMIT_MEMLOCK, 0}, {RLIMIT_MSGQUEUE, 0}, {RLIMIT_RTPRIO, 0},
        {RLIMIT_SIGPENDING, 64}, {RLIMIT_STACK, jail->stack}, {RLIMIT_CPU, jail->cpu_seconds + 2},
        {RLIMIT_NOFILE, several ? MOST_DESCRIPTORS : 3}, {RLIMIT_NPROC, native ? jail->tasks : 0},
        {RLIMIT_DATA, jail->data}, {RLIMIT_AS, jail->address_space},
    };
    const struct sched_param no_priority = {0};

    if (jail->nice && setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + jail->nice))
        return -1;
    if (jail->idle && sched_setscheduler(0, SCHED_IDLE, &no_priority))
        return -1;
    for (unsigned i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct rlimit limit;
        if (getrlimit(limits[i].what, &limit))
            return -1;
        /* what is stricter already may stay so; but memory was promised */
        if (jail->profile == TEMPLATE && is_per_copy(limits[i].what)) {
            limit.rlim_cur = limits[i].most < limit.rlim_max ? limits[i].most : limit.rlim_max;
            if (setrlimit(limits[i].what, &limit))
                return -1;
            continue;
        }
        if (limits[i].what == RLIMIT_AS || limits[i].what == RLIMIT_DATA || limits[i].most < limit.rlim_max)
            limit.rlim_max = limits[i].most;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(limits[i].what, &limit))
            return -1;
    }
    return 0;
}

struct rights { uint64_t files, net, scopes; }; /* as landlock_create_ruleset takes them */

/* Adds to one field of `handled` the rights that a kernel newer than this file knows of. */
static void add_newer_rights(struct rights *handled, uint64_t *field, size_t size)
{
    for (;;) {
        uint64_t before = *field;
        long ruleset;

        *field = before << 1 | 1;
        ruleset = syscall(SYS_landlock_create_ruleset, handled, size, 0);
        if (ruleset < 0) {
            *field = before;
            return;
        }
        close((int)ruleset);
    }
}

/* A ruleset that handles every right the kernel knows of, and allows none. */
static int landlock(void)
{
    struct rights handled = {0, 0, 0};
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* the version */);
    size_t size = abi < 4 ? 8 : abi < 6 ? 16 : 24;
    long ruleset, result;
    int error;

    if (abi < 1)
        return -1;
    handled.files = (1u << (abi < 2 ? 13 : abi < 3 ? 14 : abi < 5 ? 15 : 16)) - 1;
    if (abi >= 4)
        handled.net = 3; /* bind and connect over TCP */
    if (abi >= 6)
        handled.scopes = 3; /* abstract sockets and signals */
    if (abi > 7) {
        add_newer_rights(&handled, &handled.files, size);
        add_newer_rights(&handled, &handled.net, size);
        add_newer_rights(&handled, &handled.scopes, size);
    }
    ruleset = syscall(SYS_landlock_create_ruleset, &handled, size, 0);
    if (ruleset < 0)
        return -1;
    result = syscall(SYS_landlock_restrict_self, ruleset, 0);
    error = errno;
    close((int)ruleset);
    errno = error;
    return result ? -1 : 0;
}

/* In its own user namespace the program has every capability until here; outside it has none. */
static int drop_capabilities(const struct jail *jail)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};

    if (jail->layers & NAMESPACES)
        for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
            if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
                return -1;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
        return -1;
    return syscall(SYS_capset, &header, none) ? -1 : 0;
}

static int install_filter(const struct jail *jail)
{
    const int profile = jail->profile == NATIVE && (jail->layers & NAMESPACES) ? NATIVE | ALONE : jail->profile;
    struct sock_filter code[FILTER_MOST];
    struct sock_fprog filter = {.filter = code};

    filter.len = (unsigned short)assemble_filter(code, profile, (uint32_t)getpid());
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) ? -1 : 0;
}

/* Dies with its keeper. Changes of identity clear that, so it comes last; a keeper already gone shows as a
 * closed status socket. */
static int die_with_keeper(int status)
{
    char byte;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        return -1;
    return recv(status, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN ? 0 : -1;
}

/* Puts every layer around the calling process, for good. Returns STARTED, or where it failed, with errno. */
static enum step confine(const struct jail *jail, int status)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        return STEP_ORPHAN;
    /* Only a dumpable process may write its own files under /proc. If memory runs out, the stranger goes first. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) || write_file("/proc/self/oom_score_adj", "1000"))
        return STEP_LIMITS;
    if (jail->layers & NAMESPACES) {
        if (map_user(jail))
            return STEP_USER_MAP;
        if (empty_root())
            return STEP_ROOT;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return STEP_NO_NEW_PRIVS;
    if ((jail->layers & LANDLOCK) && landlock())
        return STEP_LANDLOCK;
    if (drop_capabilities(jail) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        return STEP_CAPABILITIES;
    if (set_limits(jail))
        return STEP_LIMITS;
    if (die_with_keeper(status))
        return STEP_ORPHAN;
    if ((jail->layers & SECCOMP) && install_filter(jail))
        return STEP_SECCOMP;
    return STARTED;
}

/* From root to a user that nobody else is; to nobody where there are few users, as in some containers. In system
 * calls of its own: glibc's would wait for threads that a fork left behind. */
static int drop_root(void)
{
    const unsigned users[] = {OWN_USERS + (unsigned)getpid(), NOBODY};

    if (syscall(SYS_setgroups, 0, NULL))
        return -1;
    for (int i = 0; i < 2; i++)
        if (syscall(SYS_setresgid, users[i], users[i], users[i]) == 0
            && syscall(SYS_setresuid, users[i], users[i], users[i]) == 0)
            return 0;
    return -1;
}

#endif
