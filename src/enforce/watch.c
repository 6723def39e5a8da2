/* One loop: Docker's word, the kernel's notices, and the state directory decide what the tables hold; each change is one transaction. */
#include "enforce/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>

#include "base/log.h"
#include "enforce/conntrack.h"
#include "enforce/docker_view.h"
#include "enforce/gathering.h"
#include "enforce/notices.h"
#include "enforce/putting.h"
#include "enforce/unsettled.h"
#include "render/containers.h"

enum { BEAT_MS = 10000, WATCHED_S = 30, OWN_MAX = 32, TEXT_MAX = 128 << 20, NOTES_MAX = 64 << 10, LATE_MS = 2000 };

struct watch {
    struct io_loop loop;
    struct state state;
    struct docker_view docker;
    struct notices notices;
    struct unsettled unsettled;
    struct gathering gathering;
    struct io_source signals, files;
    struct io_timer beat;
    struct io_deferred turn;

    struct state_declaration in_force;
    struct put_declaration declaration;
    uint64_t version;                   /* of in-force */
    struct container_filter filter;     /* what the tables hold, if they are in step */
    struct buf said;                    /* the notes that were logged last */
    uint64_t said_version;              /* of which it was said what it holds */
    bool has_filter, is_in_step, has_docker, is_gathering_due;
    pid_t own[OWN_MAX];                 /* whose changes were this one's */
    unsigned n_own;
    bool is_ended;
};

/* ---- the declaration in force ---- */

static void forget_declaration(struct watch *watch)
{
    watch->declaration.model = model_free(watch->declaration.model);
    state_declaration_deinit(&watch->in_force);
    watch->in_force = (struct state_declaration){ .deadline_ms = 0 };
}

/* Reads what is in force, if that is another than before. With the lock held. */
static int follow_declaration(struct watch *watch, struct error *err)
{
    struct state_declaration in_force;
    struct put_declaration declaration;
    uint64_t version = state_version(&watch->state, "in-force");
    if (version == watch->version && watch->declaration.model)
        return 0;
    int r = state_read(&watch->state, "in-force", &in_force, err);
    if (r != 0)
        return r;
    r = put_declaration_read(&in_force, &declaration, err);
    if (r < 0) {
        state_declaration_deinit(&in_force);
        return r;
    }
    bool is_other_engine = !watch->declaration.model || strcmp(watch->declaration.docker_socket, declaration.docker_socket) != 0;
    if (watch->declaration.model)
        log_info("another declaration is in force: %s", in_force.path);
    if (is_other_engine && watch->has_docker) {
        docker_view_deinit(&watch->docker);
        watch->has_docker = false;
    }
    forget_declaration(watch);
    watch->in_force = in_force;
    watch->declaration = declaration;
    watch->version = version;
    watch->is_in_step = false;
    return 0;
}

/* A change that nobody confirmed, and whose guard is gone. With the lock held. */
static int undo_if_late(struct watch *watch, struct error *err)
{
    cleanup_state_declaration struct state_declaration before = { .deadline_ms = 0 };
    int r = state_read(&watch->state, "before", &before, err);
    if (r != 0)
        return r == STATE_E_NONE ? 0 : r;
    if (state_now_ms() < before.deadline_ms + LATE_MS)
        return 0;
    log_warning("a change was not confirmed in time, and is undone");
    return put_undo(&watch->state, err);
}

/* ---- the tables ---- */

static int load(struct watch *watch, struct str text, struct error *err)
{
    pid_t pid = 0;
    int r = put_rules(text, &pid, err);
    watch->own[watch->n_own++ % OWN_MAX] = pid;
    return r;
}

static void say_notes(struct watch *watch, const struct holding_notes *notes)
{
    struct str rest = buf_str(&notes->text);
    if (str_equal(rest, buf_str(&watch->said)))
        return;
    buf_clear(&watch->said);
    buf_append(&watch->said, rest);
    while (rest.len)
        log_warning("%.*s", STR_ARG(str_split(&rest, '\n')));
}

