/* What lies outside: files, sockets, descriptors of others. */
#include "deeds.h"

#define FILES "files and links"

DEED(open, FILES, "open a file for reading", DOES, "EACCES") { return syscall(SYS_open, "/etc/passwd", O_RDONLY); }
DEED(open_device, FILES, "open a device", DOES, "EACCES") { return syscall(SYS_open, "/dev/null", O_RDWR); }
DEED(open_root, FILES, "open the root directory", DOES, "EACCES") { return syscall(SYS_open, "/", O_RDONLY); }
DEED(open_terminal, FILES, "open the controlling terminal", ASKS, "EACCES") { return syscall(SYS_open, "/dev/tty", O_RDWR); }
DEED(open_maps, FILES, "read /proc/self/maps", DOES, "EACCES") { return syscall(SYS_open, "/proc/self/maps", O_RDONLY); }
DEED(openat, FILES, "open a file from the working directory", DOES, "EACCES")
{
    return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}
DEED(openat_input, FILES, "open an absolute name beside standard input", DOES, "EACCES")
{
    return syscall(SYS_openat, 0, "/etc/passwd", O_RDONLY);
}
DEED(openat2, FILES, "open a file by openat2", DOES, "SIGSYS")
{
    uint64_t how[3] = {0, 0, 0};
    return syscall(437, AT_FDCWD, "/etc/passwd", how, sizeof how);
}
DEED(open_by_handle, FILES, "open a file by its handle", ASKS, "SIGSYS")
{
    return syscall(SYS_open_by_handle_at, AT_FDCWD, buffer, O_RDONLY);
}
DEED(create, FILES, "make a file in /tmp", DOES, "SIGSYS")
{
    long fd = syscall(SYS_open, marked, O_CREAT | O_EXCL | O_WRONLY, 0600);
    unlink(marked);
    return fd;
}
DEED(creat, FILES, "open for writing by creat", DOES, "SIGSYS") { return syscall(SYS_creat, "/dev/null", 0600); }
DEED(mkdir, FILES, "make a directory in /tmp", DOES, "SIGSYS")
{
    long result = syscall(SYS_mkdir, marked, 0700);
    rmdir(marked);
    return result;
}
DEED(mkfifo, FILES, "make a fifo in /tmp", DOES, "SIGSYS")
{
    long result = syscall(SYS_mknod, marked, S_IFIFO | 0600, 0);
    unlink(marked);
    return result;
}
DEED(mknod, FILES, "make a device", ASKS, "SIGSYS") { return syscall(SYS_mknodat, AT_FDCWD, marked, S_IFCHR | 0600, 0x103); }
DEED(symlink, FILES, "make a symbolic link in /tmp", DOES, "SIGSYS")
{
    long result = syscall(SYS_symlink, "/etc/passwd", marked);
    unlink(marked);
    return result;
}
DEED(link, FILES, "make a hard link", ASKS, "SIGSYS") { return syscall(SYS_link, "/etc/passwd", "/etc/passwd"); }
DEED(rename, FILES, "rename a file", ASKS, "SIGSYS") { return syscall(SYS_rename, "/not/there", marked); }
DEED(renameat2, FILES, "exchange two files", ASKS, "SIGSYS")
{
    return syscall(SYS_renameat2, AT_FDCWD, "/not/there", AT_FDCWD, marked, 2);
}
DEED(unlink, FILES, "remove a file", ASKS, "SIGSYS") { return syscall(SYS_unlink, "/not/there"); }
DEED(chmod, FILES, "change a file's mode", ASKS, "SIGSYS") { return syscall(SYS_chmod, "/etc/passwd", 0644); }
DEED(chown, FILES, "change a file's owner", ASKS, "SIGSYS") { return syscall(SYS_chown, "/etc/passwd", 0, 0); }
DEED(truncate, FILES, "cut a file off", ASKS, "SIGSYS") { return syscall(SYS_truncate, "/etc/passwd", 0); }
DEED(ftruncate, FILES, "set the size of standard output", ASKS, "SIGSYS") { return syscall(SYS_ftruncate, 1, 1 << 20); }
DEED(fallocate, FILES, "take disk space", ASKS, "SIGSYS") { return syscall(SYS_fallocate, 1, 0, 0, 1 << 20); }
DEED(setxattr, FILES, "set an extended attribute", ASKS, "SIGSYS")
{
    return syscall(SYS_setxattr, "/etc/passwd", "user.x", "", 0, 0);
}
DEED(stat, FILES, "ask after a file by stat", DOES, "EACCES") { return syscall(SYS_stat, "/etc/passwd", buffer); }
DEED(newfstatat, FILES, "ask after a file by newfstatat", DOES, "EACCES")
{
    return syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", buffer, 0);
}
DEED(newfstatat_empty, FILES, "the same with an absolute name and AT_EMPTY_PATH", DOES, "EACCES")
{
    return syscall(SYS_newfstatat, 0, "/etc/passwd", buffer, 0x1000);
}
DEED(statx, FILES, "ask after a file by statx", DOES, "ENOSYS")
{
    return syscall(SYS_statx, AT_FDCWD, "/etc/passwd", 0, 0x7ff, buffer);
}
DEED(statfs, FILES, "ask after a file system", DOES, "SIGSYS") { return syscall(SYS_statfs, "/", buffer); }
DEED(access, FILES, "ask whether a file is there", DOES, "EACCES") { return syscall(SYS_access, "/etc/passwd", 0); }
DEED(readlink, FILES, "read where a link leads", DOES, "EACCES") { return syscall(SYS_readlink, "/proc/self/exe", buffer, 100); }
DEED(readlinkat, FILES, "the same by readlinkat", DOES, "EACCES")
{
    return syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", buffer, 100);
}
DEED(getdents, FILES, "list a directory", ASKS, "SIGSYS") { return syscall(SYS_getdents64, 0, buffer, 1000); }
DEED(chdir, FILES, "change the working directory", DOES, "SIGSYS") { return syscall(SYS_chdir, "/tmp"); }
DEED(getcwd, FILES, "ask for the working directory", DOES, "EACCES") { return syscall(SYS_getcwd, buffer, 4096); }
DEED(chroot, FILES, "change the root directory", ASKS, "SIGSYS") { return syscall(SYS_chroot, "/tmp"); }
DEED(inotify, FILES, "watch files by inotify", DOES, "SIGSYS") { return syscall(SYS_inotify_init1, 0); }
DEED(fanotify, FILES, "watch files by fanotify", ASKS, "SIGSYS") { return syscall(SYS_fanotify_init, 0, 0); }
DEED(sync, FILES, "have a disk written at once", ASKS, "SIGSYS") { return syscall(SYS_syncfs, -1); }

