/* Events say that something changed; lists say what there is. */
#include "enforce/docker_view.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"

enum { RETRY_FIRST_MS = 100, RETRY_MAX_MS = 2000, MEMORY_MAX = 512 << 20, KNOWN_MAX = 64 << 20, DNS_MAX = 4 };

/* What inspect said of a container's run. */
struct known_container {
    char id[DOCKER_ID_LEN + 1];
    char endpoint[DOCKER_ID_LEN + 1]; /* of its first network: another one is another run */
    int namespace;
    uint32_t n_dns;
    char dns[DNS_MAX][ADDRESS_TEXT_SIZE];
};

static void ask_next(struct docker_view *view);

/* ---- known containers ---- */

static const char *endpoint_of(const struct docker_container *container)
{
    return container->n_endpoints ? container->endpoints[0].endpoint_id.ptr : "";
}

static struct known_container *known_find(const struct docker_view *view, const struct docker_container *container)
{
    for (size_t i = 0; i < view->known.len / sizeof(struct known_container); i++) {
        struct known_container *known = (struct known_container *)(void *)view->known.ptr + i;
        if (str_equal(str_of(known->id), container->id))
            return known;
    }
    return NULL;
}

static bool is_known(const struct docker_view *view, const struct docker_container *container)
{
    const struct known_container *known = known_find(view, container);
    return known && strcmp(known->endpoint, endpoint_of(container)) == 0;
}

/* Containers that are gone are forgotten. */
static void known_prune(struct docker_view *view)
{
    struct known_container *items = (struct known_container *)(void *)view->known.ptr;
    size_t n = view->known.len / sizeof *items, kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_there = false;
        for (uint32_t k = 0; k < view->containers.n && !is_there; k++)
            is_there = str_equal(view->containers.items[k].id, str_of(items[i].id));
        if (is_there)
            items[kept++] = items[i];
    }
    view->known.len = kept * sizeof *items;
}

static void known_add(struct docker_view *view, const struct docker_container *container)
{
    struct known_container known = { .namespace = container->sandbox_key.len ? links_namespace_of(container->sandbox_key.ptr) : LINKS_NO_NAMESPACE };
    struct known_container *old = known_find(view, container);
    str_copy(known.id, sizeof known.id, container->id);
    str_copy(known.endpoint, sizeof known.endpoint, str_of(endpoint_of(container)));
    for (uint32_t i = 0; i < container->n_dns && known.n_dns < DNS_MAX; i++)
        str_copy(known.dns[known.n_dns++], sizeof known.dns[0], container->dns[i]);
    if (old)
        *old = known;
    else
        buf_append(&view->known, str_make((const char *)&known, sizeof known));
}

static int fill_dns(struct docker_view *view, const struct known_container *known, struct docker_container *container)
{
    struct str *dns = arena_array(&view->arena, known->n_dns + 1, struct str);
    for (uint32_t i = 0; dns && i < known->n_dns; i++) {
        dns[i] = arena_copy(&view->arena, str_of(known->dns[i]));
        if (!dns[i].ptr)
            return -ENOMEM;
    }
    container->n_dns = dns ? known->n_dns : 0;
    container->dns = dns;
    return dns ? 0 : -ENOMEM;
}

/* What is known goes into the list, as if it had been inspected. */
static int fill_known(struct docker_view *view)
{
    int r = 0;
    view->namespaces = arena_array(&view->arena, view->containers.n + 1, int);
    if (!view->namespaces)
        return -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < view->containers.n; i++) {
        struct docker_container *container = &view->containers.items[i];
        const struct known_container *known = is_known(view, container) ? known_find(view, container) : NULL;
        view->namespaces[i] = known ? known->namespace : LINKS_NO_NAMESPACE;
        if (known && known->n_dns)
            r = fill_dns(view, known, container);
    }
    return r;
}

