/* Replacing the running postern by the one now installed: the listening sockets are never closed, so nobody is refused.
 *
 *   old: SIGUSR2 ─▶ fork, exec ─▶ sockets, HANDOVER ─────────────┐                    ┌─▶ drains its workers, ends
 *   new:                                        compiles, starts all roles ─▶ READY ──┘
 *
 * Until READY the old one serves alone in the eyes of everybody; if it doesn't come, nothing has happened. The messages of a handover are
 * understood by any two versions, so their layout never changes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/parent.h"

/* ---- the old one ---- */

static void end_attempt(struct parent *parent, const char *why)
{
    log_error("the new postern did not take over: %s; the old one goes on serving", why);
    if (parent->upgrade.pid > 0)
        kill(parent->upgrade.pid, SIGKILL); /* its roles end with it */
    close(TAKE_FD(parent->upgrade.channel));
    parent->upgrade.deadline_ms = 0;
    parent_write_pid_file(parent); /* tells 'postern upgrade' that it is over */
}

static _Noreturn void become_successor(const struct parent *parent, int channel)
{
    char path[PATH_MAX];
    size_t n = 0;
    while (parent->arguments[n])
        n++;
    const char **arguments = calloc(n + 2, sizeof *arguments);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    snprintf(path, sizeof path, "%s/postern-parent", parent->options.role_directory);
    if (arguments && dup2(channel, IPC_PARENT_FD) >= 0) {
        memcpy(arguments, parent->arguments, n * sizeof *arguments);
        if (!parent->options.is_successor)
            arguments[n] = "--successor";
        execv(path, (char *const *)(uintptr_t)arguments);
    }
    log_error("%s: %s", path, strerror(errno));
    _exit(127);
}

/* Blocking for once: these few messages fit the channel's buffer, or the successor is there to read them. */
static int hand_over(struct parent *parent, int channel)
{
    struct ipc_handover handover = { .header = IPC_HEADER(IPC_PARENT_HANDOVER, handover), .generation = parent->last_generation };
    int r = listen_hand_over(parent, channel, &handover.n_listeners);
    str_copy(handover.host, sizeof handover.host, str_of(parent->host));
    return r < 0 ? r : ipc_send(channel, &handover, NULL, 0);
}

void upgrade_start(struct parent *parent)
{
    struct upgrade *upgrade = &parent->upgrade;
    int ours = -1, theirs = -1;
    if (parent->state != PARENT_SERVING || upgrade->channel >= 0) {
        log_warning("not upgrading: %s", upgrade->channel >= 0 ? "an upgrade is under way" : "this postern is starting or ending");
        return;
    }
    log_info("starting the installed postern to take over");
    int r = ipc_pair(&ours, &theirs);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = upgrade };
    if (r < 0 || epoll_ctl(parent->epoll, EPOLL_CTL_ADD, ours, &event) < 0 || (upgrade->pid = fork()) < 0) {
        log_error("upgrade: %s", strerror(errno));
        if (ours >= 0)
            close(ours);
        if (theirs >= 0)
            close(theirs);
        return;
    }
    if (upgrade->pid == 0)
        become_successor(parent, theirs);
    close(theirs);
    upgrade->channel = ours;
    upgrade->deadline_ms = parent_now_ms() + PARENT_UPGRADE_TIMEOUT_MS;
    fcntl(ours, F_SETFL, O_RDWR);
    r = hand_over(parent, ours);
    fcntl(ours, F_SETFL, O_RDWR | O_NONBLOCK);
    if (r < 0)
        end_attempt(parent, strerror(-r));
}

