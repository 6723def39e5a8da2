/* The lab's init: builds, starts stand-ins and gateways, reaps, writes the status, ends. */
#include "lab/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lab/build.h"
#include "lab/nft.h"

enum { READY_TIMEOUT_MS = 20000, STOP_TIMEOUT_MS = 5000, ARGUMENTS_MAX = 64, CA_MAX = 1 << 20 };

struct child {
    pid_t pid;
    bool is_gateway;
    uint32_t host;
    const struct world_instance *instance; /* NULL: the gateway */
    int announce;                          /* where it says that it is ready: a stand-in's output, a gateway's socket; -1 after that */
    int status;                            /* as waitpid gave it */
    bool running;
};

struct supervisor {
    const struct supervise_options *options;
    int report, lifeline, log, signals;
    struct child *children;
    uint32_t n_children;
    bool stopping;
};

static uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void report_step(const struct supervisor *s, const char *text)
{
    dprintf(s->report, "step %s\n", text);
}

static const struct model_host *host_of(const struct supervisor *s, uint32_t host)
{
    return &s->options->world->model->hosts[host];
}

/* ---- status ---- */

static void describe_where(struct buf *out, const struct child *child)
{
    const struct world_instance *instance = child->instance;
    static const char *const protocols[] = { "http", "h2c", "https" };
    char text[ADDRESS_TEXT_SIZE];
    if (!instance) {
        buf_append(out, STR("-"));
        return;
    }
    const char *speaks = instance->echo ? (instance->transport == MODEL_UDP ? "udp" : "tcp") : protocols[instance->protocol];
    if (instance->place == WORLD_UNIX)
        buf_printf(out, "%s unix:%.*s", speaks, STR_ARG(instance->path));
    else if (instance->place == WORLD_NAMESPACE)
        buf_printf(out, "%s %.*s:%u", speaks, STR_ARG(instance->path), instance->port);
    else if (instance->n_listen)
        buf_printf(out, address_is_v4(&instance->listen[0]) ? "%s %s:%u" : "%s [%s]:%u", speaks, address_format(&instance->listen[0], text), instance->port);
}

static void status_write(const struct supervisor *s)
{
    cleanup_buf struct buf out = { .max = 16 << 20 };
    struct error err;
    for (uint32_t i = 0; i < s->n_children; i++) {
        const struct child *child = &s->children[i];
        buf_printf(&out, "%s\t%.*s\t%.*s\t", child->is_gateway ? "gateway" : "stand-in", STR_ARG(host_of(s, child->host)->name.text),
                   STR_ARG(child->instance ? child->instance->name : STR("postern")));
        describe_where(&out, child);
        buf_printf(&out, "\t%d\t", child->pid);
        if (child->running)
            buf_append(&out, STR("up\n"));
        else if (WIFSIGNALED(child->status))
            buf_printf(&out, "killed by SIG%s\n", sigabbrev_np(WTERMSIG(child->status)));
        else
            buf_printf(&out, "ended with %d\n", WEXITSTATUS(child->status));
    }
    (void)!build_file(SPACE_STATUS, buf_str(&out), &err);
}

/* Takes note of whoever ended, orphans of the lab included. */
static bool reap(struct supervisor *s)
{
    bool changed = false;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (uint32_t i = 0; i < s->n_children; i++)
            if (s->children[i].pid == pid) {
                s->children[i].running = false;
                s->children[i].status = status;
                changed = true;
            }
    return changed;
}

/* ---- starting ---- */

