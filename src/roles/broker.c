/* postern-broker: hands workers established sockets to what their surface may reach, by number. No parser, no name, no address from anyone.
 *
 *   parent ──dial blocks, channels──▶ broker_table, broker_serve ──▶ broker_dial ──▶ broker_netns, broker_container
 *   docker ──(container, its namespace)──▶ broker_docker ──▶ broker_container
 *   worker ──(generation, target)──▶ broker_serve ──socket──▶ worker */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/log.h"
#include "roles/broker_serve.h"
#include "roles/role.h"

enum { EVENTS_PER_TURN = 64 };

/* CAP_SYS_ADMIN enters namespaces, CAP_NET_ADMIN puts our address on the lo of one that has nothing else. No right over files: a
 * namespace's path and a unix socket must be open to the broker's uid, so that the Docker socket, say, is not. */
static const int capabilities[] = { CAP_SYS_ADMIN, CAP_NET_ADMIN };

static const struct confine_syscall dialling[] = {
    CONFINE_ALLOW(connect), CONFINE_ALLOW(bind), CONFINE_ALLOW(getsockname), CONFINE_ALLOW(getpeername),
    CONFINE_ALLOW_IF(socket, { 0, CONFINE_EQUAL, AF_INET }),
    CONFINE_ALLOW_IF(socket, { 0, CONFINE_EQUAL, AF_INET6 }),
    CONFINE_ALLOW_IF(socket, { 0, CONFINE_EQUAL, AF_UNIX }),
    CONFINE_ALLOW_IF(socket, { 0, CONFINE_EQUAL, AF_NETLINK }, { 2, CONFINE_EQUAL, 0 /* NETLINK_ROUTE */ }),
    CONFINE_ALLOW_IF(setsockopt, { 1, CONFINE_EQUAL, IPPROTO_TCP }, { 2, CONFINE_EQUAL, TCP_NODELAY }),
    CONFINE_ALLOW_IF(setsockopt, { 1, CONFINE_EQUAL, IPPROTO_IP }, { 2, CONFINE_EQUAL, IP_BIND_ADDRESS_NO_PORT }),
    CONFINE_ALLOW_IF(getsockopt, { 1, CONFINE_EQUAL, SOL_SOCKET }, { 2, CONFINE_EQUAL, SO_ERROR }),
    CONFINE_ALLOW_IF(setns, { 1, CONFINE_EQUAL, CLONE_NEWNET }),
    CONFINE_ALLOW_IF(openat, { 2, CONFINE_MASKED, 0, O_ACCMODE | O_CREAT | O_TRUNC }),
    CONFINE_ALLOW(newfstatat), CONFINE_ALLOW(fstat), CONFINE_ALLOW(fstatfs),
    CONFINE_ALLOW_IF(ioctl, { 1, CONFINE_EQUAL, NS_GET_NSTYPE }),
    CONFINE_ALLOW_IF(sendto, { 4, CONFINE_EQUAL, 0 }), CONFINE_ALLOW(recvfrom), /* rtnetlink, on sockets of its own */
};

static const struct confine_syscalls dialling_calls = CONFINE_GROUP(dialling);

static const struct confine_limit limits[] = { { RLIMIT_NOFILE, CONFINE_LIMIT_HARD } };

/* Of the file system, the broker may read what is beneath /run, where namespaces have their names, and the directories of the namespaces that
 * its first dial block names: opening one is reading a file. */
enum { DIRECTORIES_MAX = 64 };

struct directories {
    size_t n;
    struct confine_path paths[DIRECTORIES_MAX];
    char names[DIRECTORIES_MAX][PATH_MAX];
};

static void add_directory(struct directories *directories, const char *path)
{
    if (directories->n == DIRECTORIES_MAX)
        return;
    const char *slash = strrchr(path, '/');
    if (!slash)
        return;
    char *name = directories->names[directories->n];
    str_copy(name, PATH_MAX, str_make(path, slash == path ? 1 : (size_t)(slash - path)));
    for (size_t i = 0; i < directories->n; i++)
        if (strcmp(directories->paths[i].path, name) == 0)
            return;
    directories->paths[directories->n++] = (struct confine_path){ name, CONFINE_READ };
}

static void find_directories(const struct broker *broker, struct directories *directories)
{
    add_directory(directories, "/run/any");
    for (size_t i = 0; i < ARRAY_SIZE(broker->table.held); i++) {
        struct image image = broker->table.held[i].image;
        for (uint32_t j = 0; image.header && j < image_count(image, IMAGE_TARGETS); j++) {
            const struct image_target *target = image_target(image, j);
            char path[BROKER_NETNS_PATH_MAX], real[PATH_MAX];
            if (target->kind != IMAGE_TARGET_NETNS)
                continue;
            str_copy(path, sizeof path, image_str(image, target->path));
            add_directory(directories, path);
            if (realpath(path, real))
                add_directory(directories, real); /* where a link leads */
        }
    }
}

