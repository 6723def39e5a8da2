/* Who gets a channel to whom: keeper and broker to every worker, broker and porter to the relay, docker to the broker; each worker, and the
 * relay, a pipe to the logger and a page to the watcher. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/parent.h"

enum { RECORDS_PIPE_SIZE = 256 * 1024 };

static struct ipc_channel channel_message(enum ipc_type type, const struct child *peer)
{
    struct ipc_channel message = {
        .header = IPC_HEADER(type, message), .peer = peer->role, .surface = peer->surface, .worker = peer->worker, .pid = peer->pid,
    };
    memcpy(message.surface_name, peer->surface_name, sizeof message.surface_name);
    return message;
}

static void give(struct parent *parent, struct child *to, const struct child *peer, int fd)
{
    struct ipc_channel message = channel_message(IPC_PARENT_CHANNEL, peer);
    child_send(parent, to, &message, &fd, 1);
}

static void take_away(struct parent *parent, struct child *from, const struct child *peer)
{
    struct ipc_channel message = channel_message(IPC_PARENT_CHANNEL_LOST, peer);
    child_send(parent, from, &message, NULL, 0);
}

static void connect_pair(struct parent *parent, struct child *a, struct child *b)
{
    cleanup_close int end_a = -1, end_b = -1;
    int r = ipc_pair(&end_a, &end_b);
    if (r < 0) {
        log_error("no channel between roles: %s", strerror(-r)); /* descriptors are short: the worker can't serve, and says so by being asked again */
        child_kill(child_has_connections(a) ? a : b, strerror(-r));
        return;
    }
    give(parent, a, b, end_a);
    give(parent, b, a, end_b);
}

/* The pipe outlives the logger, so that what is written meanwhile waits for the next one; it ends with the worker. */
static int open_records_pipe(struct child *worker)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    fcntl(ends[1], F_SETPIPE_SZ, RECORDS_PIPE_SIZE); /* best effort: without it, bursts are dropped sooner, and counted */
    worker->records[0] = ends[0];
    worker->records[1] = ends[1];
    return 0;
}

static void tell_metrics_page(struct parent *parent, struct child *watcher, const struct child *worker)
{
    struct ipc_metrics_page page = { .header = IPC_HEADER(IPC_PARENT_METRICS_PAGE, page), .surface = worker->surface, .worker = worker->worker };
    memcpy(page.surface_name, worker->surface_name, sizeof page.surface_name);
    child_send(parent, watcher, &page, &worker->metrics, 1);
}

static bool is_served(const struct child *child)
{
    return child_is_live(child) && child_has_connections(child);
}

static bool speaks_with(const struct child *child, enum ipc_role role)
{
    return role == IPC_ROLE_KEEPER ? child->role == IPC_ROLE_WORKER : role == IPC_ROLE_PORTER ? child->role == IPC_ROLE_RELAY : true;
}

static void wire_to(struct parent *parent, struct child *child, enum ipc_role role)
{
    struct child *peer = child_find(parent, role);
    if (peer && child_is_live(peer))
        connect_pair(parent, child, peer);
}

static void wire_porter(struct parent *parent, struct child *relay)
{
    struct child *porter = child_find(parent, IPC_ROLE_PORTER);
    if (porter && child_is_live(porter))
        give(parent, relay, porter, porter->flows[0]);
}

/* A worker or the relay. */
static void wire_worker(struct parent *parent, struct child *worker)
{
    struct child *logger = child_find(parent, IPC_ROLE_LOGGER), *watcher = child_find(parent, IPC_ROLE_WATCHER);
    if (worker->role == IPC_ROLE_WORKER)
        wire_to(parent, worker, IPC_ROLE_KEEPER);
    else
        wire_porter(parent, worker);
    wire_to(parent, worker, IPC_ROLE_BROKER);
    int r = open_records_pipe(worker);
    if (r < 0) {
        child_kill(worker, strerror(-r));
        return;
    }
    struct ipc_channel to_logger = {
        .header = IPC_HEADER(IPC_PARENT_CHANNEL, to_logger), .peer = IPC_ROLE_LOGGER, .surface = IMAGE_NONE, .worker = IMAGE_NONE
    };
    child_send(parent, worker, &to_logger, &worker->records[1], 1);
    close(TAKE_FD(worker->records[1]));
    if (logger)
        give(parent, logger, worker, worker->records[0]);
    if (watcher)
        tell_metrics_page(parent, watcher, worker);
    if (worker->role == IPC_ROLE_WORKER)
        docker_tell_guests(parent, worker);
}

