/* From the command's process to a supervisor in namespaces of its own. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab/supervise.h"
#include "lab/supervisor.h"

static int write_map(const char *path, const char *text)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* A user namespace in which we are root. Only our own user exists in it: whoever changes to another there stays who they are. */
static int become_own_root(void)
{
    char uid[64], gid[64];
    snprintf(uid, sizeof(uid), "0 %u 1", geteuid());
    snprintf(gid, sizeof(gid), "0 %u 1", getegid());
    if (unshare(CLONE_NEWUSER) < 0)
        return -errno;
    int r = write_map("/proc/self/setgroups", "deny");
    if (r == 0 || r == -ENOENT)
        r = write_map("/proc/self/gid_map", gid);
    return r < 0 ? r : write_map("/proc/self/uid_map", uid);
}

static int make_namespaces(struct error *err)
{
    const int namespaces = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
    if (geteuid() == 0 && unshare(namespaces) == 0)
        return 0;
    int r = become_own_root();
    if (r == 0 && unshare(namespaces) < 0)
        r = -errno;
    if (r < 0)
        error_set(err,
                  "can't make namespaces: %s. A lab needs root, or a kernel that lets users make them (sysctl user.max_user_namespaces, "
                  "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)",
                  strerror(-r));
    return r;
}

static void report_error(int report, const struct error *err)
{
    dprintf(report, "error %s\n", err->text);
}

/* Between the command and the supervisor: makes the namespaces, of which the PID namespace is for its children only. */
static void middle_run(const struct supervise_options *options, int report, int lifeline, int log)
{
    struct error err = { "" };
    if (setsid() < 0 || make_namespaces(&err) < 0) {
        report_error(report, &err);
        _exit(1);
    }
    /* The supervisor waits for its number to be written down: what it reports as ready can then be entered. */
    int go[2];
    if (pipe2(go, O_CLOEXEC) < 0)
        _exit(1);
    pid_t supervisor = fork();
    if (supervisor == 0) {
        char byte;
        close(go[1]);
        if (read(go[0], &byte, 1) != 1)
            _exit(1);
        close(go[0]);
        _exit(supervisor_run(options, report, lifeline, log));
    }
    if (supervisor < 0) {
        error_set(&err, "can't start the supervisor: %s", strerror(errno));
        report_error(report, &err);
        _exit(1);
    }
    if (space_publish(options->space, supervisor, &err) < 0) {
        report_error(report, &err);
        kill(supervisor, SIGKILL);
        _exit(1);
    }
    _exit(write(go[1], "", 1) == 1 ? 0 : 1);
}

static int log_directory(const struct space *space)
{
    int fd = open(space->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int supervise_launch(const struct supervise_options *options, int lock, int *ret_report, int *ret_lifeline, struct error *err)
{
    int report[2], lifeline[2];
    (void)lock; /* inherited, open for as long as the supervisor lives */
    cleanup_close int log = log_directory(options->space);
    if (log < 0) {
        error_set(err, "%s: %s", options->space->directory, strerror(-log));
        return log;
    }
    if (pipe2(report, O_CLOEXEC) < 0)
        return -errno;
    if (pipe2(lifeline, O_CLOEXEC) < 0) {
        int r = -errno;
        close(report[0]);
        close(report[1]);
        return r;
    }
    pid_t middle = fork();
    if (middle == 0) {
        close(report[0]);
        close(lifeline[1]);
        middle_run(options, report[1], lifeline[0], log);
    }
    int r = middle < 0 ? -errno : 0;
    close(report[1]);
    close(lifeline[0]);
    if (r == 0)
        while (waitpid(middle, NULL, 0) < 0 && errno == EINTR)
            ;
    if (r < 0) {
        error_set(err, "can't start: %s", strerror(-r));
        close(report[0]);
        close(lifeline[1]);
        return r;
    }
    *ret_report = report[0];
    *ret_lifeline = lifeline[1];
    return 0;
}
