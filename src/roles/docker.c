/* postern-docker: asks the Docker engine which containers run by the names that the declaration has, and hands their namespaces to the broker.
 *
 *   engine ──answers, events──▶ docker_engine, docker_look ──▶ docker_name ──(number, namespace, pidfd)──▶ broker
 *   broker ──a byte: somebody waits──▶ docker_look             docker_name ──(number, address)──▶ parent ──▶ workers
 *
 * Whoever holds the engine's socket is as good as root, so this role hears nobody: from the broker it has a page of bytes and a wake-up, from
 * the parent a list of names. */
#include "roles/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* ---- confinement ---- */

/* The directories of an engine are root's alone: to go through them, and for nothing else. What may be read is Landlock's to say; and as the
 * role's group is the socket's, no right to write anywhere is needed to connect. */
static const int capabilities[] = { CAP_DAC_READ_SEARCH };

static const struct confine_syscall asking[] = {
    CONFINE_ALLOW_IF(socket, { 0, CONFINE_EQUAL, AF_UNIX }),
    CONFINE_ALLOW(connect),
    CONFINE_ALLOW_IF(sendto, { 4, CONFINE_EQUAL, 0 }), CONFINE_ALLOW_IF(recvfrom, { 4, CONFINE_EQUAL, 0 }),
    CONFINE_ALLOW_IF(openat, { 2, CONFINE_MASKED, 0, O_ACCMODE | O_CREAT | O_TRUNC }),
    CONFINE_ALLOW(fstatfs), CONFINE_ALLOW(newfstatat), CONFINE_ALLOW(getegid),
    CONFINE_ALLOW(pidfd_open),
    CONFINE_ALLOW(memfd_create), CONFINE_ALLOW_IF(fcntl, { 1, CONFINE_EQUAL, F_ADD_SEALS }), /* what is offered, to the parent */
};
static const struct confine_syscalls asking_calls = CONFINE_GROUP(asking);

static const struct confine_limit limits[] = { { RLIMIT_NPROC, 0 }, { RLIMIT_NOFILE, CONFINE_LIMIT_HARD }, { RLIMIT_DATA, 1 << 30 } };

/* /proc, to read which cgroup a process is in: its memory and surroundings are there, too, but need the right to trace it, which this role
 * has not, and which Landlock takes even from root. Engines mount namespaces beneath /run, or, with directories of their own, beside their
 * socket. */
static int confine(const struct docker *docker)
{
    char beside[sizeof docker->socket_path];
    str_copy(beside, sizeof beside, str_of(docker->socket_path));
    char *slash = strrchr(beside, '/');
    if (slash)
        slash[slash == beside] = '\0';
    const struct confine_path paths[] = { { "/proc", CONFINE_READ }, { "/run", CONFINE_READ }, { beside, CONFINE_READ } };
    const struct confine_profile profile = {
        .name = "postern-docker",
        .capabilities = capabilities, .n_capabilities = ARRAY_SIZE(capabilities),
        .syscalls = { &confine_basic, &confine_channels, &asking_calls },
        .paths = paths, .n_paths = ARRAY_SIZE(paths),
        .limits = limits, .n_limits = ARRAY_SIZE(limits),
    };
    return role_confine(&docker->role, &profile);
}

/* ---- the parent ---- */

static int attach(struct docker *docker, int fd, uint64_t size)
{
    struct error err = { "" };
    struct image block;
    int r = role_attach_image(fd, size, IMAGE_DOCKER, &block, &err);
    if (r) {
        log_error("the names of containers are not taken: %s", err.text);
        return r;
    }
    char path[sizeof docker->socket_path];
    str_copy(path, sizeof path, image_str(block, image_engine(block, 0)->socket));
    r = docker_names_take(docker, block);
    bool wanted_offers = docker->wants_offers;
    docker->wants_offers = image_engine(block, 0)->wants_offers;
    if (docker->wants_offers && !wanted_offers)
        docker_offers_look(docker);
    role_detach_image(block);
    if (r == 0 && docker->socket_path[0])
        docker_engine_move(docker, path);
    else if (r == 0)
        memcpy(docker->socket_path, path, sizeof path);
    return r;
}

