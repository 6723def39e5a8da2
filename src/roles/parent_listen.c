/* Listening sockets: made before the mesh is up, by the workers' uid so that a firewall can tell what they start, and kept over reloads. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/parent.h"

enum { BACKLOG = 4096, FIRST_UNPRIVILEGED_PORT = 1024 };

/* ---- one socket ---- */

/* A socket's owner, as nftables' skuid sees it, is the fsuid of whoever made it: that alone is borrowed, and no capability is lost for binding. */
static int make_socket(int family, int type, uint32_t uid)
{
    if (uid)
        setfsuid(uid);
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -errno : fd;
    if (uid)
        setfsuid(geteuid());
    return r;
}

/* What connections inherit, also those that are made before a worker takes its listeners: with Nagle's algorithm an answer in two parts
 * waits for a delayed acknowledgement, 40 ms. */
static int set_connection_options(int fd)
{
    const int on = 1, idle_s = 15, interval_s = 15;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 || setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s) < 0)
        return -errno;
    return 0;
}

/* A UDP port is shared with the sockets of its flows, which the porter makes: REUSEPORT lets none but those of the same user do that. */
static int set_options(int fd, int family, bool is_udp)
{
    const int one = 1;
    if (setsockopt(fd, SOL_SOCKET, is_udp ? SO_REUSEPORT : SO_REUSEADDR, &one, sizeof one) < 0)
        return -errno;
    if (family == AF_INET)
        return setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof one) < 0 ? -errno : 0;
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0)
        return -errno;
    return setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof one) < 0 ? -errno : 0;
}

static bool is_udp(const struct listener *listener)
{
    return listener->kind == IMAGE_LISTENER_DIRECT_UDP;
}

static void explain(const struct listener *listener, int r, struct error *err)
{
    char address[ADDRESS_TEXT_SIZE], holder[HOLDER_TEXT_SIZE];
    address_format(&listener->address, address);
    if (r == -EADDRINUSE) {
        holder_find(&listener->address, is_udp(listener), listener->port, holder);
        error_set(err, "port %u on %s is held by %s: %s", (unsigned)listener->port, address,
            holder[0] ? holder : is_udp(listener) ? "another process ('ss -lunp' as root names it)" : "another process ('ss -ltnp' as root names it)",
            listener->surface == IMAGE_SURFACE_DIRECT ? "what is relayed into a container must not be published too; or give the service another port"
                                                      : "stop it, or give the surface another port");
    } else if (r == -EACCES && listener->port < FIRST_UNPRIVILEGED_PORT) {
        error_set(err, "port %u on %s needs root (or CAP_NET_BIND_SERVICE): run as root, or give the %s a port from %d up",
            (unsigned)listener->port, address, listener->surface == IMAGE_SURFACE_DIRECT ? "service" : "surface", FIRST_UNPRIVILEGED_PORT);
    } else {
        error_set(err, "listening on port %u of %s: %s", (unsigned)listener->port, address, strerror(-r));
    }
}

/* Whose socket it is to be. */
static uint32_t uid_of(const struct parent *parent, const struct listener *listener)
{
    if (listener->surface == IMAGE_NONE)
        return 0;
    enum ipc_role role = is_udp(listener) ? IPC_ROLE_PORTER : listener->surface == IMAGE_SURFACE_DIRECT ? IPC_ROLE_RELAY : IPC_ROLE_WORKER;
    return parent_uid_of(parent, role, listener->surface);
}

static int open_port(const struct parent *parent, struct listener *listener, struct error *err)
{
    struct sockaddr_storage address;
    socklen_t size = address_to_sockaddr(&listener->address, listener->port, &address);
    bool udp = is_udp(listener);
    cleanup_close int fd = make_socket(address.ss_family, udp ? SOCK_DGRAM : SOCK_STREAM, uid_of(parent, listener));
    int r = fd < 0 ? fd : set_options(fd, address.ss_family, udp);
    if (r == 0 && !udp)
        r = set_connection_options(fd);
    if (r == 0 && (bind(fd, (const struct sockaddr *)&address, size) < 0 || (!udp && listen(fd, BACKLOG) < 0)))
        r = -errno;
    /* Who holds a UDP listener could send to anybody from it. Shut, it only receives: the kernel says that it isn't connected, and does it. */
    if (r == 0 && udp && shutdown(fd, SHUT_WR) < 0 && errno != ENOTCONN)
        r = -errno;
    if (r < 0) {
        explain(listener, r, err);
        return r;
    }
    listener->fd = TAKE_FD(fd);
    return 0;
}

static void temporary_name(const struct listener *listener, char name[static sizeof listener->path])
{
    snprintf(name, sizeof listener->path, "%.*s.%d", (int)(sizeof listener->path - 12), listener->path, (int)getpid());
}

