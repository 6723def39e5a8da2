/* The broker's side of the docker role's channel: namespaces come and go, and dials that wait or are under way follow. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "roles/broker_serve.h"
#include "roles/role.h"

enum { MESSAGES_PER_TURN = 64 };

int broker_set_docker(struct broker *broker, int fd, int32_t pid)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = &broker->docker.watch };
    if (epoll_ctl(broker->dialer.epoll, EPOLL_CTL_ADD, fd, &event))
        return -errno;
    if (broker->docker.fd >= 0)
        close(broker->docker.fd);
    broker->docker.fd = fd;
    broker->docker.pid = pid;
    return 0;
}

static void docker_end(struct broker *broker)
{
    close(TAKE_FD(broker->docker.fd));
}

static void tell_dials(struct broker *broker, uint64_t container, int64_t now_ms)
{
    for (size_t i = 0; broker->n_in_flight > 0 && i < BROKER_CHANNELS_MAX; i++)
        for (struct broker_dial *dial = broker->channels[i].dials; dial; dial = dial->next)
            dial_container_changed(&broker->dialer, dial, container, now_ms);
}

/* Its TCP ended with it; UDP can't know. A full channel is not waited for: its flows end by their timers. */
static void tell_relay(struct broker_channel *channel, uint64_t identity)
{
    struct ipc_target_ended ended = { .header = IPC_HEADER(IPC_BROKER_ENDED, ended), .identity = identity };
    int r = ipc_send_plain(channel->fd, &ended);
    if (r && r != -EAGAIN && r != -EPIPE)
        log_warning("telling the relay of a container's end: %s", strerror(-r));
}

static void tell_relays(struct broker *broker, uint64_t container)
{
    for (size_t i = 0; i < BROKER_CHANNELS_MAX; i++)
        for (size_t g = 0; broker->channels[i].fd >= 0 && broker->channels[i].surface == IMAGE_SURFACE_DIRECT && g < ARRAY_SIZE(broker->table.held); g++) {
            struct image image = broker->table.held[g].image;
            for (uint32_t k = 0; image.header && k < image_count(image, IMAGE_TARGETS); k++) {
                const struct image_target *target = image_target(image, k);
                if (target->kind == IMAGE_TARGET_CONTAINER && target->container == container && target->direct == IMAGE_DIRECT_UDP)
                    tell_relay(&broker->channels[i], target->identity);
            }
        }
}

void broker_container_ended(struct broker *broker, struct broker_container *container, int64_t now_ms)
{
    if (container->state != CONTAINER_HERE)
        return; /* it went, or has a successor, since this event was fetched */
    if (broker_container_is_alive(container))
        return;
    broker_container_leave(&broker->dialer.containers, container, true, now_ms);
    tell_relays(broker, container->number);
    tell_dials(broker, container->number, now_ms);
}

static void on_namespace(struct broker *broker, const struct ipc_docker_namespace *message, const int fds[static 2], int64_t now_ms)
{
    struct broker_container *container = broker_container_find(&broker->dialer.containers, message->number);
    if (!container) { /* of a declaration that is no longer held, or not yet: it is told again then */
        close(fds[0]);
        close(fds[1]);
        return;
    }
    struct error err = { "" };
    int r = broker_container_arrive(&broker->dialer.containers, container, message->epoch, fds[0], fds[1], &broker->dialer.netns, now_ms, &err);
    if (r && r != -ESRCH)
        log_warning("a container's namespace is not taken: %s", err.text[0] ? err.text : strerror(-r));
    tell_dials(broker, message->number, now_ms);
}

static void on_gone(struct broker *broker, const struct ipc_docker_gone *message, int64_t now_ms)
{
    struct broker_container *container = broker_container_find(&broker->dialer.containers, message->number);
    if (!container || container->epoch > message->epoch)
        return;
    /* A docker role that has no engine to ask knows nothing against what its predecessor gave. */
    if (message->why == IPC_DOCKER_AWAY && broker_container_is_alive(container))
        return;
    broker_container_leave(&broker->dialer.containers, container, message->why == IPC_DOCKER_ENDED, now_ms);
    tell_relays(broker, message->number);
    tell_dials(broker, message->number, now_ms);
}

void broker_docker_ready(struct broker *broker, int64_t now_ms)
{
    for (unsigned i = 0; i < MESSAGES_PER_TURN && broker->docker.fd >= 0; i++) {
        struct ipc_buffer message;
        int fds[IPC_FDS_MAX];
        size_t n_fds = 0;
        int r = ipc_receive_from(broker->docker.fd, IPC_ROLE_DOCKER, IPC_ROLE_BROKER, &message, fds, &n_fds);
        if (r == -EAGAIN)
            return;
        if (r == -EPIPE) { /* the parent tells what comes next; what it gave is as good as before */
            docker_end(broker);
        } else if (r) {
            role_report_offence(broker->docker.pid, "sent what no docker role sends");
            docker_end(broker);
        } else if (message.header.type == IPC_DOCKER_NAMESPACE) {
            on_namespace(broker, (const struct ipc_docker_namespace *)(const void *)&message, fds, now_ms);
        } else {
            on_gone(broker, (const struct ipc_docker_gone *)(const void *)&message, now_ms);
        }
    }
}
