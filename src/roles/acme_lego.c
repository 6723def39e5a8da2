/* One run of lego: its files, its arguments, its time, and what it says when it fails. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "roles/acme.h"

enum {
    RUN_LIMIT_MS = 15 * 60 * 1000, /* names that spread slowly */
    OUTPUT_KEPT = 4096,
};

static int write_file(const char *directory, const char *name, const char *content, size_t length)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    while (length > 0) {
        ssize_t n = write(fd, content, length);
        if (n < 0)
            return -errno;
        content += n;
        length -= (size_t)n;
    }
    return 0;
}

/* The directory's own CA, copied to where lego, which has none of our rights, can read it. */
static int copy_ca(const char *directory, const char *ca_file)
{
    char text[65536];
    cleanup_close int fd = open(ca_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    return n < 0 ? -errno : write_file(directory, "directory-ca.pem", text, (size_t)n);
}

/* lego names the certificate's file after its first name; the directory is emptied before a run, so what is there then is it. */
static int for_certificates(const char *directory, bool empty, char *chain, size_t size)
{
    char path[512];
    int r = -ENOENT;
    snprintf(path, sizeof path, "%s/certificates", directory);
    DIR *folder = opendir(path);
    if (!folder)
        return -errno;
    for (struct dirent *entry; (entry = readdir(folder));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (entry->d_name[0] == '.')
            continue;
        if (empty) {
            unlinkat(dirfd(folder), entry->d_name, 0);
        } else if (dot && strcmp(dot, ".crt") == 0 && !strstr(entry->d_name, ".issuer.")) {
            cleanup_close int fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
            ssize_t n = fd < 0 ? -1 : read(fd, chain, size - 1);
            if (n > 0 && n < (ssize_t)size - 1) {
                chain[n] = '\0';
                r = 0;
            }
        }
    }
    closedir(folder);
    return r;
}

static _Noreturn void become_lego(const char *directory, const struct acme_order *order, const struct acme_environment *environment, int output)
{
    char csr[512], ca[512], home[512];
    char *variables[ACME_VARIABLES_MAX + 4];
    const char *arguments[24];
    size_t n = 0, m = 0;
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);

    snprintf(csr, sizeof csr, "%s/request.csr", directory);
    snprintf(home, sizeof home, "HOME=%s", directory);
    snprintf(ca, sizeof ca, "LEGO_CA_CERTIFICATES=%s/directory-ca.pem", directory);
    for (uint32_t i = 0; i < environment->n_variables; i++)
        variables[m++] = environment->variables[i];
    variables[m++] = home;
    variables[m++] = (char[]){ "PATH=/usr/local/bin:/usr/bin:/bin" };
    if (order->ca_file[0])
        variables[m++] = ca;
    variables[m] = NULL;
    arguments[n++] = "lego";
    arguments[n++] = "--accept-tos";
    arguments[n++] = "--path", arguments[n++] = directory;
    arguments[n++] = "--server", arguments[n++] = order->directory;
    arguments[n++] = "--email", arguments[n++] = order->email;
    arguments[n++] = "--csr", arguments[n++] = csr;
    arguments[n++] = "--dns", arguments[n++] = order->provider;
    if (environment->resolvers)
        arguments[n++] = "--dns.resolvers", arguments[n++] = environment->resolvers;
    if (environment->skip_propagation_check)
        arguments[n++] = "--dns.disable-cp";
    arguments[n++] = "run";
    arguments[n] = NULL;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (nothing >= 0 && dup2(nothing, 0) >= 0 && dup2(output, 1) >= 0 && dup2(output, 2) >= 0) {
        static const char *const places[] = { "/usr/bin/lego", "/usr/local/bin/lego" };
        int reason = ENOENT;
        for (size_t i = 0; i < ARRAY_SIZE(places) && reason == ENOENT; i++) {
            execve(places[i], (char *const *)(uintptr_t)arguments, variables);
            reason = errno;
        }
        dprintf(2, "it could not be started: %s%s\n", strerror(reason), reason == ENOENT ? "; apt-get install lego" : "");
    }
    _exit(127);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Keeps the last of what is said until lego and all it started have closed the pipe. False: the time is up. */
static bool collect_output(int fd, char kept[static OUTPUT_KEPT], int64_t deadline)
{
    size_t length = 0;
    char more[1024];
    kept[0] = '\0';
    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int64_t left = deadline - now_ms();
        int r = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (r == 0)
            return false;
        ssize_t n = r < 0 ? -1 : read(fd, more, sizeof more);
        if (n == 0)
            return true;
        if (n < 0 && errno != EINTR)
            return true;
        if (n <= 0)
            continue;
        if (length + (size_t)n >= OUTPUT_KEPT) {
            size_t drop = length + (size_t)n - (OUTPUT_KEPT - 1);
            memmove(kept, kept + drop, length - drop);
            length -= drop;
        }
        memcpy(kept + length, more, (size_t)n);
        length += (size_t)n;
        kept[length] = '\0';
    }
}

/* The last line that says something, without lego's date. */
static void last_line(char *output, char *ret, size_t size)
{
    char *line = NULL;
    for (char *rest = output, *part; (part = strsep(&rest, "\n"));)
        if (part[strspn(part, " \t\r")])
            line = part;
    if (!line)
        line = output;
    line += strspn(line, " \t");
    if (line[0] >= '0' && line[0] <= '9' && strlen(line) > 20 && line[4] == '/' && line[19] == ' ')
        line += 20;
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    snprintf(ret, size, "%s", line);
}

static int run(const char *directory, const struct acme_order *order, const struct acme_environment *environment, char *ret_said, size_t size)
{
    static char output[OUTPUT_KEPT];
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        become_lego(directory, order, environment, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return -EAGAIN;
    }
    setpgid(pid, pid);
    bool in_time = collect_output(ends[0], output, now_ms() + RUN_LIMIT_MS);
    if (!in_time)
        kill(-pid, SIGKILL);
    close(ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    acme_environment_redact(environment, output);
    last_line(output, ret_said, size);
    explicit_bzero(output, sizeof output);
    if (!in_time)
        return -ETIMEDOUT;
    if (WIFSIGNALED(status)) /* by its confinement, most likely: the kernel's audit log names the call */
        snprintf(ret_said, size, "killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

void acme_lego_run(const char *directory, const struct acme_order *order, struct acme_answer *answer)
{
    struct acme_environment environment = { 0 };
    struct error err = { "" };
    char said[sizeof answer->trouble] = "";
    int r = order->environment_file[0] ? acme_environment_read(order->environment_file, &environment, &err) : 0;

    if (r == 0 && order->ca_file[0] && (r = copy_ca(directory, order->ca_file)) < 0)
        error_set(&err, "%s: %s; ca: under tls: acme: must name the CA that the directory's own certificate is from", order->ca_file, strerror(-r));
    if (r == 0 && (r = write_file(directory, "request.csr", order->request, strlen(order->request))) < 0)
        error_set(&err, "%s: %s", directory, strerror(-r));
    if (r == 0) {
        for_certificates(directory, true, NULL, 0);
        r = run(directory, order, &environment, said, sizeof said);
        if (r == -ETIMEDOUT)
            error_set(&err, "lego took more than %d minutes", RUN_LIMIT_MS / 60000);
        else if (r < 0)
            error_set(&err, "lego: %s", said);
        else if ((r = for_certificates(directory, false, answer->chain, sizeof answer->chain)) < 0)
            error_set(&err, "lego left no certificate in %s/certificates", directory);
    }
    answer->status = r;
    str_copy(answer->trouble, sizeof answer->trouble, str_of(err.text));
    acme_environment_deinit(&environment);
}
