/* The keeper of a template and of its copies, which are the programs: all are its children. It hands each what
 * it runs with, stops and continues it, kills it, waits for it; and dies with the node, they with it.
 *
 * The template read a stranger's module, and is believed nothing: who a copy is the kernel says, and that it
 * is a child; there are no more copies than were asked for; their limits are set from here.
 */
#ifndef COREHOUR_TEMPLATE_KEEPER_H
#define COREHOUR_TEMPLATE_KEEPER_H

#include "_keeper.h"
#include "_template.h"

enum { MOST_RUNS = 256 }; /* of one module, at the same time */
enum { REST_MS = 1 };     /* between a start and the next copy, unless it is asked for */
enum { COPY_CPU_MS = 500 }; /* of the template, for one copy: it takes less than 1 */
enum { TEMPLATE_SOCKET = KEEPERS_STATUS };

struct run {
    pid_t pid; /* 0: there is none, or no more */
    int pidfd, control;
    bool deaf; /* the node has said its last */
    uint64_t cpu_ms; /* that it may use; 0: without end */
    enum reason reason;
};

static struct {
    pid_t init;              /* the first process of the namespaces */
    struct run template;     /* compiling is its run */
    int statm;
    bool ready, refused;     /* it compiled its module; the node asks for no more */
    uint64_t size, data;     /* of the template, as statm tells: copies have it too, and their own on top */
    int asked;               /* our end to a copy that was asked for, or -1 */
    struct run spare;        /* a copy that waits; `control` is the way to it */
    uint64_t rest;           /* until when, in ns: copying would take the CPU from who begins to run */
    struct run runs[MOST_RUNS];
    unsigned count;
    cpu_set_t cpus;          /* all that a run may have */
} kept;

static void tell(int control, struct report report)
{
    send(control, &report, sizeof report, MSG_NOSIGNAL | MSG_DONTWAIT); /* two fit always */
}

/* For good, if `most` is less than it could have; what is stricter already stays so. */
static void set_limit(pid_t pid, __rlimit_resource_t what, uint64_t most)
{
    struct rlimit limit;

    if (prlimit(pid, what, NULL, &limit) == 0) {
        if (most < limit.rlim_max)
            limit.rlim_max = most;
        limit.rlim_cur = limit.rlim_max;
        if (prlimit(pid, what, &limit, NULL) == 0)
            return;
    }
    kill(pid, SIGKILL);
}

/* What the template has, in bytes. */
static uint64_t statm(int column)
{
    char text[200];
    ssize_t length = pread(kept.statm, text, sizeof text - 1, 0);
    char *place = text;
    uint64_t pages = 0;

    text[length > 0 ? length : 0] = '\0';
    for (int i = 0; i <= column; i++)
        pages = strtoull(place, &place, 10);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
enum { STATM_SIZE = 0, STATM_RESIDENT = 1, STATM_SHARED = 2, STATM_DATA = 5 };

/* Once its module is compiled the template stands still but while a copy is asked for, when it may make that one.
 * Where it has a user namespace the kernel counts there who belongs to it: the keeper, the first process, the
 * template, what runs, and the new one. */
static void let_copy(bool may)
{
    struct rlimit limit;

    kept.template.cpu_ms = may ? now_ms(cpu_clock(kept.template.pid)) + COPY_CPU_MS : 0;
    if (!may)
        kill(kept.template.pid, SIGSTOP);
    if (prlimit(kept.template.pid, RLIMIT_NPROC, NULL, &limit) == 0) {
        limit.rlim_cur = may ? limit.rlim_max : 0;
        if (may && kept.init && limit.rlim_max > 4 + kept.count)
            limit.rlim_cur = 4 + kept.count;
        prlimit(kept.template.pid, RLIMIT_NPROC, &limit, NULL);
    }
    if (may)
        kill(kept.template.pid, SIGCONT);
}

/* Sends `size` bytes with descriptors beside them. */
static bool hand_over(int to, const void *data, size_t size, const int *descriptors, unsigned count)
{
    union { struct cmsghdr header; char room[CMSG_SPACE(4 * sizeof(int))]; } control;
    struct iovec piece = {(void *)(uintptr_t)data, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};

    memset(&control, 0, sizeof control);
    control.header = (struct cmsghdr){CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), descriptors, count * sizeof(int));
    return sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}

static void ask_for_copy(void)
{
    int pair[2], one = 1;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        kill(kept.template.pid, SIGKILL);
        return;
    }
    setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
    let_copy(true);
    if (!hand_over(TEMPLATE_SOCKET, "", 1, &pair[1], 1))
        kill(kept.template.pid, SIGKILL);
    close(pair[1]);
    kept.asked = pair[0];
}

/* Whether a process is one of ours. */
static bool is_known(pid_t pid)
{
    bool known = pid == kept.template.pid || pid == kept.init || pid == kept.spare.pid;

    for (unsigned i = 0; i < kept.count; i++)
        known |= pid == kept.runs[i].pid;
    return known;
}

/* Kills whoever was made besides the copy that was asked for; whether there was somebody. Where there is a user
 * namespace the kernel made sure that there is none. */
