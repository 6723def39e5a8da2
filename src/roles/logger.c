/* postern-logger: records come down pipes from the workers, lines go to the log and to whoever follows it.
 *
 *   worker ──records──▶ pipe ──▶ logger_record (check) ──┬─▶ logger_file (the log)
 *                                                        └─▶ logger_ring ──▶ RUNDIR/log.sock ──▶ postern log
 * Which surface and worker wrote a record is the pipe's identity, told by the parent: no worker speaks for another. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/log.h"
#include "roles/logger_file.h"
#include "roles/logger_ring.h"
#include "roles/role.h"

enum { PIPES_MAX = 512, EVENTS_PER_TURN = 64, READ_AT_ONCE = 128 * sizeof(struct ipc_record), TURN_MS = 1000, REST_MS = 2 };

static const struct confine_syscall writing[] = {
    CONFINE_ALLOW_IF(openat, { 2, CONFINE_EQUAL, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK }),
    CONFINE_ALLOW(newfstatat), CONFINE_ALLOW(fstat), CONFINE_ALLOW(accept4),
    CONFINE_ALLOW_IF(getsockopt, { 1, CONFINE_EQUAL, SOL_SOCKET }, { 2, CONFINE_EQUAL, SO_PEERCRED }),
    CONFINE_ALLOW_IF(fcntl, { 1, CONFINE_EQUAL, F_SETFL }),
};
static const struct confine_syscalls writing_calls = CONFINE_GROUP(writing);

static const struct confine_limit limits[] = { { RLIMIT_NOFILE, CONFINE_LIMIT_HARD } };

enum watch_kind { WATCH_PARENT, WATCH_LISTENER, WATCH_PIPE, WATCH_READER };

struct pipe {
    int fd;                         /* -1: free */
    uint32_t surface, worker;
    size_t len;                     /* of part */
    char part[sizeof(struct ipc_record)]; /* the beginning of a record whose rest has not come */
};

struct logger {
    int epoll, listener;
    bool took, behind;              /* this turn: a record; as much as is read at once */
    uid_t uid;
    struct logger_file file;
    struct logger_ring ring;
    struct pipe pipes[PIPES_MAX];
};

