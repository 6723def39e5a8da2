/* Walking the map for languages of nodes and edges. */
#include "render/chart.h"

struct writer {
    const struct map *map;
    const struct chart_language *language;
    struct buf *out, label;
};

void chart_name_write(struct buf *out, enum chart_node kind, uint32_t number)
{
    static const char *const names[] = { [CHART_PARTY] = "party", [CHART_PORT] = "port", [CHART_GROUP] = "group", [CHART_BUNDLE] = "way" };
    buf_printf(out, "%s%u", names[kind], number);
}

static void node_write(struct writer *w, unsigned depth, enum chart_node kind, uint32_t number)
{
    w->language->node(w->out, depth, kind, number, buf_str(&w->label));
    buf_clear(&w->label);
}

/* ---- nodes ---- */

static bool is_drawn(const struct map *map, uint32_t host)
{
    return map_has(map->asks, host) || map_host_serves(map, host);
}

static void write_group(struct writer *w, uint32_t number, unsigned depth)
{
    const struct map_group *group = &w->map->groups[number];
    if (!group->surfaces)
        buf_append(&w->label, STR("reached by nobody:"));
    for (uint32_t i = 0; i < group->n_services; i++)
        buf_printf(&w->label, "%s%.*s", w->label.len ? "\n" : "",
                   STR_ARG(w->map->model->services[w->map->group_services[group->first_service + i]].name.text));
    node_write(w, depth, CHART_GROUP, number);
}

/* Whether some grant speaks of it as asking; what a gateway needs for others starts at its gates. */
static bool asks_for_itself(const struct map *map, uint32_t party)
{
    for (uint32_t i = 0; i < map->n_bundles; i++)
        if (map->bundles[i].reason != FLOW_INSTANCE && map_has(map->bundles[i].parties, party))
            return true;
    return false;
}

static void write_host(struct writer *w, uint32_t host, unsigned depth)
{
    struct str name = w->map->model->hosts[host].name.text;
    if (!map_host_serves(w->map, host)) {
        buf_append(&w->label, name);
        node_write(w, depth, CHART_PARTY, host);
        return;
    }
    w->language->open(w->out, depth, "host", host, name);
    if (asks_for_itself(w->map, host)) {
        buf_append(&w->label, name);
        node_write(w, depth + 1, CHART_PARTY, host);
    }
    for (uint32_t i = 0; i < w->map->n_ports; i++)
        if (w->map->ports[i].host == host) {
            map_port_label(w->map, &w->map->ports[i], &w->label);
            node_write(w, depth + 1, CHART_PORT, i);
        }
    for (uint32_t i = 0; i < w->map->n_groups; i++)
        if (w->map->groups[i].host == host)
            write_group(w, i, depth + 1);
    w->language->close(w->out, depth);
}

static void write_segment(struct writer *w, uint32_t segment)
{
    const struct model *m = w->map->model;
    uint32_t others = m->n_hosts + segment;
    bool is_any = map_has(w->map->asks, others);
    for (uint32_t i = 0; i < m->n_hosts; i++)
        is_any |= m->hosts[i].segment == segment && is_drawn(w->map, i);
    if (!is_any)
        return;
    w->language->open(w->out, 0, "segment", segment, m->segments[segment].name.text);
    for (uint32_t i = 0; i < m->n_hosts; i++)
        if (m->hosts[i].segment == segment && is_drawn(w->map, i))
            write_host(w, i, 1);
    if (map_has(w->map->asks, others)) {
        buf_printf(&w->label, "others in %.*s", STR_ARG(m->segments[segment].name.text));
        node_write(w, 1, CHART_PARTY, others);
    }
    w->language->close(w->out, 0);
}

/* ---- edges ---- */

static void write_ways(struct writer *w, const struct map_bundle *bundle, enum chart_node to_kind, uint32_t to)
{
    for (uint32_t party = 0; party < w->map->n_parties; party++)
        if (map_has(bundle->parties, party))
            w->language->edge(w->out, CHART_PARTY, party, to_kind, to, CHART_ALLOWED);
}

/* A bundle of many to many is drawn through a node of its own, so that n + m edges stand for n * m. */
static void write_bundle(struct writer *w, uint32_t number)
{
    const struct map_bundle *bundle = &w->map->bundles[number];
    if (bundle->n_parties < 2 || bundle->n_ports < 2) {
        for (uint32_t i = 0; i < bundle->n_ports; i++)
            write_ways(w, bundle, CHART_PORT, bundle->first_port + i);
        return;
    }
    if (bundle->surface != MODEL_NONE)
        buf_append(&w->label, w->map->model->surfaces[bundle->surface].name.text);
    else
        buf_printf(&w->label, "%u ports", bundle->n_ports);
    node_write(w, 0, CHART_BUNDLE, number);
    write_ways(w, bundle, CHART_BUNDLE, number);
    for (uint32_t i = 0; i < bundle->n_ports; i++)
        w->language->edge(w->out, CHART_BUNDLE, number, CHART_PORT, bundle->first_port + i, CHART_ALLOWED);
}

static void write_inside(struct writer *w, uint32_t number)
{
    const struct map_port *gate = &w->map->ports[number];
    for (uint32_t i = 0; i < w->map->n_groups; i++)
        if (w->map->groups[i].host == gate->host && w->map->groups[i].surfaces >> gate->surface & 1)
            w->language->edge(w->out, CHART_PORT, number, CHART_GROUP, i, CHART_INSIDE);
}

/* From the gates of the gateways to the instance's port, by the surfaces that serve it. */
static void write_derived(struct writer *w, uint32_t number)
{
    const struct map_port *instance = &w->map->ports[number];
    uint64_t surfaces = instance->service == MODEL_NONE ? UINT64_MAX : w->map->services[instance->service].surfaces;
    for (uint32_t i = 0; i < w->map->n_ports; i++) {
        const struct map_port *gate = &w->map->ports[i];
        if (gate->surface != MODEL_NONE && surfaces >> gate->surface & 1 && map_has(w->map->bundles[instance->bundle].parties, gate->host))
            w->language->edge(w->out, CHART_PORT, i, CHART_PORT, number, CHART_DERIVED);
    }
}

static void write_edges(struct writer *w)
{
    for (uint32_t i = 0; i < w->map->n_bundles; i++)
        if (w->map->bundles[i].reason != FLOW_INSTANCE)
            write_bundle(w, i);
    for (uint32_t i = 0; i < w->map->n_ports; i++) {
        if (w->map->ports[i].surface != MODEL_NONE)
            write_inside(w, i);
        if (w->map->ports[i].reason == FLOW_INSTANCE)
            write_derived(w, i);
    }
}

int chart_write(const struct map *map, const struct chart_language *language, struct buf *out)
{
    struct writer w = { .map = map, .language = language, .out = out };
    buf_init(&w.label, 1 << 20);
    for (uint32_t i = 0; i < map->model->n_segments; i++)
        write_segment(&w, i);
    for (uint32_t i = 0; i < map->model->n_hosts; i++)
        if (map->model->hosts[i].segment == MODEL_NONE && is_drawn(map, i))
            write_host(&w, i, 0);
    write_edges(&w);
    if (w.label.error)
        out->error = w.label.error;
    buf_deinit(&w.label);
    return out->error;
}