/* Once for each declaration; a container that crashes every second isn't news. */
static void say_counts(struct watch *watch, const struct holding_counts *counts)
{
    if (watch->said_version == watch->version)
        return;
    watch->said_version = watch->version;
    log_info("in force: %u projects enforced with %u running containers, %u observed, %u lines of grants", counts->n_enforced, counts->n_containers,
             counts->n_observed, counts->n_grants);
}

static int put_whole(struct watch *watch, const struct container_filter *filter, struct error *err)
{
    cleanup_buf struct buf text;
    cleanup_buf struct buf origin;
    buf_init(&text, TEXT_MAX);
    buf_init(&origin, 1024);
    put_write_origin(&watch->declaration, &origin);
    container_filter_write(filter, buf_str(&origin), &text);
    container_filter_write_watch(WATCHED_S, &text);
    return text.error ? text.error : load(watch, buf_str(&text), err);
}

/* What differs, or where nft can't take that everything (it takes no range in the place of one that overlaps it and goes). */
static int put_change(struct watch *watch, const struct container_filter *filter, bool *ret_is_any, struct error *err)
{
    cleanup_buf struct buf text;
    buf_init(&text, TEXT_MAX);
    *ret_is_any = container_filter_write_change(&watch->filter, filter, &text) > 0;
    int r = text.error;
    if (r == 0 && *ret_is_any)
        r = load(watch, buf_str(&text), err);
    return r == -EIO ? put_whole(watch, filter, err) : r;
}

/* Makes the tables hold the filter, which becomes the watch's. */
static int put(struct watch *watch, struct container_filter *filter, struct error *err)
{
    bool is_any = true;
    int r = watch->is_in_step && watch->has_filter ? put_change(watch, filter, &is_any, err) : put_whole(watch, filter, err);
    if (r < 0) {
        watch->is_in_step = false;
        return r;
    }
    if (watch->has_filter)
        container_filter_deinit(&watch->filter);
    watch->filter = *filter;
    watch->has_filter = watch->is_in_step = true;
    int n_cut = is_any ? conntrack_cut(&watch->filter, err) : 0;
    if (n_cut > 0)
        log_info("%d tracked connections cut", n_cut);
    return n_cut < 0 ? n_cut : 0;
}

static int work_out(struct watch *watch, struct container_filter *ret, struct error *err)
{
    struct scene scene = { .containers = watch->docker.containers, .networks = watch->docker.networks, .namespaces = watch->docker.namespaces };
    struct holding_notes notes = { .n = 0 };
    struct holding_counts counts;
    int r = scene_read_host(&scene, err);
    if (r < 0)
        return r;
    buf_init(&notes.text, NOTES_MAX);
    unsettled_look(&watch->unsettled, &scene.links, watch->docker.has_word ? &watch->docker.networks : NULL);
    struct holding_input input = scene_input(&scene, watch->declaration.model, watch->declaration.host);
    input.unsettled = watch->unsettled.names;
    input.n_unsettled = watch->unsettled.n;
    r = holding_init(ret, &input, &notes, &counts, err);
    links_deinit(&scene.links);
    if (r == 0 && watch->docker.has_word) {
        say_notes(watch, &notes);
        say_counts(watch, &counts);
    }
    buf_deinit(&notes.text);
    return r;
}

/* Before Docker's first word what is there stays; where nothing is, bridges with its names are held at least. */
static bool is_to_wait(const struct watch *watch)
{
    return !watch->docker.has_word && put_is_there();
}

