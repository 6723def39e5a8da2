/* The engine: events first, then everything listed, so that nothing falls between the two; and again from the start after each loss.
 *
 * Three connections: one streams events, one lists, one asks about single containers, so that a long list keeps nobody waiting. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/table.h"
#include "docker/container.h"
#include "docker/engine.h"
#include "roles/docker.h"

enum { LIST_ARENA_MAX = 256 << 20, EVENT_ARENA_MAX = 8 << 20 };

/* ---- losing it ---- */

static void say_once(struct docker_engine *engine, const char *trouble)
{
    if (strcmp(engine->trouble, trouble) == 0)
        return;
    log_warning("%s; containers that run are served on, others when it is back", trouble);
    str_copy(engine->trouble, sizeof engine->trouble, str_of(trouble));
}

static void hang_up(struct docker_engine *engine)
{
    docker_connection_deinit(&engine->events);
    docker_connection_deinit(&engine->lists);
    docker_connection_deinit(&engine->looks);
    docker_lines_deinit(&engine->lines);
}

void docker_engine_lost(struct docker *docker, const struct error *err)
{
    struct docker_engine *engine = &docker->engine;
    if (!engine->events.loop)
        return;
    docker_look_abort(docker);
    io_timer_clear(&docker->loop, &engine->first_list);
    hang_up(engine);
    engine->n_reconnects += engine->is_there;
    engine->is_there = engine->is_listing = engine->is_listed = false;
    say_once(engine, err->text);
    docker_show_engine(docker, DOCKER_BOARD_ENGINE_AWAY, err->text);
    for (uint32_t i = 0; i < docker->n_names; i++) {
        struct docker_name *name = docker->names[i];
        name->found_id[0] = '\0';
        if (name->state == DOCKER_NAME_UNKNOWN || (name->state == DOCKER_NAME_ABSENT && name->why == IPC_DOCKER_ENDED))
            docker_name_gone(name, DOCKER_NAME_ABSENT, IPC_DOCKER_AWAY, "the engine is away");
    }
    io_timer_set(&docker->loop, &engine->retry, engine->wait_ms);
    engine->wait_ms = 2 * engine->wait_ms < DOCKER_RETRY_MAX_MS ? 2 * engine->wait_ms : DOCKER_RETRY_MAX_MS;
}

/* What an answer lacks is not made good by asking at once again. */
static void lost_for(struct docker *docker, const char *what)
{
    struct error err;
    error_set(&err, "%s: %s", docker->socket_path, what);
    docker_engine_lost(docker, &err);
}

/* ---- what is told: only that something happened to whom ---- */

static void mark(struct docker *docker, struct docker_name *name, const struct docker_event *event)
{
    /* Which address it has is unknown until it is looked at; the one it had may be another's already. */
    if (event->action == DOCKER_ACTION_DISCONNECT)
        docker_name_drop_guests(name);
    if (event->action == DOCKER_ACTION_START || event->action == DOCKER_ACTION_DIE || event->action == DOCKER_ACTION_RENAME)
        name->found_id[0] = '\0'; /* what runs by the name may be another from now on */
    (void)docker;
    docker_name_want(name, 0);
}

static void mark_called(struct docker *docker, struct str reference, const struct docker_event *event)
{
    struct docker_name *name = reference.len ? docker_name_find(docker, reference) : NULL;
    if (name)
        mark(docker, name, event);
}

static void on_event(struct docker *docker, const struct docker_event *event)
{
    docker_offers_on_event(docker, event);
    struct str id = event->type == DOCKER_EVENT_NETWORK ? event->container : event->id;
    if (event->type == DOCKER_EVENT_DAEMON && event->action == DOCKER_ACTION_RELOAD)
        docker_engine_list(docker);
    if (event->action == DOCKER_ACTION_OTHER || event->action == DOCKER_ACTION_CREATE || event->type == DOCKER_EVENT_OTHER || id.len == 0)
        return;
    if (event->type == DOCKER_EVENT_CONTAINER) {
        char reference[2 * DOCKER_PATH_MAX];
        mark_called(docker, event->name, event);
        int n = snprintf(reference, sizeof reference, "%.*s/%.*s", STR_ARG(event->project), STR_ARG(event->service));
        if (event->project.len && event->service.len && n > 0 && (size_t)n < sizeof reference)
            mark_called(docker, str_make(reference, (size_t)n), event);
    }
    /* And whoever is called otherwise by now, or joined a network. */
    for (uint32_t i = 0; i < docker->n_names; i++)
        if (str_equal(str_of(docker->names[i]->run.id), id))
            mark(docker, docker->names[i], event);
}

