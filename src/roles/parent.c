/* postern-parent: owns the listening sockets, starts, watches and wires the other roles, and parses nothing. */
#include "roles/parent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/uids.h"
#include "roles/confine.h"

enum {
    EVENTS_MAX = 64,
    MESSAGES_PER_TURN = 128, /* more than a compiler ever sends: they are read whole when it has ended */
    UID_OF_ACME = 6,
    HIGH_DESCRIPTOR = 10,
};

int64_t parent_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint32_t parent_uid_of(const struct parent *parent, enum ipc_role role, uint32_t surface)
{
    static const uint32_t offsets[IPC_ROLE_COUNT] = { [IPC_ROLE_KEEPER] = 1, [IPC_ROLE_BROKER] = 2, [IPC_ROLE_WATCHER] = 3,
        [IPC_ROLE_LOGGER] = 4, [IPC_ROLE_COMPILER] = 5, [IPC_ROLE_DOCKER] = 7, [IPC_ROLE_RELAY] = UIDS_OF_RELAY, [IPC_ROLE_PORTER] = UIDS_OF_PORTER,
        [IPC_ROLE_WORKER] = UIDS_OF_WORKERS };
    if (!parent->is_privileged || parent->options.uid_base == 0)
        return 0;
    return parent->options.uid_base + offsets[role] + (role == IPC_ROLE_WORKER ? surface : 0);
}

uint32_t parent_uid_of_acme(const struct parent *parent)
{
    return parent->is_privileged && parent->options.uid_base != 0 ? parent->options.uid_base + UID_OF_ACME : 0;
}

/* ---- what roles say ---- */

static void on_ready(struct parent *parent, struct child *child, const struct ipc_ready *ready)
{
    if (child->status != IPC_ROLE_STARTING)
        return;
    child->confinement = ready->confinement;
    child->missing = ready->missing;
    child->deadline_ms = 0;
    child_set_status(parent, child, IPC_ROLE_RUNNING);
    reload_advance(parent);
    parent_on_progress(parent);
}

static void on_image_taken(struct parent *parent, struct child *child, const struct ipc_image *image)
{
    child->generation = image->generation;
    child_tell_state(parent, child);
    reload_advance(parent);
}

/* The last word on each certificate is kept for a watcher that starts later. */
static void on_certificate_state(struct parent *parent, const struct ipc_certificate_state *state)
{
    uint32_t i = 0;
    while (i < parent->n_certificates && (parent->certificates[i].surface != state->surface || strcmp(parent->certificates[i].name, state->name) != 0))
        i++;
    if (i < PARENT_CERTIFICATES_MAX) {
        parent->certificates[i] = *state;
        if (i == parent->n_certificates)
            parent->n_certificates++;
    }
    struct child *watcher = child_find(parent, IPC_ROLE_WATCHER);
    if (watcher)
        child_send(parent, watcher, state, NULL, 0);
}

/* What no worker (or docker role) sends, one sent that is not itself any more: it loses all it had, not only that channel. */
static void on_offence(struct parent *parent, const struct child *accuser, const struct ipc_offence *offence)
{
    struct error why;
    error_set(&why, "the %s ended its channel: %s", ipc_role_name(accuser->role), offence->why);
    for (struct child *child = parent->children; child; child = child->next)
        if ((child_has_connections(child) || child->role == IPC_ROLE_DOCKER) && child->pid == offence->pid)
            child_kill(child, why.text);
}

/* ipc_receive_from has checked that this role may say it, and its shape. Descriptors are consumed. */
static void on_message(struct parent *parent, struct child *child, const struct ipc_buffer *message, const int *fds, size_t n_fds)
{
    const void *m = message;
    switch ((enum ipc_type)message->header.type) {
    case IPC_ROLE_READY:
        on_ready(parent, child, m);
        break;
    case IPC_ROLE_IMAGE_TAKEN:
        on_image_taken(parent, child, m);
        break;
    case IPC_ROLE_DRAINED:
        if (child->status == IPC_ROLE_DRAINING)
            child_stop(parent, child);
        break;
    case IPC_WATCHER_RELOAD:
        reload_ask(parent, ((const struct ipc_reload *)m)->request);
        break;
    case IPC_KEEPER_STATE:
        on_certificate_state(parent, m);
        break;
    case IPC_ROLE_OFFENCE:
        on_offence(parent, child, m);
        break;
    case IPC_DOCKER_GUEST:
        docker_on_guest(parent, m, n_fds > 0 ? fds[0] : -1);
        break;
    case IPC_DOCKER_OFFERS:
        docker_on_offers(parent, m, fds[0]);
        break;
    case IPC_DOCKER_GUESTS_TOLD:
        docker_on_guests_told(parent);
        break;
    case IPC_COMPILER_BLOCK:
        reload_on_block(parent, child, m, fds[0]);
        break;
    case IPC_COMPILER_DONE:
        reload_on_done(parent, child, m, n_fds > 0 ? fds[0] : -1);
        break;
    default: /* nothing else may be said to the parent */
        for (size_t i = 0; i < n_fds; i++)
            close(fds[i]);
    }
}