/* What was counted is somebody's by the address that he has: it is taken before another has it, and before the tables are made anew. */
static int gather(struct watch *watch, struct error *err)
{
    const struct docker_view *docker = &watch->docker;
    pid_t pid;
    int r = 0;
    if (!docker->has_word)
        return 0;
    bool is_due = gathering_look(&watch->gathering, &docker->containers, &docker->networks, false) || !watch->is_in_step ||
                  (watch->is_gathering_due && watch->gathering.has_gone);
    if (!is_due || !watch->has_filter)
        return 0;
    watch->is_gathering_due = false;
    r = gathering_collect(&watch->gathering, &watch->state, &watch->filter, watch->declaration.model, watch->declaration.host, &pid, err);
    if (pid)
        watch->own[watch->n_own++ % OWN_MAX] = pid;
    (void)gathering_look(&watch->gathering, &docker->containers, &docker->networks, true);
    return r;
}

static int bring_in_step(struct watch *watch, struct error *err)
{
    struct container_filter filter;
    int r = undo_if_late(watch, err);
    if (r == 0)
        r = follow_declaration(watch, err);
    if (r != 0 || is_to_wait(watch))
        return r;
    if (gather(watch, err) < 0)
        log_warning("what was seen can't be kept: %s", err->text);
    r = work_out(watch, &filter, err);
    if (r < 0)
        return r;
    r = put(watch, &filter, err);
    if (r < 0 && !watch->is_in_step)
        container_filter_deinit(&filter);
    return r;
}

static int listen_to_docker(struct watch *watch, struct error *err);

static void on_turn(struct io_deferred *deferred)
{
    struct watch *watch = container_of(deferred, struct watch, turn);
    struct error err = { "" };
    int r = state_lock(&watch->state, &err);
    if (r == 0)
        r = bring_in_step(watch, &err);
    state_unlock(&watch->state);
    if (r == 0)
        r = listen_to_docker(watch, &err);
    if (r == STATE_E_NONE || r == -ENOENT) { /* or even its directory is gone */
        log_info("nothing is in force any more: 'postern unapply' was run");
        watch->is_ended = true;
        io_loop_stop(&watch->loop);
    } else if (r < 0) {
        log_error("%s", err.text[0] ? err.text : strerror(-r));
    }
}

/* ---- what happens ---- */

static void look(struct watch *watch)
{
    io_defer(&watch->loop, &watch->turn);
}

static void on_docker(struct docker_view *view)
{
    struct watch *watch = container_of(view, struct watch, docker);
    look(watch);
}

static void on_docker_away(struct docker_view *view, const char *why)
{
    (void)view;
    log_warning("Docker can't be asked: %s; what is in force stays", why);
}

static int listen_to_docker(struct watch *watch, struct error *err)
{
    if (watch->has_docker)
        return 0;
    int r = docker_view_init(&watch->docker, &watch->loop, watch->declaration.docker_socket);
    if (r < 0) {
        error_set(err, "%s: %s", watch->declaration.docker_socket, strerror(-r));
        return r;
    }
    watch->docker.changed = on_docker;
    watch->docker.away = on_docker_away;
    watch->has_docker = true;
    return 0;
}

static bool is_own(const struct watch *watch, pid_t pid)
{
    unsigned i = 0;
    while (i < OWN_MAX && watch->own[i] != pid)
        i++;
    return pid != 0 && i < OWN_MAX;
}

static void on_rules(struct notices *notices, const struct notices_change *change)
{
    struct watch *watch = container_of(notices, struct watch, notices);
    if (is_own(watch, change->pid))
        return;
    watch->is_in_step = false;
    if (state_version(&watch->state, "in-force") == watch->version) {
        if (change->pid)
            log_warning("%s (process %d) changed the tables " CONTAINER_TABLE ": they are put back", change->name[0] ? change->name : "somebody",
                        (int)change->pid);
        else
            log_warning("notices of the kernel were lost: the tables are written anew");
    }
    look(watch);
}

static void on_links(struct notices *notices)
{
    look(container_of(notices, struct watch, notices));
}

static void on_unsettled(struct unsettled *unsettled)
{
    look(container_of(unsettled, struct watch, unsettled));
}

static void on_files(struct io_source *source, uint32_t events)
{
    char drained[4096];
    struct watch *watch = container_of(source, struct watch, files);
    (void)events;
    while (read(source->fd, drained, sizeof drained) > 0)
        ;
    if (state_version(&watch->state, "in-force") != watch->version)
        look(watch);
}

