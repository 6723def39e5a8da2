/* The texts behind things in the picture. */
#include <errno.h>

#include "render/origin.h"
#include "render/svg_draw.h"
#include "render/svg_text.h"

enum { NAMES_SHOWN = 12 };

static void place_write(struct svg *svg, uint32_t grant)
{
    if (grant == MODEL_NONE)
        return;
    buf_append(svg->out, STR("\n"));
    svg_text_write(svg->out, render_file_name(svg->map->model));
    buf_printf(svg->out, ":%u", svg->map->model->grants[grant].at.line);
}

static bool can_ask(const struct map *map, uint32_t party)
{
    const struct model *m = map->model;
    return party < m->n_hosts ? m->hosts[party].addresses.n > 0 : m->segments[party - m->n_hosts].addresses.n > 0;
}

/* All who can ask in the segment are in the set, and more than one. */
static bool is_whole_segment(const struct map *map, const uint64_t *parties, uint32_t segment)
{
    uint32_t n = 0;
    for (uint32_t party = 0; party < map->n_parties; party++) {
        if (map_party_segment(map, party) != segment || !can_ask(map, party))
            continue;
        if (!map_has(parties, party))
            return false;
        n++;
    }
    return n > 1;
}

/* "clients, robin": segments where all of them are meant, and not too many names. */
static void parties_write(struct svg *svg, const uint64_t *parties)
{
    const struct map *map = svg->map;
    struct buf names;
    uint32_t n = 0, n_more = 0;
    buf_init(&names, 1 << 16);
    for (uint32_t segment = 0; segment < map->model->n_segments; segment++)
        if (is_whole_segment(map, parties, segment))
            buf_printf(&names, "%s%.*s", n++ ? ", " : "", STR_ARG(map->model->segments[segment].name.text));
    for (uint32_t party = 0; party < map->n_parties; party++) {
        uint32_t segment = map_party_segment(map, party);
        if (!map_has(parties, party) || (segment != MODEL_NONE && is_whole_segment(map, parties, segment)))
            continue;
        if (n < NAMES_SHOWN && party < map->model->n_hosts)
            buf_printf(&names, "%s%.*s", n++ ? ", " : "", STR_ARG(map->model->hosts[party].name.text));
        else if (n < NAMES_SHOWN)
            buf_printf(&names, "%sothers in %.*s", n++ ? ", " : "", STR_ARG(map->model->segments[segment].name.text));
        else
            n_more++;
    }
    if (n_more)
        buf_printf(&names, " and %u more", n_more);
    svg_text_write(svg->out, buf_str(&names));
    if (names.error)
        svg->out->error = names.error;
    buf_deinit(&names);
}

static void port_write(struct svg *svg, const struct map_port *port)
{
    struct buf label;
    buf_init(&label, 4096);
    map_port_label(svg->map, port, &label);
    svg_text_printf(svg->out, "%.*s on %.*s", STR_ARG(buf_str(&label)), STR_ARG(svg->map->model->hosts[port->host].name.text));
    if (port->redirect_port)
        buf_printf(svg->out, " (http on %u is sent there)", port->redirect_port);
    buf_deinit(&label);
}

void svg_title_of_bundle(struct svg *svg, uint32_t number)
{
    const struct map_bundle *bundle = &svg->map->bundles[number];
    buf_append(svg->out, STR("<title>"));
    parties_write(svg, bundle->parties);
    buf_append(svg->out, STR(" may reach"));
    for (uint32_t i = 0; i < bundle->n_ports && i <= NAMES_SHOWN; i++) {
        buf_append(svg->out, i ? STR(", ") : STR(" "));
        if (i == NAMES_SHOWN)
            buf_printf(svg->out, "and %u more ports", bundle->n_ports - i);
        else
            port_write(svg, &svg->map->ports[bundle->first_port + i]);
    }
    if (bundle->reason == FLOW_INSTANCE)
        buf_append(svg->out, STR("\nderived: what gateways need for"));
    place_write(svg, svg->map->ports[bundle->first_port].grant);
    buf_append(svg->out, STR("</title>"));
}

