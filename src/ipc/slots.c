/* Placeholders in a worker's low descriptors. One process, one descriptor table: the state is file-wide as the table is. */
#include "ipc/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>

enum { FIRST_SLOT = IPC_PARENT_FD + 1 };

static bool is_placeholder[IPC_SLOTS_END];

int slots_reserve(void)
{
    int first = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (first < 0)
        return -errno;
    if (first < IPC_SLOTS_END)
        is_placeholder[first] = true;
    for (;;) {
        int fd = fcntl(first, F_DUPFD_CLOEXEC, FIRST_SLOT);
        if (fd < 0) {
            int r = -errno;
            if (first >= IPC_SLOTS_END)
                close(first);
            return r;
        }
        if (fd >= IPC_SLOTS_END) {
            close(fd);
            break;
        }
        is_placeholder[fd] = true;
    }
    if (first >= IPC_SLOTS_END)
        close(first);
    return 0;
}

/* The lowest free number is the hole: no other low number is free. */
static int fill_hole(int hole)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (fd != hole) {
        close(fd);
        return -EBADF;
    }
    is_placeholder[hole] = true;
    return 0;
}

static int open_hole(void)
{
    for (int fd = FIRST_SLOT; fd < IPC_SLOTS_END; fd++)
        if (is_placeholder[fd]) {
            is_placeholder[fd] = false;
            close(fd);
            return fd;
        }
    return -EMFILE;
}

int slots_receive(int channel, enum ipc_role receiver, struct ipc_buffer *buffer, int fds[static IPC_FDS_MAX], size_t *ret_n_fds)
{
    int hole = open_hole();
    if (hole < 0)
        return hole;
    size_t n = 0;
    int r = ipc_receive_from(channel, IPC_ROLE_PARENT, receiver, buffer, fds, &n);
    if (r == 0 && n > 0) {
        *ret_n_fds = n;
        return 0;
    }
    int filled = fill_hole(hole);
    if (r < 0)
        return r;
    if (filled < 0)
        return filled;
    *ret_n_fds = 0;
    return 0;
}

int slots_close(int fd)
{
    close(fd);
    return fd >= FIRST_SLOT && fd < IPC_SLOTS_END ? fill_hole(fd) : 0;
}
