/* Sending and receiving: one message per packet, descriptors closed on exec from birth, nothing half taken. */
#include "ipc/message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

int ipc_pair(int *ret_a, int *ret_b)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    *ret_a = pair[0];
    *ret_b = pair[1];
    return 0;
}

int ipc_send(int channel, const void *message, const int *fds, size_t n_fds)
{
    const struct ipc_header *header = message;
    if (n_fds > IPC_FDS_MAX)
        return -EINVAL;
    struct iovec part = { (void *)(uintptr_t)message, header->size };
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * IPC_FDS_MAX)] = { 0 };
    struct msghdr packet = { .msg_iov = &part, .msg_iovlen = 1 };
    if (n_fds > 0) {
        packet.msg_control = control;
        packet.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&packet);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(rights), fds, sizeof(int) * n_fds);
    }
    ssize_t n;
    do
        n = sendmsg(channel, &packet, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
    return (size_t)n == header->size ? 0 : -EIO;
}

int ipc_send_plain(int channel, const void *message)
{
    const struct ipc_header *header = message;
    ssize_t n;
    do
        n = write(channel, message, header->size);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
    return (size_t)n == header->size ? 0 : -EIO;
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

/* Collects the descriptors of every SCM_RIGHTS block; those past the fourth are closed and make the message malformed. */
static bool take_descriptors(struct msghdr *packet, int fds[static IPC_FDS_MAX], size_t *n_fds)
{
    bool fits = true;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(packet); c; c = CMSG_NXTHDR(packet, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            fits = false;
            continue;
        }
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (*n_fds < IPC_FDS_MAX) {
                fds[(*n_fds)++] = fd;
            } else {
                close(fd);
                fits = false;
            }
        }
    }
    return fits;
}

int ipc_receive(int channel, void *buffer, size_t size, int fds[static IPC_FDS_MAX], size_t *ret_n_fds)
{
    struct iovec part = { buffer, size };
    /* Room for one descriptor more than is allowed, so that most floods arrive whole and are closed one by one; the kernel drops the rest. */
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * (IPC_FDS_MAX + 1))];
    struct msghdr packet = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    ssize_t n;
    bool was_reset = false;
    for (;;) {
        n = recvmsg(channel, &packet, MSG_CMSG_CLOEXEC);
        if (n >= 0)
            break;
        if (errno == ECONNRESET && !was_reset) {
            was_reset = true; /* told once when the peer closed with something unread; what it sent before is still queued */
            continue;
        }
        if (errno != EINTR)
            return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
    }
    int taken[IPC_FDS_MAX];
    size_t n_taken = 0;
    bool fits = take_descriptors(&packet, taken, &n_taken);
    if (n == 0 && n_taken == 0)
        return -EPIPE;
    if (!fits || packet.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || ipc_check_shape(buffer, (size_t)n, n_taken) < 0) {
        close_all(taken, n_taken);
        return -EBADMSG;
    }
    memcpy(fds, taken, sizeof(int) * n_taken);
    *ret_n_fds = n_taken;
    return 0;
}

int ipc_receive_from(int channel, enum ipc_role sender, enum ipc_role receiver, struct ipc_buffer *buffer, int fds[static IPC_FDS_MAX], size_t *ret_n_fds)
{
    int taken[IPC_FDS_MAX];
    size_t n = 0;
    int r = ipc_receive(channel, buffer, sizeof *buffer, taken, &n);
    if (r < 0)
        return r;
    if (!ipc_may_send(sender, receiver, buffer->header.type)) {
        close_all(taken, n);
        return -EBADMSG;
    }
    memcpy(fds, taken, sizeof(int) * n);
    *ret_n_fds = n;
    return 0;
}