/* Under a name of its own until listen_publish: one that doesn't get ready takes nothing from one that serves. */
static int open_unix(struct listener *listener, struct error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char name[sizeof listener->path];
    temporary_name(listener, name);
    str_copy(address.sun_path, sizeof address.sun_path, str_of(name));
    unlink(name);
    struct stat st;
    cleanup_close int fd = make_socket(AF_UNIX, SOCK_STREAM, 0);
    int r = fd < 0 ? fd : 0;
    if (r == 0 && (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0))
        r = -errno;
    /* Counters may be read by whoever may enter the directory; control and log are the administrator's. */
    if (r == 0 && (chmod(name, listener->kind == IPC_LISTENER_METRICS ? 0666 : 0600) < 0 || stat(name, &st) < 0))
        r = -errno;
    if (r < 0) {
        error_set(err, "socket %s: %s", listener->path, strerror(-r));
        return r;
    }
    listener->device = st.st_dev;
    listener->inode = st.st_ino;
    listener->fd = TAKE_FD(fd);
    return 0;
}

/* ---- the list ---- */

static bool is_same_place(const struct listener *a, const struct listener *b)
{
    return str_equal(str_of(a->path), str_of(b->path)) && address_equal(&a->address, &b->address) && a->port == b->port && is_udp(a) == is_udp(b);
}

static bool is_same(const struct listener *a, const struct listener *b)
{
    return is_same_place(a, b) && a->kind == b->kind && a->surface == b->surface && a->redirect_to == b->redirect_to;
}

static void unlink_if_ours(const struct listener *listener, const char *name)
{
    struct stat st;
    if (listener->path[0] && lstat(name, &st) == 0 && st.st_dev == listener->device && st.st_ino == listener->inode)
        unlink(name);
}

static void remove_listener(struct parent *parent, struct listener *listener)
{
    struct listener **link = &parent->listeners;
    while (*link != listener)
        link = &(*link)->next;
    *link = listener->next;
    char name[sizeof listener->path];
    temporary_name(listener, name);
    unlink_if_ours(listener, listener->path);
    unlink_if_ours(listener, name);
    if (listener->fd >= 0)
        close(listener->fd);
    free(listener);
}

