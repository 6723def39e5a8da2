/* From addresses to names, and lines that add up. */
#include "enforce/seen.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static const char *const kinds[SEEN_N_KINDS] = { "container", "published", "surface", "internet", "host", "address" };

void seen_init(struct seen *seen)
{
    *seen = (struct seen){ .lines = { .len = 0 } };
    arena_init(&seen->arena, 0);
    buf_init(&seen->lines, SEEN_LINES_MAX * sizeof(struct seen_line));
}

void seen_deinit(struct seen *seen)
{
    buf_deinit(&seen->lines);
    table_deinit(&seen->index);
    arena_deinit(&seen->arena);
}

/* ---- places ---- */

void seen_places_deinit(struct seen_places *places)
{
    buf_deinit(&places->items);
}

static uint32_t places_count(const struct seen_places *places)
{
    return (uint32_t)(places->items.len / sizeof(struct seen_place));
}

static const struct seen_place *place_at(const struct seen_places *places, uint32_t i)
{
    return (const struct seen_place *)(const void *)places->items.ptr + i;
}

/* Labels are whatever somebody wrote: only what can stand in a declaration, and in a line, is a name. */
static bool is_plain(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char lower = str_lower_char(text.ptr[i]);
        if (!((lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9') || (i && strchr("_.-", lower))))
            return false;
    }
    return text.len > 0 && text.len <= 128;
}

static bool name_write(const struct docker_container *container, char ret[static SEEN_NAME_SIZE])
{
    bool is_compose = is_plain(container->project) && is_plain(container->service);
    size_t n = 0;
    if (!is_compose && !is_plain(container->name))
        return false;
    if (is_compose) {
        n = str_copy(ret, SEEN_NAME_SIZE, container->project);
        ret[n++] = '/';
    }
    str_copy(ret + n, SEEN_NAME_SIZE - n, is_compose ? container->service : container->name);
    return true;
}

static void add_place(struct seen_places *places, const struct seen_place *place)
{
    if (places_count(places) < SEEN_PLACES_MAX)
        buf_append(&places->items, str_make((const char *)place, sizeof *place));
}

static void add_endpoints(struct seen_places *places, const struct docker_container *container, const struct docker_networks *networks,
                          struct seen_place place)
{
    for (uint32_t i = 0; i < container->n_endpoints; i++) {
        const struct docker_endpoint *endpoint = &container->endpoints[i];
        const struct docker_network *network = docker_network_find(networks, endpoint->network_id);
        if (!network)
            continue;
        str_copy(place.bridge, sizeof place.bridge, network->bridge);
        place.address = endpoint->v4;
        if (endpoint->has_v4)
            add_place(places, &place);
        place.address = endpoint->v6;
        if (endpoint->has_v6)
            add_place(places, &place);
    }
}

int seen_places_init(struct seen_places *ret, const struct docker_containers *containers, const struct docker_networks *networks)
{
    struct seen_places places;
    buf_init(&places.items, SEEN_PLACES_MAX * sizeof(struct seen_place));
    for (uint32_t i = 0; i < containers->n; i++) {
        const struct docker_container *container = &containers->items[i];
        struct seen_place place = { .port = 0 };
        if (!name_write(container, place.name))
            continue;
        add_endpoints(&places, container, networks, place);
        for (uint32_t k = 0; container->is_running && k < container->n_ports; k++) {
            place.protocol = container->ports[k].protocol;
            place.port = container->ports[k].host_port;
            place.own_port = container->ports[k].port;
            if (container->ports[k].is_published && place.port)
                add_place(&places, &place);
        }
    }
    if (places.items.error) {
        seen_places_deinit(&places);
        return -ENOMEM;
    }
    *ret = places;
    return 0;
}

static bool is_one_place(const struct seen_place *a, const struct seen_place *b)
{
    return a->protocol == b->protocol && a->port == b->port && address_equal(&a->address, &b->address) &&
           strncmp(a->bridge, b->bridge, sizeof a->bridge) == 0;
}

bool seen_places_keep(struct seen_places *places, const struct seen_places *before)
{
    uint32_t n = places_count(places);
    bool is_kept = true;
    for (uint32_t i = 0; i < places_count(before); i++) {
        const struct seen_place *old = place_at(before, i);
        uint32_t k = 0;
        while (k < n && !is_one_place(place_at(places, k), old))
            k++;
        if (k == n)
            add_place(places, old);
        else
            is_kept &= strcmp(place_at(places, k)->name, old->name) == 0;
    }
    return is_kept;
}

/* ---- lines ---- */

static void add_line(struct seen *seen, const struct seen_line *line)
{
    char text[2 * SEEN_NAME_SIZE + 64];
    uint32_t at;
    int n = snprintf(text, sizeof text, "%d %u %u %u %s %s", line->is_denied, line->kind, line->protocol, line->port, line->from, line->to);
    struct str key = str_make(text, n > 0 ? (size_t)n : 0);
    if (table_get(&seen->index, key, &at)) {
        seen_at(seen, at)->n += line->n;
        return;
    }
    if (seen_count(seen) == SEEN_LINES_MAX)
        return;
    key = arena_copy(&seen->arena, key);
    if (!key.ptr || table_add(&seen->index, key, seen_count(seen), NULL) != 0)
        return;
    buf_append(&seen->lines, str_make((const char *)line, sizeof *line));
}

struct adding {
    const struct seen_places *places;
    const struct container_filter *filter;
    const struct model *model;
    uint32_t host;
};

/* bridge "": any. */
static const struct seen_place *who(const struct adding *a, const char *bridge, const struct address *address)
{
    for (uint32_t i = 0; i < places_count(a->places); i++) {
        const struct seen_place *place = place_at(a->places, i);
        if (!place->protocol && address_equal(&place->address, address) && (!*bridge || strncmp(place->bridge, bridge, sizeof place->bridge) == 0))
            return place;
    }
    return NULL;
}

static const struct seen_place *published(const struct adding *a, uint8_t protocol, uint16_t port)
{
    for (uint32_t i = 0; i < places_count(a->places); i++)
        if (place_at(a->places, i)->protocol == protocol && place_at(a->places, i)->port == port)
            return place_at(a->places, i);
    return NULL;
}

static bool has_prefix(const struct model_prefixes *prefixes, const struct address *address)
{
    for (uint32_t i = 0; i < prefixes->n; i++)
        if (address_prefix_contains(&prefixes->items[i], address))
            return true;
    return false;
}

static const struct model_surface *surface_at(const struct adding *a, const struct address *to, uint8_t protocol, uint16_t port)
{
    const struct model_host *host = &a->model->hosts[a->host];
    for (uint32_t i = 0; i < a->model->n_surfaces; i++) {
        const struct model_surface *surface = &a->model->surfaces[i];
        if (protocol == IPPROTO_TCP && (port == surface->port || (port == surface->redirect_port && port)) &&
            model_runs_on(&surface->hosts, a->host) && has_prefix(surface->addresses.n ? &surface->addresses : &host->addresses, to))
            return surface;
    }
    return NULL;
}

static void name_target(const struct adding *a, const struct container_element *what, struct seen_line *line)
{
    const struct model_host *host = &a->model->hosts[a->host];
    const struct seen_place *there = who(a, "", &what->to);
    const struct model_surface *surface = surface_at(a, &what->to, what->protocol, what->port);
    bool is_far = container_filter_is_internet(a->filter, &what->to);
    char text[ADDRESS_TEXT_SIZE];
    line->kind = SEEN_ADDRESS;
    str_copy(line->to, sizeof line->to, str_of(address_format(&what->to, text)));
    if (there) {
        line->kind = SEEN_CONTAINER;
        str_copy(line->to, sizeof line->to, str_of(there->name));
    } else if (surface) {
        line->kind = SEEN_SURFACE;
        str_copy(line->to, sizeof line->to, surface->name.text);
    } else if (is_far) {
        line->kind = SEEN_INTERNET;
        line->protocol = 0;
        line->port = 0;
        str_copy(line->to, sizeof line->to, STR("internet"));
    } else if ((there = published(a, what->protocol, what->port))) {
        line->kind = SEEN_PUBLISHED;
        line->port = there->own_port;
        str_copy(line->to, sizeof line->to, str_of(there->name));
    } else if (has_prefix(&host->addresses, &what->to) || has_prefix(&host->lan, &what->to)) {
        line->kind = SEEN_HOST;
        str_copy(line->to, sizeof line->to, host->name.text);
    }
}

void seen_add(struct seen *seen, const struct container_counts *counts, const struct seen_places *places, const struct container_filter *filter,
              const struct model *model, uint32_t host)
{
    const struct adding a = { places, filter, model, host };
    for (size_t i = 0; i < counts->items.len / sizeof(struct container_count); i++) {
        const struct container_count *count = (const struct container_count *)(const void *)counts->items.ptr + i;
        const struct seen_place *from = who(&a, count->what.name, &count->what.from);
        struct seen_line line = { .protocol = count->what.protocol, .port = count->what.port, .is_denied = count->is_denied, .n = count->n_packets };
        if (!from || !count->n_packets)
            continue;
        str_copy(line.from, sizeof line.from, str_of(from->name));
        name_target(&a, &count->what, &line);
        add_line(seen, &line);
    }
}

/* ---- text ---- */

void seen_write(const struct seen *seen, struct buf *out)
{
    for (uint32_t i = 0; i < seen_count(seen); i++) {
        const struct seen_line *line = seen_at(seen, i);
        buf_printf(out, "%s %llu %s %s %s %u %u\n", line->is_denied ? "denied" : "seen", (unsigned long long)line->n, line->from, kinds[line->kind],
                   line->to, line->protocol, line->port);
    }
}

static bool line_read(struct str text, struct seen_line *ret)
{
    struct str denied = str_split(&text, ' '), n = str_split(&text, ' '), from = str_split(&text, ' '), kind = str_split(&text, ' ');
    struct str to = str_split(&text, ' '), protocol = str_split(&text, ' ');
    uint64_t number, port;
    struct seen_line line = { .is_denied = str_equal(denied, STR("denied")) };
    while (line.kind < SEEN_N_KINDS && !str_equal(kind, str_of(kinds[line.kind])))
        line.kind++;
    if (line.kind == SEEN_N_KINDS || !from.len || !to.len || !str_to_u64(n, UINT64_MAX, &line.n) || !str_to_u64(protocol, UINT8_MAX, &number) ||
        !str_to_u64(text, UINT16_MAX, &port))
        return false;
    line.protocol = (uint8_t)number;
    line.port = (uint16_t)port;
    str_copy(line.from, sizeof line.from, from);
    str_copy(line.to, sizeof line.to, to);
    *ret = line;
    return true;
}

void seen_read(struct seen *seen, struct str text)
{
    while (text.len) {
        struct seen_line line;
        if (line_read(str_split(&text, '\n'), &line))
            add_line(seen, &line);
    }
}
