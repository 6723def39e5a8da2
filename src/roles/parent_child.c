/* Roles as processes: started, spoken to, watched, and started again, at once after the first end and later and later in a crash loop. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/metrics.h"
#include "roles/parent.h"

const char *child_name(const struct child *child, char text[static CHILD_NAME_SIZE])
{
    if (child->role == IPC_ROLE_WORKER)
        snprintf(text, CHILD_NAME_SIZE, "worker %s/%u", child->surface_name, (unsigned)child->worker);
    else
        snprintf(text, CHILD_NAME_SIZE, "%s", ipc_role_name(child->role));
    return text;
}

bool child_has_connections(const struct child *child)
{
    return child->role == IPC_ROLE_WORKER || child->role == IPC_ROLE_RELAY;
}

bool child_is_live(const struct child *child)
{
    return child->pid > 0 && child->channel >= 0;
}

struct child *child_find(struct parent *parent, enum ipc_role role)
{
    for (struct child *child = parent->children; child; child = child->next)
        if (child->role == role && child->is_wanted)
            return child;
    return NULL;
}

struct child *child_new(struct parent *parent, enum ipc_role role, uint32_t surface, const char *surface_name, uint32_t worker)
{
    struct child *child = calloc(1, sizeof *child);
    if (!child)
        return NULL;
    child->role = role;
    child->surface = surface;
    child->worker = worker;
    str_copy(child->surface_name, sizeof child->surface_name, str_of(surface_name));
    child->channel = child->metrics = child->records[0] = child->records[1] = child->flows[0] = child->flows[1] = -1;
    child->status = IPC_ROLE_DOWN;
    child->is_wanted = true;
    child->queue_end = &child->queue;
    child->next = parent->children;
    parent->children = child;
    return child;
}

/* ---- start ---- */

/* Whatever the administrator's shell has in its environment is nobody's business; a sanitizer's options are for tests. */
static char *const *role_environment(void)
{
    static const char *const wanted[] = { "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TERM", "NO_COLOR", "TZ" };
    static const char *environment[ARRAY_SIZE(wanted) + 3];
    size_t n = 0;
    environment[n++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    environment[n++] = "LANG=C.UTF-8";
    for (char **entry = environ; *entry; entry++)
        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
            size_t len = strlen(wanted[i]);
            if (n < ARRAY_SIZE(environment) - 1 && strncmp(*entry, wanted[i], len) == 0 && (*entry)[len] == '=')
                environment[n++] = *entry;
        }
    environment[n] = NULL;
    return (char *const *)(uintptr_t)environment;
}

static _Noreturn void become_role(const struct parent *parent, enum ipc_role role, int channel)
{
    static const char *const programs[IPC_ROLE_COUNT] = { "postern-parent", "postern-keeper", "postern-broker", "postern-watcher",
        "postern-logger", "postern-worker", "postern-compiler", "postern-docker", "postern-relay", "postern-porter" };
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", parent->options.role_directory, programs[role]);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* The sources are all above the targets: the parent opened them after its own 0 to 3 were taken. */
    if (dup2(parent->null_fd, STDIN_FILENO) >= 0 && dup2(role == IPC_ROLE_LOGGER ? parent->stdout_fd : parent->null_fd, STDOUT_FILENO) >= 0
        && dup2(parent->stderr_fd, STDERR_FILENO) >= 0 && dup2(channel, IPC_PARENT_FD) >= 0
        && syscall(SYS_close_range, IPC_PARENT_FD + 1, ~0U, 0) == 0) {
        char *arguments[] = { (char *)(uintptr_t)programs[role], NULL };
        execve(path, arguments, role_environment());
    }
    log_error("%s: %s", path, strerror(errno));
    _exit(127);
}