/* Every family that Linux knows is refused at the same place: these are the ones that matter most. */
#define SOCKETS "sockets"
#define SOCKET(NAME, FAMILY, TYPE, PROTOCOL) { return socket(FAMILY, TYPE, PROTOCOL); }

DEED(socket_unix, SOCKETS, "make a socket: unix", DOES, "SIGSYS") SOCKET(unix, AF_UNIX, SOCK_STREAM, 0)
DEED(socket_tcp, SOCKETS, "make a socket: TCP", DOES, "SIGSYS") SOCKET(tcp, AF_INET, SOCK_STREAM, 0)
DEED(socket_udp, SOCKETS, "make a socket: UDP", DOES, "SIGSYS") SOCKET(udp, AF_INET, SOCK_DGRAM, 0)
DEED(socket_raw, SOCKETS, "make a socket: raw IP", ASKS, "SIGSYS") SOCKET(raw, AF_INET, SOCK_RAW, 255)
DEED(socket_inet6, SOCKETS, "make a socket: IPv6", ASKS, "SIGSYS") SOCKET(inet6, AF_INET6, SOCK_STREAM, 0)
DEED(socket_netlink, SOCKETS, "make a socket: netlink", DOES, "SIGSYS") SOCKET(netlink, AF_NETLINK, SOCK_RAW, 0)
DEED(socket_packet, SOCKETS, "make a socket: packets", ASKS, "SIGSYS") SOCKET(packet, AF_PACKET, SOCK_RAW, 0)
DEED(socket_vsock, SOCKETS, "make a socket: vsock, to the host of a virtual machine", ASKS, "SIGSYS")
    SOCKET(vsock, 40, SOCK_STREAM, 0)
DEED(socket_alg, SOCKETS, "make a socket: the kernel's ciphers", ASKS, "SIGSYS") SOCKET(alg, 38, SOCK_SEQPACKET, 0)
DEED(socket_bluetooth, SOCKETS, "make a socket: Bluetooth", ASKS, "SIGSYS") SOCKET(bluetooth, 31, SOCK_RAW, 1)
DEED(socket_can, SOCKETS, "make a socket: CAN", ASKS, "SIGSYS") SOCKET(can, 29, SOCK_RAW, 1)
DEED(socket_key, SOCKETS, "make a socket: IPsec keys", ASKS, "SIGSYS") SOCKET(key, 15, SOCK_RAW, 2)
DEED(socket_tipc, SOCKETS, "make a socket: TIPC", ASKS, "SIGSYS") SOCKET(tipc, 30, SOCK_STREAM, 0)
DEED(socket_xdp, SOCKETS, "make a socket: XDP", ASKS, "SIGSYS") SOCKET(xdp, 44, SOCK_RAW, 0)
DEED(socket_smc, SOCKETS, "make a socket: SMC", ASKS, "SIGSYS") SOCKET(smc, 43, SOCK_STREAM, 0)
DEED(socketpair, SOCKETS, "make a pair of sockets", DOES, "SIGSYS")
{
    return socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)buffer);
}
DEED(connect, SOCKETS, "connect standard input", ASKS, "SIGSYS") { return syscall(SYS_connect, 0, buffer, 16); }
DEED(bind, SOCKETS, "bind standard input", ASKS, "SIGSYS") { return syscall(SYS_bind, 0, buffer, 16); }
DEED(listen, SOCKETS, "listen on standard input", ASKS, "SIGSYS") { return syscall(SYS_listen, 0, 1); }
DEED(accept, SOCKETS, "accept on standard input", ASKS, "SIGSYS") { return syscall(SYS_accept, 0, 0, 0); }
DEED(sendto, SOCKETS, "send from standard output", ASKS, "SIGSYS") { return syscall(SYS_sendto, 1, buffer, 1, 0, 0, 0); }