static bool events_piece(struct docker_question *question, struct str piece)
{
    struct docker_engine *engine = container_of(question, struct docker_engine, events_question);
    struct docker *docker = container_of(engine, struct docker, engine);
    struct str line;
    int r = 0;
    while (docker_lines_next(&engine->lines, &piece, &line, &r)) {
        struct arena arena;
        struct docker_event event;
        struct error err = { "" };
        arena_init(&arena, EVENT_ARENA_MAX);
        r = docker_event_parse(line, &arena, &event, &err);
        if (r == 0)
            on_event(docker, &event);
        arena_deinit(&arena);
        if (r < 0)
            break;
    }
    if (r < 0) { /* what it said can't be known: everything is asked anew */
        lost_for(docker, "its events can't be read");
        return false;
    }
    docker_look_next(docker);
    return true;
}

/* A socket that came after this process, of another group than its own: only a new start, as root at first, can be of that group. Not at
 * once, for the socket may be new and its owner not done with it. */
static void start_again_for_group(const struct docker *docker)
{
    struct stat st;
    if (docker->role.start.uid == 0 || docker->engine.wait_ms < 8 * DOCKER_RETRY_FIRST_MS || stat(docker->socket_path, &st) < 0)
        return;
    if (!S_ISSOCK(st.st_mode) || !(st.st_mode & S_IWGRP) || st.st_gid == getegid())
        return;
    log_warning("%s is of group %u by now: starting again to be of it, too", docker->socket_path, (unsigned)st.st_gid);
    exit(EXIT_FAILURE);
}

static void events_done(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct docker *docker = container_of(question, struct docker, engine.events_question);
    char message[DOCKER_MESSAGE_SIZE];
    if (r == -EACCES)
        start_again_for_group(docker);
    if (r < 0)
        docker_engine_lost(docker, err);
    else if (response->status == 200)
        lost_for(docker, "the engine stopped telling events");
    else
        lost_for(docker, docker_response_message(response, message));
}

static void version_done(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct docker *docker = container_of(question, struct docker, engine.version_question);
    struct docker_version version;
    struct arena arena;
    char text[96];
    if (r < 0) {
        docker_engine_lost(docker, err);
        return;
    }
    arena_init(&arena, EVENT_ARENA_MAX);
    if (response->status == 200 && docker_version_parse(buf_str(&response->body), &arena, &version, NULL) == 0) {
        snprintf(text, sizeof text, "%s %.*s, API 1.%u", version.is_podman ? "Podman" : "Docker", STR_ARG(str_first(version.version, 40)),
                 docker->engine.lists.api_minor);
        docker_show_version(docker, text);
        log_info("asking %s at %s", text, docker->socket_path);
    }
    arena_deinit(&arena);
}

static void list_all(struct docker *docker)
{
    struct docker_engine *engine = &docker->engine;
    docker_engine_list(docker);
    docker_offers_look(docker);
    engine->version_question.done = version_done;
    if (docker_connection_ask(&engine->lists, &engine->version_question, "/version") < 0)
        log_error("the engine's version can't be asked");
}

static void events_opened(struct docker_question *question)
{
    struct docker *docker = container_of(question, struct docker, engine.events_question);
    struct docker_engine *engine = &docker->engine;
    engine->is_there = true;
    engine->trouble[0] = '\0';
    engine->wait_ms = DOCKER_RETRY_FIRST_MS;
    docker_show_engine(docker, DOCKER_BOARD_ENGINE_THERE, "");
    if (engine->was_there)
        list_all(docker);
    else
        io_timer_set(&docker->loop, &engine->first_list, DOCKER_FIRST_LIST_MS);
    engine->was_there = true;
}

static void first_list(struct io_timer *timer)
{
    struct docker *docker = container_of(timer, struct docker, engine.first_list);
    if (docker->engine.is_there)
        list_all(docker);
}

/* ---- the list ---- */

/* Several run by one name of Compose's where a service has replicas: the one of the lowest number, always. */
static void take_candidate(struct docker_name *name, const struct docker_container *container, uint32_t *number)
{
    if (!docker_container_is_called(container, str_of(name->reference)))
        return;
    name->n_replicas++;
    if (name->found_id[0] && container->number >= *number)
        return;
    str_copy(name->found_id, sizeof name->found_id, container->id);
    *number = container->number;
}

static void candidate_of(struct docker *docker, struct str reference, const struct docker_container *container, uint32_t *numbers)
{
    struct docker_name *name = reference.len ? docker_name_find(docker, reference) : NULL;
    if (name)
        take_candidate(name, container, &numbers[name->place]);
}