static int want(struct parent *parent, const struct listener *wanted, struct error *err)
{
    const struct listener *donor = NULL;
    for (struct listener *have = parent->listeners; have; have = have->next) {
        if (is_same(have, wanted)) {
            have->is_wanted = true;
            return 0;
        }
        if (is_same_place(have, wanted))
            donor = have;
    }
    struct listener *listener = malloc(sizeof *listener);
    if (!listener) {
        error_set(err, "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    *listener = *wanted;
    int r = 0;
    /* The same place for another surface: the socket goes over as it is, since it can't be bound twice. */
    if (donor && !wanted->path[0])
        r = listener->fd = fcntl(donor->fd, F_DUPFD_CLOEXEC, 0);
    else
        r = wanted->path[0] ? open_unix(listener, err) : open_port(parent, listener, err);
    if (r < 0) {
        free(listener);
        return r;
    }
    listener->is_wanted = listener->is_new = true;
    listener->next = parent->listeners;
    parent->listeners = listener;
    return 0;
}

static int want_unix(struct parent *parent, uint16_t kind, struct str path, const char *default_name, struct error *err)
{
    struct listener wanted = { .kind = kind, .surface = IMAGE_NONE, .fd = -1 };
    int n = path.len > 0 ? snprintf(wanted.path, sizeof wanted.path, "%.*s", STR_ARG(path))
                         : snprintf(wanted.path, sizeof wanted.path, "%s/%s", parent->options.run_directory, default_name);
    if (n < 0 || (size_t)n + 12 > sizeof wanted.path) { /* room for the temporary name */
        error_set(err, "socket %s...: the path is too long; give a shorter --run-directory", wanted.path);
        return -ENAMETOOLONG;
    }
    return want(parent, &wanted, err);
}

static int want_daemons(struct parent *parent, struct image plan, struct error *err)
{
    const struct image_settings *settings = image_settings(plan, 0);
    int r = want_unix(parent, IPC_LISTENER_CONTROL, STR_NONE, "control.sock", err);
    if (r == 0)
        r = want_unix(parent, IPC_LISTENER_LOG, STR_NONE, "log.sock", err);
    if (r == 0)
        r = want_unix(parent, IPC_LISTENER_METRICS, image_str(plan, settings->metrics_unix), "metrics.sock", err);
    if (r == 0 && settings->metrics_port != 0) {
        struct listener wanted = { .kind = IPC_LISTENER_METRICS, .surface = IMAGE_NONE, .address = settings->metrics_address,
            .port = settings->metrics_port, .fd = -1 };
        r = want(parent, &wanted, err);
    }
    return r;
}

void listen_abandon(struct parent *parent)
{
    for (struct listener *listener = parent->listeners, *next; listener; listener = next) {
        next = listener->next;
        if (listener->is_new)
            remove_listener(parent, listener);
    }
}

int listen_prepare(struct parent *parent, const struct generation *generation, struct error *err)
{
    struct image plan = generation->plan_image;
    for (struct listener *listener = parent->listeners; listener; listener = listener->next)
        listener->is_wanted = false;
    int r = want_daemons(parent, plan, err);
    for (uint32_t i = 0; r == 0 && i < image_count(plan, IMAGE_LISTENERS); i++) {
        const struct image_listener *entry = image_listener(plan, i);
        const struct image_surface *surface = generation_surface(generation, entry->surface);
        struct listener wanted = { .kind = (uint16_t)entry->kind, .surface = entry->surface, .address = entry->address, .port = entry->port,
            .redirect_to = entry->kind == IMAGE_LISTENER_REDIRECT && surface ? surface->port : 0, .fd = -1 };
        r = want(parent, &wanted, err);
        if (r < 0 && surface)
            error_wrap(err, "surface %.*s", STR_ARG(image_str(plan, surface->name)));
        else if (r < 0 && entry->surface == IMAGE_SURFACE_DIRECT)
            error_wrap(err, "direct port %s/%u", is_udp(&wanted) ? "udp" : "tcp", (unsigned)wanted.port);
    }
    if (r < 0)
        listen_abandon(parent);
    return r;
}

/* ---- telling ---- */

static bool is_for(const struct listener *listener, const struct child *child)
{
    switch (listener->kind) {
    case IMAGE_LISTENER_TLS:
    case IMAGE_LISTENER_REDIRECT:
        return child->role == IPC_ROLE_WORKER && child->surface == listener->surface;
    case IMAGE_LISTENER_DIRECT_TCP:
        return child->role == IPC_ROLE_RELAY;
    case IMAGE_LISTENER_DIRECT_UDP:
        return child->role == IPC_ROLE_PORTER;
    case IPC_LISTENER_LOG:
        return child->role == IPC_ROLE_LOGGER;
    default:
        return child->role == IPC_ROLE_WATCHER;
    }
}

static struct ipc_listener message_of(const struct listener *listener, bool is_closing)
{
    return (struct ipc_listener){ .header = { IPC_PARENT_LISTENER, sizeof(struct ipc_listener), 0 }, .address = listener->address,
        .port = listener->port, .kind = listener->kind, .redirect_to = listener->redirect_to, .closing = is_closing };
}

static void tell_all(struct parent *parent, const struct listener *listener, bool is_closing)
{
    struct ipc_listener message = message_of(listener, is_closing);
    for (struct child *child = parent->children; child; child = child->next)
        if (child->is_wanted && is_for(listener, child))
            child_send(parent, child, &message, &listener->fd, is_closing ? 0 : 1);
}

void listen_tell(struct parent *parent, struct child *child)
{
    for (struct listener *listener = parent->listeners; listener; listener = listener->next)
        if (!listener->is_new && is_for(listener, child)) { /* what is new is told by listen_commit */
            struct ipc_listener message = message_of(listener, false);
            child_send(parent, child, &message, &listener->fd, 1);
        }
}

void listen_commit(struct parent *parent)
{
    /* Closing first: the same place may come again for another surface. */
    for (struct listener *listener = parent->listeners, *next; listener; listener = next) {
        next = listener->next;
        if (!listener->is_wanted) {
            tell_all(parent, listener, true);
            remove_listener(parent, listener);
        }
    }
    for (struct listener *listener = parent->listeners; listener; listener = listener->next)
        if (listener->is_new) {
            listener->is_new = false;
            tell_all(parent, listener, false);
        }
    if (parent->state == PARENT_SERVING)
        listen_publish(parent);
}

void listen_publish(struct parent *parent)
{
    for (struct listener *listener = parent->listeners; listener; listener = listener->next) {
        char name[sizeof listener->path];
        struct stat st;
        temporary_name(listener, name);
        if (listener->path[0] && lstat(name, &st) == 0 && rename(name, listener->path) < 0)
            log_error("socket %s: %s", listener->path, strerror(errno));
    }
}

void listen_close_all(struct parent *parent)
{
    while (parent->listeners)
        remove_listener(parent, parent->listeners);
}

/* ---- from one parent to the next ---- */

int listen_adopt(struct parent *parent, const struct ipc_listener *message, int fd)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener) {
        close(fd);
        return -ENOMEM;
    }
    *listener = (struct listener){ .next = parent->listeners, .kind = message->kind, .surface = IMAGE_NONE, .address = message->address,
        .port = message->port, .redirect_to = message->redirect_to, .fd = fd };
    parent->listeners = listener;
    return 0;
}

int listen_hand_over(struct parent *parent, int channel, uint32_t *ret_n)
{
    uint32_t n = 0;
    for (struct listener *listener = parent->listeners; listener; listener = listener->next) {
        if (listener->path[0])
            continue;
        struct ipc_listener message = message_of(listener, false);
        int r = ipc_send(channel, &message, &listener->fd, 1);
        if (r < 0)
            return r;
        n++;
    }
    *ret_n = n;
    return 0;
}