static const struct docker_container *find_unknown(const struct docker_view *view)
{
    for (uint32_t i = 0; i < view->containers.n; i++) {
        const struct docker_container *container = &view->containers.items[i];
        if (container->is_running && container->n_endpoints && container->network_mode == DOCKER_NETWORKS && docker_id_is_valid(container->id) &&
            !is_known(view, container))
            return container;
    }
    return NULL;
}

/* ---- lists ---- */

static void fail(struct docker_view *view, const char *why)
{
    view->is_asking = false;
    if (!view->is_away && view->away)
        view->away(view, why);
    view->is_away = true;
    view->retry_ms = view->retry_ms ? view->retry_ms * 2 : RETRY_FIRST_MS;
    view->retry_ms = view->retry_ms > RETRY_MAX_MS ? RETRY_MAX_MS : view->retry_ms;
    io_timer_set(view->loop, &view->retry, view->retry_ms);
}

static void fail_with(struct docker_view *view, int r, const struct docker_response *response, const struct error *err)
{
    char why[600];
    if (r == 0)
        snprintf(why, sizeof why, "the engine answers %u", response->status);
    else
        snprintf(why, sizeof why, "%s", err && err->text[0] ? err->text : strerrordesc_np(-r));
    fail(view, why);
}

static void tell(struct docker_view *view)
{
    int r = fill_known(view);
    if (r == 0)
        view->changed(view);
    else
        fail(view, "out of memory");
}

static void on_containers(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct docker_view *view = container_of(question, struct docker_view, containers_question);
    struct error why = { "" };
    if (r < 0 || response->status != 200) {
        fail_with(view, r, response, err);
        return;
    }
    arena_deinit(&view->next);
    r = docker_containers_parse(buf_str(&response->body), &view->next, &view->next_containers, &why);
    if (r == 0)
        r = docker_connection_ask(&view->lists, &view->networks_question, "/networks");
    if (r < 0)
        fail_with(view, r, NULL, &why);
}

static void on_networks(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct docker_view *view = container_of(question, struct docker_view, networks_question);
    struct docker_networks networks;
    struct error why = { "" };
    if (r < 0 || response->status != 200) {
        fail_with(view, r, response, err);
        return;
    }
    r = docker_networks_parse(buf_str(&response->body), &view->next, &networks, &why);
    if (r < 0) {
        fail_with(view, r, NULL, &why);
        return;
    }
    struct arena old = view->arena;
    view->arena = view->next;
    view->next = old;
    view->containers = view->next_containers;
    view->networks = networks;
    view->has_word = true;
    view->is_asking = view->is_away = false;
    view->retry_ms = 0;
    known_prune(view);
    tell(view);
    ask_next(view);
}

static void on_container(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct docker_view *view = container_of(question, struct docker_view, container_question);
    struct docker_container container;
    struct arena arena;
    struct error why;
    view->is_asking = false;
    if (r < 0) {
        fail_with(view, r, NULL, err);
        return;
    }
    arena_init(&arena, MEMORY_MAX);
    if (response->status == 200 && docker_container_parse(buf_str(&response->body), &arena, &container, &why) == 0)
        known_add(view, &container);
    else
        view->is_stale = true; /* it went meanwhile: an event says so, too */
    arena_deinit(&arena);
    if (!view->is_stale && !find_unknown(view))
        tell(view);
    ask_next(view);
}

/* One question at a time; what came meanwhile makes all of it be asked again. */
static void ask_next(struct docker_view *view)
{
    char path[DOCKER_ID_LEN + 32];
    const struct docker_container *unknown;
    int r = 0;
    if (view->is_asking || io_timer_is_set(&view->retry))
        return;
    if (view->is_stale) {
        view->is_stale = false;
        view->is_asking = true;
        r = docker_connection_ask(&view->lists, &view->containers_question, "/containers/json?all=1");
    } else if ((unknown = find_unknown(view))) {
        snprintf(path, sizeof path, "/containers/%.*s/json", STR_ARG(unknown->id));
        view->is_asking = true;
        r = docker_connection_ask(&view->lists, &view->container_question, path);
    }
    if (r < 0)
        fail_with(view, r, NULL, NULL);
}

