/* One look at one name, by asking the engine and the kernel in turns:
 *
 *   FIND   which container runs by PROJECT/SERVICE (a NAME needs no finding)
 *   FIRST  what runs: ID, process, start, namespace
 *   OWNER  the same of the container whose namespace it shares ("container:")
 *          the process is held and must be the container's, the namespace is opened
 *   AGAIN, OWNER_AGAIN  still the same ID, process, start: then what was opened is what was meant
 *
 * Whatever moved in between makes the look begin anew. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "docker/container.h"
#include "roles/docker.h"

enum { ARENA_MAX = 64 << 20, FINDS_MAX = 3 };

static void ask(struct docker *docker, enum docker_look_step step, const char *path);

static void close_all(struct docker_look *look)
{
    int *const fds[] = { &look->process, &look->owner_process, &look->space };
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (*fds[i] >= 0)
            close(TAKE_FD(*fds[i]));
}

void docker_look_abort(struct docker *docker)
{
    struct docker_look *look = &docker->look;
    if (docker->engine.looks.loop)
        docker_connection_withdraw(&docker->engine.looks, &look->question);
    close_all(look);
    if (look->name)
        docker_name_want(look->name, 0);
    look->name = NULL;
    look->step = DOCKER_LOOK_NONE;
}

/* The look is over; what was found is told already. */
static void end(struct docker *docker)
{
    struct docker_look *look = &docker->look;
    close_all(look);
    look->name->looked_ms = docker->loop.now_ms;
    look->name = NULL;
    look->step = DOCKER_LOOK_NONE;
}

static void end_gone(struct docker *docker, enum docker_name_state state, enum ipc_docker_gone_why why, const char *trouble)
{
    struct docker_name *name = docker->look.name;
    end(docker);
    docker_name_gone(name, state, why, trouble);
}

static void end_again(struct docker *docker, uint64_t after_ms)
{
    docker_name_want(docker->look.name, after_ms);
    end(docker);
}

/* ---- which ---- */

static bool is_of_compose(const struct docker_name *name)
{
    return strchr(name->reference, '/') != NULL;
}

/* {"label":["com.docker.compose.project=P","com.docker.compose.service=S"]}; names have no character that JSON or a path would escape. */
static int find_path(const struct docker_name *name, char path[static DOCKER_PATH_MAX])
{
    struct str service = str_of(name->reference), project = str_split(&service, '/');
    int n = snprintf(path, DOCKER_PATH_MAX,
                     "/containers/json?filters=%%7B%%22label%%22%%3A%%5B%%22com.docker.compose.project%%3D%.*s%%22%%2C"
                     "%%22com.docker.compose.service%%3D%.*s%%22%%5D%%7D",
                     STR_ARG(project), STR_ARG(service));
    return n < DOCKER_PATH_MAX ? 0 : -ENAMETOOLONG;
}

static void ask_inspect(struct docker *docker, enum docker_look_step step, const char *who)
{
    char path[DOCKER_PATH_MAX];
    snprintf(path, sizeof path, "/containers/%.200s/json", who);
    ask(docker, step, path);
}

static void begin(struct docker *docker)
{
    struct docker_look *look = &docker->look;
    char path[DOCKER_PATH_MAX];
    close_all(look);
    look->has_owner = false;
    if (look->name->found_id[0])
        ask_inspect(docker, DOCKER_LOOK_FIRST, look->name->found_id);
    else if (!is_of_compose(look->name))
        ask_inspect(docker, DOCKER_LOOK_FIRST, look->name->reference);
    else if (find_path(look->name, path) == 0)
        ask(docker, DOCKER_LOOK_FIND, path);
    else
        end_gone(docker, DOCKER_NAME_REFUSED, IPC_DOCKER_REFUSED, "the names of its project and service are too long to ask for");
}

static void begin_anew(struct docker *docker)
{
    struct docker_look *look = &docker->look;
    look->name->found_id[0] = '\0';
    if (++look->n_finds >= FINDS_MAX)
        end_again(docker, DOCKER_AGAIN_MS);
    else
        begin(docker);
}