static int take_image(struct docker *docker, const struct ipc_image *message, int fd)
{
    int r = attach(docker, fd, message->block_size);
    if (r)
        return r;
    docker_look_next(docker);
    struct ipc_image taken = { .header = IPC_HEADER(IPC_ROLE_IMAGE_TAKEN, taken), .generation = message->generation };
    return ipc_send_plain(IPC_PARENT_FD, &taken);
}

static void close_source(struct docker *docker, struct io_source *source)
{
    if (source->fd < 0)
        return;
    io_unwatch(&docker->loop, source);
    close(TAKE_FD(source->fd));
}

static int take_broker(struct docker *docker, int fd)
{
    close_source(docker, &docker->broker);
    docker->broker.fd = fd;
    int r = io_watch(&docker->loop, &docker->broker, EPOLLIN);
    if (r == 0)
        docker_names_tell_broker(docker);
    return r;
}

static int take_hints(struct docker *docker, int page, int event)
{
    cleanup_close int owned_page = page, owned_event = event;
    void *hints = mmap(NULL, IPC_HINTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, owned_page, 0);
    if (hints == MAP_FAILED)
        return -errno;
    if (docker->hints)
        munmap(docker->hints, IPC_HINTS_SIZE);
    close_source(docker, &docker->hint);
    docker->hints = hints;
    docker->hint.fd = TAKE_FD(owned_event);
    return io_watch(&docker->loop, &docker->hint, EPOLLIN);
}

static int take_message(struct docker *docker, const struct ipc_buffer *buffer, int *fds, size_t n_fds)
{
    const void *message = buffer;
    int r = 0;
    switch (buffer->header.type) {
    case IPC_PARENT_IMAGE:
        r = take_image(docker, message, fds[0]);
        break;
    case IPC_PARENT_CHANNEL:
        if (((const struct ipc_channel *)message)->peer != IPC_ROLE_BROKER)
            break;
        return take_broker(docker, fds[0]);
    case IPC_PARENT_CHANNEL_LOST:
        close_source(docker, &docker->broker);
        break;
    case IPC_PARENT_HINTS:
        return take_hints(docker, fds[0], fds[1]);
    case IPC_DOCKER_OFFERS:
        docker_offers_take(docker, message, fds[0]);
        break;
    default: /* a second START: nothing else passes the table */
        r = -EBADMSG;
    }
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    return r;
}

static void parent_ready(struct io_source *source, uint32_t events)
{
    struct docker *docker = container_of(source, struct docker, parent);
    (void)events;
    for (;;) {
        struct ipc_buffer message;
        int fds[IPC_FDS_MAX];
        size_t n_fds = 0;
        int r = ipc_receive_from(IPC_PARENT_FD, IPC_ROLE_PARENT, IPC_ROLE_DOCKER, &message, fds, &n_fds);
        if (r == -EAGAIN)
            return;
        if (r == 0)
            r = take_message(docker, &message, fds, n_fds);
        if (r == -EPIPE)
            exit(EXIT_SUCCESS);
        if (r < 0) {
            log_error("%s", strerrordesc_np(-r));
            exit(EXIT_FAILURE);
        }
    }
}

/* ---- the broker ---- */

/* It says nothing: this is its end, and the parent tells what comes next. */
static void broker_ready(struct io_source *source, uint32_t events)
{
    (void)events;
    close_source(container_of(source, struct docker, broker), source);
}