void parent_dispatch(struct parent *parent, struct child *child)
{
    for (unsigned i = 0; i < MESSAGES_PER_TURN && child->channel >= 0; i++) {
        struct ipc_buffer message;
        int fds[IPC_FDS_MAX];
        size_t n_fds = 0;
        int r = ipc_receive_from(child->channel, child->role, IPC_ROLE_PARENT, &message, fds, &n_fds);
        if (r == -EAGAIN)
            return;
        if (r < 0) {
            if (r != -EPIPE)
                child_kill(child, "it sent a malformed message");
            else if (child->pid > 0)
                kill(child->pid, SIGKILL); /* a role without its channel is of no use; most have ended already */
            epoll_ctl(parent->epoll, EPOLL_CTL_DEL, child->channel, NULL);
            return;
        }
        on_message(parent, child, &message, fds, n_fds);
    }
}

/* ---- start and end ---- */

static void report_missing(const struct parent *parent)
{
    uint32_t missing = 0;
    char text[CONFINE_TEXT_SIZE];
    for (const struct child *child = parent->children; child; child = child->next)
        missing |= child->missing;
    if (missing)
        log_warning("running with less than it should: this kernel or these rights lack %s ('postern status' shows it for each role)",
            confine_format(missing, text));
}

void parent_write_pid_file(const struct parent *parent)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    snprintf(path, sizeof path, "%s/postern.pid", parent->options.run_directory);
    snprintf(temporary, sizeof temporary, "%s/.postern.pid.%d", parent->options.run_directory, (int)getpid());
    cleanup_close int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || fchmod(fd, 0644) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0 || rename(temporary, path) < 0)
        log_warning("%s: %s ('postern upgrade' won't find this process)", path, strerror(errno));
}

static void remove_pid_file(const struct parent *parent)
{
    char path[PATH_MAX], text[32] = "", own[32];
    snprintf(path, sizeof path, "%s/postern.pid", parent->options.run_directory);
    snprintf(own, sizeof own, "%d\n", (int)getpid());
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strcmp(text, own) == 0)
        unlink(path);
}

static void begin_serving(struct parent *parent)
{
    parent->state = PARENT_SERVING;
    listen_publish(parent);
    parent_write_pid_file(parent);
    log_info("serving as %s, revision %s", parent->host, parent->current->revision);
    report_missing(parent);
    notify_manager("READY=1");
    if (parent->options.is_successor)
        upgrade_tell_ready();
    reload_advance(parent);
}

static void check_start(struct parent *parent)
{
    bool all_run = true;
    char name[CHILD_NAME_SIZE];
    if (parent->reload.state != RELOAD_ROLES)
        return;
    for (struct child *child = parent->children; child; child = child->next) {
        if (child->role == IPC_ROLE_COMPILER)
            continue;
        if (child->n_restarts > 0) {
            log_error("not starting: %s %s", child_name(child, name), child->last_exit);
            parent_stop(parent, EXIT_FAILURE, 0);
            return;
        }
        all_run = all_run && child->status == IPC_ROLE_RUNNING;
    }
    if (all_run && !reload_start_observers(parent))
        begin_serving(parent);
}

static bool has_worker(const struct parent *parent)
{
    for (const struct child *child = parent->children; child; child = child->next)
        if (child_has_connections(child))
            return true;
    return false;
}

void parent_on_progress(struct parent *parent)
{
    if (parent->state == PARENT_STARTING)
        check_start(parent);
    else if (parent->state == PARENT_SUCCEEDED && !has_worker(parent))
        parent_stop(parent, EXIT_SUCCESS, 0);
    else if (parent->state == PARENT_STOPPING && !has_worker(parent))
        for (struct child *child = parent->children; child; child = child->next)
            if (child->is_wanted)
                child_stop(parent, child);
}

