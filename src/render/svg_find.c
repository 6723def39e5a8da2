/* What there is in the picture: areas with their hosts and chips, and for each bundle its taps, pins and trunks. */
#include "render/svg_layout.h"

#include <errno.h>

#include "render/svg_text.h"

enum { PIN_HEIGHT = 22, PIN_PADDING = 9, PIN_PORTS_SHOWN = 3 };

/* ---- areas, hosts, chips ---- */

static bool has_instance(const struct map *map, uint32_t host)
{
    for (uint32_t i = 0; i < map->model->n_services; i++)
        for (uint32_t k = 0; k < map->model->services[i].hosts.n; k++)
            if (map->model->services[i].hosts.items[k] == host)
                return true;
    return false;
}

/* 0: who only asks; 1: with a gateway; 2: who serves without one. */
static unsigned column_of(const struct map *map, uint32_t segment, uint32_t only_host)
{
    const struct model *m = map->model;
    bool serves = false, asks = false, has_ports = false;
    for (uint32_t i = 0; i < m->n_hosts; i++) {
        if (only_host == MODEL_NONE ? m->hosts[i].segment != segment : i != only_host)
            continue;
        if (m->hosts[i].gateway)
            return 1;
        serves |= has_instance(map, i);
        has_ports |= map_host_serves(map, i);
        asks |= map_has(map->asks, i);
    }
    return serves || (has_ports && !asks) ? 2 : 0;
}

static void add_host(struct svg_layout *l, uint32_t party)
{
    l->hosts[l->n_hosts++] = (struct svg_host){ .party = party, .area = l->n_areas };
}

static void end_area(struct svg_layout *l, uint32_t segment, uint32_t first_host, unsigned column)
{
    if (l->n_hosts > first_host)
        l->areas[l->n_areas++] = (struct svg_area){ .segment = segment, .first_host = first_host, .n_hosts = l->n_hosts - first_host, .column = column };
}

static void find_areas(struct svg_layout *l)
{
    const struct model *m = l->map->model;
    for (uint32_t s = 0; s < m->n_segments; s++) {
        uint32_t first = l->n_hosts;
        for (uint32_t i = 0; i < m->n_hosts; i++)
            if (m->hosts[i].segment == s)
                add_host(l, i);
        if (m->segments[s].addresses.n)
            add_host(l, m->n_hosts + s);
        end_area(l, s, first, column_of(l->map, s, MODEL_NONE));
    }
    for (uint32_t i = 0; i < m->n_hosts; i++)
        if (m->hosts[i].segment == MODEL_NONE) {
            uint32_t first = l->n_hosts;
            add_host(l, i);
            end_area(l, MODEL_NONE, first, column_of(l->map, MODEL_NONE, i));
        }
}

static bool is_direct_port(const struct map *map, uint32_t service, uint32_t host)
{
    const struct model_service *s = &map->model->services[service];
    for (uint32_t i = 0; i < map->n_ports; i++) {
        const struct map_port *port = &map->ports[i];
        if (port->reason == FLOW_DIRECT && port->host == host && port->port == s->port && port->transport == s->transport)
            return true;
    }
    return false;
}

/* Those that somebody reaches first. */
static void find_chips(struct svg_layout *l, uint32_t host, bool is_served)
{
    const struct map *map = l->map;
    uint32_t party = l->hosts[host].party;
    for (uint32_t i = 0; party < map->model->n_hosts && i < map->model->n_services; i++) {
        const struct model_service *s = &map->model->services[i];
        for (uint32_t k = 0; k < s->hosts.n; k++) {
            if (s->hosts.items[k] != party)
                continue;
            bool served = s->kind == MODEL_KIND_DIRECT ? is_direct_port(map, i, party) : map_is_handed(map, i, party, map->services[i].surfaces);
            if (served == is_served) {
                l->chips[l->n_chips++] = (struct svg_chip){ .service = i, .host = host, .is_served = served };
                l->hosts[host].n_chips++;
            }
        }
    }
}

static int find_boxes(struct svg_layout *l)
{
    const struct model *m = l->map->model;
    uint32_t n_instances = 0;
    for (uint32_t i = 0; i < m->n_services; i++)
        n_instances += m->services[i].hosts.n;
    l->areas = arena_array(&l->arena, m->n_segments + m->n_hosts, struct svg_area);
    l->hosts = arena_array(&l->arena, l->map->n_parties, struct svg_host);
    l->chips = arena_array(&l->arena, n_instances, struct svg_chip);
    if (!l->areas || !l->hosts || !l->chips)
        return -ENOMEM;
    find_areas(l);
    for (uint32_t h = 0; h < l->n_hosts; h++) {
        l->hosts[h].first_chip = l->n_chips;
        find_chips(l, h, true);
        find_chips(l, h, false);
    }
    return 0;
}