/* What epoll hands back: the kind and which one. */
static uint64_t tag(enum watch_kind kind, size_t index)
{
    return (uint64_t)kind << 32 | index;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int watch(struct logger *logger, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = { .events = events, .data.u64 = data };
    return epoll_ctl(logger->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* ---- pipes ---- */

static bool pipe_take(struct logger *logger, struct pipe *pipe, const char *bytes, int64_t now)
{
    struct ipc_record record;
    memcpy(&record, bytes, sizeof record);
    if (!logger_record_check(&record))
        return false;
    logger_ring_add(&logger->ring, &record, pipe->surface, pipe->worker);
    char *line = logger_file_reserve(&logger->file, now);
    struct str surface = logger_ring_surface(&logger->ring, pipe->surface);
    logger_file_commit(&logger->file, logger->file.readable ? logger_record_readable(&record, surface, true, line)
                                                            : logger_record_json(&record, surface, pipe->worker, line));
    return true;
}

/* Closing alone would leave it watched: the parent holds the same pipe for the next logger. */
static void pipe_end(struct logger *logger, struct pipe *pipe)
{
    epoll_ctl(logger->epoll, EPOLL_CTL_DEL, pipe->fd, NULL);
    close(pipe->fd);
    *pipe = (struct pipe){ .fd = -1 };
}

/* One read's worth. False when there is nothing more for now. */
static bool pipe_ready(struct logger *logger, struct pipe *pipe, int64_t now)
{
    static char buffer[sizeof(struct ipc_record) + READ_AT_ONCE];
    if (pipe->fd < 0)
        return false;
    memcpy(buffer, pipe->part, pipe->len);
    ssize_t n = read(pipe->fd, buffer + pipe->len, READ_AT_ONCE);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            pipe_end(logger, pipe);
        return false;
    }
    logger->took = true;
    logger->behind |= (size_t)n == READ_AT_ONCE;
    size_t len = pipe->len + (size_t)n, at = 0;
    for (; len - at >= sizeof(struct ipc_record); at += sizeof(struct ipc_record))
        if (!pipe_take(logger, pipe, buffer + at, now)) {
            log_warning("worker %u of surface %u wrote what is no access record; nothing more is read from it", pipe->worker, pipe->surface);
            pipe_end(logger, pipe);
            return false;
        }
    pipe->len = len - at;
    memcpy(pipe->part, buffer + at, pipe->len);
    return true;
}

/* A worker that is replaced drains beside its successor under the same name: its pipe is read until its own end. */
static int answer_channel(struct logger *logger, const struct ipc_channel *message, int fd)
{
    if (message->peer != IPC_ROLE_WORKER && message->peer != IPC_ROLE_RELAY)
        return -EBADMSG;
    for (size_t i = 0; i < PIPES_MAX; i++) {
        struct pipe *pipe = &logger->pipes[i];
        if (pipe->fd >= 0)
            continue;
        int r = fcntl(fd, F_SETFL, O_RDONLY | O_NONBLOCK) ? -errno : watch(logger, fd, EPOLLIN, tag(WATCH_PIPE, i));
        if (r)
            return r;
        *pipe = (struct pipe){ .fd = fd, .surface = message->surface, .worker = message->worker };
        char name[sizeof message->surface_name];
        str_copy(name, sizeof name, str_make(message->surface_name, strnlen(message->surface_name, sizeof message->surface_name)));
        logger_ring_name_surface(&logger->ring, message->surface, name);
        return 0;
    }
    return -EMFILE;
}

/* ---- the log socket ---- */

static void listener_ready(struct logger *logger, int64_t now)
{
    cleanup_close int fd = role_accept(logger->listener, logger->uid);
    if (fd < 0)
        return;
    struct logger_reader *reader = logger_ring_accept(&logger->ring, fd, now);
    if (!reader)
        return;
    /* Edge-triggered: it is told once when it may write again, not at each turn while it has nothing to. */
    watch(logger, TAKE_FD(fd), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, tag(WATCH_READER, (size_t)(reader - logger->ring.readers)));
}

static int answer_listener(struct logger *logger, const struct ipc_listener *message, int fd)
{
    if (message->kind != IPC_LISTENER_LOG)
        return -EBADMSG;
    if (logger->listener >= 0)
        close(TAKE_FD(logger->listener));
    if (message->closing)
        return 0;
    int r = fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) ? -errno : watch(logger, fd, EPOLLIN, tag(WATCH_LISTENER, 0));
    if (r == 0)
        logger->listener = fd;
    return r;
}

/* ---- the loop ---- */

static int parent_ready(struct logger *logger)
{
    for (;;) {
        struct ipc_buffer message;
        int fds[IPC_FDS_MAX] = { -1, -1, -1, -1 };
        size_t n_fds = 0;
        int r = ipc_receive_from(IPC_PARENT_FD, IPC_ROLE_PARENT, IPC_ROLE_LOGGER, &message, fds, &n_fds);
        if (r)
            return r == -EAGAIN ? 0 : r;
        switch (message.header.type) {
        case IPC_PARENT_CHANNEL:
            r = answer_channel(logger, (const struct ipc_channel *)(const void *)&message, fds[0]);
            break;
        case IPC_PARENT_CHANNEL_LOST:
            break; /* the pipe's own end tells, after what the dead worker had written */
        case IPC_PARENT_LISTENER:
            r = answer_listener(logger, (const struct ipc_listener *)(const void *)&message, fds[0]);
            break;
        default: /* a second START: nothing else passes the table */
            r = -EBADMSG;
        }
        if (r) {
            for (size_t i = 0; i < n_fds; i++)
                close(fds[i]);
            log_error("%s: %s", ipc_type_name(message.header.type), strerror(-r));
        }
        if (r == -EBADMSG)
            return r;
    }
}

static void handle(struct logger *logger, uint64_t data, int64_t now)
{
    size_t index = (uint32_t)data;
    switch ((enum watch_kind)(data >> 32)) {
    case WATCH_LISTENER:
        listener_ready(logger, now);
        break;
    case WATCH_PIPE:
        pipe_ready(logger, &logger->pipes[index], now);
        break;
    case WATCH_READER:
        if (logger->ring.readers[index].fd >= 0)
            logger_reader_ready(&logger->ring, &logger->ring.readers[index], now);
        break;
    case WATCH_PARENT:
        break;
    }
}

/* Where there are records there are more soon: what comes in the next moments is taken, and written, together. Far less than a pipe holds. */
static void rest(struct logger *logger)
{
    if (logger->took && !logger->behind)
        poll(NULL, 0, REST_MS);
    logger->took = logger->behind = false;
}

static int serve(struct logger *logger)
{
    int r = watch(logger, IPC_PARENT_FD, EPOLLIN, tag(WATCH_PARENT, 0));
    while (r == 0) {
        struct epoll_event events[EVENTS_PER_TURN];
        int n = epoll_wait(logger->epoll, events, EVENTS_PER_TURN, logger->ring.n_readers > 0 ? TURN_MS : -1);
        if (n < 0 && errno != EINTR)
            return -errno;
        int64_t now = now_ms();
        for (int i = 0; i < n && r == 0; i++) {
            if (events[i].data.u64 == tag(WATCH_PARENT, 0))
                r = parent_ready(logger);
            else
                handle(logger, events[i].data.u64, now);
        }
        logger_file_flush(&logger->file, now);
        logger_ring_turn(&logger->ring, now);
        rest(logger);
    }
    return r;
}

/* The parent is gone and the workers with it: what they wrote is still in the pipes. */
static void drain(struct logger *logger)
{
    int64_t now = now_ms();
    for (size_t i = 0; i < PIPES_MAX; i++)
        while (pipe_ready(logger, &logger->pipes[i], now))
            ;
    logger_file_flush(&logger->file, now);
    logger_ring_turn(&logger->ring, now);
}

static int confine(const struct role *role)
{
    char directory[sizeof role->start.log_file];
    str_copy(directory, sizeof directory, str_of(role->start.log_file));
    char *slash = strrchr(directory, '/');
    if (slash)
        slash[slash == directory] = '\0';
    const struct confine_path paths[] = { { slash ? directory : ".", CONFINE_WRITE } };
    const struct confine_profile profile = {
        .name = "postern-logger",
        .syscalls = { &confine_basic, &confine_channels, &writing_calls },
        .paths = paths, .n_paths = role->start.log_file[0] ? 1 : 0,
        .limits = limits, .n_limits = ARRAY_SIZE(limits),
    };
    return role_confine(role, &profile);
}

int main(void)
{
    static struct logger logger = { .listener = -1 };
    static struct role role;
    if (role_start(IPC_ROLE_LOGGER, &role))
        return EXIT_FAILURE;
    tzset(); /* the readable form's local time: the time zone's file can't be read later */
    for (size_t i = 0; i < PIPES_MAX; i++)
        logger.pipes[i].fd = -1;
    struct error err = { 0 };
    int r = logger_file_init(&logger.file, role.start.log_file, role.start.uid, role.start.gid, &err);
    if (r == 0)
        r = logger_ring_init(&logger.ring);
    if (r == 0 && (logger.epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        r = -errno;
    if (r)
        log_error("%s", err.text[0] ? err.text : strerror(-r));
    logger.uid = role.start.uid ? role.start.uid : getuid();
    if (r || confine(&role))
        return EXIT_FAILURE;
    r = serve(&logger);
    drain(&logger);
    if (r != -EPIPE)
        log_error("ends: %s", strerror(-r));
    return r == -EPIPE ? EXIT_SUCCESS : EXIT_FAILURE;
}