/* ---- events ---- */

static bool is_of_interest(struct str line)
{
    struct docker_event event;
    struct arena arena;
    struct error err;
    arena_init(&arena, MEMORY_MAX);
    int r = docker_event_parse(line, &arena, &event, &err);
    bool is_ours = r < 0 || ((event.type == DOCKER_EVENT_CONTAINER || event.type == DOCKER_EVENT_NETWORK) && event.action != DOCKER_ACTION_OTHER);
    arena_deinit(&arena);
    return is_ours;
}

static bool on_piece(struct docker_question *question, struct str piece)
{
    struct docker_view *view = container_of(question, struct docker_view, event_stream);
    struct str line;
    int error = 0;
    while (docker_lines_next(&view->lines, &piece, &line, &error))
        view->is_stale |= is_of_interest(line);
    if (view->is_stale)
        io_defer(view->loop, &view->turn);
    return error == 0;
}

/* Whatever happened before is in the lists that are asked for now. */
static void on_opened(struct docker_question *question)
{
    struct docker_view *view = container_of(question, struct docker_view, event_stream);
    view->is_stale = true;
    io_defer(view->loop, &view->turn);
}

static void on_events_end(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct docker_view *view = container_of(question, struct docker_view, event_stream);
    view->is_open = false;
    docker_lines_deinit(&view->lines);
    docker_lines_init(&view->lines);
    if (r == 0 && response->status == 200)
        fail(view, "the engine hung up");
    else
        fail_with(view, r, response, err);
}

static void open_events(struct docker_view *view)
{
    char path[DOCKER_EVENTS_PATH_SIZE];
    int r = view->is_open ? 0 : docker_connection_ask(&view->events, &view->event_stream, docker_events_path(0, path));
    view->is_open = r == 0;
    if (r < 0)
        fail_with(view, r, NULL, NULL);
}

static void on_retry(struct io_timer *timer)
{
    struct docker_view *view = container_of(timer, struct docker_view, retry);
    view->is_stale |= view->is_open;
    open_events(view);
    ask_next(view);
}

static void on_turn(struct io_deferred *deferred)
{
    struct docker_view *view = container_of(deferred, struct docker_view, turn);
    open_events(view);
    ask_next(view);
}

/* ---- its life ---- */

int docker_view_init(struct docker_view *view, struct io_loop *loop, const char *socket_path)
{
    *view = (struct docker_view){ .loop = loop, .retry.fire = on_retry, .turn.run = on_turn };
    view->event_stream = (struct docker_question){ .done = on_events_end, .piece = on_piece, .opened = on_opened };
    view->containers_question = (struct docker_question){ .done = on_containers };
    view->networks_question = (struct docker_question){ .done = on_networks };
    view->container_question = (struct docker_question){ .done = on_container };
    arena_init(&view->arena, MEMORY_MAX);
    arena_init(&view->next, MEMORY_MAX);
    buf_init(&view->known, KNOWN_MAX);
    docker_lines_init(&view->lines);
    int r = docker_connection_init(&view->events, loop, socket_path);
    if (r == 0) {
        r = docker_connection_init(&view->lists, loop, socket_path);
        if (r < 0)
            docker_connection_deinit(&view->events);
    }
    if (r == 0)
        io_defer(loop, &view->turn);
    return r;
}

void docker_view_deinit(struct docker_view *view)
{
    docker_connection_deinit(&view->events);
    docker_connection_deinit(&view->lists);
    io_timer_clear(view->loop, &view->retry);
    io_undefer(view->loop, &view->turn);
    docker_lines_deinit(&view->lines);
    buf_deinit(&view->known);
    arena_deinit(&view->arena);
    arena_deinit(&view->next);
}
