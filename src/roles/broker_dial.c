/* Connecting without waiting: attempts, their fallback, and the check that what is handed out is connected. */
#include "roles/broker_dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static void attempt_close(struct broker_dialer *dialer, struct broker_attempt *attempt)
{
    if (attempt->fd < 0)
        return;
    /* Removed by name: a socket that lives on in a worker would stay in our epoll set after our close. */
    epoll_ctl(dialer->epoll, EPOLL_CTL_DEL, attempt->fd, NULL);
    close(TAKE_FD(attempt->fd));
    attempt->dial->n_under_way--;
}

static void close_attempts(struct broker_dialer *dialer, struct broker_dial *dial)
{
    for (size_t i = 0; i < IMAGE_TARGET_ADDRESSES; i++)
        attempt_close(dialer, &dial->attempts[i]);
}

static void dial_finish(struct broker_dialer *dialer, struct broker_dial *dial, int status, int socket)
{
    close_attempts(dialer, dial);
    dial->state = DIAL_DONE;
    dial->status = status;
    dial->socket = socket;
}

/* Whether the socket is connected, and to somebody else: a half-connected one could be led elsewhere by whoever holds it, and a TCP
 * socket that met its own port (simultaneous open, RFC 9293 section 3.5) talks to itself. 0 or negative errno. */
static int socket_check(int fd, bool tcp)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length))
        return -errno;
    if (error)
        return -error;
    struct sockaddr_storage peer = { 0 }, own = { 0 };
    socklen_t peer_length = sizeof peer, own_length = sizeof own;
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_length))
        return -errno;
    if (!tcp)
        return 0;
    if (getsockname(fd, (struct sockaddr *)&own, &own_length))
        return -errno;
    return own_length == peer_length && memcmp(&own, &peer, own_length) == 0 ? -ECONNREFUSED : 0;
}

static int socket_make(struct broker_dialer *dialer, const struct broker_dial *dial, int family, int64_t now_ms)
{
    int type = dial->is_datagram ? SOCK_DGRAM : SOCK_STREAM;
    struct broker_netns_entry *entry;
    if (dial->kind == IMAGE_TARGET_NETNS) {
        int r = broker_netns_open(&dialer->netns, str_of(dial->path), now_ms, &entry, NULL);
        if (r)
            return r;
    } else if (dial->kind == IMAGE_TARGET_CONTAINER) {
        struct broker_container *container = broker_container_find(&dialer->containers, dial->container);
        if (!container || container->state != CONTAINER_HERE)
            return -ENOENT;
        entry = &container->space;
    } else {
        int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
    }
    return broker_netns_socket(&dialer->netns, entry, family, type, 0);
}

/* 0: connected; -EINPROGRESS; other negative errno. */
static int socket_connect(int fd, const struct broker_dial *dial, const struct broker_route *route)
{
    static const int one = 1;
    struct sockaddr_storage to;
    if (dial->kind == IMAGE_TARGET_UNIX) {
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        str_copy(un.sun_path, sizeof un.sun_path, str_of(dial->path));
        return connect(fd, (struct sockaddr *)&un, sizeof un) ? -errno : 0;
    }
    if (!dial->is_datagram && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
        return -errno;
    if (route->has_source) {
        /* The port is chosen at connect, by the whole four-tuple, so that they don't run out. */
        socklen_t length = address_to_sockaddr(&route->source, 0, &to);
        if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) || bind(fd, (struct sockaddr *)&to, length))
            return -errno;
    }
    socklen_t length = address_to_sockaddr(&route->address, dial->port, &to);
    return connect(fd, (struct sockaddr *)&to, length) ? -errno : 0;
}

/* Waits for the container's namespace; whoever looks for it is told. The dial is done where there is nothing to wait for. */
static void dial_wait(struct broker_dialer *dialer, struct broker_dial *dial, int64_t now_ms)
{
    struct broker_container *container = broker_container_find(&dialer->containers, dial->container);
    close_attempts(dialer, dial);
    dial->state = DIAL_WAITING;
    dial->next_ms = INT64_MAX;
    if (container && container->state == CONTAINER_GONE)
        dial->next_ms = container->patient_until_ms;
    if (container) /* also where this one doesn't wait: the next may be in luck */
        broker_container_hint(&dialer->containers, container);
    if (!container || now_ms >= dial->next_ms || now_ms >= dial->limit_ms)
        dial_finish(dialer, dial, -ENOENT, -1);
}

/* What a connected socket is connected to lived in that namespace; that it is the container, and no other that shared the namespace and
 * survived it, is so as long as the container's process lives. */
static void dial_take(struct broker_dialer *dialer, struct broker_dial *dial, int fd, int64_t now_ms)
{
    if (dial->kind == IMAGE_TARGET_CONTAINER) {
        struct broker_container *container = broker_container_find(&dialer->containers, dial->container);
        if (!container || !broker_container_is_alive(container)) {
            close(fd);
            if (container && container->state == CONTAINER_HERE)
                broker_container_leave(&dialer->containers, container, true, now_ms);
            dial_wait(dialer, dial, now_ms);
            return;
        }
    }
    dial_finish(dialer, dial, 0, fd);
}

