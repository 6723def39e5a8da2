/* postern-watcher: knows how everything is, and tells: status and reload on the control socket, metrics for a scraper.
 *
 *   parent ──roles, pages, plan, results──▶ watcher_state ──▶ watcher_report ──▶ watcher_server ──▶ control.sock, metrics.sock, TCP
 *   keeper ──certificates──▶ parent ──▶ watcher_state */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/log.h"
#include "roles/role.h"
#include "roles/watcher_report.h"
#include "roles/watcher_server.h"

enum { LISTENERS_MAX = 8, EVENTS_PER_TURN = 64, REPORT_MAX = 1024 * 1024 };

static const struct confine_syscall serving[] = {
    CONFINE_ALLOW(accept4), CONFINE_ALLOW_IF(sendto, { 4, CONFINE_EQUAL, 0 }), CONFINE_ALLOW_IF(shutdown, { 1, CONFINE_EQUAL, SHUT_WR }),
    CONFINE_ALLOW_IF(getsockopt, { 1, CONFINE_EQUAL, SOL_SOCKET }, { 2, CONFINE_EQUAL, SO_PEERCRED }),
    CONFINE_ALLOW_IF(fcntl, { 1, CONFINE_EQUAL, F_SETFL }),
};
static const struct confine_syscalls serving_calls = CONFINE_GROUP(serving);

static const struct confine_limit limits[] = { { RLIMIT_NPROC, 0 } };

static const struct confine_profile profile = {
    .name = "postern-watcher",
    .syscalls = { &confine_basic, &confine_channels, &serving_calls },
    .limits = limits, .n_limits = ARRAY_SIZE(limits),
};

enum watch_kind { WATCH_PARENT, WATCH_LISTENER, WATCH_CONTROL, WATCH_METRICS };

struct watcher {
    int epoll;
    uid_t uid;
    struct {
        int fd;                     /* -1: free */
        struct ipc_listener told;
    } listeners[LISTENERS_MAX];
    struct watcher_state state;
    struct server server;
};