static void wire_docker(struct parent *parent, struct child *docker)
{
    struct child *broker = child_find(parent, IPC_ROLE_BROKER), *watcher = child_find(parent, IPC_ROLE_WATCHER);
    docker_tell_hints(parent, docker);
    docker_tell_offers(parent, docker);
    if (broker && child_is_live(broker)) {
        docker_tell_hints(parent, broker);
        connect_pair(parent, docker, broker);
    }
    if (watcher)
        docker_tell_board(parent, watcher);
}

static void tell_own_state(struct parent *parent, struct child *watcher)
{
    struct ipc_role_state state = {
        .header = IPC_HEADER(IPC_PARENT_ROLE_STATE, state), .pid = getpid(), .role = IPC_ROLE_PARENT,
        .status = IPC_ROLE_RUNNING, .confinement = IPC_CONFINED_CAPABILITIES | IPC_CONFINED_NO_NEW_PRIVILEGES, .started_at = parent->started_at,
    };
    child_send(parent, watcher, &state, NULL, 0);
}

static void wire_watcher(struct parent *parent, struct child *watcher)
{
    tell_own_state(parent, watcher);
    for (struct child *child = parent->children; child; child = child->next) {
        child_tell_state(parent, child);
        if (is_served(child))
            tell_metrics_page(parent, watcher, child);
    }
    for (uint32_t i = 0; i < parent->n_certificates; i++)
        child_send(parent, watcher, &parent->certificates[i], NULL, 0);
    docker_tell_board(parent, watcher);
    reload_tell_watcher(parent, watcher);
}

void wire_started(struct parent *parent, struct child *child)
{
    struct child *docker = child_find(parent, IPC_ROLE_DOCKER);
    switch (child->role) {
    case IPC_ROLE_WORKER:
    case IPC_ROLE_RELAY:
        wire_worker(parent, child);
        break;
    case IPC_ROLE_DOCKER:
        wire_docker(parent, child);
        break;
    case IPC_ROLE_KEEPER:
    case IPC_ROLE_BROKER:
        if (child->role == IPC_ROLE_BROKER && docker && child_is_live(docker)) {
            docker_tell_hints(parent, child);
            connect_pair(parent, docker, child);
        }
        for (struct child *worker = parent->children; worker; worker = worker->next)
            if (is_served(worker) && speaks_with(worker, child->role))
                connect_pair(parent, worker, child);
        break;
    case IPC_ROLE_PORTER:
        for (struct child *relay = parent->children; relay; relay = relay->next)
            if (is_served(relay) && relay->role == IPC_ROLE_RELAY)
                give(parent, relay, child, child->flows[0]);
        break;
    case IPC_ROLE_LOGGER:
        for (struct child *worker = parent->children; worker; worker = worker->next)
            if (child_has_connections(worker) && worker->records[0] >= 0)
                give(parent, child, worker, worker->records[0]);
        break;
    case IPC_ROLE_WATCHER:
        wire_watcher(parent, child);
        break;
    case IPC_ROLE_PARENT:
    case IPC_ROLE_COMPILER:
    case IPC_ROLE_COUNT:
        break;
    }
}

void wire_ended(struct parent *parent, struct child *child)
{
    if (child->role == IPC_ROLE_KEEPER || child->role == IPC_ROLE_BROKER || child->role == IPC_ROLE_PORTER) {
        for (struct child *worker = parent->children; worker; worker = worker->next)
            if (is_served(worker) && speaks_with(worker, child->role))
                take_away(parent, worker, child);
        struct child *docker = child->role == IPC_ROLE_BROKER ? child_find(parent, IPC_ROLE_DOCKER) : NULL;
        if (docker)
            take_away(parent, docker, child);
    } else if (child->role == IPC_ROLE_DOCKER) {
        struct child *broker = child_find(parent, IPC_ROLE_BROKER);
        if (broker)
            take_away(parent, broker, child);
    } else if (child_has_connections(child)) {
        static const enum ipc_role peers[] = { IPC_ROLE_KEEPER, IPC_ROLE_BROKER, IPC_ROLE_LOGGER };
        for (size_t i = 0; i < ARRAY_SIZE(peers); i++) {
            struct child *peer = child_find(parent, peers[i]);
            if (peer && speaks_with(child, peers[i]))
                take_away(parent, peer, child);
        }
        if (child->records[0] >= 0)
            close(TAKE_FD(child->records[0]));
    }
}
