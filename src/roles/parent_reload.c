/* A change of the declaration, in the order that breaks nothing:
 *
 *   IDLE ──reload_ask──▶ COMPILING ──reload_on_done──▶ BROKER ──taken──▶ ROLES ──all taken──▶ IDLE
 *                            │                           │                 │
 *                            └── file is wrong ──────────┴─ refused ──▶ IDLE, the old one stays
 *
 * New listeners are opened before anything is told, since a port may be taken; the broker knows the new targets before any worker can ask
 * for them; then keys, views, listeners, and last the workers of new surfaces. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/parent.h"
#include "roles/role.h"

/* ---- the answer ---- */

static void set_report(struct parent *parent, int status, const char *text)
{
    struct reload *reload = &parent->reload;
    if (reload->report.fd >= 0)
        close(TAKE_FD(reload->report.fd));
    reload->status = status;
    size_t len = strlen(text);
    int fd = memfd_create("postern-report", MFD_CLOEXEC);
    if (fd >= 0 && write(fd, text, len) == (ssize_t)len && write(fd, "\n", 1) == 1)
        reload->report = (struct parent_block){ fd, len + 1 };
    else if (fd >= 0)
        close(fd);
}

/* Bytes for the administrator to read; the parent doesn't look into them. */
static void print_report(const struct parent *parent)
{
    char text[4096];
    off_t at = 0;
    ssize_t n;
    while (parent->reload.report.fd >= 0 && (n = pread(parent->reload.report.fd, text, sizeof text, at)) > 0) {
        if (write(parent->stderr_fd, text, (size_t)n) < 0)
            return;
        at += n;
    }
}

static struct ipc_reload_result result_in_force(const struct parent *parent)
{
    struct ipc_reload_result result = { .header = IPC_HEADER(IPC_PARENT_RELOAD_RESULT, result) };
    if (parent->current) {
        result.generation = parent->current->number;
        memcpy(result.revision, parent->current->revision, sizeof result.revision);
    }
    return result;
}

void reload_tell_watcher(struct parent *parent, struct child *watcher)
{
    struct ipc_reload_result result = result_in_force(parent);
    child_send(parent, watcher, &result, NULL, 0);
}

static void answer(struct parent *parent, uint64_t asker)
{
    struct reload *reload = &parent->reload;
    struct child *watcher = child_find(parent, IPC_ROLE_WATCHER);
    if (!watcher || !child_is_live(watcher))
        return;
    struct ipc_reload_result result = result_in_force(parent);
    result.request = asker;
    result.status = reload->status;
    bool has_text = asker != 0 && reload->report.fd >= 0 && reload->report.size > 0;
    result.text_size = has_text ? reload->report.size : 0;
    child_send(parent, watcher, &result, &reload->report.fd, has_text);
}

static void start_compiling(struct parent *parent);

/* Ends the running reload with what set_report left. */
static void finish(struct parent *parent)
{
    struct reload *reload = &parent->reload;
    reload->state = RELOAD_IDLE;
    reload->deadline_ms = 0;
    reload->next = generation_free(reload->next);
    if (reload->status != 0 || parent->state == PARENT_STARTING)
        print_report(parent);
    if (reload->status == 0 && reload->is_of_offers) {
        log_info("what containers offer is in force (generation %llu)", (unsigned long long)parent->current->number);
        print_report(parent);
    } else if (reload->status == 0 && reload->is_change)
        log_info("revision %s is in force (generation %llu)", parent->current->revision, (unsigned long long)parent->current->number);
    else if (reload->status != 0 && parent->current)
        log_warning("the declaration in force stays: revision %s", parent->current->revision);
    if (parent->state == PARENT_SERVING && reload->is_change)
        notify_manager("READY=1");
    if (reload->status == 0 && parent->current)
        generation_keep_source(parent->current, parent->options.state_directory);
    for (uint32_t i = 0; i < reload->n_answered; i++)
        answer(parent, reload->askers[i]);
    reload->n_askers -= reload->n_answered;
    memmove(reload->askers, reload->askers + reload->n_answered, reload->n_askers * sizeof reload->askers[0]);
    reload->n_answered = 0;
    if (parent->state == PARENT_STARTING && !parent->current)
        parent_stop(parent, reload->status, 0);
    else if (reload->n_askers > 0 || reload->wants_offers)
        start_compiling(parent);
}

static void refuse(struct parent *parent, int status, const char *text)
{
    struct error err;
    error_set(&err, "error: %s", text);
    set_report(parent, status, err.text);
    finish(parent);
}

/* ---- compiling ---- */