static void on_found(struct docker *docker, struct str body, struct arena *arena, struct error *err)
{
    struct docker_name *name = docker->look.name;
    struct docker_containers list;
    const struct docker_container *best = NULL;
    if (docker_containers_parse(body, arena, &list, err) < 0) {
        end_again(docker, DOCKER_PATIENCE_MS);
        return;
    }
    name->n_replicas = 0;
    for (uint32_t i = 0; i < list.n; i++) {
        const struct docker_container *container = &list.items[i];
        if (!container->is_running || !docker_container_is_called(container, str_of(name->reference)))
            continue;
        name->n_replicas++;
        if (!best || container->number < best->number)
            best = container;
    }
    if (!best) {
        end_gone(docker, DOCKER_NAME_ABSENT, IPC_DOCKER_ABSENT, "no container of that project and service runs");
        return;
    }
    str_copy(name->found_id, sizeof name->found_id, best->id);
    ask_inspect(docker, DOCKER_LOOK_FIRST, name->found_id);
}

/* ---- what runs ---- */

static void take_run(const struct docker_container *container, struct docker_run *run)
{
    *run = (struct docker_run){ .pid = container->pid };
    str_copy(run->id, sizeof run->id, container->id);
    str_copy(run->started_at, sizeof run->started_at, container->started_at);
    str_copy(run->sandbox_key, sizeof run->sandbox_key, container->sandbox_key);
}

static bool is_same_run(const struct docker_run *a, const struct docker_run *b)
{
    return a->pid == b->pid && strcmp(a->id, b->id) == 0 && strcmp(a->started_at, b->started_at) == 0;
}

static bool is_still(const struct docker_run *run, const struct docker_container *container)
{
    struct docker_run now;
    take_run(container, &now);
    return container->is_running && is_same_run(run, &now) && strcmp(run->sandbox_key, now.sandbox_key) == 0;
}

static const char *state_text(enum docker_state state)
{
    switch (state) {
    case DOCKER_CREATED:
        return "there is one, but it was never started";
    case DOCKER_RESTARTING:
        return "it is being restarted";
    case DOCKER_EXITED:
    case DOCKER_DEAD:
        return "there is one, but it has ended";
    case DOCKER_REMOVING:
        return "it is being removed";
    case DOCKER_STATE_UNKNOWN:
    case DOCKER_RUNNING:
    case DOCKER_PAUSED:
        break;
    }
    return "it does not run";
}

static uint32_t addresses_of(const struct docker_container *container, struct address addresses[static DOCKER_GUEST_ADDRESSES])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < container->n_endpoints; i++) {
        const struct docker_endpoint *endpoint = &container->endpoints[i];
        if (endpoint->has_v4 && n < DOCKER_GUEST_ADDRESSES)
            addresses[n++] = endpoint->v4;
        if (endpoint->has_v6 && n < DOCKER_GUEST_ADDRESSES)
            addresses[n++] = endpoint->v6;
    }
    return n;
}

/* Held and opened; then the engine is asked again. */
static void open_all(struct docker *docker)
{
    struct docker_look *look = &docker->look;
    struct error err = { "" };
    int r = docker_process_open(&look->run, &look->process, &err);
    if (r == 0 && look->has_owner)
        r = docker_process_open(&look->owner, &look->owner_process, &err);
    if (r == 0 && look->has_owner) {
        /* It went into the namespace of whoever ran by that name when it started. Should that one have been started anew since, its
         * namespace is another by now. */
        uint64_t own = docker_process_started(look->run.pid), owners = docker_process_started(look->owner.pid);
        if (own == 0 || owners == 0 || owners > own) {
            error_set(&err, "it shares the network of a container that was started anew since; start it again, too");
            r = DOCKER_SPACE_REFUSED;
        }
    }
    if (r == 0 && look->name->flags & IMAGE_CONTAINER_DIALLED)
        r = docker_space_open(look->has_owner ? &look->owner : &look->run, &look->space, &err);
    if (r == DOCKER_SPACE_MOVED)
        begin_anew(docker);
    else if (r)
        end_gone(docker, DOCKER_NAME_REFUSED, IPC_DOCKER_REFUSED, err.text);
    else
        ask_inspect(docker, DOCKER_LOOK_AGAIN, look->run.id);
}