static bool kill_strays(void)
{
    char text[1 << 14], *place = text, *next;
    int fd = kept.init ? -1 : open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    bool found = false;

    close(fd);
    text[length < 0 ? 0 : length] = '\0';
    for (long pid; (pid = strtol(place, &next, 10)) > 0; place = next)
        if (!is_known((pid_t)pid)) {
            found = true;
            kill((pid_t)pid, SIGKILL);
        }
    return found;
}

/* The first word of a copy; its process id comes from the kernel. */
static void hear_copy(void)
{
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(struct ucred))]; } control;
    char byte;
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t length = recvmsg(kept.asked, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct ucred who = {0, 0, 0};
    siginfo_t state;

    if (length < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    let_copy(false);
    if (length == 1 && control.header.cmsg_type == SCM_CREDENTIALS)
        memcpy(&who, CMSG_DATA(&control.header), sizeof who);
    if (who.pid <= 0 || is_known(who.pid) || waitid(P_PID, (id_t)who.pid, &state, WEXITED | WNOHANG | WNOWAIT)) {
        kill(kept.template.pid, SIGKILL); /* it could not, or is not what it was */
        close(kept.asked);
    } else {
        int pidfd = (int)syscall(SYS_pidfd_open, who.pid, 0);
        kept.spare = (struct run){.pid = who.pid, .pidfd = pidfd, .control = kept.asked};
        set_limit(who.pid, RLIMIT_NPROC, 0);
        set_limit(who.pid, RLIMIT_NOFILE, STDIO);
        kill(who.pid, SIGSTOP); /* it waits, and does nothing else meanwhile */
        if (kill_strays())
            kill(kept.template.pid, SIGKILL);
    }
    kept.asked = -1;
}

/* The node wants the module run: the copy that waits gets what it runs with. */
static void hear_request(void)
{
    static struct run_request request;
    const size_t head = offsetof(struct run_request, arguments);
    union { struct cmsghdr header; char room[CMSG_SPACE(4 * sizeof(int))]; } control;
    struct iovec piece = {&request, sizeof request};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    control.header.cmsg_len = 0;
    ssize_t length = recvmsg(CONTROL, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct run run = kept.spare;
    int fds[4];

    if (length < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (length < (ssize_t)head || control.header.cmsg_len != CMSG_LEN(sizeof fds)) {
        kept.refused = true; /* the node is gone, or wants no more of this module */
        return;
    }
    memcpy(fds, CMSG_DATA(&control.header), sizeof fds);
    set_limit(run.pid, RLIMIT_DATA, kept.data + request.memory + OWN_MEMORY);
    set_limit(run.pid, RLIMIT_AS, kept.size + request.memory + OWN_MEMORY + RESERVATION + 4 * GUARD);
    if (request.cpu_seconds)
        set_limit(run.pid, RLIMIT_CPU, request.cpu_seconds + 2); /* if nobody looks in time */
    run.cpu_ms = request.cpu_seconds * UINT64_C(1000);
    if (sched_setaffinity(run.pid, sizeof(cpu_set_t), request.pinned ? &request.cpus : &kept.cpus)) {
        tell(fds[3], (struct report){.kind = 'F', .step = STEP_LIMITS, .value = errno});
        close(fds[3]);
    } else if (!hand_over(run.control, &request, (size_t)length, fds, STDIO)) {
        close(fds[3]); /* the copy is gone; whoever asked may ask again */
    } else {
        tell(fds[3], (struct report){.kind = 'S'});
        kill(run.pid, SIGCONT);
        close(run.control);
        run.control = fds[3];
        kept.runs[kept.count++] = run;
        kept.spare.pid = 0;
        kept.rest = now(CLOCK_MONOTONIC) + REST_MS * UINT64_C(1000000);
    }
    for (int i = 0; i < STDIO; i++)
        close(fds[i]);
}

/* A command of the node for one program: one letter. End of file: it is to end. */
static void hear_command(struct run *run)
{
    char command = 'K';
    ssize_t length = recv(run->control, &command, 1, MSG_DONTWAIT);

    if (length < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (length == 1 && command == 'F')
        kill(run->pid, SIGSTOP);
    else if (length == 1 && command == 'C')
        kill(run->pid, SIGCONT);
    else if (length == 1 && command == 'Q')
        kill(run->pid, SIGQUIT);
    else
        kill(run->pid, SIGKILL);
    run->deaf = length != 1;
}

/* ms until a run may have used up its CPU time, -1 for never; kills it if it has. */
static int watch_cpu(struct run *run)
{
    if (run->pid == 0 || run->cpu_ms == 0 || run->reason)
        return -1;
    uint64_t used = now_ms(cpu_clock(run->pid));
    if (used < run->cpu_ms)
        return pause_of(run->cpu_ms - used, 1);
    run->reason = TOO_MUCH_CPU;
    kill(run->pid, SIGKILL);
    return -1;
}

/* As poll wants it. */
static int next_look(void)
{
    int pause = watch_cpu(&kept.template);

    for (unsigned i = 0; i < kept.count; i++) {
        int other = watch_cpu(&kept.runs[i]);
        if (other >= 0 && (pause < 0 || other < pause))
            pause = other;
    }
    return pause;
}

/* Waits for a process that ends, and lets go of all that it had. */
static void end_run(struct run *run)
{
    struct rusage usage;
    int status;

    if (wait4(run->pid, &status, 0, &usage) == run->pid && run->control >= 0)
        tell(run->control, (struct report){
            .kind = 'E', .value = status, .memory_kb = usage.ru_maxrss,
            .reason = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? (int32_t)run->reason : NO_REASON,
            .cpu_us = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000)
                + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec});
    close(run->pidfd);
    if (run->control >= 0)
        close(run->control);
    run->pid = 0;
}

/* The template's word that its module is compiled, or where its jail failed. */
static void hear_template(void)
{
    struct failure failure;
    ssize_t length = recv(TEMPLATE_SOCKET, &failure, sizeof failure, MSG_DONTWAIT);

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length != sizeof failure || kept.ready) { /* it has nothing more to say */
        kill(kept.template.pid, SIGKILL);
    } else if (failure.step != STARTED) {
        tell(CONTROL, (struct report){.kind = 'F', .step = failure.step, .value = failure.error});
        kill(kept.template.pid, SIGKILL);
    } else {
        kept.ready = true;
        kept.size = statm(STATM_SIZE);
        kept.data = statm(STATM_DATA);
        let_copy(false);
        set_limit(kept.template.pid, RLIMIT_CPU, RLIM_INFINITY); /* or its copies would inherit it */
        sched_setaffinity(kept.template.pid, sizeof kept.cpus, &kept.cpus); /* it had those of who came first */
        tell(CONTROL, (struct report){
            .kind = 'S', .memory_kb = (int64_t)(statm(STATM_RESIDENT) - statm(STATM_SHARED)) >> 10});
    }
}

static void end_template(void)
{
    if (kept.asked >= 0)
        close(kept.asked);
    kept.asked = -1;
    if (kept.spare.pid) {
        kill(kept.spare.pid, SIGKILL);
        end_run(&kept.spare);
    }
    kill(kept.template.pid, SIGKILL);
    end_run(&kept.template); /* with its socket to the node ends what was asked for and not heard yet */
    kept.refused = true;
}

static void mind(void) __attribute__((noreturn));
static void mind(void)
{
    static struct pollfd events[5 + 2 * MOST_RUNS];

    while (kept.count || !kept.refused) {
        bool able = kept.template.pid && kept.ready;
        bool listen = able && kept.spare.pid && kept.count < MOST_RUNS;
        bool lacking = able && kept.spare.pid == 0 && kept.asked < 0;
        bool resting = lacking && now(CLOCK_MONOTONIC) < kept.rest;

        if (lacking && !resting)
            ask_for_copy();
        int pause = next_look();
        events[0] = (struct pollfd){kept.refused ? -1 : CONTROL, listen || resting ? POLLIN : 0, 0};
        events[1] = (struct pollfd){kept.template.pid ? TEMPLATE_SOCKET : -1, POLLIN, 0};
        events[2] = (struct pollfd){kept.template.pid ? kept.template.pidfd : -1, POLLIN, 0};
        events[3] = (struct pollfd){kept.asked, POLLIN, 0};
        events[4] = (struct pollfd){kept.spare.pid ? kept.spare.pidfd : -1, POLLIN, 0};
        for (unsigned i = 0; i < kept.count; i++) {
            events[5 + 2 * i] = (struct pollfd){kept.runs[i].deaf ? -1 : kept.runs[i].control, POLLIN, 0};
            events[6 + 2 * i] = (struct pollfd){kept.runs[i].pidfd, POLLIN, 0};
        }
        unsigned count = kept.count;
        if (resting && (pause < 0 || pause > REST_MS))
            pause = REST_MS;
        if (poll(events, 5 + 2 * count, pause) < 0 && errno != EINTR)
            break;
        for (unsigned i = count; i-- > 0;) { /* backwards: the last takes the place of one that ended */
            if (events[5 + 2 * i].revents)
                hear_command(&kept.runs[i]);
            if (events[6 + 2 * i].revents) {
                end_run(&kept.runs[i]);
                kept.runs[i] = kept.runs[--kept.count];
                kept.rest = 0; /* the CPU is free */
            }
        }
        if (events[1].revents & POLLIN)
            hear_template();
        if (events[3].revents)
            hear_copy();
        if (events[0].revents) {
            if (listen)
                hear_request();
            else if (events[0].revents & POLLIN)
                kept.rest = 0; /* somebody asks already */
            else
                kept.refused = true; /* hung up */
        }
        if (events[4].revents && kept.spare.pid && kept.template.pid)
            end_template(); /* no copy ends by itself before it runs */
        if ((events[2].revents || kept.refused) && kept.template.pid)
            end_template();
    }
    if (kept.init > 0 && kill(kept.init, SIGKILL) == 0) /* and with it whoever is in its namespaces */
        while (wait4(-1, NULL, 0, NULL) > 0 || errno == EINTR)
            ;
    kill(0, SIGKILL); /* the whole group: whoever is left, and itself */
    _exit(0);
}

#endif