static void dial_container(struct broker_dialer *dialer, struct broker_dial *dial, int64_t now_ms, struct error *err);

/* Everything was tried. A container that has just started may not listen yet; one that was taken off a network has other addresses. */
static void dial_fail(struct broker_dialer *dialer, struct broker_dial *dial, int64_t now_ms)
{
    struct broker_container *container = dial->kind == IMAGE_TARGET_CONTAINER ? broker_container_find(&dialer->containers, dial->container) : NULL;
    if (container && container->state == CONTAINER_HERE) {
        container->space.routes_ms = 0;
        if (dial->finds_routes && !dial->found_again && dial->status != -ECONNREFUSED) {
            dial->found_again = true;
            dial_container(dialer, dial, now_ms, NULL);
            return;
        }
        if (dial->status == -ECONNREFUSED && now_ms < container->patient_until_ms && now_ms + DIAL_STARTING_RETRY_MS < dial->limit_ms) {
            dial->n_tried = 0;
            dial->next_ms = now_ms + DIAL_STARTING_RETRY_MS;
            return;
        }
    }
    dial_finish(dialer, dial, dial->status, -1);
}

/* Starts attempts until one is under way or none is left; then, with none under way, the dial is done. */
static void attempt_next(struct broker_dialer *dialer, struct broker_dial *dial, int64_t now_ms)
{
    while (dial->state == DIAL_CONNECTING && dial->n_tried < dial->n_routes) {
        const struct broker_route *route = &dial->routes[(dial->n_tried + dial->turn) % dial->n_routes];
        struct broker_attempt *attempt = &dial->attempts[dial->n_tried];
        bool tcp = dial->kind != IMAGE_TARGET_UNIX;
        int family = !tcp ? AF_UNIX : address_is_v4(&route->address) ? AF_INET : AF_INET6;
        cleanup_close int fd = socket_make(dialer, dial, family, now_ms);
        int r = fd < 0 ? fd : socket_connect(fd, dial, route);
        if (!tcp && r == -EAGAIN) {
            /* A unix socket whose backlog is full can't be waited for. */
            dial->next_ms = now_ms + DIAL_UNIX_RETRY_MS;
            return;
        }
        dial->n_tried++;
        if (r == 0 || r == -EINPROGRESS) {
            /* On one machine the other side has answered within the call, whatever it returned: most dials are done here, without epoll. */
            int checked = socket_check(fd, tcp);
            r = r == -EINPROGRESS && checked == -ENOTCONN ? r : checked;
        }
        if (r == 0) {
            dial_take(dialer, dial, TAKE_FD(fd), now_ms);
            return;
        }
        if (r == -EINPROGRESS) {
            struct epoll_event event = { .events = EPOLLOUT, .data.ptr = &attempt->watch };
            if (epoll_ctl(dialer->epoll, EPOLL_CTL_ADD, fd, &event) == 0) {
                attempt->fd = TAKE_FD(fd);
                dial->n_under_way++;
                dial->next_ms = now_ms + DIAL_FALLBACK_MS;
                return;
            }
            r = -errno;
        }
        dial->status = r;
    }
    if (dial->state == DIAL_CONNECTING && dial->n_under_way == 0)
        dial_fail(dialer, dial, now_ms);
}

static int find_routes(struct broker_dialer *dialer, struct broker_dial *dial, struct broker_netns_entry *entry, int64_t now_ms, struct error *err)
{
    if (!dial->finds_routes)
        return 0;
    int r = broker_netns_find_routes(&dialer->netns, entry, dial->sources, now_ms);
    if (r == -EADDRNOTAVAIL)
        error_set(err, "%s has only its loopback, and this gateway no mesh address to dial it from; give the host an address: or say "
                       "loopback: true",
                  dial->path);
    if (r)
        return r;
    dial->n_routes = entry->n_routes;
    memcpy(dial->routes, entry->routes, sizeof dial->routes);
    return 0;
}

/* From the start, or from waiting, to the first attempt. */
static void dial_container(struct broker_dialer *dialer, struct broker_dial *dial, int64_t now_ms, struct error *err)
{
    struct broker_container *container = broker_container_find(&dialer->containers, dial->container);
    if (!container || container->state != CONTAINER_HERE) {
        dial_wait(dialer, dial, now_ms);
        return;
    }
    close_attempts(dialer, dial);
    dial->state = DIAL_CONNECTING;
    dial->n_tried = 0;
    dial->next_ms = INT64_MAX;
    dial->status = -EHOSTUNREACH;
    int r = find_routes(dialer, dial, &container->space, now_ms, err);
    if (r)
        dial_finish(dialer, dial, r, -1);
    else
        attempt_next(dialer, dial, now_ms);
}