/* In the child: never returns. */
static void child_exec(const struct supervisor *s, uint32_t host, const char *container, const char *const *arguments, int out, int errors)
{
    char name[PATH_MAX];
    struct error err = { "" };
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    str_copy(name, sizeof(name), host_of(s, host)->name.text);
    if (dup2(out, STDOUT_FILENO) < 0 || dup2(errors, STDERR_FILENO) < 0)
        _exit(127);
    if (space_enter_host(name, container, &err) < 0) {
        dprintf(STDERR_FILENO, "postern lab: %s\n", err.text);
        _exit(127);
    }
    execv(arguments[0], (char *const *)(uintptr_t)arguments);
    dprintf(STDERR_FILENO, "postern lab: %s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

static int log_open(const struct supervisor *s, uint32_t host)
{
    char name[PATH_MAX];
    int n = snprintf(name, sizeof(name), "%.*s.log", STR_ARG(host_of(s, host)->name.text));
    if (n < 0 || n >= PATH_MAX)
        return -ENAMETOOLONG;
    int fd = openat(s->log, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return fd < 0 ? -errno : fd;
}

static int start_standin(struct supervisor *s, const struct world_instance *instance, struct error *err)
{
    const char *arguments[ARGUMENTS_MAX] = { NULL };
    static const char *const protocols[] = { "http", "h2c", "https" };
    char container[PATH_MAX], text[ADDRESS_TEXT_SIZE];
    struct arena arena;
    arena_init(&arena, 1 << 20);
    size_t n = 0;
    arguments[n++] = s->options->standin;
    arguments[n++] = "--name";
    arguments[n++] = arena_copy(&arena, instance->name).ptr;
    arguments[n++] = "--host";
    arguments[n++] = arena_copy(&arena, host_of(s, instance->host)->name.text).ptr;
    const struct model_service *service = instance->service == MODEL_NONE ? NULL : &s->options->world->model->services[instance->service];
    if (!instance->echo) {
        arguments[n++] = "--protocol";
        arguments[n++] = protocols[instance->protocol];
    }
    if (service && service->tls_name.len) {
        arguments[n++] = "--tls-name";
        arguments[n++] = arena_copy(&arena, service->tls_name).ptr;
    }
    if (instance->place == WORLD_UNIX) {
        arguments[n++] = "--unix";
        arguments[n++] = arena_copy(&arena, instance->path).ptr;
    }
    for (uint32_t i = 0; instance->place != WORLD_UNIX && i < instance->n_listen; i++) {
        arguments[n++] = !instance->echo ? "--listen" : instance->transport == MODEL_UDP ? "--udp-echo" : "--tcp-echo";
        arguments[n++] = arena_printf(&arena, address_is_v4(&instance->listen[i]) ? "%s:%u" : "[%s]:%u", address_format(&instance->listen[i], text),
                                      instance->port).ptr;
    }
    int announce[2];
    cleanup_close int errors = log_open(s, instance->host);
    int r = errors < 0 ? errors : pipe2(announce, O_CLOEXEC) < 0 ? -errno : 0;
    if (r == 0) {
        str_copy(container, sizeof(container), instance->path);
        pid_t pid = fork();
        if (pid == 0)
            child_exec(s, instance->host, instance->place == WORLD_NAMESPACE ? container : NULL, arguments, announce[1], errors);
        r = pid < 0 ? -errno : 0;
        close(announce[1]);
        if (r == 0)
            s->children[s->n_children++] =
                (struct child){ .pid = pid, .host = instance->host, .instance = instance, .announce = announce[0], .running = true };
        else
            close(announce[0]);
    }
    if (r < 0)
        error_set(err, "can't start the stand-in of %.*s: %s", STR_ARG(instance->name), strerror(-r));
    arena_deinit(&arena);
    return r;
}

/* Until every stand-in has said where it listens. */
static int await_standins(struct supervisor *s, struct error *err)
{
    uint64_t deadline = clock_ms() + READY_TIMEOUT_MS;
    for (uint32_t i = 0; i < s->n_children; i++) {
        struct child *child = &s->children[i];
        char line[4096];
        if (child->announce < 0 || child->is_gateway)
            continue;
        struct pollfd wait = { .fd = child->announce, .events = POLLIN };
        uint64_t now = clock_ms();
        int n = poll(&wait, 1, now < deadline ? (int)(deadline - now) : 0);
        ssize_t got = n > 0 ? read(child->announce, line, sizeof(line)) : 0;
        close(child->announce);
        child->announce = -1;
        if (got <= 0) {
            error_set(err, "the stand-in of %.*s on %.*s doesn't start; see %s/%.*s.log", STR_ARG(child->instance->name),
                      STR_ARG(host_of(s, child->host)->name.text), s->options->space->directory, STR_ARG(host_of(s, child->host)->name.text));
            return -EIO;
        }
    }
    return 0;
}

/* A socket on which the gateway says that it serves (sd_notify(3)), at the host's /run/notify. */
static int notify_open(const char *host)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int n = snprintf(address.sun_path, sizeof(address.sun_path), SPACE_HOSTS "/%s/notify", host);
    if (n < 0 || (size_t)n >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(address.sun_path, 0666) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static int start_gateway(struct supervisor *s, uint32_t host, struct error *err)
{
    char program[PATH_MAX], name[PATH_MAX], path[PATH_MAX];
    str_copy(name, sizeof(name), host_of(s, host)->name.text);
    snprintf(program, sizeof(program), "%s/postern", s->options->programs);
    char uid_base[16];
    snprintf(uid_base, sizeof(uid_base), "%d", NFT_UID_BASE);
    const char *const directories[] = { "postern", "state", "containers" };
    for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
        int n = snprintf(path, sizeof(path), SPACE_HOSTS "/%s/%s", name, directories[i]);
        if (n < 0 || n >= PATH_MAX || (mkdir(path, 0755) < 0 && errno != EEXIST)) {
            error_set(err, "can't make the directories of %s: %s", name, strerror(errno));
            return -EIO;
        }
    }
    const char *const arguments[] = {
        program, "run", "-f", s->options->declaration, "--host", name, "--run-directory", "/run/postern", "--state-directory", "/run/state",
        "--container-directory", "/run/containers", "--grace", "1", "--uid-base", uid_base, NULL,
    };
    cleanup_close int log = log_open(s, host);
    cleanup_close int notify = notify_open(name);
    pid_t pid = log < 0 || notify < 0 ? -1 : fork();
    if (pid == 0) {
        setenv("NOTIFY_SOCKET", "/run/notify", 1);
        child_exec(s, host, NULL, arguments, log, log);
    }
    if (pid < 0) {
        error_set(err, "can't start the gateway of %s: %s", name, strerror(log < 0 ? -log : notify < 0 ? -notify : errno));
        return -EIO;
    }
    s->children[s->n_children++] = (struct child){ .pid = pid, .is_gateway = true, .host = host, .announce = TAKE_FD(notify), .running = true };
    return 0;
}

/* Runs a command of postern to its end, its output into out (up to its cap). Its exit status, or a negative errno. */
static int ask(const struct supervisor *s, const char *const *arguments, struct buf *out)
{
    char program[PATH_MAX];
    int pipe_fds[2], status = 0;
    snprintf(program, sizeof(program), "%s/postern", s->options->programs);
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        (void)!dup2(pipe_fds[1], STDOUT_FILENO);
        execv(program, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    close(pipe_fds[1]);
    for (char piece[4096];;) {
        ssize_t n = pid < 0 ? 0 : read(pipe_fds[0], piece, sizeof(piece));
        if (n <= 0)
            break;
        buf_append(out, str_make(piece, (size_t)n));
    }
    close(pipe_fds[0]);
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return -ECHILD;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

static bool says_ready(int notify)
{
    char text[1024];
    ssize_t n = recv(notify, text, sizeof(text), MSG_DONTWAIT);
    for (struct str rest = str_make(text, n > 0 ? (size_t)n : 0); rest.len;)
        if (str_equal(str_split(&rest, '\n'), STR("READY=1")))
            return true;
    return false;
}

/* Until the gateway serves; its CA is added to the bundle. */
static int await_gateway(struct supervisor *s, uint32_t child, struct buf *bundle, struct error *err)
{
    char state[PATH_MAX];
    struct child *gateway = &s->children[child];
    struct str name = host_of(s, gateway->host)->name.text;
    snprintf(state, sizeof(state), SPACE_HOSTS "/%.*s/state", STR_ARG(name));
    const char *const ca[] = { "postern", "ca", "export", "--state-directory", state, NULL };
    bool is_ready = false;
    uint64_t deadline = clock_ms() + READY_TIMEOUT_MS;
    while (!is_ready && gateway->running && clock_ms() < deadline) {
        struct pollfd wait = { .fd = gateway->announce, .events = POLLIN };
        if (poll(&wait, 1, 50) > 0)
            is_ready = says_ready(gateway->announce);
        (void)reap(s);
    }
    close(gateway->announce);
    gateway->announce = -1;
    if (!is_ready) {
        error_set(err, "the gateway of %.*s %s; see %s/%.*s.log", STR_ARG(name), gateway->running ? "doesn't get ready" : "ended",
                  s->options->space->directory, STR_ARG(name));
        return -EIO;
    }
    /* Where all certificates come from elsewhere there is no CA of its own to trust; else the keeper is making it. */
    while (s->options->world->model->tls.source == MODEL_TLS_INTERNAL) {
        cleanup_buf struct buf said = { .max = CA_MAX };
        if (ask(s, ca, &said) == 0) {
            buf_append(bundle, buf_str(&said));
            break;
        }
        if (clock_ms() > deadline) {
            error_set(err, "the gateway of %.*s makes no certificate authority; see %s/%.*s.log", STR_ARG(name), s->options->space->directory, STR_ARG(name));
            return -EIO;
        }
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    }
    return bundle->error;
}

static int write_names(const struct supervisor *s, struct error *err)
{
    cleanup_buf struct buf hosts = { .max = 64 << 20 };
    world_write_hosts_file(s->options->world, &hosts);
    if (hosts.error)
        return hosts.error;
    int r = build_file(SPACE_ROOT "/etc/hosts", buf_str(&hosts), err);
    return r < 0 ? r : build_file(SPACE_ROOT "/etc/resolv.conf", STR("# A lab has no DNS: its names are in /etc/hosts.\n"), err);
}

/* The gateways' CAs, for every host to trust. */
static int write_bundle(const struct supervisor *s, struct str bundle, struct error *err)
{
    const struct world *world = s->options->world;
    int r = build_file(SPACE_ROOT "/ca.pem", bundle, err);
    for (uint32_t i = 0; i <= world->model->n_hosts && r == 0; i++) {
        char path[PATH_MAX];
        struct str name = i < world->model->n_hosts ? world->model->hosts[i].name.text : world->guest;
        snprintf(path, sizeof(path), SPACE_HOSTS "/%.*s/ca.pem", STR_ARG(name));
        if (name.len)
            r = build_file(path, bundle, err);
    }
    return r;
}

static int start_all(struct supervisor *s, struct error *err)
{
    const struct world *world = s->options->world;
    s->children = calloc(world->n_instances + world->model->n_hosts + 1, sizeof(*s->children));
    if (!s->children)
        return -ENOMEM;
    report_step(s, "machines and networks");
    int r = build_mounts(world->model, err);
    if (r == 0)
        r = write_names(s, err);
    if (r == 0)
        r = build_networks(world, err);
    if (r == 0)
        report_step(s, "rules");
    if (r == 0)
        r = build_rules(world, err);
    if (r == 0)
        report_step(s, "services");
    for (uint32_t i = 0; i < world->n_instances && r == 0; i++)
        if (!world->instances[i].unserved.len)
            r = start_standin(s, &world->instances[i], err);
    if (r == 0)
        r = await_standins(s, err);
    if (r == 0)
        report_step(s, "gateways");
    for (uint32_t i = 0; i < world->model->n_hosts && r == 0; i++)
        if (world->model->hosts[i].gateway)
            r = start_gateway(s, i, err);
    cleanup_buf struct buf bundle = { .max = CA_MAX };
    for (uint32_t i = 0; i < s->n_children && r == 0; i++)
        if (s->children[i].is_gateway)
            r = await_gateway(s, i, &bundle, err);
    return r < 0 ? r : write_bundle(s, buf_str(&bundle), err);
}

/* ---- the loop, and the end ---- */

static bool gateways_run(const struct supervisor *s)
{
    for (uint32_t i = 0; i < s->n_children; i++)
        if (s->children[i].is_gateway && s->children[i].running)
            return true;
    return false;
}

/* Gateways may finish in order; everything else ends with us. */
static void stop_gateways(struct supervisor *s)
{
    for (uint32_t i = 0; i < s->n_children; i++)
        if (s->children[i].is_gateway && s->children[i].running)
            kill(s->children[i].pid, SIGTERM);
    uint64_t deadline = clock_ms() + STOP_TIMEOUT_MS;
    while (gateways_run(s) && clock_ms() < deadline) {
        struct pollfd wait = { .fd = s->signals, .events = POLLIN };
        struct signalfd_siginfo info;
        if (poll(&wait, 1, 100) > 0 && read(s->signals, &info, sizeof(info)) < 0)
            break;
        (void)reap(s);
    }
}

static void serve(struct supervisor *s)
{
    while (!s->stopping) {
        struct pollfd wait[2] = { { .fd = s->signals, .events = POLLIN }, { .fd = s->options->tied ? s->lifeline : -1, .events = POLLIN } };
        struct signalfd_siginfo info;
        if (poll(wait, ARRAY_SIZE(wait), -1) < 0 && errno != EINTR)
            break;
        if (wait[1].revents)
            s->stopping = true;
        if (wait[0].revents && read(s->signals, &info, sizeof(info)) == sizeof(info) && info.ssi_signo != SIGCHLD)
            s->stopping = true;
        if (reap(s))
            status_write(s);
    }
}

/* The directory outside, which our own /run hides: by the descriptors that came from there. */
static void remove_outside(const struct supervisor *s)
{
    const struct world *world = s->options->world;
    cleanup_close int base = openat(s->log, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char name[PATH_MAX];
    for (uint32_t i = 0; i < world->model->n_hosts; i++) {
        snprintf(name, sizeof(name), "%.*s.log", STR_ARG(world->model->hosts[i].name.text));
        unlinkat(s->log, name, 0);
    }
    unlinkat(s->log, "supervisor.log", 0);
    unlinkat(s->log, "pid", 0);
    unlinkat(s->log, "lock", 0);
    if (base >= 0)
        unlinkat(base, s->options->space->name, AT_REMOVEDIR);
}

int supervisor_run(const struct supervise_options *options, int report, int lifeline, int log)
{
    struct supervisor s = { .options = options, .report = report, .lifeline = lifeline, .log = log };
    struct error err = { "" };
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
    umask(022);
    s.signals = signalfd(-1, &mask, SFD_CLOEXEC);
    cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    cleanup_close int errors = openat(log, "supervisor.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (s.signals < 0 || null < 0 || errors < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(errors, STDOUT_FILENO) < 0 || dup2(errors, STDERR_FILENO) < 0)
        return 1;

    int r = start_all(&s, &err);
    status_write(&s);
    bool told = (r < 0 ? dprintf(report, "error %s\n", err.text[0] ? err.text : strerror(-r)) : dprintf(report, "ready\n")) > 0;
    close(report);
    if (r == 0 && told)
        serve(&s);
    stop_gateways(&s);
    /* What failed leaves its logs, for whoever looks into it; the next "up" or "down" sweeps them. */
    if (r == 0)
        remove_outside(&s);
    free(s.children);
    return r < 0;
}