static int confine(const struct role *role, const struct broker *broker)
{
    static struct directories directories;
    find_directories(broker, &directories);
    const struct confine_profile profile = {
        .name = "postern-broker",
        .capabilities = capabilities, .n_capabilities = ARRAY_SIZE(capabilities),
        .syscalls = { &confine_basic, &confine_channels, &dialling_calls },
        .paths = directories.paths, .n_paths = directories.n,
        .limits = limits, .n_limits = ARRAY_SIZE(limits),
        .may_use_tcp = true,
    };
    return role_confine(role, &profile);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int take_image(struct broker *broker, int fd, uint64_t generation, uint64_t size)
{
    struct error err = { 0 };
    struct image image;
    int r = role_attach_image(fd, size, IMAGE_DIAL, &image, &err);
    if (r == 0) {
        r = broker_table_take(&broker->table, image, generation, &err);
        if (r)
            role_detach_image(image);
        else
            r = broker_containers_follow(&broker->dialer.containers, &broker->table);
    }
    if (r)
        log_error("the dial block of generation %llu is not taken: %s", (unsigned long long)generation,
                  r == -ENOMEM ? strerror(ENOMEM) : err.text);
    return r;
}

static int answer_image(struct broker *broker, const struct ipc_image *message, int fd)
{
    int r = take_image(broker, fd, message->generation, message->block_size);
    close(fd);
    if (r)
        return r;
    struct ipc_image taken = { .header = IPC_HEADER(IPC_ROLE_IMAGE_TAKEN, taken), .generation = message->generation };
    return ipc_send_plain(IPC_PARENT_FD, &taken);
}

static int answer_channel(struct broker *broker, const struct ipc_channel *message, int fd)
{
    if (message->peer == IPC_ROLE_DOCKER) {
        int taken = broker_set_docker(broker, fd, message->pid);
        if (taken) {
            close(fd);
            log_error("the docker role's channel is not taken: %s", strerror(-taken));
        }
        return 0;
    }
    bool is_asker = message->peer == (message->surface == IMAGE_SURFACE_DIRECT ? IPC_ROLE_RELAY : IPC_ROLE_WORKER);
    int r = is_asker ? broker_add_channel(broker, fd, message->surface, message->worker, message->pid) : -EBADMSG;
    if (r) {
        close(fd);
        log_error("the channel of worker %u of surface %u is not taken: %s", message->worker, message->surface, strerror(-r));
    }
    return r == -EBADMSG ? r : 0;
}

/* All that the parent has said. 0, or a negative errno: end (-EPIPE: the parent is gone). */
static int parent_ready(struct broker *broker)
{
    for (;;) {
        struct ipc_buffer message;
        int fds[IPC_FDS_MAX];
        size_t n_fds = 0;
        int r = ipc_receive_from(IPC_PARENT_FD, IPC_ROLE_PARENT, IPC_ROLE_BROKER, &message, fds, &n_fds);
        if (r)
            return r == -EAGAIN ? 0 : r;
        switch (message.header.type) {
        case IPC_PARENT_IMAGE:
            r = answer_image(broker, (const struct ipc_image *)(const void *)&message, fds[0]);
            break;
        case IPC_PARENT_CHANNEL:
            r = answer_channel(broker, (const struct ipc_channel *)(const void *)&message, fds[0]);
            break;
        case IPC_PARENT_CHANNEL_LOST:
            break; /* the channel's own end tells */
        case IPC_PARENT_HINTS:
            r = broker_containers_take_hints(&broker->dialer.containers, fds[0], fds[1]);
            if (r)
                log_error("hints for the docker role: %s; containers are found in the order of their names", strerror(-r));
            r = 0;
            break;
        default: /* a second START: nothing else passes the table */
            for (size_t i = 0; i < n_fds; i++)
                close(fds[i]);
            r = -EBADMSG;
        }
        if (r && r != -EAGAIN)
            return r;
    }
}

static int serve(struct broker *broker)
{
    static const struct broker_watch parent = { BROKER_WATCH_PARENT };
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = (void *)(uintptr_t)&parent };
    if (epoll_ctl(broker->dialer.epoll, EPOLL_CTL_ADD, IPC_PARENT_FD, &event))
        return -errno;
    for (;;) {
        int sleep_ms = broker_turn(broker, now_ms());
        struct epoll_event events[EVENTS_PER_TURN];
        int n = epoll_wait(broker->dialer.epoll, events, EVENTS_PER_TURN, sleep_ms);
        if (n < 0 && errno != EINTR)
            return -errno;
        int64_t now = now_ms();
        for (int i = 0; i < n; i++) {
            struct broker_watch *watch = events[i].data.ptr;
            switch (watch->kind) {
            case BROKER_WATCH_PARENT: {
                int r = parent_ready(broker);
                if (r)
                    return r;
                break;
            }
            case BROKER_WATCH_CHANNEL:
                broker_channel_ready(broker, container_of(watch, struct broker_channel, watch), events[i].events, now);
                break;
            case BROKER_WATCH_DOCKER:
                broker_docker_ready(broker, now);
                break;
            case BROKER_WATCH_CONTAINER:
                broker_container_ended(broker, container_of(watch, struct broker_container, watch), now);
                break;
            case BROKER_WATCH_ATTEMPT:
                dial_attempt_ready(&broker->dialer, container_of(watch, struct broker_attempt, watch), now);
                break;
            }
        }
    }
}

int main(void)
{
    static struct broker broker;
    struct role role;
    if (role_start(IPC_ROLE_BROKER, &role))
        return EXIT_FAILURE;
    int r = broker_init(&broker);
    if (r)
        log_error("can't start: %s", strerror(-r));
    if (r == 0)
        r = take_image(&broker, role.block, role.start.generation, role.start.block_size);
    if (r == 0)
        r = confine(&role, &broker);
    role_deinit(&role);
    if (r)
        return EXIT_FAILURE;
    r = serve(&broker);
    if (r != -EPIPE)
        log_error("ends: %s", strerror(-r));
    return r == -EPIPE ? EXIT_SUCCESS : EXIT_FAILURE;
}
