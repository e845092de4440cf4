/* How a template, its keeper and the first process of their namespaces come to be. */
#ifndef COREHOUR_TEMPLATE_START_H
#define COREHOUR_TEMPLATE_START_H

#include "_template_keeper.h"

/* In the template's process: confines itself, compiles, copies itself. Never returns. */
static void start_template(const struct jail *jail)
{
    struct failure failure = {STARTED, 0};
    int statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    sigset_t none;

    close(CONTROL);
    close(KEEPERS_STATUS);
    all_signals(SIG_DFL);
    for (int i = 0; i < TRAP_COUNT; i++)
        sigaction(TRAPS[i], &trap_handlers[i], NULL);
    signal(SIGQUIT, SIG_IGN);
    signal(SIGPIPE, SIG_IGN); /* WASI has no signals: a reader that is gone is an error */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (statm < 0 || !hand_over(STATUS, "", 1, &statm, 1))
        _exit(126);
    close(statm);
    failure.step = confine(jail, STATUS);
    if (failure.step == STARTED)
        be_template(&failure, sizeof failure);
    failure.error = errno;
    if (write(STATUS, &failure, sizeof failure) < 0)
        _exit(126);
    _exit(127);
}

static void give_up(enum step step) __attribute__((noreturn));
static void give_up(enum step step)
{
    tell(CONTROL, (struct report){.kind = 'F', .step = (int32_t)step, .value = errno});
    kill(0, SIGKILL);
    _exit(1);
}

/* The first process of the namespaces: they end when it does. It does nothing. */
static void be_init(const struct jail *jail) __attribute__((noreturn));
static void be_init(const struct jail *jail)
{
    struct jail own = *jail;

    own.profile = WASM;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        || write_file("/proc/self/oom_score_adj", "1000") || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        || ((jail->layers & LANDLOCK) && landlock()) || drop_capabilities(jail)
        || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || die_with_keeper(STATUS)
        || ((jail->layers & SECCOMP) && install_filter(&own)) || write(STATUS, "", 1) != 1)
        _exit(1);
    for (int fd = 0; fd < PLACES; fd++)
        close(fd);
    for (;;)
        ppoll(NULL, 0, NULL, NULL);
}

static void start_init(const struct jail *jail)
{
    int pidfd;
    char byte;

    kept.init = fork_with(CLONE_PIDFD, &pidfd);
    if (kept.init == 0)
        be_init(jail);
    if (kept.init < 0)
        give_up(STEP_NAMESPACES);
    struct pollfd events[2] = {{TEMPLATE_SOCKET, POLLIN, 0}, {pidfd, POLLIN, 0}};
    while (poll(events, 2, -1) < 0 && errno == EINTR)
        ;
    if (!events[0].revents || read(TEMPLATE_SOCKET, &byte, 1) != 1)
        give_up(STEP_NAMESPACES);
    close(pidfd);
}

/* In the keeper's process. Never returns. */
static void be_template_keeper(struct jail *jail)
{
    const int apart = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS
        | CLONE_NEWCGROUP;
    const bool pinned = jail->pinned;
    char byte;

    all_signals(SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    jail->pinned = false; /* the template alone is, while it compiles */
    enum step step = prepare_keeper(jail);
    jail->pinned = pinned;
    if (step != STARTED) {
        struct report report = {.kind = 'F', .step = (int32_t)step, .value = errno};
        send(step == STEP_LIMITS ? CONTROL : jail->descriptors[4], &report, sizeof report, MSG_NOSIGNAL);
        _exit(1);
    }
    /* It does not die with the zygote, but when the node lets go of its socket: who dies without waiting for
     * those that it started leaves namespaces that cannot end before somebody else does. */
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0))
        give_up(STEP_KEEPER);
    kept.asked = -1;
    if (sched_getaffinity(0, sizeof kept.cpus, &kept.cpus))
        give_up(STEP_LIMITS);
    if ((jail->layers & NAMESPACES) && unshare(apart))
        give_up(STEP_NAMESPACES);
    if (jail->layers & NAMESPACES)
        start_init(jail);
    kept.template = (struct run){.pidfd = -1, .control = CONTROL, .cpu_ms = jail->cpu_seconds * 1000};
    kept.template.pid = fork_with(CLONE_PIDFD, &kept.template.pidfd);
    if (kept.template.pid == 0)
        start_template(jail);
    if (kept.template.pid < 0)
        give_up(STEP_FORK);
    if (jail->pinned && sched_setaffinity(kept.template.pid, sizeof jail->cpus, &jail->cpus))
        give_up(STEP_LIMITS);
    for (int place = 0; place <= STATUS; place++)
        close(place);
    kept.statm = 0; /* the lowest that is free */
    if (receive(TEMPLATE_SOCKET, &byte, 1, 1) != 1)
        give_up(STEP_KEEPER);
    mind();
}

#endif