void parent_stop(struct parent *parent, int exit_status, uint32_t grace_ms)
{
    bool is_second = parent->state == PARENT_STOPPING;
    parent->state = PARENT_STOPPING;
    if (!is_second) {
        parent->exit_status = exit_status;
        notify_manager("STOPPING=1");
        if (parent->upgrade.channel >= 0 && parent->upgrade.pid > 0)
            kill(parent->upgrade.pid, SIGKILL);
    }
    reload_cancel(parent);
    listen_close_all(parent);
    for (struct child *child = parent->children; child; child = child->next) {
        if (is_second) {
            child->is_wanted = false; /* or, ended last, it would be waited for with nothing left to come */
            if (child->pid > 0)
                kill(child->pid, SIGKILL);
        } else if (child->role == IPC_ROLE_COMPILER || child->role == IPC_ROLE_PORTER || (child_has_connections(child) && grace_ms == 0)) {
            child_stop(parent, child);
        } else if (child_has_connections(child)) {
            child_drain(parent, child, grace_ms);
        }
    }
    parent_on_progress(parent); /* there may be no worker to wait for */
}

/* ---- the loop ---- */

static void on_signal(struct parent *parent, uint32_t number)
{
    switch (number) {
    case SIGHUP:
        if (parent->state == PARENT_SERVING)
            reload_ask(parent, 0);
        break;
    case SIGUSR2:
        upgrade_start(parent);
        break;
    case SIGTERM:
    case SIGINT:
        log_info("%s", parent->state == PARENT_STOPPING ? "ending at once" : "ending");
        parent_stop(parent, EXIT_SUCCESS, parent->options.grace_ms);
        break;
    default: /* SIGCHLD: children are looked at after every turn */
        break;
    }
}

static void read_signals(struct parent *parent)
{
    struct signalfd_siginfo info;
    while (read(parent->signals, &info, sizeof info) == (ssize_t)sizeof info)
        on_signal(parent, info.ssi_signo);
}

static int timeout_until(int64_t next_ms)
{
    if (next_ms == INT64_MAX)
        return -1;
    int64_t left = next_ms - parent_now_ms();
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static int64_t earliest(int64_t a, int64_t b)
{
    return b != 0 && b < a ? b : a;
}

static int64_t next_deadline(const struct parent *parent)
{
    int64_t next = INT64_MAX;
    for (const struct child *child = parent->children; child; child = child->next)
        next = earliest(next, child->deadline_ms);
    next = earliest(next, parent->reload.deadline_ms);
    return earliest(next, parent->upgrade.channel >= 0 ? parent->upgrade.deadline_ms : 0);
}

static int run_loop(struct parent *parent)
{
    while (parent->state != PARENT_STOPPING || parent->children) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(parent->epoll, events, EVENTS_MAX, timeout_until(next_deadline(parent)));
        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &parent->signals) {
                read_signals(parent);
            } else if (events[i].data.ptr == &parent->upgrade) {
                if (parent->upgrade.channel >= 0)
                    upgrade_on_event(parent);
            } else if (events[i].data.ptr == &parent->docker) {
                docker_end_guests(parent);
            } else {
                struct child *child = events[i].data.ptr; /* removed only below, so never stale here */
                if (events[i].events & EPOLLOUT && child->channel >= 0)
                    child_flush(parent, child);
                if (events[i].events & ~(uint32_t)EPOLLOUT)
                    parent_dispatch(parent, child);
            }
        }
        reload_run_deadline(parent);
        upgrade_run_deadline(parent);
        upgrade_reap(parent);
        child_reap_all(parent);
        parent_on_progress(parent);
    }
    return 0;
}

/* ---- before it ---- */

/* A user namespace may have a few uids only: then nobody can become what it lacks, nor own files as it. */
static bool has_uids(uint32_t base)
{
    FILE *map = fopen("/proc/self/uid_map", "re");
    unsigned long first, outside, count;
    bool has = false;
    if (!map)
        return true;
    while (!has && fscanf(map, "%lu %lu %lu", &first, &outside, &count) == 3)
        has = base >= first && base + UIDS_N <= first + count;
    fclose(map);
    return has;
}

static bool can_change_uid(void)
{
    cap_t caps = cap_get_proc();
    cap_flag_value_t held = CAP_CLEAR;
    bool can = caps && cap_get_flag(caps, CAP_SETUID, CAP_EFFECTIVE, &held) == 0 && held == CAP_SET;
    cap_free(caps);
    return can;
}