static int dial_prepare(struct broker_dialer *dialer, struct broker_dial *dial, const struct image_target *target, struct image image,
                        int64_t now_ms, struct error *err)
{
    struct str path = image_str(image, target->path);
    switch (target->kind) {
    case IMAGE_TARGET_UNIX:
        if (path.len == 0 || path.len >= sizeof((struct sockaddr_un *)NULL)->sun_path)
            return -ENAMETOOLONG;
        str_copy(dial->path, sizeof dial->path, path);
        dial->n_routes = 1;
        return 0;
    case IMAGE_TARGET_NETNS:
    case IMAGE_TARGET_CONTAINER:
        if (path.len == 0 || path.len >= sizeof dial->path)
            return -ENAMETOOLONG;
        str_copy(dial->path, sizeof dial->path, path);
        dial->finds_routes = target->n_addresses == 0;
        memcpy(dial->sources, target->sources, sizeof dial->sources);
        break;
    case IMAGE_TARGET_ADDRESS:
        break;
    default:
        return -ENOENT;
    }
    for (uint32_t i = 0; i < target->n_addresses && i < IMAGE_TARGET_ADDRESSES; i++)
        dial->routes[dial->n_routes++] = (struct broker_route){ .address = target->addresses[i] };
    if (target->kind != IMAGE_TARGET_NETNS)
        return 0;
    struct broker_netns_entry *entry;
    int r = broker_netns_open(&dialer->netns, path, now_ms, &entry, err);
    return r ? r : find_routes(dialer, dial, entry, now_ms, err);
}

void dial_start(struct broker_dialer *dialer, struct broker_dial *dial, const struct image_target *target, struct image image, uint32_t turn,
                int64_t now_ms, struct error *err)
{
    dial->state = DIAL_CONNECTING;
    dial->kind = target->kind;
    dial->port = target->port;
    dial->is_datagram = target->direct == IMAGE_DIRECT_UDP;
    dial->turn = dial->is_datagram ? turn % IMAGE_TARGET_ADDRESSES : 0;
    dial->identity = target->identity;
    dial->container = target->container;
    dial->finds_routes = dial->found_again = false;
    dial->limit_ms = now_ms + DIAL_LIMIT_MS;
    dial->next_ms = INT64_MAX;
    dial->n_routes = dial->n_tried = dial->n_under_way = 0;
    dial->status = -EHOSTUNREACH;
    dial->socket = -1;
    for (size_t i = 0; i < IMAGE_TARGET_ADDRESSES; i++)
        dial->attempts[i] = (struct broker_attempt){ .watch = { BROKER_WATCH_ATTEMPT }, .fd = -1, .dial = dial };
    int r = dial_prepare(dialer, dial, target, image, now_ms, err);
    if (r)
        dial_finish(dialer, dial, r, -1);
    else if (dial->kind == IMAGE_TARGET_CONTAINER)
        dial_container(dialer, dial, now_ms, err);
    else
        attempt_next(dialer, dial, now_ms);
}

void dial_container_changed(struct broker_dialer *dialer, struct broker_dial *dial, uint64_t container, int64_t now_ms)
{
    if (dial->kind == IMAGE_TARGET_CONTAINER && dial->container == container && (dial->state == DIAL_WAITING || dial->state == DIAL_CONNECTING))
        dial_container(dialer, dial, now_ms, NULL);
}

void dial_attempt_ready(struct broker_dialer *dialer, struct broker_attempt *attempt, int64_t now_ms)
{
    struct broker_dial *dial = attempt->dial;
    if (dial->state != DIAL_CONNECTING || attempt->fd < 0)
        return;
    int r = socket_check(attempt->fd, true);
    if (r == 0) {
        epoll_ctl(dialer->epoll, EPOLL_CTL_DEL, attempt->fd, NULL);
        dial->n_under_way--;
        dial_take(dialer, dial, TAKE_FD(attempt->fd), now_ms);
        return;
    }
    if (r == -ENOTCONN)
        return; /* woken too early */
    attempt_close(dialer, attempt);
    dial->status = r;
    attempt_next(dialer, dial, now_ms);
}

void dial_tick(struct broker_dialer *dialer, struct broker_dial *dial, int64_t now_ms)
{
    if (dial->state == DIAL_WAITING && (now_ms >= dial->limit_ms || now_ms >= dial->next_ms))
        dial_finish(dialer, dial, -ENOENT, -1);
    if (dial->state != DIAL_CONNECTING)
        return;
    if (now_ms >= dial->limit_ms) {
        dial_finish(dialer, dial, -ETIMEDOUT, -1);
    } else if (now_ms >= dial->next_ms) {
        dial->next_ms = INT64_MAX;
        attempt_next(dialer, dial, now_ms);
    }
}

void dial_end(struct broker_dialer *dialer, struct broker_dial *dial)
{
    dial_finish(dialer, dial, dial->status, dial->socket);
    if (dial->socket >= 0)
        close(TAKE_FD(dial->socket));
    dial->state = DIAL_FREE;
}
