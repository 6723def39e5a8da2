/* The attempts: raw system calls, so that no library stands between them and the filter. */
#include "attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/macros.h"

static char evil[] = { 'e', 'v', 'i', 'l' };

static struct sockaddr_in victim(const struct attempt_world *w)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(w->victim_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static long send_to(const struct attempt_world *w, int fd, int flags)
{
    struct sockaddr_in to = victim(w);
    return syscall(SYS_sendto, fd, evil, sizeof evil, flags, &to, sizeof to);
}

static long send_message(const struct attempt_world *w, int fd, int flags)
{
    struct sockaddr_in to = victim(w);
    struct iovec part = { evil, sizeof evil };
    struct msghdr message = { .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1 };
    return syscall(SYS_sendmsg, fd, &message, flags);
}

static long receive_message(int fd)
{
    char byte[8], control[CMSG_SPACE(sizeof(int))];
    struct iovec part = { byte, sizeof byte };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    return syscall(SYS_recvmsg, fd, &message, MSG_DONTWAIT);
}

static long set_option(int fd, int level, int name)
{
    int one = 1;
    return syscall(SYS_setsockopt, fd, level, name, &one, sizeof one);
}

#define ATTEMPT(name) static long try_##name(const struct attempt_world *w)
#define UNUSED_WORLD  (void)w

/* New sockets, and addresses on old ones. */
ATTEMPT(socket_tcp) { UNUSED_WORLD; return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }
ATTEMPT(socket_udp) { UNUSED_WORLD; return syscall(SYS_socket, AF_INET6, SOCK_DGRAM, 0); }
ATTEMPT(socket_unix) { UNUSED_WORLD; return syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0); }
ATTEMPT(socket_netlink) { UNUSED_WORLD; return syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0); }
ATTEMPT(socketpair) { UNUSED_WORLD; int pair[2]; return syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair); }
ATTEMPT(connect) { struct sockaddr_in to = victim(w); return syscall(SYS_connect, w->failed, &to, sizeof to); }
ATTEMPT(bind) { struct sockaddr_in to = { .sin_family = AF_INET }; return syscall(SYS_bind, w->failed, &to, sizeof to); }
ATTEMPT(listen) { return syscall(SYS_listen, w->failed, 5); }
/* The three ways out that were found: each must end where it starts. */
ATTEMPT(escape_fastopen_shutdown_listener) { return syscall(SYS_shutdown, w->listener, SHUT_RDWR) == 0 ? send_to(w, w->listener, MSG_FASTOPEN) : -1; }
ATTEMPT(escape_fastopen_shutdown_listener_by_high_half) { return syscall(SYS_shutdown, (1L << 32) | w->listener, SHUT_RDWR); }
ATTEMPT(escape_fastopen_sendto_listener) { return send_to(w, w->listener, MSG_FASTOPEN); }
ATTEMPT(escape_fastopen_sendmsg_listener) { return send_message(w, w->listener, MSG_FASTOPEN); }
ATTEMPT(escape_halfopen_redial_failed_socket) { return send_to(w, w->failed, MSG_FASTOPEN); }
ATTEMPT(escape_halfopen_redial_by_sendmsg) { return send_message(w, w->failed, MSG_FASTOPEN); }
ATTEMPT(escape_halfopen_fastopen_connect) { return set_option(w->failed, IPPROTO_TCP, TCP_FASTOPEN_CONNECT); }
ATTEMPT(escape_udp_sendto_elsewhere) { return send_to(w, w->udp, 0); }
ATTEMPT(escape_udp_sendmsg_elsewhere) { return send_message(w, w->udp, 0); }
ATTEMPT(escape_udp_sendmmsg_elsewhere)
{
    struct sockaddr_in to = victim(w);
    struct iovec part = { evil, sizeof evil };
    struct mmsghdr message = { .msg_hdr = { .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1 } };
    return syscall(SYS_sendmmsg, w->udp, &message, 1, 0);
}
/* Options that change what a socket is. */
ATTEMPT(setsockopt_repair) { return set_option(w->connection, IPPROTO_TCP, TCP_REPAIR); }
ATTEMPT(setsockopt_ulp) { return syscall(SYS_setsockopt, w->connection, IPPROTO_TCP, TCP_ULP, "tls", 3); }
ATTEMPT(setsockopt_mark) { return set_option(w->connection, SOL_SOCKET, SO_MARK); }
ATTEMPT(setsockopt_device) { return set_option(w->connection, SOL_SOCKET, SO_BINDTODEVICE); }
ATTEMPT(setsockopt_filter) { return set_option(w->connection, SOL_SOCKET, SO_ATTACH_FILTER); }
/* Set for much, whom the worker's successors accept would never wake them. */
ATTEMPT(setsockopt_that_connections_inherit) { return set_option(w->listener, SOL_SOCKET, SO_RCVLOWAT); }
ATTEMPT(ioctl) { int n; return syscall(SYS_ioctl, w->connection, FIONREAD, &n); }
/* Descriptors from elsewhere, or to where other rules hold. */
ATTEMPT(recvmsg_from_instance) { return receive_message(w->unix_stream); }
ATTEMPT(recvmmsg) { struct mmsghdr message = { { 0 } }; return syscall(SYS_recvmmsg, w->broker, &message, 1, MSG_DONTWAIT, NULL); }
ATTEMPT(recvfrom) { char b[8]; return syscall(SYS_recvfrom, w->connection, b, sizeof b, MSG_DONTWAIT, NULL, NULL); }
ATTEMPT(accept_on_high) { return syscall(SYS_accept4, w->connection, NULL, NULL, SOCK_NONBLOCK); }
ATTEMPT(accept_old_call) { return syscall(SYS_accept, w->listener, NULL, NULL); }
ATTEMPT(dup) { return syscall(SYS_dup, w->connection); }
ATTEMPT(dup2) { return syscall(SYS_dup3, w->connection, 5, 0); }
ATTEMPT(dup_by_fcntl) { return syscall(SYS_fcntl, w->connection, F_DUPFD, 0); }
ATTEMPT(owner_by_fcntl) { return syscall(SYS_fcntl, w->connection, F_SETOWN, w->pid); }
ATTEMPT(pidfd_getfd) { int pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0); return syscall(SYS_pidfd_getfd, pidfd, 0, 0); }
/* Files. */
ATTEMPT(openat) { UNUSED_WORLD; return syscall(SYS_openat, AT_FDCWD, "/etc/hostname", O_RDONLY); }
ATTEMPT(openat2) { UNUSED_WORLD; struct open_how how = { .flags = O_RDONLY }; return syscall(SYS_openat2, AT_FDCWD, "/etc/hostname", &how, sizeof how); }
#ifdef SYS_open
ATTEMPT(open) { UNUSED_WORLD; return syscall(SYS_open, "/etc/hostname", O_RDONLY); }
#endif
ATTEMPT(open_by_handle) { UNUSED_WORLD; char handle[32] = { 0 }; return syscall(SYS_open_by_handle_at, AT_FDCWD, handle, O_RDONLY); }
ATTEMPT(stat_by_path) { UNUSED_WORLD; char st[256]; return syscall(SYS_newfstatat, AT_FDCWD, "/etc/shadow", st, 0); }
ATTEMPT(statx) { UNUSED_WORLD; char st[256]; return syscall(SYS_statx, AT_FDCWD, "/etc/shadow", 0, 0xfff, st); }
ATTEMPT(unlink) { UNUSED_WORLD; return syscall(SYS_unlinkat, AT_FDCWD, "/tmp/none", 0); }
ATTEMPT(mount) { UNUSED_WORLD; return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL); }
ATTEMPT(chroot) { UNUSED_WORLD; return syscall(SYS_chroot, "/tmp"); }
ATTEMPT(memfd_create) { UNUSED_WORLD; return syscall(SYS_memfd_create, "x", 0); }
/* Processes. */
ATTEMPT(execve) { UNUSED_WORLD; const char *const words[] = { "/bin/true", NULL }; return syscall(SYS_execve, words[0], words, NULL); }
ATTEMPT(fork) { UNUSED_WORLD; return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
ATTEMPT(clone3) { UNUSED_WORLD; char arguments[88] = { 0 }; return syscall(SYS_clone3, arguments, sizeof arguments); }
ATTEMPT(ptrace) { return syscall(SYS_ptrace, PTRACE_ATTACH, w->pid, 0, 0); }
ATTEMPT(process_vm_readv) { struct iovec part = { 0 }; return syscall(SYS_process_vm_readv, w->pid, &part, 1, &part, 1, 0); }
ATTEMPT(kill_another) { return syscall(SYS_kill, w->pid, SIGKILL); }
ATTEMPT(tgkill_another) { return syscall(SYS_tgkill, w->pid, w->pid, SIGKILL); }
ATTEMPT(prctl) { UNUSED_WORLD; return syscall(SYS_prctl, 1, 0, 0, 0, 0); }
ATTEMPT(setuid) { UNUSED_WORLD; return syscall(SYS_setuid, 0); }
ATTEMPT(unshare_user) { UNUSED_WORLD; return syscall(SYS_unshare, CLONE_NEWUSER); }
ATTEMPT(setns) { return syscall(SYS_setns, w->connection, 0); }
ATTEMPT(bpf) { UNUSED_WORLD; char attributes[64] = { 0 }; return syscall(SYS_bpf, 0, attributes, sizeof attributes); }
ATTEMPT(seccomp) { UNUSED_WORLD; return syscall(SYS_seccomp, 0, 0, NULL); }
ATTEMPT(keyctl) { UNUSED_WORLD; return syscall(SYS_keyctl, 0, 0, 0, 0, 0); }
ATTEMPT(userfaultfd) { UNUSED_WORLD; return syscall(SYS_userfaultfd, 0); }
ATTEMPT(io_uring_setup) { UNUSED_WORLD; char parameters[120] = { 0 }; return syscall(SYS_io_uring_setup, 8, parameters); }
ATTEMPT(io_uring_enter) { return syscall(SYS_io_uring_enter, w->connection, 1, 0, 0, NULL, 0); }
/* Data around read and write. */
ATTEMPT(splice) { return syscall(SYS_splice, w->connection, NULL, w->failed, NULL, 1, 0); }
ATTEMPT(sendfile) { return syscall(SYS_sendfile, w->connection, w->broker, NULL, 1); }
/* Code of its own. */
ATTEMPT(mmap_executable) { UNUSED_WORLD; return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
ATTEMPT(mprotect_executable)
{
    UNUSED_WORLD;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return syscall(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC);
}
#ifdef __x86_64__
/* The same call by another door: the 32-bit entry has numbers of its own (socketcall is 102), and x32 sets a bit. */
ATTEMPT(socket_by_32_bit_entry)
{
    UNUSED_WORLD;
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(359L), "b"(AF_INET), "c"(SOCK_STREAM), "d"(0) : "memory");
    return r;
}
ATTEMPT(socket_by_x32) { UNUSED_WORLD; return syscall(SYS_socket | 0x40000000, AF_INET, SOCK_STREAM, 0); }
#endif

#define ENTRY(name) { #name, try_##name }
const struct attempt attempts[] = {
    ENTRY(socket_tcp), ENTRY(socket_udp), ENTRY(socket_unix), ENTRY(socket_netlink), ENTRY(socketpair), ENTRY(connect), ENTRY(bind), ENTRY(listen),
    ENTRY(escape_fastopen_shutdown_listener), ENTRY(escape_fastopen_shutdown_listener_by_high_half), ENTRY(escape_fastopen_sendto_listener),
    ENTRY(escape_fastopen_sendmsg_listener), ENTRY(escape_halfopen_redial_failed_socket), ENTRY(escape_halfopen_redial_by_sendmsg),
    ENTRY(escape_halfopen_fastopen_connect), ENTRY(escape_udp_sendto_elsewhere), ENTRY(escape_udp_sendmsg_elsewhere),
    ENTRY(escape_udp_sendmmsg_elsewhere), ENTRY(setsockopt_repair), ENTRY(setsockopt_ulp), ENTRY(setsockopt_mark), ENTRY(setsockopt_device),
    ENTRY(setsockopt_filter), ENTRY(setsockopt_that_connections_inherit), ENTRY(ioctl), ENTRY(recvmsg_from_instance), ENTRY(recvmmsg),
    ENTRY(recvfrom), ENTRY(accept_on_high),
    ENTRY(accept_old_call), ENTRY(dup), ENTRY(dup2), ENTRY(dup_by_fcntl), ENTRY(owner_by_fcntl), ENTRY(pidfd_getfd), ENTRY(openat), ENTRY(openat2),
#ifdef SYS_open
    ENTRY(open),
#endif
    ENTRY(open_by_handle), ENTRY(stat_by_path), ENTRY(statx), ENTRY(unlink), ENTRY(mount), ENTRY(chroot), ENTRY(memfd_create), ENTRY(execve),
    ENTRY(fork), ENTRY(clone3), ENTRY(ptrace), ENTRY(process_vm_readv), ENTRY(kill_another), ENTRY(tgkill_another), ENTRY(prctl), ENTRY(setuid),
    ENTRY(unshare_user), ENTRY(setns), ENTRY(bpf), ENTRY(seccomp), ENTRY(keyctl), ENTRY(userfaultfd), ENTRY(io_uring_setup),
    ENTRY(io_uring_enter), ENTRY(splice), ENTRY(sendfile), ENTRY(mmap_executable), ENTRY(mprotect_executable),
#ifdef __x86_64__
    ENTRY(socket_by_32_bit_entry), ENTRY(socket_by_x32),
#endif
};
const unsigned n_attempts = ARRAY_SIZE(attempts);