#define DESCRIPTORS "descriptors"

DEED(send_descriptor, DESCRIPTORS, "pass a descriptor through standard output (SCM_RIGHTS)", ASKS, "SIGSYS")
{
    struct cmsghdr *head = (struct cmsghdr *)buffer;
    struct msghdr message = {0, 0, &piece, 1, buffer, CMSG_SPACE(sizeof(int)), 0};
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    return sendmsg(1, &message, 0);
}
DEED(receive_descriptor, DESCRIPTORS, "take a descriptor from standard input (SCM_RIGHTS)", ASKS, "SIGSYS")
{
    struct msghdr message = {0, 0, &piece, 1, buffer, 1000, 0};
    return recvmsg(0, &message, 0);
}
DEED(pidfd_getfd, DESCRIPTORS, "take a descriptor out of a process", ASKS, "SIGSYS") { return syscall(438, 0, 0, 0); }
DEED(pipe, DESCRIPTORS, "make a pipe, as Go does", DOES, "exits 0") { return syscall(SYS_pipe2, buffer, 0); }
DEED(dup, DESCRIPTORS, "double a descriptor", DOES, "SIGSYS") { return syscall(SYS_dup, 0); }
DEED(dup2, DESCRIPTORS, "double it to a number", DOES, "SIGSYS") { return syscall(SYS_dup2, 0, 9); }
DEED(fcntl_dup, DESCRIPTORS, "double it by fcntl", DOES, "EINVAL") { return fcntl(0, F_DUPFD, 100); }
DEED(fcntl_flags, DESCRIPTORS, "set flags that are shared through a pipe", DOES, "EINVAL") { return fcntl(1, F_SETFL, O_NONBLOCK); }
DEED(fcntl_owner, DESCRIPTORS, "have signals sent to the parent (F_SETOWN)", ASKS, "EINVAL") { return fcntl(0, F_SETOWN, 1); }
DEED(fcntl_pipe, DESCRIPTORS, "take a megabyte of the kernel for a pipe", DOES, "EINVAL") { return fcntl(1, 1031, 1 << 20); }
DEED(fcntl_notify, DESCRIPTORS, "watch a directory (F_NOTIFY)", ASKS, "EINVAL") { return fcntl(0, 1026, 1); }
DEED(ioctl_fionbio, DESCRIPTORS, "set flags by ioctl", DOES, "SIGSYS") { return ioctl(1, FIONBIO, buffer); }
DEED(ioctl_push, DESCRIPTORS, "type into a terminal (TIOCSTI)", ASKS, "SIGSYS") { return ioctl(0, TIOCSTI, buffer); }
DEED(eventfd, DESCRIPTORS, "make an eventfd, as Go does", DOES, "exits 0") { return syscall(SYS_eventfd2, 0, 0); }
DEED(epoll, DESCRIPTORS, "make an epoll, as Go does", DOES, "exits 0") { return syscall(SYS_epoll_create1, 0); }
DEED(signalfd, DESCRIPTORS, "make a signalfd", DOES, "SIGSYS") { return syscall(SYS_signalfd4, -1, buffer, 8, 0); }
DEED(memfd, DESCRIPTORS, "make a file in memory", DOES, "SIGSYS") { return syscall(SYS_memfd_create, "x", 0); }
DEED(memfd_secret, DESCRIPTORS, "make secret memory", ASKS, "SIGSYS") { return syscall(447, 0); }
DEED(sendfile, DESCRIPTORS, "copy between descriptors (sendfile)", ASKS, "ENOSYS") { return syscall(SYS_sendfile, 1, 0, 0, 1); }
DEED(splice, DESCRIPTORS, "splice pipes", ASKS, "ENOSYS") { return syscall(SYS_splice, 0, 0, 1, 0, 1, 2); }
DEED(vmsplice, DESCRIPTORS, "give pages to a pipe", DOES, "SIGSYS") { return syscall(SYS_vmsplice, 1, &piece, 1, 0); }
DEED(pipe_packets, DESCRIPTORS, "make a pipe of packets", DOES, "SIGSYS") { return syscall(SYS_pipe2, buffer, 040000); }
DEED(pipe_notices, DESCRIPTORS, "make a pipe for the kernel's notices", ASKS, "SIGSYS") { return syscall(SYS_pipe2, buffer, 0200); }