static void hint_ready(struct io_source *source, uint32_t events)
{
    struct docker *docker = container_of(source, struct docker, hint);
    uint64_t count;
    (void)events;
    if (read(source->fd, &count, sizeof count) < 0)
        return;
    bool is_any = false;
    for (uint32_t i = 0; i < docker->n_names; i++) {
        struct docker_name *name = docker->names[i];
        if (!__atomic_load_n(&docker->hints[name->number % IPC_HINTS_SIZE], __ATOMIC_RELAXED))
            continue;
        is_any = true;
        if (!docker_name_is_alive(name) || name->owes_broker)
            name->is_hinted = true;
    }
    for (uint32_t i = 0; is_any && i < docker->n_names; i++)
        __atomic_store_n(&docker->hints[docker->names[i]->number % IPC_HINTS_SIZE], 0, __ATOMIC_SEQ_CST);
    docker_engine_try(docker);
    docker_look_next(docker);
}

static void due_fired(struct io_timer *timer)
{
    docker_look_next(container_of(timer, struct docker, due));
}

/* ---- start ---- */

/* The group that packages of the engine make for its socket; 0: there is none. */
static uint32_t usual_group(void)
{
    FILE *groups = fopen("/etc/group", "re");
    char line[1024];
    uint64_t gid = 0;
    while (groups && gid == 0 && fgets(line, sizeof line, groups)) {
        struct str rest = str_of(line), name = str_split(&rest, ':');
        str_split(&rest, ':');
        if (str_equal(name, STR("docker")) && !str_to_u64(str_split(&rest, ':'), UINT32_MAX - 1, &gid))
            break;
    }
    if (groups)
        fclose(groups);
    return (uint32_t)gid;
}

/* Who is of the socket's group may connect to it: this role is of that group, and has no right beyond. Looked at as root, before that is given
 * up; where no engine is yet, its socket will likely be of the usual group. */
static void choose_group(struct docker *docker)
{
    struct stat st;
    if (docker->role.start.uid == 0)
        return;
    if (stat(docker->socket_path, &st) < 0)
        docker->role.start.gid = usual_group() ? usual_group() : docker->role.start.gid;
    else if (S_ISSOCK(st.st_mode) && st.st_mode & S_IWGRP)
        docker->role.start.gid = st.st_gid;
}

static int map_board(struct docker *docker)
{
    int fd = docker->role.metrics;
    int seals = fd < 0 ? 0 : fcntl(fd, F_GET_SEALS);
    if (fd < 0)
        return 0;
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || lseek(fd, 0, SEEK_END) != DOCKER_BOARD_SIZE)
        return -EINVAL;
    void *board = mmap(NULL, DOCKER_BOARD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (board == MAP_FAILED)
        return -errno;
    docker->board = board;
    return 0;
}

static int start(struct docker *docker)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    docker->epoch = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec; /* above all that a predecessor used */
    docker->parent = (struct io_source){ .fd = IPC_PARENT_FD, .ready = parent_ready };
    docker->broker = (struct io_source){ .fd = -1, .ready = broker_ready };
    docker->hint = (struct io_source){ .fd = -1, .ready = hint_ready };
    docker->due.fire = due_fired;
    docker_offers_init(docker);
    docker->look.process = docker->look.owner_process = docker->look.space = -1;
    /* jansson would open a device for the seed of its hash tables. */
    uint32_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint32_t)now.tv_nsec;
    json_object_seed(seed | 1);
    int r = io_loop_init(&docker->loop);
    if (r == 0)
        r = map_board(docker);
    if (r == 0)
        r = docker->role.block >= 0 ? attach(docker, docker->role.block, docker->role.start.block_size) : -EBADMSG;
    if (r == 0)
        r = io_watch(&docker->loop, &docker->parent, EPOLLIN);
    return r;
}

int main(void)
{
    static struct docker docker;
    if (role_start(IPC_ROLE_DOCKER, &docker.role))
        return EXIT_FAILURE;
    int r = start(&docker);
    if (r) {
        log_error("can't start: %s", strerrordesc_np(-r));
        return EXIT_FAILURE;
    }
    choose_group(&docker);
    if (confine(&docker))
        return EXIT_FAILURE;
    role_deinit(&docker.role);
    r = docker_engine_init(&docker);
    if (r == 0)
        r = io_loop_run(&docker.loop);
    log_error("ends: %s", strerrordesc_np(-r));
    return EXIT_FAILURE;
}
