/* The start of every role, up to the moment it is confined. */
#include "roles/role.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

enum { START_TIMEOUT_MS = 10000 };

static const char *process_name(enum ipc_role role)
{
    static const char *const names[IPC_ROLE_COUNT] = { "postern-parent", "postern-keeper", "postern-broker", "postern-watcher",
        "postern-logger", "postern-worker", "postern-compile", "postern-docker", "postern-relay", "postern-porter" };
    return names[role];
}

static bool is_channel(int fd)
{
    int type = 0, domain = 0;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET
        && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

static void take_signals(void)
{
    static const int ignored[] = { SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 };
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        sigaction(ignored[i], &ignore, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void bind_to_parent(enum ipc_role which)
{
    if (which != IPC_ROLE_LOGGER)
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static int wait_for_start(enum ipc_role which, struct ipc_buffer *buffer, int fds[static IPC_FDS_MAX], size_t *ret_n_fds)
{
    struct pollfd p = { .fd = IPC_PARENT_FD, .events = POLLIN };
    int r;
    do
        r = poll(&p, 1, START_TIMEOUT_MS);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return -ETIMEDOUT;
    r = ipc_receive_from(IPC_PARENT_FD, IPC_ROLE_PARENT, which, buffer, fds, ret_n_fds);
    if (r == 0 && buffer->header.type != IPC_PARENT_START) {
        for (size_t i = 0; i < *ret_n_fds; i++)
            close(fds[i]);
        return -EBADMSG;
    }
    return r;
}

int role_start(enum ipc_role which, struct role *ret)
{
    log_init(process_name(which), LOG_INFO);
    if (!is_channel(IPC_PARENT_FD)) {
        log_error("this program is started by postern-parent; run 'postern run'");
        return -EBADF;
    }
    prctl(PR_SET_NAME, process_name(which), 0, 0, 0);
    take_signals();
    bind_to_parent(which);
    if (fcntl(IPC_PARENT_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(IPC_PARENT_FD, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
        return -errno;
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n_fds = 0;
    int r = wait_for_start(which, &buffer, fds, &n_fds);
    if (r < 0) {
        if (r != -EPIPE) /* the parent is gone: it said why, or was killed */
            log_error("no start message from the parent: %s", strerror(-r));
        return r;
    }
    struct role role = { .which = which, .block = n_fds > 0 ? fds[0] : -1, .metrics = n_fds > 1 ? fds[1] : -1 };
    memcpy(&role.start, &buffer, sizeof role.start);
    if (role.start.role != (uint32_t)which) {
        log_error("started as the wrong role");
        role_deinit(&role);
        return -EBADMSG;
    }
    *ret = role;
    return 0;
}

void role_deinit(struct role *role)
{
    if (role->block >= 0)
        close(TAKE_FD(role->block));
    if (role->metrics >= 0)
        close(TAKE_FD(role->metrics));
}

void role_report_offence(int32_t pid, const char *why)
{
    struct ipc_offence offence = { .header = IPC_HEADER(IPC_ROLE_OFFENCE, offence), .pid = pid };
    str_copy(offence.why, sizeof offence.why, str_of(why));
    int r = ipc_send_plain(IPC_PARENT_FD, &offence);
    if (r < 0 && r != -EPIPE)
        log_error("telling the parent of worker process %d: %s", (int)pid, strerror(-r));
}

int role_confine(const struct role *role, const struct confine_profile *profile)
{
    struct ipc_ready ready = { .header = IPC_HEADER(IPC_ROLE_READY, ready) };
    struct error err = { "" };
    int r = confine_apply(profile, role->start.uid, role->start.gid, &ready.confinement, &ready.missing, &err);
    if (r < 0) {
        log_error("%s", err.text);
        return r;
    }
    r = ipc_send_plain(IPC_PARENT_FD, &ready);
    if (r < 0 && r != -EPIPE)
        log_error("telling the parent: %s", strerror(-r));
    return r;
}

int role_accept(int listener, uint32_t uid)
{
    cleanup_close int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (uid != ROLE_ANYBODY && (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) || (peer.uid != 0 && peer.uid != uid)))
        return -EPERM;
    return TAKE_FD(fd);
}
