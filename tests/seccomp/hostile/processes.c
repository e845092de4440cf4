/* Other processes: to make them, look into them, signal them; and a world of one's own. */
#include "deeds.h"

#define FORK "fork and exec"

static char stack[1 << 14] __attribute__((aligned(16)));

DEED(fork, FORK, "fork", DOES, "SIGSYS") { return ended(syscall(SYS_fork)); }
DEED(vfork, FORK, "vfork", DOES, "SIGSYS")
{
    long pid = vfork();
    if (pid == 0)
        _exit(0);
    return pid;
}
DEED(clone, FORK, "clone as fork does", DOES, "SIGSYS") { return ended(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }
DEED(clone_no_signal, FORK, "clone without a signal at its end", DOES, "SIGSYS") { return ended(syscall(SYS_clone, 0, 0, 0, 0, 0)); }
DEED(clone_parent, FORK, "make a sibling of oneself (CLONE_PARENT)", ASKS, "SIGSYS")
{
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return pid;
}
static int thread(void *unused)
{
    (void)unused;
    syscall(SYS_exit, 0);
    return 0;
}
DEED(clone_memory, FORK, "clone a process that shares its memory", DOES, "SIGSYS")
{
    return ended(clone(thread, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, 0));
}
DEED(clone_thread_odd, FORK, "clone a thread with flags that no library uses", DOES, "SIGSYS")
{
    return clone(thread, stack + sizeof stack, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0);
}
DEED(clone_high_bits, FORK, "clone with flags above the 32nd bit", ASKS, "SIGSYS")
{
    return ended(syscall(SYS_clone, 0x100000000UL | SIGCHLD, 0, 0, 0, 0));
}
DEED(clone3, FORK, "clone3, whose arguments a filter cannot see", DOES, "ENOSYS")
{
    unsigned long arguments[11] = {0, 0, 0, 0, SIGCHLD};
    return ended(syscall(435, arguments, 64));
}
DEED(fork_bomb, FORK, "fork without end", DOES, "SIGSYS")
{
    for (int i = 0; i < 20; i++)
        if (ended(syscall(SYS_fork)) < 0)
            return -1;
    return 0;
}
static char *const echo[] = {"echo", "escaped", NULL};
DEED(execve, FORK, "run /bin/echo", DOES, "SIGSYS") { return execve("/bin/echo", echo, (char *[]){0}); }
DEED(execve_self, FORK, "run /proc/self/exe", DOES, "SIGSYS")
{
    return execve("/proc/self/exe", (char *[]){"deeds", "say_escaped", 0}, (char *[]){0});
}
DEED(say_escaped, FORK, "write to standard output, as any program may", DOES, "exits 0") { return 0; }
DEED(execveat, FORK, "run /bin/echo by execveat", DOES, "SIGSYS")
{
    return syscall(SYS_execveat, AT_FDCWD, "/bin/echo", echo, (char *[]){0}, 0);
}
DEED(execveat_absolute, FORK, "run /bin/echo through the call that starts the program", DOES, "A: ENOENT; B: EACCES")
{
    return syscall(SYS_execveat, 3, "/bin/echo", echo, (char *[]){0}, 0x1000);
}
DEED(execveat_again, FORK, "run the program's descriptor once more", ASKS, "EBADF")
{
    return syscall(SYS_execveat, 3, "", echo, (char *[]){0}, 0x1000);
}
DEED(execveat_pipe, FORK, "run a pipe that has the program's old descriptor", ASKS, "EACCES")
{
    int ends[2];
    close(3);
    if (syscall(SYS_pipe2, ends, 0) || write(ends[1], "#!/bin/echo escaped\n", 20) < 0)
        return -1;
    return syscall(SYS_execveat, 3, "", echo, (char *[]){0}, 0x1000);
}
DEED(uselib, FORK, "load a library (uselib)", ASKS, "SIGSYS") { return syscall(SYS_uselib, "/not/there"); }

#define OTHERS "other processes"

DEED(ptrace, OTHERS, "be traced (PTRACE_TRACEME)", DOES, "SIGSYS") { return syscall(SYS_ptrace, 0, 0, 0, 0); }
DEED(ptrace_parent, OTHERS, "trace the parent", ASKS, "SIGSYS") { return syscall(SYS_ptrace, 0x4206, 1, 0, 0); }
DEED(read_memory, OTHERS, "read a process's memory (process_vm_readv)", DOES, "SIGSYS")
{
    return syscall(SYS_process_vm_readv, getpid(), &piece, 1, &piece, 1, 0);
}
DEED(write_memory, OTHERS, "write a process's memory (process_vm_writev)", DOES, "SIGSYS")
{
    return syscall(SYS_process_vm_writev, getpid(), &piece, 1, &piece, 1, 0);
}
DEED(open_memory, OTHERS, "open /proc/self/mem", DOES, "EACCES") { return syscall(SYS_open, "/proc/self/mem", O_RDWR); }
DEED(open_init, OTHERS, "look into process 1", DOES, "EACCES") { return syscall(SYS_open, "/proc/1/status", O_RDONLY); }
DEED(kcmp, OTHERS, "compare processes (kcmp)", ASKS, "SIGSYS") { return syscall(SYS_kcmp, 1, 1, 0, 0, 0); }
DEED(pidfd_open, OTHERS, "get hold of a process (pidfd_open)", DOES, "SIGSYS") { return syscall(434, getpid(), 0); }
DEED(process_madvise, OTHERS, "advise on another's memory", ASKS, "SIGSYS") { return syscall(440, -1, &piece, 1, 20, 0); }
DEED(process_mrelease, OTHERS, "take another's memory away", ASKS, "SIGSYS") { return syscall(448, -1, 0); }
DEED(move_pages, OTHERS, "move another's pages", ASKS, "SIGSYS") { return syscall(SYS_move_pages, 1, 0, 0, 0, 0, 0); }
DEED(getppid, OTHERS, "ask who the parent is", DOES, "SIGSYS") { return syscall(SYS_getppid); }
DEED(getsid, OTHERS, "ask for another's session", ASKS, "SIGSYS") { return syscall(SYS_getsid, 1); }
DEED(affinity_other, OTHERS, "ask on which CPUs process 1 runs", DOES, "ENOSYS")
{
    return syscall(SYS_sched_getaffinity, 1, 128, buffer);
}
DEED(prlimit_other, OTHERS, "read the limits of process 1", ASKS, "SIGSYS")
{
    return syscall(SYS_prlimit64, 1, RLIMIT_CPU, 0, buffer);
}

#define SIGNALS "signals"

DEED(kill_self, SIGNALS, "signal oneself by kill", DOES, "SIGSYS") { return syscall(SYS_kill, getpid(), 0); }
DEED(kill_parent, SIGNALS, "signal the parent, who is the keeper", ASKS, "SIGSYS")
{
    return syscall(SYS_kill, syscall(SYS_getppid), 0);
}
DEED(kill_group, SIGNALS, "signal the process group", DOES, "SIGSYS") { return syscall(SYS_kill, 0, 0); }
DEED(kill_all, SIGNALS, "signal every process of the user", ASKS, "SIGSYS") { return syscall(SYS_kill, -1, 0); }
DEED(kill_next, SIGNALS, "signal whoever has the next number: a sibling", ASKS, "SIGSYS") { return syscall(SYS_kill, getpid() + 1, 0); }
DEED(tkill, SIGNALS, "signal a thread by tkill", DOES, "exits 0") { return syscall(SYS_tkill, syscall(SYS_gettid), 0); }
DEED(tgkill_other, SIGNALS, "signal another process by tgkill", ASKS, "SIGSYS")
{
    return syscall(SYS_tgkill, getpid() + 1, getpid() + 1, 0);
}
DEED(tgkill_keeper, SIGNALS, "the same, the number before its own", ASKS, "SIGSYS")
{
    return syscall(SYS_tgkill, getpid() - 1, getpid() - 1, 0);
}
DEED(sigqueue, SIGNALS, "queue a signal", ASKS, "SIGSYS") { return syscall(SYS_rt_sigqueueinfo, 1, 0, buffer); }
DEED(tgsigqueue, SIGNALS, "queue a signal to a thread", ASKS, "SIGSYS") { return syscall(SYS_rt_tgsigqueueinfo, 1, 1, 0, buffer); }
DEED(pidfd_signal, SIGNALS, "signal through a pidfd", ASKS, "SIGSYS") { return syscall(424, -1, 0, 0, 0); }
DEED(signal_bomb, SIGNALS, "queue signals to itself until the kernel has no room", DOES, "SIGSYS")
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, 0);
    buffer[8] = -1; /* SI_QUEUE */
    for (int i = 0; i < 200; i++)
        if (syscall(SYS_rt_sigqueueinfo, getpid(), 40, buffer))
            return -1;
    return 0;
}