/* ---- taps, pins, trunks ---- */

/* A bundle's ends, column by column. */
struct ends {
    bool from[SVG_COLUMNS], to[SVG_COLUMNS];
};

static enum svg_side tap_side(unsigned from, unsigned to)
{
    return from > to ? SVG_LEFT : SVG_RIGHT;
}

static enum svg_side pin_side(unsigned from, unsigned to)
{
    return from < to ? SVG_LEFT : SVG_RIGHT;
}

/* The corridor on that side of the column. */
static unsigned corridor_of(unsigned column, enum svg_side side)
{
    return side == SVG_RIGHT ? column : column - 1;
}

static uint32_t trunk_of(struct svg_layout *l, uint32_t bundle, unsigned corridor)
{
    for (uint32_t i = l->n_trunks; i > 0 && l->trunks[i - 1].bundle == bundle; i--)
        if (l->trunks[i - 1].corridor == corridor)
            return i - 1;
    l->trunks[l->n_trunks] = (struct svg_trunk){ .bundle = bundle, .corridor = corridor, .position = l->n_tracks[corridor]++ };
    return l->n_trunks++;
}

static unsigned column_of_host(const struct svg_layout *l, uint32_t host)
{
    return l->areas[l->hosts[host].area].column;
}

static void add_tap(struct svg_layout *l, uint32_t bundle, uint32_t at, bool is_area, enum svg_side side)
{
    unsigned column = is_area ? l->areas[at].column : column_of_host(l, at);
    l->taps[l->n_taps++] = (struct svg_tap){ .bundle = bundle, .at = at, .is_area = is_area, .side = side,
                                             .trunk = trunk_of(l, bundle, corridor_of(column, side)) };
    if (is_area)
        l->areas[at].n_taps[side]++;
    else
        l->hosts[at].n_taps[side]++;
}

/* All who could ask in the area are of the bundle, and more than one. */
static bool is_whole_area(const struct svg_layout *l, const struct svg_area *area, const struct map_bundle *bundle)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < area->n_hosts; i++) {
        uint32_t party = l->hosts[area->first_host + i].party;
        bool can_ask = party >= l->map->model->n_hosts || l->map->model->hosts[party].addresses.n;
        if (can_ask && !map_has(bundle->parties, party))
            return false;
        n += can_ask;
    }
    return n > 1;
}

static void add_taps_of_area(struct svg_layout *l, uint32_t number, uint32_t a, const struct ends *ends)
{
    const struct svg_area *area = &l->areas[a];
    const struct map_bundle *bundle = &l->map->bundles[number];
    bool sides[2] = { false, false };
    for (unsigned to = 0; to < SVG_COLUMNS; to++)
        if (ends->to[to])
            sides[tap_side(area->column, to)] = true;
    for (enum svg_side side = SVG_LEFT; side <= SVG_RIGHT; side++) {
        if (!sides[side])
            continue;
        if (is_whole_area(l, area, bundle)) {
            add_tap(l, number, a, true, side);
            continue;
        }
        for (uint32_t i = 0; i < area->n_hosts; i++)
            if (map_has(bundle->parties, l->hosts[area->first_host + i].party))
                add_tap(l, number, area->first_host + i, false, side);
    }
}

static struct str pin_text(struct svg_layout *l, uint32_t first, uint32_t n)
{
    struct buf text;
    buf_init(&text, 4096);
    const struct map_port *port = &l->map->ports[first];
    if (port->surface != MODEL_NONE)
        buf_printf(&text, "%.*s %u", STR_ARG(l->map->model->surfaces[port->surface].name.text), port->port);
    for (uint32_t i = 0, shown = 0; port->surface == MODEL_NONE && i < n; i++) {
        bool is_new = i == 0 || port[i].transport != port[i - 1].transport;
        if (shown++ == PIN_PORTS_SHOWN && n > PIN_PORTS_SHOWN + 1) {
            buf_printf(&text, " +%u", n - i);
            break;
        }
        buf_printf(&text, "%s%s%u", i ? ", " : "", !is_new ? "" : port[i].transport == MODEL_UDP ? "udp " : "tcp ", port[i].port);
    }
    struct str copy = text.error ? STR_NONE : arena_copy(&l->arena, buf_str(&text));
    buf_deinit(&text);
    return copy;
}