static void on_first(struct docker *docker, const struct docker_container *container)
{
    struct docker_look *look = &docker->look;
    struct docker_name *name = look->name;
    if (!docker_container_is_called(container, str_of(name->reference)) || (!container->is_running && is_of_compose(name))) {
        if (is_of_compose(name))
            begin_anew(docker); /* the list's word is out of date */
        else
            end_gone(docker, DOCKER_NAME_ABSENT, IPC_DOCKER_ABSENT, "there is no container of that name");
        return;
    }
    if (!container->is_running || container->pid <= 0) {
        end_gone(docker, DOCKER_NAME_ABSENT, IPC_DOCKER_ABSENT, state_text(container->state));
        return;
    }
    take_run(container, &look->run);
    name->is_paused = container->state == DOCKER_PAUSED;
    if (docker_name_is_alive(name) && is_same_run(&name->run, &look->run) && !name->owes_broker) {
        struct address addresses[DOCKER_GUEST_ADDRESSES];
        uint32_t n = container->network_mode != DOCKER_NETWORK_CONTAINER ? addresses_of(container, addresses) : 0;
        end(docker);
        docker_name_refresh(name, addresses, n);
        return;
    }
    switch (container->network_mode) {
    case DOCKER_NETWORK_HOST:
        end_gone(docker, DOCKER_NAME_REFUSED, IPC_DOCKER_REFUSED,
                 "it uses the host's own network: declare what it serves with host: and port:, without container:");
        return;
    case DOCKER_NETWORK_CONTAINER:
        ask_inspect(docker, DOCKER_LOOK_OWNER, container->network_peer.ptr);
        return;
    case DOCKER_NETWORKS:
    case DOCKER_NETWORK_NONE:
        open_all(docker);
        return;
    }
}

static void on_owner(struct docker *docker, const struct docker_container *container)
{
    struct docker_look *look = &docker->look;
    if (!container->is_running || container->pid <= 0) {
        end_gone(docker, DOCKER_NAME_REFUSED, IPC_DOCKER_REFUSED, "it shares the network of a container that does not run");
        return;
    }
    if (container->network_mode == DOCKER_NETWORK_HOST || container->network_mode == DOCKER_NETWORK_CONTAINER) {
        end_gone(docker, DOCKER_NAME_REFUSED, IPC_DOCKER_REFUSED, "it shares the network of a container that has none of its own");
        return;
    }
    look->has_owner = true;
    take_run(container, &look->owner);
    open_all(docker);
}

static void finish(struct docker *docker, const struct address *addresses, uint32_t n)
{
    struct docker_look *look = &docker->look;
    struct docker_name *name = look->name;
    if (!docker_process_is_alive(look->process)) {
        begin_anew(docker);
        return;
    }
    struct docker_run run = look->run;
    int process = TAKE_FD(look->process), space = look->space >= 0 ? TAKE_FD(look->space) : -1;
    /* Who shares another's network can't be told from it by an address: it is nobody. */
    bool is_guest_in_vain = look->has_owner && name->flags & IMAGE_CONTAINER_GUEST;
    end(docker);
    docker_name_run(name, &run, process, space, addresses, look->has_owner ? 0 : n);
    if (is_guest_in_vain)
        docker_name_note(name, "it shares another container's network: asking from there, it can't be told from that one, and is nobody");
}

static void on_again(struct docker *docker, const struct docker_container *container)
{
    struct docker_look *look = &docker->look;
    struct address addresses[DOCKER_GUEST_ADDRESSES];
    if (!is_still(&look->run, container) || !docker_container_is_called(container, str_of(look->name->reference)))
        begin_anew(docker);
    else if (look->has_owner)
        ask_inspect(docker, DOCKER_LOOK_OWNER_AGAIN, look->owner.id);
    else
        finish(docker, addresses, addresses_of(container, addresses));
}

static void on_owner_again(struct docker *docker, const struct docker_container *container)
{
    if (is_still(&docker->look.owner, container) && docker_process_is_alive(docker->look.owner_process))
        finish(docker, NULL, 0);
    else
        begin_anew(docker);
}

/* ---- answers ---- */

static void on_none(struct docker *docker)
{
    switch (docker->look.step) {
    case DOCKER_LOOK_FIRST:
        if (is_of_compose(docker->look.name) || docker->look.name->found_id[0])
            begin_anew(docker);
        else
            end_gone(docker, DOCKER_NAME_ABSENT, IPC_DOCKER_ABSENT, "there is no container of that name");
        return;
    case DOCKER_LOOK_OWNER:
        end_gone(docker, DOCKER_NAME_REFUSED, IPC_DOCKER_REFUSED, "it shares the network of a container that is gone");
        return;
    case DOCKER_LOOK_NONE:
    case DOCKER_LOOK_FIND:
    case DOCKER_LOOK_AGAIN:
    case DOCKER_LOOK_OWNER_AGAIN:
        begin_anew(docker);
    }
}