static void on_beat(struct io_timer *timer)
{
    struct watch *watch = container_of(timer, struct watch, beat);
    struct error err;
    cleanup_buf struct buf text;
    buf_init(&text, 1024);
    container_filter_write_watch(WATCHED_S, &text);
    io_timer_set(&watch->loop, timer, BEAT_MS);
    if (watch->is_in_step && load(watch, buf_str(&text), &err) < 0)
        watch->is_in_step = false;
    watch->is_gathering_due = true;
    look(watch);
}

static void on_signal(struct io_source *source, uint32_t events)
{
    struct watch *watch = container_of(source, struct watch, signals);
    struct signalfd_siginfo info;
    (void)events;
    if (read(source->fd, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGHUP)
        look(watch);
    else
        io_loop_stop(&watch->loop);
}

/* ---- its life ---- */

static int open_sources(struct watch *watch, struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    int r = sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
    watch->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    watch->files.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", watch->state.directory);
    if (r == 0 && (watch->signals.fd < 0 || watch->files.fd < 0 || inotify_add_watch(watch->files.fd, path, IN_MOVED_TO | IN_DELETE) < 0))
        r = -errno;
    if (r == 0)
        r = io_watch(&watch->loop, &watch->signals, EPOLLIN);
    if (r == 0)
        r = io_watch(&watch->loop, &watch->files, EPOLLIN);
    if (r < 0)
        error_set(err, "can't listen to signals and the state directory: %s", strerror(-r));
    return r;
}

/* Nobody is there any more to say what a new bridge is: what is known stays in force, what isn't is left alone. */
static void stop_watching(struct watch *watch)
{
    struct error err;
    cleanup_buf struct buf text;
    buf_init(&text, 1024);
    container_filter_write_watch(0, &text);
    if (!watch->is_ended && watch->is_in_step && load(watch, buf_str(&text), &err) < 0)
        log_error("%s", err.text);
}

static int run(struct watch *watch, struct error *err)
{
    int r = notices_init(&watch->notices, &watch->loop, CONTAINER_TABLE, err);
    if (r < 0)
        return r;
    watch->notices.rules_changed = on_rules;
    watch->notices.links_changed = on_links;
    unsettled_init(&watch->unsettled, &watch->loop);
    watch->unsettled.settled = on_unsettled;
    r = open_sources(watch, err);
    if (r == 0) {
        io_timer_set(&watch->loop, &watch->beat, BEAT_MS);
        look(watch);
        r = io_loop_run(&watch->loop);
        stop_watching(watch);
    }
    notices_deinit(&watch->notices);
    unsettled_deinit(&watch->unsettled);
    return r;
}

int watch_run(const char *state_directory, struct error *err)
{
    struct watch watch = { .state = { .directory = -1, .lock = -1 }, .signals = { .fd = -1, .ready = on_signal }, .files = { .fd = -1, .ready = on_files },
                           .beat.fire = on_beat, .turn.run = on_turn };
    int r = state_open(state_directory, &watch.state, err);
    if (r < 0)
        return r;
    buf_init(&watch.said, NOTES_MAX);
    gathering_init(&watch.gathering);
    r = io_loop_init(&watch.loop);
    if (r == 0) {
        r = run(&watch, err);
        if (watch.has_docker)
            docker_view_deinit(&watch.docker);
        io_loop_deinit(&watch.loop);
    }
    if (watch.has_filter)
        container_filter_deinit(&watch.filter);
    if (watch.is_ended && state_remove(&watch.state, "lock", err) == 0)
        (void)rmdir(state_directory);
    forget_declaration(&watch);
    buf_deinit(&watch.said);
    gathering_deinit(&watch.gathering);
    base_close_descriptor(&watch.signals.fd);
    base_close_descriptor(&watch.files.fd);
    state_close(&watch.state);
    return r;
}