void svg_title_of_pin(struct svg *svg, const struct svg_pin *pin)
{
    const struct map_bundle *bundle = &svg->map->bundles[pin->bundle];
    buf_append(svg->out, STR("<title>"));
    for (uint32_t i = 0; i < pin->n_ports && i <= NAMES_SHOWN; i++) {
        buf_append(svg->out, i ? STR("\n") : STR(""));
        if (i == NAMES_SHOWN)
            buf_printf(svg->out, "and %u more", pin->n_ports - i);
        else
            port_write(svg, &svg->map->ports[pin->first_port + i]);
    }
    buf_append(svg->out, STR("\nfor "));
    parties_write(svg, bundle->parties);
    if (bundle->reason == FLOW_INSTANCE)
        buf_append(svg->out, STR(", derived"));
    place_write(svg, svg->map->ports[pin->first_port].grant);
    buf_append(svg->out, STR("</title>"));
}

static void where_write(struct svg *svg, const struct model_service *s)
{
    static const char *const places[] = { [MODEL_WHERE_CONTAINER] = "container ", [MODEL_WHERE_UNIX] = "socket ", [MODEL_WHERE_NETNS] = "namespace " };
    if (s->where != MODEL_WHERE_HOST)
        svg_text_printf(svg->out, "%s%.*s, ", places[s->where], STR_ARG(s->place.text));
    if (s->port)
        buf_printf(svg->out, "port %u", s->port);
}

/* For each surface, who may ask for the service over it. */
static void askers_write(struct svg *svg, uint32_t service)
{
    const struct map *map = svg->map;
    uint64_t *parties = arena_array(&svg->arena, map->n_words, uint64_t);
    if (!parties) {
        svg->out->error = -ENOMEM;
        return;
    }
    for (uint32_t i = 0; i < map->model->n_surfaces; i++) {
        if (!(map->services[service].surfaces >> i & 1))
            continue;
        memset(parties, 0, map->n_words * sizeof *parties);
        for (uint32_t party = 0; party < map->n_parties; party++)
            if (svg->reach[(size_t)party * map->model->n_services + service] >> i & 1)
                parties[party / 64] |= UINT64_C(1) << party % 64;
        svg_text_printf(svg->out, "\nover %.*s for ", STR_ARG(map->model->surfaces[i].name.text));
        parties_write(svg, parties);
    }
}

void svg_title_of_chip(struct svg *svg, const struct svg_chip *chip)
{
    const struct model *m = svg->map->model;
    const struct model_service *s = &m->services[chip->service];
    bool is_over_surfaces = chip->is_served && s->kind == MODEL_KIND_WEB;
    buf_append(svg->out, STR("<title>"));
    if (is_over_surfaces)
        svg_text_printf(svg->out, "https://%.*s.%.*s/\n", STR_ARG(s->name.text), STR_ARG(m->domain.text));
    else
        svg_text_printf(svg->out, "%.*s\n", STR_ARG(s->name.text));
    where_write(svg, s);
    if (is_over_surfaces)
        askers_write(svg, chip->service);
    else if (!chip->is_served)
        buf_append(svg->out, s->kind == MODEL_KIND_INTERNAL ? STR("\ninternal: no grant can open it") : STR("\nnobody reaches it"));
    if (is_over_surfaces)
        place_write(svg, svg->map->services[chip->service].grant);
    else if (chip->is_served)
        buf_append(svg->out, STR("\nits own port, beside the gateway"));
    buf_append(svg->out, STR("</title>"));
}

void svg_title_of_host(struct svg *svg, uint32_t party)
{
    const struct model *m = svg->map->model;
    const struct model_prefixes *addresses = party < m->n_hosts ? &m->hosts[party].addresses : &m->segments[party - m->n_hosts].addresses;
    char text[ADDRESS_PREFIX_TEXT_SIZE];
    buf_append(svg->out, STR("<title>"));
    svg_text_write(svg->out, map_party_name(svg->map, party, &svg->arena));
    for (uint32_t i = 0; i < addresses->n && i < NAMES_SHOWN; i++)
        buf_printf(svg->out, "%s%s", i ? ", " : "\n", address_prefix_format(&addresses->items[i], text));
    for (uint32_t i = 0; party < m->n_hosts && i < m->hosts[party].lan.n && i < NAMES_SHOWN; i++)
        buf_printf(svg->out, "%s%s", i ? ", " : "\non the LAN ", address_prefix_format(&m->hosts[party].lan.items[i], text));
    if (!map_has(svg->map->asks, party))
        buf_append(svg->out, STR("\nreaches nothing of what is declared"));
    buf_append(svg->out, STR("</title>"));
}