#define WORLDS "namespaces and mounts"

DEED(unshare_user, WORLDS, "make a user namespace", ASKS, "SIGSYS") { return syscall(SYS_unshare, CLONE_NEWUSER); }
DEED(unshare_net, WORLDS, "make a network namespace", ASKS, "SIGSYS") { return syscall(SYS_unshare, CLONE_NEWNET); }
DEED(unshare_mounts, WORLDS, "make a mount namespace", ASKS, "SIGSYS") { return syscall(SYS_unshare, CLONE_NEWNS); }
DEED(unshare_files, WORLDS, "leave the shared table of descriptors", DOES, "SIGSYS") { return syscall(SYS_unshare, CLONE_FILES); }
DEED(clone_user, WORLDS, "clone into a user namespace", ASKS, "SIGSYS")
{
    return ended(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
}
DEED(clone_pid, WORLDS, "clone into a namespace of processes", ASKS, "SIGSYS")
{
    return ended(syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0));
}
DEED(setns, WORLDS, "enter a namespace", ASKS, "SIGSYS") { return syscall(SYS_setns, 0, 0); }
DEED(mount, WORLDS, "mount", ASKS, "SIGSYS") { return syscall(SYS_mount, "none", "/not/there", "tmpfs", 0, ""); }
DEED(umount, WORLDS, "unmount", ASKS, "SIGSYS") { return syscall(SYS_umount2, "/not/there", 0); }
DEED(pivot_root, WORLDS, "change the root by pivot_root", ASKS, "SIGSYS") { return syscall(SYS_pivot_root, "/not/there", "/not/there"); }
DEED(open_tree, WORLDS, "open a mount (open_tree)", DOES, "SIGSYS") { return syscall(428, AT_FDCWD, "/", 0); }
DEED(move_mount, WORLDS, "move a mount", ASKS, "SIGSYS") { return syscall(429, -1, "", -1, "", 0); }
DEED(fsopen, WORLDS, "make a file system (fsopen)", ASKS, "SIGSYS") { return syscall(430, "tmpfs", 0); }
DEED(mount_setattr, WORLDS, "change a mount", ASKS, "SIGSYS") { return syscall(442, -1, "", 0, buffer, 32); }
DEED(statmount, WORLDS, "ask after a mount", ASKS, "SIGSYS") { return syscall(457, buffer, buffer, 100, 0); }
DEED(sethostname, WORLDS, "change the host's name", ASKS, "SIGSYS") { return syscall(SYS_sethostname, "x", 1); }
DEED(uname, WORLDS, "ask for the host's name and the kernel", DOES, "EPERM") { return syscall(SYS_uname, buffer); }
