/* postern upgrade: the running postern hands its listening sockets to the one that is now installed. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/control.h"

enum { TAKEOVER_LIMIT_S = 40, POLL_INTERVAL_MS = 50, PID_MAX = 1 << 22 };

static const char usage[] =
    "usage: postern upgrade [--run-directory DIR]\n"
    "\n"
    "Starts the postern that is now installed in the place of the running one: the listening sockets are handed over, connections of the old one\n"
    "may finish. Where the new one doesn't get ready, the old one goes on serving and says why in its log.\n"
    "\n"
    "      --run-directory DIR   that of the postern to upgrade (/run/postern)\n"
    "\n"
    "Exit status: 0 the new one serves, 1 the old one still does, 2 no postern runs here.\n";

/* The pid file is written anew by whoever serves from then on: the new postern, or the old one after a failed attempt. */
struct pid_file {
    pid_t pid; /* 0: there is none */
    ino_t inode;
};

static struct pid_file read_pid_file(const char *run_directory)
{
    char path[4096], text[32];
    uint64_t pid;
    struct stat st;
    snprintf(path, sizeof path, "%s/postern.pid", run_directory);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 || fstat(fd, &st) < 0 ? -1 : read(fd, text, sizeof text);
    if (n < 1 || !str_to_u64(str_make(text, (size_t)n - 1), PID_MAX, &pid))
        return (struct pid_file){ 0 };
    return (struct pid_file){ (pid_t)pid, st.st_ino };
}

/* The signal would end another program that has got the number since: its name is looked at, while a pidfd holds on to the process. */
static bool signal_parent(pid_t pid)
{
    char path[64], name[32] = "";
    cleanup_close int process = (int)syscall(SYS_pidfd_open, pid, 0);
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_parent = process >= 0 && fd >= 0 && read(fd, name, sizeof name - 1) > 0 && strcmp(name, "postern-parent\n") == 0;
    if (!is_parent)
        fprintf(stderr, "postern upgrade: process %d is no postern any more; 'postern run' starts one\n", (int)pid);
    else if (syscall(SYS_pidfd_send_signal, process, SIGUSR2, NULL, 0) == 0)
        return true;
    else
        fprintf(stderr, "postern upgrade: process %d: %s\n", (int)pid, strerror(errno));
    return false;
}

static int wait_for_another(const char *run_directory, struct pid_file old)
{
    for (int left = TAKEOVER_LIMIT_S * 1000; left > 0; left -= POLL_INTERVAL_MS) {
        struct pid_file now = read_pid_file(run_directory);
        if (now.pid != 0 && now.pid != old.pid) {
            printf("process %d serves now; the connections of process %d may finish\n", (int)now.pid, (int)old.pid);
            return CLI_YES;
        }
        if (now.pid != 0 && now.inode != old.inode)
            break;
        poll(NULL, 0, POLL_INTERVAL_MS);
    }
    fprintf(stderr, "postern upgrade: process %d still serves; its log says why\n", (int)old.pid);
    return CLI_NO;
}

int cli_upgrade(int argc, char **argv)
{
    static const struct option options[] = { { "run-directory", required_argument, NULL, 'r' }, { "help", no_argument, NULL, 'h' }, { 0 } };
    const char *run_directory = CLI_RUN_DIRECTORY;
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c != 'r') {
            fputs(usage, c == 'h' ? stdout : stderr);
            return c == 'h' ? CLI_YES : CLI_UNKNOWN;
        }
        run_directory = optarg;
    }
    struct pid_file running = read_pid_file(run_directory);
    if (running.pid == 0) {
        fprintf(stderr, "postern upgrade: no postern runs here (%s/postern.pid); --run-directory names another's\n", run_directory);
        return CLI_UNKNOWN;
    }
    if (!signal_parent(running.pid))
        return CLI_UNKNOWN;
    return wait_for_another(run_directory, running);
}