static void be_succeeded(struct parent *parent)
{
    char text[64];
    struct upgrade *upgrade = &parent->upgrade;
    log_info("process %d has taken over; letting connections finish for up to %u s", (int)upgrade->pid, (unsigned)parent->options.drain_ms / 1000);
    close(TAKE_FD(upgrade->channel));
    upgrade->deadline_ms = 0;
    snprintf(text, sizeof text, "MAINPID=%d", (int)upgrade->pid);
    notify_manager(text);
    parent->state = PARENT_SUCCEEDED;
    /* The successor's watcher answers now: on a shared metrics socket there must be one only. */
    struct child *watcher = child_find(parent, IPC_ROLE_WATCHER);
    if (watcher)
        child_stop(parent, watcher);
    listen_close_all(parent);
    for (struct child *child = parent->children; child; child = child->next)
        if (child_has_connections(child) && child->is_wanted)
            child_drain(parent, child, parent->options.drain_ms);
        else if (child->role == IPC_ROLE_PORTER)
            child_stop(parent, child); /* the successor's makes the flows that begin now */
}

void upgrade_on_event(struct parent *parent)
{
    struct ipc_buffer message;
    int fds[IPC_FDS_MAX];
    size_t n_fds;
    int r = ipc_receive_from(parent->upgrade.channel, IPC_ROLE_PARENT, IPC_ROLE_PARENT, &message, fds, &n_fds);
    if (r == -EAGAIN)
        return;
    if (r < 0)
        end_attempt(parent, r == -EPIPE ? "it ended" : strerror(-r));
    else if (message.header.type == IPC_ROLE_READY)
        be_succeeded(parent);
    for (size_t i = 0; r == 0 && i < n_fds; i++)
        close(fds[i]);
}

void upgrade_run_deadline(struct parent *parent)
{
    if (parent->upgrade.channel >= 0 && parent->upgrade.deadline_ms <= parent_now_ms())
        end_attempt(parent, "it did not get ready in time");
}

void upgrade_reap(struct parent *parent)
{
    int status;
    if (parent->upgrade.pid > 0 && waitpid(parent->upgrade.pid, &status, WNOHANG) == parent->upgrade.pid) {
        parent->upgrade.pid = 0;
        if (parent->upgrade.channel >= 0)
            end_attempt(parent, "it ended");
    }
}

/* ---- the new one ---- */

static int wait_for_message(void)
{
    struct pollfd p = { .fd = IPC_PARENT_FD, .events = POLLIN };
    int r;
    do
        r = poll(&p, 1, PARENT_START_TIMEOUT_MS);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

int upgrade_receive(struct parent *parent, struct error *err)
{
    uint32_t n_listeners = 0;
    int r;
    while ((r = wait_for_message()) == 0) {
        struct ipc_buffer buffer;
        int fds[IPC_FDS_MAX];
        size_t n_fds;
        r = ipc_receive_from(IPC_PARENT_FD, IPC_ROLE_PARENT, IPC_ROLE_PARENT, &buffer, fds, &n_fds);
        if (r == 0 && buffer.header.type == IPC_PARENT_LISTENER && n_fds == 1) {
            r = listen_adopt(parent, (const struct ipc_listener *)&buffer, fds[0]);
            n_listeners++;
        } else if (r == 0 && buffer.header.type == IPC_PARENT_HANDOVER) {
            const struct ipc_handover *handover = (const struct ipc_handover *)&buffer;
            if (handover->n_listeners != n_listeners)
                break;
            parent->last_generation = handover->generation;
            memcpy(parent->host, handover->host, sizeof parent->host);
            return 0;
        } else if (r == 0) {
            r = -EBADMSG;
        }
        if (r < 0)
            break;
    }
    error_set(err, "taking over from the running postern: %s", r < 0 ? strerror(-r) : "sockets are missing");
    return r < 0 ? r : -EBADMSG;
}

void upgrade_tell_ready(void)
{
    struct ipc_ready ready = { .header = IPC_HEADER(IPC_ROLE_READY, ready) };
    if (ipc_send_plain(IPC_PARENT_FD, &ready) < 0)
        log_warning("the postern that was to be replaced is gone already");
}