/* A page of counters from zero, as a worker's counters are. */
static int new_metrics_page(void)
{
    int fd = memfd_create("postern-metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, METRICS_PAGE_SIZE) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

static int launch(struct parent *parent, struct child *child)
{
    int ours, theirs;
    int r = ipc_pair(&ours, &theirs);
    if (r < 0)
        return r;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = child };
    pid_t pid = -1;
    if (epoll_ctl(parent->epoll, EPOLL_CTL_ADD, ours, &event) < 0 || (pid = fork()) < 0)
        r = -errno;
    if (pid == 0)
        become_role(parent, child->role, theirs);
    close(theirs);
    if (r < 0) {
        close(ours);
        return r;
    }
    child->pid = pid;
    child->channel = ours;
    child->is_writable_awaited = false;
    return 0;
}

static void plan_restart(struct parent *parent, struct child *child)
{
    char name[CHILD_NAME_SIZE];
    int64_t now = parent_now_ms();
    if (now - child->started_ms >= PARENT_STEADY_MS)
        child->n_quick_ends = 0;
    child->backoff_ms = 0;
    if (child->n_quick_ends > 0) {
        unsigned doublings = child->n_quick_ends - 1 < 7 ? child->n_quick_ends - 1 : 7;
        child->backoff_ms = (uint32_t)PARENT_BACKOFF_FIRST_MS << doublings;
        if (child->backoff_ms > PARENT_BACKOFF_MAX_MS)
            child->backoff_ms = PARENT_BACKOFF_MAX_MS;
    }
    child->n_quick_ends++;
    if (child->backoff_ms > 0)
        log_error("%s %s, %u times in a row; next start in %u ms", child_name(child, name), child->last_exit, (unsigned)child->n_quick_ends,
            (unsigned)child->backoff_ms);
    else
        log_warning("%s %s; starting it again", child_name(child, name), child->last_exit);
    child->deadline_ms = now + child->backoff_ms;
    child->n_restarts++;
    child_set_status(parent, child, IPC_ROLE_DOWN);
}

static void close_ends(int ends[static 2])
{
    for (size_t i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(TAKE_FD(ends[i]));
}

void child_start(struct parent *parent, struct child *child)
{
    int r = 0;
    child->started_ms = parent_now_ms();
    child->started_at = (uint64_t)time(NULL);
    child->deadline_ms = child->started_ms + PARENT_START_TIMEOUT_MS;
    child->confinement = child->missing = 0;
    if (child_has_connections(child)) {
        if (child->metrics >= 0)
            close(child->metrics);
        r = child->metrics = new_metrics_page();
    }
    if (child->role == IPC_ROLE_DOCKER) {
        docker_on_start(parent);
        r = docker_prepare(parent);
    }
    if (child->role == IPC_ROLE_PORTER) {
        close_ends(child->flows);
        r = ipc_pair(&child->flows[0], &child->flows[1]);
    }
    if (r >= 0)
        r = launch(parent, child);
    if (r < 0) {
        snprintf(child->last_exit, sizeof child->last_exit, "could not be started: %s", strerror(-r));
        plan_restart(parent, child);
        return;
    }
    child_send_start(parent, child); /* before all else that is said to it */
    child_set_status(parent, child, IPC_ROLE_STARTING);
    if (child->role != IPC_ROLE_COMPILER) {
        wire_started(parent, child);
        listen_tell(parent, child);
    }
}

/* ---- end ---- */

void child_kill(struct child *child, const char *why)
{
    char name[CHILD_NAME_SIZE];
    if (child->pid <= 0)
        return;
    log_error("ending %s: %s", child_name(child, name), why);
    kill(child->pid, SIGKILL);
}

static void close_channel(struct child *child)
{
    child_drop_queue(child);
    if (child->channel >= 0)
        close(TAKE_FD(child->channel)); /* leaves the epoll set with it: no other process holds this end */
}

void child_stop(struct parent *parent, struct child *child)
{
    child->is_wanted = false;
    if (child->pid <= 0)
        return;
    if (child->channel >= 0)
        wire_ended(parent, child);
    close_channel(child);
    child->deadline_ms = parent_now_ms() + PARENT_END_TIMEOUT_MS;
}

void child_drain(struct parent *parent, struct child *child, uint32_t limit_ms)
{
    child->is_wanted = false;
    if (!child_is_live(child)) {
        child_stop(parent, child);
        return;
    }
    struct ipc_drain drain = { .header = IPC_HEADER(IPC_PARENT_DRAIN, drain), .limit_ms = limit_ms };
    child_send(parent, child, &drain, NULL, 0);
    child->deadline_ms = parent_now_ms() + limit_ms + PARENT_END_TIMEOUT_MS;
    child_set_status(parent, child, IPC_ROLE_DRAINING);
}

static void describe_end(struct child *child, int status)
{
    if (WIFSIGNALED(status))
        snprintf(child->last_exit, sizeof child->last_exit, "killed by SIG%s", sigabbrev_np(WTERMSIG(status)) ? sigabbrev_np(WTERMSIG(status)) : "?");
    else if (WEXITSTATUS(status) == 127)
        snprintf(child->last_exit, sizeof child->last_exit, "could not be started");
    else
        snprintf(child->last_exit, sizeof child->last_exit, "ended with status %d", WEXITSTATUS(status));
}

static void on_end(struct parent *parent, struct child *child, int status)
{
    describe_end(child, status);
    if (child->channel >= 0)
        parent_dispatch(parent, child); /* what it said before it ended */
    if (child->channel >= 0 && child->role != IPC_ROLE_COMPILER)
        wire_ended(parent, child);
    close_channel(child);
    child->pid = 0;
    child->deadline_ms = 0;
    if (child->role == IPC_ROLE_COMPILER) {
        child->is_wanted = false;
        reload_on_compiler_end(parent, child);
    } else if (child->is_wanted && parent->state != PARENT_STOPPING) {
        plan_restart(parent, child);
        reload_advance(parent);
    }
}

static void remove_gone(struct parent *parent)
{
    for (struct child **link = &parent->children; *link;) {
        struct child *child = *link;
        if (child->pid > 0 || child->is_wanted) {
            link = &child->next;
            continue;
        }
        child_set_status(parent, child, IPC_ROLE_GONE);
        *link = child->next;
        close_channel(child);
        if (child->metrics >= 0)
            close(child->metrics);
        if (child->records[0] >= 0)
            close(child->records[0]);
        close_ends(child->flows);
        free(child);
    }
}

void child_reap_all(struct parent *parent)
{
    for (struct child *child = parent->children; child; child = child->next) {
        int status;
        if (child->pid > 0 && waitpid(child->pid, &status, WNOHANG) == child->pid)
            on_end(parent, child, status);
    }
    child_run_deadlines(parent);
    remove_gone(parent);
}

void child_run_deadlines(struct parent *parent)
{
    int64_t now = parent_now_ms();
    for (struct child *child = parent->children; child; child = child->next) {
        if (child->deadline_ms == 0 || child->deadline_ms > now)
            continue;
        child->deadline_ms = 0;
        if (child->pid <= 0) {
            if (child->is_wanted && parent->state != PARENT_STOPPING)
                child_start(parent, child);
        } else if (!child->is_wanted) {
            kill(child->pid, SIGKILL);
        } else if (child->status == IPC_ROLE_STARTING) {
            child_kill(child, "it did not get ready in time");
        }
    }
}