/* What containers offer is no reason to put in force what the administrator is still writing. */
static int read_source(struct parent *parent, struct parent_block *ret, struct error *err)
{
    if (!parent->reload.is_of_offers)
        return generation_read_source(parent->options.file, ret, err);
    int fd = fcntl(parent->current->source.fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        error_set(err, "%s", strerror(errno));
        return -errno;
    }
    *ret = (struct parent_block){ fd, parent->current->source.size };
    return 0;
}

static int launch_compiler(struct parent *parent, struct error *err)
{
    struct reload *reload = &parent->reload;
    struct parent_block source;
    int r = read_source(parent, &source, err);
    if (r < 0)
        return r;
    reload->next = generation_new(++parent->last_generation);
    reload->compiler = reload->next ? child_new(parent, IPC_ROLE_COMPILER, IMAGE_NONE, "", IMAGE_NONE) : NULL;
    if (!reload->compiler) {
        close(source.fd);
        error_set(err, "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    reload->next->source = source;
    child_start(parent, reload->compiler);
    if (!child_is_live(reload->compiler)) {
        error_set(err, "the compiler %s", reload->compiler->last_exit);
        reload->compiler->is_wanted = false;
        reload->compiler = NULL;
        return -EIO;
    }
    struct ipc_compile ask = { .header = IPC_HEADER(IPC_PARENT_COMPILE, ask), .generation = reload->next->number };
    int fds[IPC_FDS_MAX];
    size_t n_fds = 0;
    fds[n_fds++] = source.fd;
    if (parent->current) {
        ask.previous_size = parent->current->source.size;
        ask.previous_plan_size = parent->current->plan.size;
        if (ask.previous_size > 0)
            fds[n_fds++] = parent->current->source.fd;
        fds[n_fds++] = parent->current->plan.fd;
    }
    if (parent->docker.n_offers > 0) {
        ask.n_offers = parent->docker.n_offers;
        fds[n_fds++] = parent->docker.offers.fd;
    }
    str_copy(ask.host, sizeof ask.host, str_of(parent->host));
    str_copy(ask.file, sizeof ask.file, str_of(parent->options.file));
    str_copy(ask.container_directory, sizeof ask.container_directory, str_of(parent->options.container_directory));
    child_send(parent, reload->compiler, &ask, fds, n_fds);
    return 0;
}

static void start_compiling(struct parent *parent)
{
    struct reload *reload = &parent->reload;
    struct error err = { "" };
    reload->n_answered = reload->n_askers;
    reload->is_of_offers = reload->wants_offers && reload->n_askers == 0 && parent->current;
    reload->wants_offers = false; /* whatever is compiled now has them */
    reload->state = RELOAD_COMPILING;
    reload->deadline_ms = parent_now_ms() + PARENT_COMPILE_TIMEOUT_MS;
    reload->is_change = parent->state == PARENT_SERVING;
    if (reload->is_change)
        notify_reloading();
    if (launch_compiler(parent, &err) < 0)
        refuse(parent, 2, err.text);
}

void reload_cancel(struct parent *parent)
{
    struct reload *reload = &parent->reload;
    reload->state = RELOAD_IDLE;
    reload->deadline_ms = 0;
    reload->compiler = NULL; /* stopped with all others */
    reload->n_askers = reload->n_answered = 0;
    reload->next = generation_free(reload->next);
}

void reload_ask(struct parent *parent, uint64_t asker)
{
    struct reload *reload = &parent->reload;
    if (parent->state != PARENT_STARTING && parent->state != PARENT_SERVING)
        return;
    if (reload->n_askers < PARENT_ASKERS_MAX)
        reload->askers[reload->n_askers++] = asker;
    if (reload->state == RELOAD_IDLE)
        start_compiling(parent);
}

void reload_ask_for_offers(struct parent *parent)
{
    struct reload *reload = &parent->reload;
    if (parent->state != PARENT_STARTING && parent->state != PARENT_SERVING)
        return;
    reload->wants_offers = true;
    if (reload->state == RELOAD_IDLE)
        start_compiling(parent);
}

void reload_on_block(struct parent *parent, struct child *compiler, const struct ipc_block *block, int fd)
{
    struct reload *reload = &parent->reload;
    if (compiler != reload->compiler || !reload->next) {
        close(fd);
        return;
    }
    if (generation_add_block(reload->next, block, fd) < 0)
        child_kill(compiler, "it sent a block twice, or an unknown one");
}

/* ---- putting it in force ---- */

static uint32_t n_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return (uint32_t)(n < PARENT_WORKERS_MAX ? n : PARENT_WORKERS_MAX);
}

static uint32_t n_workers_of(const struct image_surface *surface)
{
    uint32_t n = surface->n_workers ? surface->n_workers : n_cores();
    return n < PARENT_WORKERS_MAX ? n : PARENT_WORKERS_MAX;
}

static bool is_same_surface(const struct generation *generation, const struct image_surface *surface, const struct child *worker)
{
    return str_equal(image_str(generation->plan_image, surface->name), str_of(worker->surface_name));
}

static bool has_udp(const struct generation *generation)
{
    for (uint32_t i = 0; i < image_count(generation->plan_image, IMAGE_LISTENERS); i++)
        if (image_listener(generation->plan_image, i)->kind == IMAGE_LISTENER_DIRECT_UDP)
            return true;
    return false;
}

/* Where nobody is granted a direct port any more there is nothing to finish: what is open has lost its grant. */
static void retire_direct(struct parent *parent)
{
    bool is_relayed = parent->current->views[IMAGE_SURFACE_DIRECT].fd >= 0;
    for (struct child *child = parent->children; child; child = child->next)
        if ((child->role == IPC_ROLE_RELAY && !is_relayed) || (child->role == IPC_ROLE_PORTER && !has_udp(parent->current)))
            child_stop(parent, child);
}

/* Where no container is declared any more nobody needs to hold the engine's socket. */
static void retire_docker(struct parent *parent)
{
    struct child *docker = child_find(parent, IPC_ROLE_DOCKER);
    if (!docker || parent->current->docker.fd >= 0)
        return;
    child_stop(parent, docker);
    docker_stop(parent);
}

/* A worker whose surface is gone, or has fewer workers, finishes what it has. One whose number now means another surface must not be
 * taken for that surface's, by anybody: it ends at once. */
static void retire_workers(struct parent *parent)
{
    for (struct child *worker = parent->children; worker; worker = worker->next) {
        if (worker->role != IPC_ROLE_WORKER)
            continue;
        const struct image_surface *surface = generation_surface(parent->current, worker->surface);
        if (surface && !is_same_surface(parent->current, surface, worker))
            child_stop(parent, worker); /* be it draining: its number stands for another's grants now */
        else if (!worker->is_wanted)
            continue;
        else if (!surface || worker->worker >= n_workers_of(surface))
            child_drain(parent, worker, parent->options.drain_ms);
    }
}

static void start_role(struct parent *parent, enum ipc_role role, uint32_t surface, const char *name, uint32_t worker)
{
    for (struct child *child = parent->children; child; child = child->next)
        if (child->role == role && child->surface == surface && child->worker == worker && child->is_wanted)
            return;
    struct child *child = child_new(parent, role, surface, name, worker);
    if (child)
        child_start(parent, child);
    else
        log_error("%s: %s", ipc_role_name(role), strerror(ENOMEM));
}

bool reload_start_observers(struct parent *parent)
{
    bool is_new = !child_find(parent, IPC_ROLE_LOGGER) || !child_find(parent, IPC_ROLE_WATCHER);
    start_role(parent, IPC_ROLE_LOGGER, IMAGE_NONE, "", IMAGE_NONE);
    start_role(parent, IPC_ROLE_WATCHER, IMAGE_NONE, "", IMAGE_NONE);
    return is_new;
}

static void start_roles(struct parent *parent)
{
    start_role(parent, IPC_ROLE_KEEPER, IMAGE_NONE, "", IMAGE_NONE);
    start_role(parent, IPC_ROLE_BROKER, IMAGE_NONE, "", IMAGE_NONE);
    if (parent->current->views[IMAGE_SURFACE_DIRECT].fd >= 0)
        start_role(parent, IPC_ROLE_RELAY, IMAGE_SURFACE_DIRECT, IMAGE_DIRECT_NAME, 0);
    if (has_udp(parent->current))
        start_role(parent, IPC_ROLE_PORTER, IMAGE_SURFACE_DIRECT, IMAGE_DIRECT_NAME, 0);
    if (parent->current->docker.fd >= 0)
        start_role(parent, IPC_ROLE_DOCKER, IMAGE_NONE, "", IMAGE_NONE);
    for (uint32_t number = 0; number < IMAGE_SURFACES_MAX; number++) {
        const struct image_surface *surface = generation_surface(parent->current, number);
        char name[IPC_NAME_MAX];
        if (!surface)
            continue;
        str_copy(name, sizeof name, image_str(parent->current->plan_image, surface->name));
        for (uint32_t worker = 0; worker < n_workers_of(surface); worker++)
            start_role(parent, IPC_ROLE_WORKER, number, name, worker);
    }
    /* At the first start they come when who serves is ready: what there is to record waits in the pipes. */
    if (parent->state != PARENT_STARTING)
        reload_start_observers(parent);
}

static void switch_roles(struct parent *parent)
{
    struct reload *reload = &parent->reload;
    generation_free(parent->previous);
    parent->previous = parent->current;
    parent->current = TAKE(reload->next);
    reload->state = RELOAD_ROLES;
    reload->deadline_ms = parent_now_ms() + PARENT_SWITCH_TIMEOUT_MS;
    str_copy(parent->host, sizeof parent->host, image_str(parent->current->plan_image, image_settings(parent->current->plan_image, 0)->host));
    retire_workers(parent);
    retire_docker(parent);
    retire_direct(parent);
    for (struct child *child = parent->children; child; child = child->next)
        if (child->is_wanted && (child->role == IPC_ROLE_KEEPER || child->role == IPC_ROLE_WATCHER || child_has_connections(child) ||
                                  child->role == IPC_ROLE_PORTER || child->role == IPC_ROLE_DOCKER))
            child_send_image(parent, child, parent->current);
    listen_commit(parent);
    start_roles(parent);
    reload_advance(parent);
}

static bool all_have_taken(const struct parent *parent)
{
    for (const struct child *child = parent->children; child; child = child->next) {
        if (!child->is_wanted || child->role == IPC_ROLE_COMPILER || child->n_quick_ends > 0) /* who crashes is told of elsewhere */
            continue;
        if (child->status != IPC_ROLE_RUNNING || (child->role != IPC_ROLE_LOGGER && child->generation != parent->current->number))
            return false;
    }
    return true;
}

void reload_advance(struct parent *parent)
{
    struct reload *reload = &parent->reload;
    if (reload->state == RELOAD_BROKER) {
        struct child *broker = child_find(parent, IPC_ROLE_BROKER);
        if (!broker || broker->generation == reload->next->number)
            switch_roles(parent);
        else if (broker->status == IPC_ROLE_RUNNING && broker->pid != reload->told_broker) {
            reload->told_broker = broker->pid;
            child_send_image(parent, broker, reload->next);
        }
    } else if (reload->state == RELOAD_ROLES && parent->state != PARENT_STARTING && all_have_taken(parent)) {
        finish(parent);
    }
}

void reload_on_done(struct parent *parent, struct child *compiler, const struct ipc_compiler_done *done, int fd)
{
    struct reload *reload = &parent->reload;
    struct error err = { "" };
    if (compiler != reload->compiler || reload->state != RELOAD_COMPILING) {
        if (fd >= 0)
            close(fd);
        return;
    }
    reload->compiler = NULL;
    child_stop(parent, compiler);
    if (reload->report.fd >= 0)
        close(reload->report.fd);
    reload->report = (struct parent_block){ fd, done->text_size };
    reload->status = done->status;
    if (done->status != 0) {
        finish(parent);
    } else if (generation_complete(reload->next, &err) < 0) {
        refuse(parent, 2, err.text);
    } else if (listen_prepare(parent, reload->next, &err) < 0) {
        refuse(parent, 1, err.text);
    } else {
        reload->state = RELOAD_BROKER;
        reload->told_broker = 0;
        reload->deadline_ms = parent_now_ms() + PARENT_SWITCH_TIMEOUT_MS;
        reload_advance(parent);
    }
}

void reload_on_compiler_end(struct parent *parent, struct child *compiler)
{
    struct reload *reload = &parent->reload;
    if (compiler != reload->compiler)
        return;
    struct error err;
    error_set(&err, "compiling the declaration: the compiler %s", compiler->last_exit);
    reload->compiler = NULL;
    refuse(parent, 2, err.text);
}

void reload_run_deadline(struct parent *parent)
{
    struct reload *reload = &parent->reload;
    if (reload->deadline_ms == 0 || reload->deadline_ms > parent_now_ms())
        return;
    reload->deadline_ms = 0;
    if (reload->state == RELOAD_COMPILING && reload->compiler) {
        child_kill(reload->compiler, "it did not finish in time"); /* its end refuses the reload */
    } else if (reload->state == RELOAD_BROKER) {
        struct child *broker = child_find(parent, IPC_ROLE_BROKER);
        if (broker)
            child_kill(broker, "it did not take the new declaration");
        listen_abandon(parent);
        refuse(parent, 2, "the broker did not take the new declaration; it is started again, try again");
    } else if (reload->state == RELOAD_ROLES && parent->state != PARENT_STARTING) {
        for (struct child *child = parent->children; child; child = child->next)
            if (child->is_wanted && child->status == IPC_ROLE_RUNNING && child->role != IPC_ROLE_LOGGER && child->role != IPC_ROLE_COMPILER
                && child->generation != parent->current->number)
                child_kill(child, "it did not take the new declaration");
        finish(parent);
    }
}