static uint64_t tag(enum watch_kind kind, unsigned index)
{
    return (uint64_t)kind << 32 | index;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int watch(struct watcher *watcher, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = { .events = events, .data.u64 = data };
    return epoll_ctl(watcher->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* ---- listeners ---- */

static void listener_ready(struct watcher *watcher, unsigned index, int64_t now)
{
    bool is_control = watcher->listeners[index].told.kind == IPC_LISTENER_CONTROL;
    int fd = watcher->listeners[index].fd < 0 ? -1 : role_accept(watcher->listeners[index].fd, is_control ? watcher->uid : ROLE_ANYBODY);
    if (fd < 0)
        return;
    unsigned connection = server_accept(&watcher->server, is_control ? SERVER_CONTROL : SERVER_METRICS, fd, now);
    /* Edge-triggered: it is told once when it may go on. Where epoll refuses, its limit ends it. */
    watch(watcher, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, tag(is_control ? WATCH_CONTROL : WATCH_METRICS, connection));
}

static bool is_same_listener(const struct ipc_listener *a, const struct ipc_listener *b)
{
    return a->kind == b->kind && a->port == b->port && address_equal(&a->address, &b->address);
}

static int answer_listener(struct watcher *watcher, const struct ipc_listener *message, int fd)
{
    if (message->kind != IPC_LISTENER_CONTROL && message->kind != IPC_LISTENER_METRICS)
        return -EBADMSG;
    unsigned index = LISTENERS_MAX;
    for (unsigned i = 0; i < LISTENERS_MAX; i++) {
        if (watcher->listeners[i].fd >= 0 && message->closing && is_same_listener(&watcher->listeners[i].told, message))
            close(TAKE_FD(watcher->listeners[i].fd));
        if (watcher->listeners[i].fd < 0 && index == LISTENERS_MAX)
            index = i;
    }
    if (message->closing)
        return 0;
    if (index == LISTENERS_MAX)
        return -EMFILE;
    int r = fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) ? -errno : watch(watcher, fd, EPOLLIN, tag(WATCH_LISTENER, index));
    if (r)
        return r;
    watcher->listeners[index].fd = fd;
    watcher->listeners[index].told = *message;
    return 0;
}

/* ---- the parent ---- */

static int take_plan(struct watcher *watcher, int fd, uint64_t size)
{
    struct error err = { 0 };
    struct image plan;
    int r = role_attach_image(fd, size, IMAGE_PLAN, &plan, &err);
    if (r)
        log_error("the plan is not taken: %s", err.text);
    else
        watcher_take_plan(&watcher->state, plan);
    return r;
}

static int answer_image(struct watcher *watcher, const struct ipc_image *message, int fd)
{
    int r = take_plan(watcher, fd, message->block_size);
    if (r)
        return r;
    struct ipc_image taken = { .header = IPC_HEADER(IPC_ROLE_IMAGE_TAKEN, taken), .generation = message->generation };
    return ipc_send_plain(IPC_PARENT_FD, &taken);
}

/* The report is the compiler's text, in a memfd that is read and not mapped: only the parent's word vouches for its size. */
static void answer_result(struct watcher *watcher, const struct ipc_reload_result *result, int fd)
{
    cleanup_buf struct buf report;
    buf_init(&report, REPORT_MAX);
    watcher_take_result(&watcher->state, result);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    if (end > 0 && lseek(fd, 0, SEEK_SET) == 0) {
        size_t size = end < REPORT_MAX - 1 ? (size_t)end : REPORT_MAX - 1;
        char *to = buf_reserve(&report, size);
        ssize_t n = to ? read(fd, to, size) : 0;
        report.len = n > 0 ? (size_t)n : 0;
    }
    server_tell_reload(&watcher->server, result, buf_str(&report), now_ms());
}

static int take_message(struct watcher *watcher, const struct ipc_buffer *buffer, int *fds)
{
    const void *message = buffer;
    switch (buffer->header.type) {
    case IPC_PARENT_IMAGE:
        return answer_image(watcher, message, fds[0]);
    case IPC_PARENT_ROLE_STATE:
        watcher_take_role(&watcher->state, message);
        return 0;
    case IPC_PARENT_METRICS_PAGE:
        return watcher_take_page(&watcher->state, message, fds[0], now_ms());
    case IPC_PARENT_BOARD:
        return watcher_take_board(&watcher->state, fds[0]);
    case IPC_KEEPER_STATE:
        watcher_take_certificate(&watcher->state, message);
        return 0;
    case IPC_PARENT_RELOAD_RESULT:
        answer_result(watcher, message, fds[0]);
        return 0;
    case IPC_PARENT_LISTENER: {
        int r = answer_listener(watcher, message, fds[0]);
        if (r == 0)
            fds[0] = -1; /* kept */
        return r;
    }
    case IPC_PARENT_CHANNEL: /* health checks will have one to the broker */
    case IPC_PARENT_CHANNEL_LOST:
        return 0;
    default: /* a second START: nothing else passes the table */
        return -EBADMSG;
    }
}

static int parent_ready(struct watcher *watcher)
{
    for (;;) {
        struct ipc_buffer message;
        int fds[IPC_FDS_MAX] = { -1, -1, -1, -1 };
        size_t n_fds = 0;
        int r = ipc_receive_from(IPC_PARENT_FD, IPC_ROLE_PARENT, IPC_ROLE_WATCHER, &message, fds, &n_fds);
        if (r)
            return r == -EAGAIN ? 0 : r;
        r = take_message(watcher, &message, fds);
        for (size_t i = 0; i < n_fds; i++)
            if (fds[i] >= 0)
                close(fds[i]);
        if (r)
            log_error("%s: %s", ipc_type_name(message.header.type), strerror(-r));
        if (r == -EBADMSG || r == -EPIPE)
            return r;
    }
}

/* ---- the loop ---- */

static int serve(struct watcher *watcher)
{
    int r = watch(watcher, IPC_PARENT_FD, EPOLLIN, tag(WATCH_PARENT, 0));
    while (r == 0) {
        struct epoll_event events[EVENTS_PER_TURN];
        int n = epoll_wait(watcher->epoll, events, EVENTS_PER_TURN, server_turn(&watcher->server, now_ms()));
        if (n < 0 && errno != EINTR)
            return -errno;
        int64_t now = now_ms();
        for (int i = 0; i < n && r == 0; i++) {
            unsigned index = (uint32_t)events[i].data.u64;
            switch ((enum watch_kind)(events[i].data.u64 >> 32)) {
            case WATCH_PARENT:
                r = parent_ready(watcher);
                break;
            case WATCH_LISTENER:
                listener_ready(watcher, index, now);
                break;
            case WATCH_CONTROL:
                server_ready(&watcher->server, SERVER_CONTROL, index, now);
                break;
            case WATCH_METRICS:
                server_ready(&watcher->server, SERVER_METRICS, index, now);
                break;
            }
        }
    }
    return r;
}

int main(void)
{
    static struct watcher watcher;
    static struct role role;
    if (role_start(IPC_ROLE_WATCHER, &role))
        return EXIT_FAILURE;
    for (size_t i = 0; i < LISTENERS_MAX; i++)
        watcher.listeners[i].fd = -1;
    server_init(&watcher.server, &watcher.state);
    watcher.uid = role.start.uid ? role.start.uid : getuid();
    /* jansson would open a device for the seed of its hash tables. */
    uint32_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint32_t)now_ms();
    json_object_seed(seed | 1);
    struct ipc_role_state parent = { .pid = getppid(), .role = IPC_ROLE_PARENT, .status = IPC_ROLE_RUNNING };
    watcher_take_role(&watcher.state, &parent);
    watcher.epoll = epoll_create1(EPOLL_CLOEXEC);
    int r = watcher.epoll < 0 ? -errno : 0;
    if (r == 0 && role.block >= 0)
        r = take_plan(&watcher, role.block, role.start.block_size);
    if (r || role_confine(&role, &profile))
        return EXIT_FAILURE;
    role_deinit(&role);
    r = serve(&watcher);
    if (r != -EPIPE)
        log_error("ends: %s", strerror(-r));
    return r == -EPIPE ? EXIT_SUCCESS : EXIT_FAILURE;
}
