/* postern-porter: makes the relay the socket of each UDP flow. It hears strangers and can send to nobody (porter_profile.c). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/slots.h"
#include "roles/porter_door.h"
#include "roles/porter_profile.h"
#include "roles/role.h"

struct process {
    struct porter porter;
    struct role role;
    struct io_source parent;
    bool has_low_ports;
};

static _Noreturn void fail(const char *what, int r)
{
    log_error("%s: %s", what, strerror(-r));
    exit(EXIT_FAILURE);
}

/* Rights were given up for good: a port that needs them needs a process that still has them. */
static void start_anew_for_low_ports(const struct process *p)
{
    if (p->has_low_ports || !porter_needs_low_ports(p->porter.view))
        return;
    log_info("a direct port is below 1024: starting anew");
    exit(EXIT_SUCCESS);
}

static void take_image(struct process *p, const struct ipc_image *message, int fd)
{
    struct image view, old;
    struct error err;
    int r = role_attach_image(fd, message->block_size, IMAGE_VIEW, &view, &err);
    close(fd);
    if (r < 0) {
        log_error("the new declaration's view: %s", err.text);
        return;
    }
    r = porter_take_view(&p->porter, view, &old);
    role_detach_image(r < 0 ? view : old);
    if (r < 0) {
        log_error("the new declaration's view: %s", strerror(-r));
        return;
    }
    struct ipc_image taken = { .header = IPC_HEADER(IPC_ROLE_IMAGE_TAKEN, taken), .generation = message->generation, .block_size = message->block_size };
    if (ipc_send_plain(IPC_PARENT_FD, &taken) < 0)
        log_warning("the parent takes no messages");
    start_anew_for_low_ports(p);
}

static void take_listener(struct process *p, const struct ipc_listener *message, const int *fds, size_t n_fds)
{
    if (message->closing) {
        porter_door_remove(&p->porter, &message->address, message->port);
        return;
    }
    int r = n_fds == 1 ? porter_door_add(&p->porter, fds[0], &message->address, message->port) : -EPROTO;
    if (r < 0)
        fail("a listener", r);
}

static void parent_ready(struct io_source *source, uint32_t events)
{
    struct process *p = container_of(source, struct process, parent);
    (void)events;
    for (;;) {
        struct ipc_buffer buffer;
        int fds[IPC_FDS_MAX];
        size_t n_fds = 0;
        int r = ipc_receive_from(IPC_PARENT_FD, IPC_ROLE_PARENT, IPC_ROLE_PORTER, &buffer, fds, &n_fds);
        const void *message = &buffer;
        if (r == -EAGAIN)
            return;
        if (r == -EPIPE)
            exit(EXIT_SUCCESS);
        if (r < 0)
            fail("a message of the parent", r);
        switch (buffer.header.type) {
        case IPC_PARENT_IMAGE:
            take_image(p, message, fds[0]);
            break;
        case IPC_PARENT_LISTENER:
            take_listener(p, message, fds, n_fds);
            break;
        default:
            for (size_t i = 0; i < n_fds; i++)
                close(fds[i]);
        }
    }
}

int main(void)
{
    static struct process p;
    struct image view;
    struct error err;
    if (role_start(IPC_ROLE_PORTER, &p.role) < 0)
        return EXIT_FAILURE;
    int r = slots_reserve();
    if (r < 0)
        fail("low descriptors", r);
    if (role_attach_image(p.role.block, p.role.start.block_size, IMAGE_VIEW, &view, &err) < 0) {
        log_error("the declaration's view: %s", err.text);
        return EXIT_FAILURE;
    }
    if (p.role.metrics < 0 || slots_close(TAKE_FD(p.role.block)) < 0)
        fail("low descriptors", -EBADF);
    r = porter_init(&p.porter, view, p.role.metrics);
    p.parent = (struct io_source){ .fd = IPC_PARENT_FD, .ready = parent_ready };
    if (r == 0)
        r = io_watch(&p.porter.loop, &p.parent, EPOLLIN);
    if (r < 0)
        fail("starting", r);
    p.has_low_ports = porter_needs_low_ports(view);
    const struct confine_profile profile = porter_profile(p.has_low_ports);
    if (role_confine(&p.role, &profile) < 0)
        return EXIT_FAILURE;
    r = io_loop_run(&p.porter.loop);
    if (r < 0)
        fail("the event loop", r);
    return EXIT_SUCCESS;
}
