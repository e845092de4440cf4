/* Makes system calls under the filter, each in a process of its own, and says what became of it.
 *
 * every_call sweep PROFILE LAST WAYS THREADS: for each number to LAST, each of the first WAYS ways into the
 * kernel, both kinds of arguments, and one to THREADS threads: a line "number way arguments threads outcome".
 * every_call chosen PROFILE: for each line of input, "number argument ... argument", the outcome; "self" is the
 * caller's process id. Both have the filter as _filter.h makes it, and nothing else of the jail around them.
 * every_call call NUMBER WAY ARGUMENTS THREADS: one call, here and now; this is what is run in the real jail.
 */
#define _GNU_SOURCE
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "_filter.h"

static const char *const WAYS[] = {"x86_64", "x32", "int80"};
static const char *const ARGUMENTS[] = {"zeros", "ones"};
static struct { int begun, answered; long result; } own, *seen;
static struct { long number, arguments[6]; int way, in_jail, self; } call;

static void give_all(long argument)
{
    for (int i = 0; i < 6; i++)
        call.arguments[i] = argument;
}

static long by_int80(void)
{
    const long *a = call.arguments;
    long result;

    __asm__ volatile("push %%rbp; mov %2, %%ebp; int $0x80; pop %%rbp"
                     : "=a"(result)
                     : "a"(call.number), "r"((int)a[5]), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static long by_syscall(long number)
{
    const long *a = call.arguments;
    register long r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "memory", "rcx", "r11");
    return result;
}

static void *make_call(void *nothing)
{
    long result;

    seen->begun = 1;
    if (call.in_jail)
        write(1, "begun\n", 6);
    result = call.way == 2 ? by_int80() : by_syscall(call.number | (call.way == 1 ? 0x40000000 : 0));
    seen->result = result;
    seen->answered = 1;
    if (call.in_jail)
        write(1, "answered\n", 9);
    syscall(SYS_exit_group, 0);
    return nothing;
}

static void call_it(int threads)
{
    pthread_t other;

    if (threads == 2) {
        if (pthread_create(&other, NULL, make_call, NULL))
            _exit(98);
        pthread_join(other, NULL); /* a thread may be killed and not its process: that would be seen here */
        _exit(99);
    }
    make_call(NULL);
}

static void be_caller(int profile, int threads)
{
    struct sock_filter code[FILTER_MOST];
    struct sock_fprog filter = {.filter = code};
    struct itimerval soon = {{0, 0}, {0, 100000}};
    struct rlimit none = {0, 0};

    if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
        _exit(97);
    for (int i = 0; i < 6; i++)
        if (call.self >> i & 1)
            call.arguments[i] = getpid();
    setrlimit(RLIMIT_CORE, &none);
    setitimer(ITIMER_REAL, &soon, NULL); /* what waits for ever is ended by it */
    filter.len = (unsigned short)assemble_filter(code, profile, (uint32_t)getpid());
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter))
        _exit(96);
    call_it(threads);
}

static const char *outcome(int status, char text[32])
{
    if (!seen->begun)
        snprintf(text, 32, "never-begun-%x", status);
    else if (WIFSIGNALED(status))
        snprintf(text, 32, "SIG%s", sigabbrev_np(WTERMSIG(status)));
    else if (!seen->answered)
        snprintf(text, 32, "exit-%d", WEXITSTATUS(status));
    else if (seen->result < 0 && seen->result > -4096 && strerrorname_np((int)-seen->result))
        snprintf(text, 32, "%s", strerrorname_np((int)-seen->result));
    else
        snprintf(text, 32, "answer");
    return text;
}

static const char *try_it(int profile, int threads, char text[32])
{
    int status;
    pid_t pid;

    memset(seen, 0, sizeof *seen);
    fflush(stdout);
    pid = fork();
    if (pid == 0)
        be_caller(profile, threads);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        exit(3);
    return outcome(status, text);
}

static void sweep(int profile, long last, int ways, int most_threads)
{
    char text[32];

    for (call.number = 0; call.number <= last; call.number++)
        for (call.way = 0; call.way < ways; call.way++)
            for (int ones = 0; ones < 2; ones++)
                for (int threads = 1; threads <= most_threads; threads++) {
                    give_all(ones ? -1 : 0);
                    printf("%ld %s %s %d %s\n", call.number, WAYS[call.way], ARGUMENTS[ones], threads,
                           try_it(profile, threads, text));
                }
}

static void chosen(int profile)
{
    char line[256], text[32];

    while (fgets(line, sizeof line, stdin)) {
        char *word = strtok(line, " \n");

        call.number = atol(word);
        give_all(0);
        call.self = 0;
        for (int i = 0; i < 6 && (word = strtok(NULL, " \n")); i++) {
            call.self |= !strcmp(word, "self") << i;
            call.arguments[i] = (long)strtoul(word, NULL, 0);
        }
        puts(try_it(profile, 1, text));
    }
}

int main(int count, char **values)
{
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (count == 6 && !strcmp(values[1], "sweep")) {
        sweep(atoi(values[2]), atol(values[3]), atoi(values[4]), atoi(values[5]));
    } else if (count == 3 && !strcmp(values[1], "chosen")) {
        chosen(atoi(values[2]));
    } else if (count == 6 && !strcmp(values[1], "call")) {
        seen = &own;
        call.in_jail = 1;
        call.number = atol(values[2]);
        call.way = atoi(values[3]);
        give_all(atoi(values[4]) ? -1 : 0);
        call_it(atoi(values[5]));
    } else {
        return 2;
    }
    return 0;
}