static void take_list(struct docker *docker, const struct docker_containers *list, uint32_t *numbers)
{
    for (uint32_t i = 0; i < docker->n_names; i++) {
        docker->names[i]->found_id[0] = '\0';
        docker->names[i]->n_replicas = 0;
    }
    for (uint32_t i = 0; i < list->n; i++) {
        const struct docker_container *container = &list->items[i];
        char reference[2 * DOCKER_PATH_MAX];
        int n = snprintf(reference, sizeof reference, "%.*s/%.*s", STR_ARG(container->project), STR_ARG(container->service));
        candidate_of(docker, container->name, container, numbers);
        if (container->project.len && n > 0 && (size_t)n < sizeof reference)
            candidate_of(docker, str_make(reference, (size_t)n), container, numbers);
    }
    for (uint32_t i = 0; i < docker->n_names; i++) {
        struct docker_name *name = docker->names[i];
        if (name->found_id[0] || name->state == DOCKER_NAME_RUNNING)
            docker_name_want(name, 0);
        else if (!name->needs_look && !name->is_hinted && docker->look.name != name) /* nothing happened to it since the list was asked for */
            docker_name_gone(name, DOCKER_NAME_ABSENT, IPC_DOCKER_ABSENT, "no container of that name runs");
    }
}

static void list_done(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct docker *docker = container_of(question, struct docker, engine.list_question);
    struct docker_containers list;
    struct arena arena;
    struct error trouble = { "" };
    docker->engine.is_listing = false;
    if (r < 0) {
        docker_engine_lost(docker, err);
        return;
    }
    arena_init(&arena, LIST_ARENA_MAX);
    uint32_t *numbers = arena_array(&arena, docker->n_names, uint32_t);
    r = !numbers ? -ENOMEM : response->status == 200 ? docker_containers_parse(buf_str(&response->body), &arena, &list, &trouble) : -EIO;
    if (r == 0) {
        docker->engine.is_listed = true;
        take_list(docker, &list, numbers);
    }
    arena_deinit(&arena);
    if (r < 0)
        lost_for(docker, trouble.text[0] ? trouble.text : "the engine lists no containers");
    docker_look_next(docker);
}

void docker_engine_list(struct docker *docker)
{
    struct docker_engine *engine = &docker->engine;
    if (engine->list_question.is_asked)
        return;
    for (uint32_t i = 0; i < docker->n_names; i++)
        docker->names[i]->needs_look = false;
    engine->is_listing = true;
    engine->list_question.done = list_done;
    if (docker_connection_ask(&engine->lists, &engine->list_question, "/containers/json") < 0)
        engine->is_listing = false;
}

/* ---- finding it ---- */

static int open_connections(struct docker *docker)
{
    struct docker_engine *engine = &docker->engine;
    int r = docker_connection_init(&engine->events, &docker->loop, docker->socket_path);
    if (r == 0)
        r = docker_connection_init(&engine->lists, &docker->loop, docker->socket_path);
    if (r == 0)
        r = docker_connection_init(&engine->looks, &docker->loop, docker->socket_path);
    docker_lines_init(&engine->lines);
    return r;
}

void docker_engine_try(struct docker *docker)
{
    struct docker_engine *engine = &docker->engine;
    char path[DOCKER_EVENTS_PATH_SIZE];
    if (engine->events.loop || (engine->tried_ms && docker->loop.now_ms - engine->tried_ms < DOCKER_HINT_PAUSE_MS))
        return;
    engine->tried_ms = docker->loop.now_ms;
    io_timer_clear(&docker->loop, &engine->retry);
    engine->events_question.done = events_done;
    engine->events_question.piece = events_piece;
    engine->events_question.opened = events_opened;
    int r = open_connections(docker);
    if (r == 0)
        r = docker_connection_ask(&engine->events, &engine->events_question, docker_events_path(0, path));
    if (r < 0) {
        hang_up(engine);
        log_error("%s can't be asked: %s", docker->socket_path, strerrordesc_np(-r));
        io_timer_set(&docker->loop, &engine->retry, DOCKER_RETRY_MAX_MS);
        return;
    }
    docker_look_next(docker);
}

static void retry(struct io_timer *timer)
{
    struct docker *docker = container_of(timer, struct docker, engine.retry);
    docker->engine.tried_ms = 0; /* its own wait is the one that counts */
    docker_engine_try(docker);
}

int docker_engine_init(struct docker *docker)
{
    docker->engine.retry.fire = retry;
    docker->engine.first_list.fire = first_list;
    docker->engine.wait_ms = DOCKER_RETRY_FIRST_MS;
    docker_engine_try(docker);
    return 0;
}

void docker_engine_move(struct docker *docker, const char *socket_path)
{
    if (strcmp(docker->socket_path, socket_path) == 0)
        return;
    str_copy(docker->socket_path, sizeof docker->socket_path, str_of(socket_path));
    docker->engine.tried_ms = 0;
    lost_for(docker, "the declaration names it from now on");
    docker_engine_try(docker);
}
