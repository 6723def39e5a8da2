/* What the parent says to a role: start, image, state; queued when it is slow to read, within a cap. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

#include "roles/parent.h"

void child_drop_queue(struct child *child)
{
    while (child->queue) {
        struct child_queued *first = child->queue;
        child->queue = first->next;
        for (size_t i = 0; i < first->n_fds; i++)
            close(first->fds[i]);
        free(first);
    }
    child->queue_end = &child->queue;
    child->n_queued = 0;
}

static void await_writable(struct parent *parent, struct child *child, bool is_awaited)
{
    if (child->is_writable_awaited == is_awaited || child->channel < 0)
        return;
    struct epoll_event event = { .events = EPOLLIN | (is_awaited ? EPOLLOUT : 0U), .data.ptr = child };
    if (epoll_ctl(parent->epoll, EPOLL_CTL_MOD, child->channel, &event) == 0)
        child->is_writable_awaited = is_awaited;
}

static int queue_message(struct child *child, const void *message, const int *fds, size_t n_fds)
{
    if (child->n_queued >= PARENT_QUEUE_MAX)
        return -ENOBUFS;
    struct child_queued *entry = calloc(1, sizeof *entry);
    if (!entry)
        return -ENOMEM;
    memcpy(&entry->message, message, ((const struct ipc_header *)message)->size);
    for (; entry->n_fds < n_fds; entry->n_fds++) {
        entry->fds[entry->n_fds] = fcntl(fds[entry->n_fds], F_DUPFD_CLOEXEC, 0);
        if (entry->fds[entry->n_fds] < 0) {
            int r = -errno;
            while (entry->n_fds > 0)
                close(entry->fds[--entry->n_fds]);
            free(entry);
            return r;
        }
    }
    *child->queue_end = entry;
    child->queue_end = &entry->next;
    child->n_queued++;
    return 0;
}

void child_send(struct parent *parent, struct child *child, const void *message, const int *fds, size_t n_fds)
{
    if (!child_is_live(child))
        return;
    int r = child->queue ? -EAGAIN : ipc_send(child->channel, message, fds, n_fds);
    if (r == -EAGAIN) {
        r = queue_message(child, message, fds, n_fds);
        await_writable(parent, child, true);
    }
    if (r < 0 && r != -EPIPE) /* -EPIPE: it has ended, which the signal says too */
        child_kill(child, r == -ENOBUFS ? "it does not read what it is sent" : strerror(-r));
}

void child_flush(struct parent *parent, struct child *child)
{
    while (child->queue) {
        struct child_queued *first = child->queue;
        int r = ipc_send(child->channel, &first->message, first->fds, first->n_fds);
        if (r == -EAGAIN)
            return;
        if (r < 0) {
            child_drop_queue(child);
            break;
        }
        child->queue = first->next;
        if (!child->queue)
            child->queue_end = &child->queue;
        child->n_queued--;
        for (size_t i = 0; i < first->n_fds; i++)
            close(first->fds[i]);
        free(first);
    }
    await_writable(parent, child, false);
}

void child_tell_state(struct parent *parent, const struct child *child)
{
    struct child *watcher = child_find(parent, IPC_ROLE_WATCHER);
    if (!watcher || child->role == IPC_ROLE_COMPILER)
        return;
    struct ipc_role_state state = {
        .header = IPC_HEADER(IPC_PARENT_ROLE_STATE, state), .pid = child->pid, .role = child->role, .surface = child->surface,
        .worker = child->worker, .status = child->status, .confinement = child->confinement, .missing = child->missing,
        .n_restarts = child->n_restarts, .backoff_ms = child->backoff_ms, .generation = child->generation, .started_at = child->started_at,
    };
    memcpy(state.surface_name, child->surface_name, sizeof state.surface_name);
    memcpy(state.last_exit, child->last_exit, sizeof state.last_exit);
    child_send(parent, watcher, &state, NULL, 0);
}

void child_set_status(struct parent *parent, struct child *child, enum ipc_role_status status)
{
    child->status = status;
    child_tell_state(parent, child);
}

static const struct parent_block *block_for(const struct generation *generation, const struct child *child)
{
    switch (child->role) {
    case IPC_ROLE_KEEPER:
        return &generation->keys;
    case IPC_ROLE_BROKER:
        return &generation->dial;
    case IPC_ROLE_WATCHER:
        return &generation->plan;
    case IPC_ROLE_WORKER:
    case IPC_ROLE_RELAY:
    case IPC_ROLE_PORTER:
        return &generation->views[child->surface];
    case IPC_ROLE_DOCKER:
        return &generation->docker;
    case IPC_ROLE_PARENT:
    case IPC_ROLE_LOGGER:
    case IPC_ROLE_COMPILER:
    case IPC_ROLE_COUNT:
        break;
    }
    return NULL;
}

void child_send_image(struct parent *parent, struct child *child, const struct generation *generation)
{
    const struct parent_block *block = block_for(generation, child);
    struct ipc_image image = { .header = IPC_HEADER(IPC_PARENT_IMAGE, image), .generation = generation->number, .block_size = block->size };
    child_send(parent, child, &image, &block->fd, 1);
}

void child_send_start(struct parent *parent, struct child *child)
{
    struct ipc_start start = {
        .header = IPC_HEADER(IPC_PARENT_START, start), .role = child->role, .surface = child->surface, .worker = child->worker,
        .uid = parent_uid_of(parent, child->role, child->surface), .log_requests = parent->options.log_requests,
    };
    start.gid = start.uid;
    if (child->role == IPC_ROLE_KEEPER)
        start.acme_uid = start.acme_gid = parent_uid_of_acme(parent);
    int fds[2];
    size_t n_fds = 0;
    const struct generation *current = parent->current;
    /* A broker that comes back must still know the generation that asks in flight are of. */
    const struct generation *first = child->role == IPC_ROLE_BROKER && parent->previous ? parent->previous : current;
    const struct parent_block *block = first ? block_for(first, child) : NULL;
    if (block) {
        start.generation = first->number;
        start.block_size = block->size;
        fds[n_fds++] = block->fd;
    }
    if (child->metrics >= 0)
        fds[n_fds++] = child->metrics;
    if (child->role == IPC_ROLE_DOCKER)
        fds[n_fds++] = parent->docker.board;
    if (child->flows[1] >= 0)
        fds[n_fds++] = child->flows[1];
    if (child->role == IPC_ROLE_KEEPER)
        str_copy(start.state_directory, sizeof start.state_directory, str_of(parent->options.state_directory));
    if (child->role == IPC_ROLE_LOGGER && current)
        str_copy(start.log_file, sizeof start.log_file, image_str(current->plan_image, image_settings(current->plan_image, 0)->log_file));
    child->generation = start.generation;
    child_send(parent, child, &start, fds, n_fds);
    if (child->flows[1] >= 0)
        close(TAKE_FD(child->flows[1]));
    if (block && first != current)
        child_send_image(parent, child, current);
}