static int add_pins_of_host(struct svg_layout *l, uint32_t number, uint32_t host, uint32_t first, uint32_t n, const struct ends *ends)
{
    unsigned column = column_of_host(l, host);
    bool sides[2] = { false, false };
    for (unsigned from = 0; from < SVG_COLUMNS; from++)
        if (ends->from[from])
            sides[pin_side(from, column)] = true;
    for (enum svg_side side = SVG_LEFT; side <= SVG_RIGHT; side++) {
        if (!sides[side])
            continue;
        struct svg_pin *pin = &l->pins[l->n_pins++];
        *pin = (struct svg_pin){ .bundle = number, .host = host, .first_port = first, .n_ports = n, .side = side, .text = pin_text(l, first, n),
                                 .trunk = trunk_of(l, number, corridor_of(column, side)) };
        if (!pin->text.ptr)
            return -ENOMEM;
        pin->box.width = svg_text_width(pin->text, SVG_FONT_SMALL, true) + 2 * PIN_PADDING;
        pin->box.height = PIN_HEIGHT;
        l->hosts[host].n_pins[side]++;
        if (pin->box.width > l->pins_width[column][side])
            l->pins_width[column][side] = pin->box.width;
    }
    return 0;
}

static void find_lanes(struct svg_layout *l, uint32_t bundle, const struct ends *ends)
{
    for (unsigned from = 0; from < SVG_COLUMNS; from++)
        for (unsigned to = 0; to < SVG_COLUMNS; to++) {
            if (!ends->from[from] || !ends->to[to])
                continue;
            unsigned a = corridor_of(from, tap_side(from, to)), b = corridor_of(to, pin_side(from, to));
            if (a == b)
                continue;
            l->trunks[trunk_of(l, bundle, a)].lane_out = true;
            l->trunks[trunk_of(l, bundle, b)].lane_in = true;
        }
}

static int find_bundle(struct svg_layout *l, uint32_t number, const uint32_t *host_of)
{
    const struct map_bundle *bundle = &l->map->bundles[number];
    struct ends ends = { { false }, { false } };
    for (uint32_t h = 0; h < l->n_hosts; h++)
        if (map_has(bundle->parties, l->hosts[h].party))
            ends.from[column_of_host(l, h)] = true;
    for (uint32_t i = 0; i < bundle->n_ports; i++)
        ends.to[column_of_host(l, host_of[l->map->ports[bundle->first_port + i].host])] = true;
    for (uint32_t a = 0; a < l->n_areas; a++)
        add_taps_of_area(l, number, a, &ends);
    for (uint32_t i = 0, n; i < bundle->n_ports; i += n) {
        const struct map_port *port = &l->map->ports[bundle->first_port + i];
        for (n = 1; i + n < bundle->n_ports && port[n].host == port->host;)
            n++;
        int r = add_pins_of_host(l, number, host_of[port->host], bundle->first_port + i, n, &ends);
        if (r < 0)
            return r;
    }
    find_lanes(l, number, &ends);
    return 0;
}

static int find_lines(struct svg_layout *l)
{
    const struct map *map = l->map;
    size_t n_taps = 0;
    for (uint32_t i = 0; i < map->n_bundles; i++)
        n_taps += map->bundles[i].n_parties;
    uint32_t *host_of = arena_array(&l->arena, map->n_parties, uint32_t);
    l->taps = arena_array(&l->arena, 2 * n_taps, struct svg_tap);
    l->pins = arena_array(&l->arena, 2 * (size_t)map->n_ports, struct svg_pin);
    l->trunks = arena_array(&l->arena, SVG_COLUMNS * (size_t)map->n_bundles, struct svg_trunk);
    if (!host_of || !l->taps || !l->pins || !l->trunks)
        return -ENOMEM;
    for (uint32_t h = 0; h < l->n_hosts; h++)
        host_of[l->hosts[h].party] = h;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < map->n_bundles; i++)
        r = find_bundle(l, i, host_of);
    return r;
}

int svg_layout_find(struct svg_layout *layout)
{
    int r = find_boxes(layout);
    return r < 0 ? r : find_lines(layout);
}
