/* The keeper: one small process beside each program. It starts it, stops and continues it, kills it, waits
 * for it, and dies with the node; the program dies with the keeper.
 */
#ifndef COREHOUR_KEEPER_H
#define COREHOUR_KEEPER_H

#include <poll.h>
#include <sys/wait.h>

#include "_meter.h"

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

/* The places of descriptors in the keeper; the program keeps 0, 1, 2, and, until it runs, 3 and 4. */
enum { STATUS = PROGRAM_FD + 1, KEEPERS_STATUS, CONTROL, CGROUP, PLACES };

/* What the keeper tells the node, one packet each, in the machine's own byte order. */
struct report {
    int32_t kind;       /* 'S' started, 'F' failed, 'E' ended */
    int32_t step;       /* 'F': enum step */
    int32_t value;      /* 'F': errno; 'E': as wait4 gives it */
    int32_t reason;     /* 'E': why the keeper killed it, enum reason */
    int64_t cpu_us;     /* 'E' */
    int64_t memory_kb;  /* 'E' */
};

struct failure { int32_t step, error; }; /* from program to keeper; STARTED: about to run */

static int fork_with(unsigned long flags, int *pidfd)
{
    return (int)syscall(SYS_clone, flags | SIGCHLD, NULL, pidfd, NULL, NULL);
}

/* Moves descriptors `from` to places 0 .. count-1 and closes all others. */
static int place_descriptors(int *from, int count)
{
    for (int i = 0; i < count; i++)
        if ((from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, count)) < 0)
            return -1;
    for (int i = 0; i < count; i++)
        if (dup3(from[i], i, i < PROGRAM_FD ? 0 : O_CLOEXEC) < 0)
            return -1;
    return (int)syscall(SYS_close_range, count, ~0u, 0);
}

static void all_signals(void (*disposition)(int))
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = disposition;
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &action, NULL); /* SIGKILL and SIGSTOP refuse, as they should */
}