/* A terminal is open for reading too on all three: a role that writes its messages there must not be able to read what is typed. */
static int open_for_writing(int fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    cleanup_close int opened = open(path, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
    /* A socket (the journal's) can't be opened again; it stays what it is. */
    return fcntl(opened >= 0 ? opened : fd, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
}

/* Descriptors 0 to 3 are always something, so that no descriptor made later is one of them. */
static int open_descriptors(struct parent *parent)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd < IPC_PARENT_FD);
    if (fd < 0 || syscall(SYS_close_range, IPC_PARENT_FD + 1, ~0U, 0) < 0)
        return -errno;
    if (parent->options.is_successor) {
        if (fd == IPC_PARENT_FD || fcntl(IPC_PARENT_FD, F_SETFD, FD_CLOEXEC) < 0)
            return -EBADF;
        fcntl(IPC_PARENT_FD, F_SETFL, O_RDWR | O_NONBLOCK);
    } else if (fd != IPC_PARENT_FD) {
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null_fd < 0 || dup3(null_fd, IPC_PARENT_FD, O_CLOEXEC) < 0)
            return -errno;
        close(null_fd);
    }
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    parent->null_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
    if (fd >= 0)
        close(fd);
    parent->stdout_fd = open_for_writing(STDOUT_FILENO);
    parent->stderr_fd = open_for_writing(STDERR_FILENO);
    if (parent->null_fd < 0 || parent->stdout_fd < 0 || parent->stderr_fd < 0)
        return -errno;
    /* One open file for all of us, or lines in a plain file would be written over each other. */
    return dup2(parent->stdout_fd, STDOUT_FILENO) < 0 || dup2(parent->stderr_fd, STDERR_FILENO) < 0 ? -errno : 0;
}

static int open_loop(struct parent *parent)
{
    static const int wanted[] = { SIGCHLD, SIGHUP, SIGTERM, SIGINT, SIGUSR2 };
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        sigaddset(&set, wanted[i]);
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigaction(SIGPIPE, &ignore, NULL);
    if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
        return -errno;
    parent->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    parent->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = &parent->signals };
    if (parent->signals < 0 || parent->epoll < 0 || epoll_ctl(parent->epoll, EPOLL_CTL_ADD, parent->signals, &event) < 0)
        return -errno;
    return 0;
}

static int make_directory(const char *path, mode_t mode, uint32_t owner, struct error *err)
{
    bool is_made = mkdir(path, mode) == 0;
    if ((!is_made && errno != EEXIST) || (is_made && chmod(path, mode) < 0)) { /* our umask is for sockets and files */
        error_set(err, "directory %s: %s", path, strerror(errno));
        return -errno;
    }
    /* EINVAL: a user namespace that doesn't have that uid; the role keeps ours then, and says so. */
    if (owner != 0 && chown(path, owner, owner) < 0 && errno != EINVAL && errno != EPERM) {
        error_set(err, "directory %s: %s", path, strerror(errno));
        return -errno;
    }
    return 0;
}

static int start(struct parent *parent, struct error *err)
{
    umask(077);
    parent->started_at = (uint64_t)time(NULL);
    str_copy(parent->host, sizeof parent->host, str_of(parent->options.host));
    int r = parent_confine(err);
    if (r < 0)
        return r;
    r = open_descriptors(parent);
    if (r == 0)
        r = open_loop(parent);
    if (r < 0) {
        error_set(err, "%s", strerror(-r));
        return r;
    }
    r = make_directory(parent->options.run_directory, 0755, 0, err);
    /* What is in the state directory has owners and modes of its own, from the keeper's start. */
    if (r == 0)
        r = make_directory(parent->options.state_directory, 0755, 0, err);
    if (r == 0 && parent->options.is_successor)
        r = upgrade_receive(parent, err);
    return r;
}

int main(int argc, char **argv)
{
    static struct parent parent = { .reload.report.fd = -1, .upgrade.channel = -1,
                                    .docker = { .hints = -1, .hint_event = -1, .board = -1, .offers.fd = -1 } };
    struct error err = { "" };
    log_init("postern", LOG_INFO);
    parent.arguments = argv;
    int r = options_parse(argc, argv, &parent.options);
    if (r != 0)
        return r - 1;
    parent.is_privileged = can_change_uid() && has_uids(parent.options.uid_base);
    r = start(&parent, &err);
    if (r < 0) {
        log_error("%s", err.text);
        return EXIT_FAILURE;
    }
    reload_ask(&parent, 0);
    r = run_loop(&parent);
    if (r < 0) {
        log_error("%s", strerror(-r));
        parent.exit_status = EXIT_FAILURE;
    }
    remove_pid_file(&parent);
    generation_free(parent.current);
    generation_free(parent.previous);
    return parent.exit_status;
}