static void on_container(struct docker *docker, struct str body, struct arena *arena, struct error *err)
{
    struct docker_container container;
    if (docker_container_parse(body, arena, &container, err) < 0) {
        end_again(docker, DOCKER_PATIENCE_MS);
        return;
    }
    switch (docker->look.step) {
    case DOCKER_LOOK_FIRST:
        on_first(docker, &container);
        return;
    case DOCKER_LOOK_OWNER:
        on_owner(docker, &container);
        return;
    case DOCKER_LOOK_AGAIN:
        on_again(docker, &container);
        return;
    case DOCKER_LOOK_OWNER_AGAIN:
        on_owner_again(docker, &container);
        return;
    case DOCKER_LOOK_NONE:
    case DOCKER_LOOK_FIND:
        return;
    }
}

static void on_answer(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct docker_look *look = container_of(question, struct docker_look, question);
    struct docker *docker = container_of(look, struct docker, look);
    if (r < 0) {
        docker_engine_lost(docker, err);
        return;
    }
    struct arena arena;
    struct error trouble = { "" };
    arena_init(&arena, ARENA_MAX);
    if (response->status == 404)
        on_none(docker);
    else if (response->status != 200)
        end_again(docker, DOCKER_PATIENCE_MS); /* it is ill: it is not asked as fast as it refuses */
    else if (look->step == DOCKER_LOOK_FIND)
        on_found(docker, buf_str(&response->body), &arena, &trouble);
    else
        on_container(docker, buf_str(&response->body), &arena, &trouble);
    arena_deinit(&arena);
    if (trouble.text[0])
        log_warning("%s", trouble.text);
    docker_look_next(docker);
}

static void ask(struct docker *docker, enum docker_look_step step, const char *path)
{
    struct docker_look *look = &docker->look;
    look->step = step;
    look->question.done = on_answer;
    if (docker_connection_ask(&docker->engine.looks, &look->question, path) < 0)
        end_gone(docker, DOCKER_NAME_REFUSED, IPC_DOCKER_REFUSED, "its name can't be asked for");
}

/* ---- whose turn ---- */

/* When this one may be looked at; UINT64_MAX: no need. Before the first list only whoever is waited for is asked about one by one. */
static uint64_t due_of(const struct docker *docker, const struct docker_name *name)
{
    uint64_t due_ms = UINT64_MAX;
    if (name->needs_look && docker->engine.is_listed && !docker->engine.is_listing)
        due_ms = name->due_ms;
    uint64_t pause_ms = name->n_quick_ends >= DOCKER_QUICK_ENDS_MAX ? DOCKER_HINT_PAUSE_LOOP_MS : DOCKER_HINT_PAUSE_MS;
    if (name->is_hinted && name->looked_ms + pause_ms < due_ms)
        due_ms = name->looked_ms ? name->looked_ms + pause_ms : 0;
    return due_ms;
}

static struct docker_name *choose(struct docker *docker, uint64_t *ret_due_ms)
{
    struct docker_name *best = NULL;
    *ret_due_ms = UINT64_MAX;
    for (uint32_t i = 0; i < docker->n_names; i++) {
        struct docker_name *name = docker->names[i];
        uint64_t due_ms = due_of(docker, name);
        bool is_due = due_ms <= docker->loop.now_ms;
        if (due_ms < *ret_due_ms)
            *ret_due_ms = due_ms;
        if (is_due && (!best || (name->is_hinted && !best->is_hinted)))
            best = name;
    }
    return best;
}

void docker_look_next(struct docker *docker)
{
    struct docker_look *look = &docker->look;
    while (!look->name && docker->engine.looks.loop) {
        uint64_t due_ms;
        struct docker_name *name = choose(docker, &due_ms);
        if (!name) {
            if (due_ms != UINT64_MAX)
                io_timer_set(&docker->loop, &docker->due, due_ms - docker->loop.now_ms);
            return;
        }
        name->needs_look = name->is_hinted = false;
        look->name = name;
        look->n_finds = 0;
        begin(docker);
    }
}