static void send_report(struct report report)
{
    while (send(CONTROL, &report, sizeof report, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

/* Into the group that the descriptor belongs to; who opened it may have us there. */
static enum step join_cgroup(int fd)
{
    bool joined = write(fd, "0", 1) == 1;

    close(fd);
    return joined ? STARTED : STEP_CGROUP;
}

/* In the program's process, still our code: confines itself, then becomes the program. Returns for all
 * profiles but NATIVE, in the jail. */
static void be_program(const struct jail *jail)
{
    static char *const no_environment[] = {NULL};
    struct failure failure = {STARTED, 0};
    sigset_t none;

    close(CONTROL);
    close(KEEPERS_STATUS);
    all_signals(SIG_DFL);
    signal(SIGQUIT, SIG_IGN); /* as pid 1 of a namespace it would be, so let it be without one too */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    failure.step = jail->descriptors[5] < 0 ? STARTED : join_cgroup(CGROUP);
    if (failure.step == STARTED)
        failure.step = confine(jail, STATUS);
    if (failure.step == STARTED) {
        if (write(STATUS, &failure, sizeof failure) != sizeof failure || jail->trial)
            _exit(0);
        if (jail->profile != NATIVE) {
            close(STATUS);
            return;
        }
        syscall(SYS_execveat, PROGRAM_FD, "", jail->arguments, no_environment, 0x1000 /* AT_EMPTY_PATH */);
        failure.step = STEP_EXEC;
    }
    failure.error = errno;
    if (write(STATUS, &failure, sizeof failure) < 0)
        _exit(126);
    _exit(127);
}

/* A word of the program before it runs. Returns false when there will be no other. */
static bool hear_program(bool *ready, bool *failed)
{
    struct failure failure;
    ssize_t length = read(KEEPERS_STATUS, &failure, sizeof failure);

    if (length < 0 && errno == EINTR)
        return true;
    if (length == sizeof failure && failure.step == STARTED) {
        *ready = true;
        return true;
    }
    if (length == sizeof failure) {
        *failed = true;
        send_report((struct report){.kind = 'F', .step = failure.step, .value = failure.error});
    } else if (*ready) { /* the socket closed as the program began */
        send_report((struct report){.kind = 'S'});
    } else { /* it died on the way, and could not say why */
        *failed = true;
        send_report((struct report){.kind = 'F', .step = STEP_KEEPER, .value = ECHILD});
    }
    return false;
}

/* A command of the node: one letter. End of file: the node is gone, or has said its last. Returns false then. */
static bool hear_node(pid_t program, bool *killed)
{
    char command;
    ssize_t length = recv(CONTROL, &command, 1, 0);

    if (length < 0 && errno == EINTR)
        return true;
    if (length == 1 && command == 'F')
        kill(program, SIGSTOP);
    else if (length == 1 && command == 'C')
        kill(program, SIGCONT);
    else if (length == 1 && command == 'Q')
        kill(program, SIGQUIT);
    else
        *killed = kill(program, SIGKILL) == 0;
    return length == 1;
}

static void watch(const struct jail *jail, struct meter meter, pid_t program, int pidfd) __attribute__((noreturn));
static void watch(const struct jail *jail, struct meter meter, pid_t program, int pidfd)
{
    struct pollfd events[3] = {{KEEPERS_STATUS, POLLIN, 0}, {CONTROL, POLLIN, 0}, {pidfd, POLLIN, 0}};
    bool ready = false, failed = false, killed = false;
    enum reason reason = NO_REASON;
    struct rusage usage;
    int status, pause = -1;
    uint64_t look = 0; /* ms: when to look again; no command puts it off */

    for (;;) {
        uint64_t begin = now_ms(CLOCK_MONOTONIC);
        bool looking = pause >= 0 && !killed; /* what dies looks like one that hides */
        if (looking && begin >= look) {
            if ((reason = measure(jail, &meter, &pause)) != NO_REASON)
                killed = kill(program, SIGKILL) == 0;
            look = begin + (uint64_t)pause;
            continue;
        }
        if (poll(events, 3, looking ? (int)(look - begin) : -1) < 0) {
            if (errno != EINTR)
                break;
            continue;
        }
        if (events[0].revents && !hear_program(&ready, &failed)) {
            events[0].fd = -1;
            if (!failed)
                pause = PAUSE_LEAST;
            look = now_ms(CLOCK_MONOTONIC) + PAUSE_LEAST;
        }
        if (events[1].revents && !hear_node(program, &killed))
            events[1].fd = -1;
        if (events[2].revents && events[0].fd < 0)
            break;
    }
    if (wait4(program, &status, 0, &usage) == program && !failed)
        send_report((struct report){
            .kind = 'E', .value = status, .memory_kb = usage.ru_maxrss,
            .reason = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? (int32_t)reason : NO_REASON,
            .cpu_us = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000)
                + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec});
    _exit(0);
}

static enum step prepare_keeper(struct jail *jail)
{
    int pair[2];

    /* It dies with the zygote since it was forked, and stays in its session: where the kernel groups tasks by
     * these for their shares, niceness would count for nothing against whoever is in another. */
    if (setpgid(0, 0))
        return STEP_KEEPER;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
        return STEP_DESCRIPTORS;
    const int *d = jail->descriptors;
    int places[PLACES] = {d[1], d[2], d[3], d[0], pair[0], pair[1], d[4], d[5]};
    if (place_descriptors(places, d[5] < 0 ? CGROUP : PLACES))
        return STEP_DESCRIPTORS;
    if (jail->pinned && sched_setaffinity(0, sizeof jail->cpus, &jail->cpus))
        return STEP_LIMITS;
    /* Tasks are counted for each user, and each user namespace: one of our own begins with none. Where it has
     * none, the kernel's bound is coarse, and what the meter sees is the exact one. */
    jail->tasks = jail->threads;
    if (jail->threads > 1 && !(jail->layers & NAMESPACES))
        jail->tasks += tasks_of_all();
    return STARTED;
}

/* In the keeper's process. Returns only in the program's process, and for NATIVE not even there. */
static void be_keeper(struct jail *jail)
{
    const unsigned long apart = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC
        | CLONE_NEWUTS | CLONE_NEWCGROUP;
    enum step step;
    struct meter meter = {-1, -1, 0, 0};
    int pidfd = -1, error;
    pid_t program;
    sigset_t none;

    all_signals(SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* or there would be nobody to wait for */
    step = prepare_keeper(jail);
    if (step != STARTED) {
        error = errno; /* the control socket may still be where it came from */
        struct report report = {.kind = 'F', .step = (int32_t)step, .value = error};
        send(step == STEP_LIMITS ? CONTROL : jail->descriptors[4], &report, sizeof report, MSG_NOSIGNAL);
        _exit(1);
    }
    program = fork_with(CLONE_PIDFD | (jail->layers & NAMESPACES ? apart : 0), &pidfd);
    if (program == 0) {
        be_program(jail);
        return;
    }
    if (program < 0) {
        step = jail->layers & NAMESPACES ? STEP_NAMESPACES : STEP_FORK;
        send_report((struct report){.kind = 'F', .step = (int32_t)step, .value = errno});
        _exit(1);
    }
    if (open_meter(program, &meter)) {
        send_report((struct report){.kind = 'F', .step = STEP_METER, .value = errno});
        kill(program, SIGKILL);
        _exit(1);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int place = 0; place <= STATUS; place++)
        close(place);
    if (jail->descriptors[5] >= 0)
        close(CGROUP);
    watch(jail, meter, program, pidfd);
}

#endif
