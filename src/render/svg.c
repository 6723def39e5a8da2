/* Writing the picture: what stands out, then areas, hosts, lines, pins, chips and the legend. */
#include "render/svg.h"

#include <errno.h>
#include <stdio.h>

#include "render/origin.h"
#include "render/svg_draw.h"
#include "render/svg_text.h"

enum { TITLE_HEIGHT = 66, LEGEND_ROW = 22, LEGEND_GAP = 26, MARGIN = 24, SIGN_STEP = 12, SIGN_FIRST = 13 };

/* Two looks of the same classes; the second for who prefers dark. Lines are told apart by their pins' words and signs, too; every colour
 * of a line has at least 4.5 times the contrast of its ground, and every word's more. */
static const char style[] =
    "<style>\n"
    "text{font-family:system-ui,-apple-system,\"Segoe UI\",\"DejaVu Sans\",Verdana,sans-serif;font-size:12px;fill:#1f2328}\n"
    ".title{font-size:18px;font-weight:bold}.bold{font-weight:bold}.small{font-size:11px}.note{font-size:11px;fill:#59636e}\n"
    ".ground{fill:#fff}.area{fill:#f3f5f8;stroke:#d0d7de}.host{fill:#fff;stroke:#a5adb7}\n"
    ".chip{fill:#e9edf1;stroke:none}.shut{fill:none;stroke:#8c959f;stroke-dasharray:3 2}\n"
    ".way,.key{fill:none;stroke-width:2}.a{stroke:none}.pin{fill:#fff;stroke-width:1.6}.dim{opacity:.25}\n"
    ".s0{stroke:#0b63b3;color:#0b63b3}.s1{stroke:#b8480a;color:#b8480a}.s2{stroke:#8a3fa0;color:#8a3fa0}.s3{stroke:#7d6200;color:#7d6200}\n"
    ".s4{stroke:#0b6e7f;color:#0b6e7f}.s5{stroke:#b0236b;color:#b0236b}.direct{stroke:#1a7f4b;color:#1a7f4b}.port{stroke:#57606a;color:#57606a}\n"
    ".derived{stroke:#57606a;color:#57606a}.derived path:not(.a){stroke-dasharray:6 4}.hit{stroke-opacity:0;stroke-width:11}.way:hover{stroke-width:3.5}\n"
    ".a,.sign{fill:currentColor}.sign{stroke:none}.ring{fill:none;stroke-width:2}\n"
    "@media(prefers-color-scheme:dark){\n"
    "text{fill:#e6edf3}.note{fill:#9198a1}.ground{fill:#0d1117}.area{fill:#161b22;stroke:#30363d}.host{fill:#0d1117;stroke:#565e68}\n"
    ".chip{fill:#262c36}.shut{fill:none;stroke:#7d8590}.pin{fill:#0d1117}.dim{opacity:.3}\n"
    ".s0{stroke:#58a6ff;color:#58a6ff}.s1{stroke:#ff9a57;color:#ff9a57}.s2{stroke:#d2a8ff;color:#d2a8ff}.s3{stroke:#e3b341;color:#e3b341}\n"
    ".s4{stroke:#56d4dd;color:#56d4dd}.s5{stroke:#ff8fc2;color:#ff8fc2}.direct{stroke:#4ac38a;color:#4ac38a}.port{stroke:#9aa4af;color:#9aa4af}\n"
    ".derived{stroke:#9aa4af;color:#9aa4af}\n"
    "}\n"
    "</style>\n";

/* ---- what stands out ---- */

static bool is_any_of(const struct svg *svg, const uint64_t *parties)
{
    for (uint32_t i = 0; i < svg->map->n_words; i++)
        if (parties[i] & svg->options->from[i])
            return true;
    return false;
}

static bool is_chip_lit(const struct svg *svg, const struct svg_chip *chip)
{
    const struct map *map = svg->map;
    const struct model_service *s = &map->model->services[chip->service];
    uint32_t host = svg->layout->hosts[chip->host].party;
    uint64_t surfaces = 0;
    for (uint32_t i = 0; s->kind == MODEL_KIND_DIRECT && i < map->n_ports; i++) {
        const struct map_port *port = &map->ports[i];
        if (port->reason == FLOW_DIRECT && port->host == host && port->port == s->port && port->transport == s->transport)
            return is_any_of(svg, map->bundles[port->bundle].parties);
    }
    for (uint32_t party = 0; party < map->n_parties; party++)
        if (map_has(svg->options->from, party))
            surfaces |= svg->reach[(size_t)party * map->model->n_services + chip->service];
    return chip->is_served && surfaces && map_is_handed(map, chip->service, host, surfaces);
}

/* A gateway's way to an instance stands out when the instance is reached. */
static bool is_pin_lit(const struct svg *svg, const struct svg_pin *pin)
{
    const struct svg_layout *l = svg->layout;
    if (svg->map->bundles[pin->bundle].reason != FLOW_INSTANCE)
        return is_any_of(svg, svg->map->bundles[pin->bundle].parties);
    for (uint32_t i = 0; i < l->hosts[pin->host].n_chips; i++) {
        const struct svg_chip *chip = &l->chips[l->hosts[pin->host].first_chip + i];
        const struct model_service *s = &svg->map->model->services[chip->service];
        for (uint32_t k = 0; k < pin->n_ports; k++)
            if (svg->lit_chips[l->hosts[pin->host].first_chip + i] && s->where == MODEL_WHERE_HOST &&
                s->port == svg->map->ports[pin->first_port + k].port)
                return true;
    }
    return false;
}

static void light(struct svg *svg)
{
    const struct svg_layout *l = svg->layout;
    bool all = !svg->options->from;
    for (uint32_t i = 0; i < l->n_hosts; i++)
        svg->lit_hosts[i] = all || map_has(svg->options->from, l->hosts[i].party);
    for (uint32_t i = 0; i < l->n_chips; i++) {
        svg->lit_chips[i] = all || is_chip_lit(svg, &l->chips[i]);
        svg->lit_hosts[l->chips[i].host] |= svg->lit_chips[i];
    }
    for (uint32_t i = 0; i < l->n_pins; i++) {
        svg->lit_pins[i] = all || is_pin_lit(svg, &l->pins[i]);
        svg->lit_bundles[l->pins[i].bundle] |= svg->lit_pins[i];
        svg->lit_hosts[l->pins[i].host] |= svg->lit_pins[i];
    }
}

int svg_light(struct svg *svg)
{
    const struct map *map = svg->map;
    const struct svg_layout *l = svg->layout;
    svg->reach = arena_array(&svg->arena, (size_t)map->n_parties * map->model->n_services, uint64_t);
    svg->lit_pins = arena_array(&svg->arena, l->n_pins, bool);
    svg->lit_bundles = arena_array(&svg->arena, map->n_bundles, bool);
    svg->lit_chips = arena_array(&svg->arena, l->n_chips, bool);
    svg->lit_hosts = arena_array(&svg->arena, l->n_hosts, bool);
    if (!svg->reach || !svg->lit_pins || !svg->lit_bundles || !svg->lit_chips || !svg->lit_hosts)
        return -ENOMEM;
    for (uint32_t party = 0; party < map->n_parties; party++)
        if (map_has(map->asks, party))
            map_reach(map, party, &svg->reach[(size_t)party * map->model->n_services], NULL);
    light(svg);
    return 0;
}

/* ---- small parts ---- */

static const char *class_of_surface(uint32_t surface, char text[static 16])
{
    snprintf(text, 16, "s%u", surface % SVG_SURFACE_LOOKS);
    return text;
}

const char *svg_class_of(const struct svg *svg, uint32_t bundle, char text[static 16])
{
    static const char *const names[] = { [FLOW_SURFACE] = "port", [FLOW_DIRECT] = "direct", [FLOW_HOST_PORT] = "port", [FLOW_INSTANCE] = "derived" };
    const struct map_bundle *b = &svg->map->bundles[bundle];
    return b->surface != MODEL_NONE ? class_of_surface(b->surface, text) : names[b->reason];
}

void svg_sign_write(struct svg *svg, uint32_t surface, int x, int y)
{
    char text[16];
    if (surface == MODEL_NONE) {
        buf_printf(svg->out, "<circle class=\"ring direct\" cx=\"%d\" cy=\"%d\" r=\"3\"/>", x, y);
        return;
    }
    buf_printf(svg->out, "<path class=\"sign %s\" d=\"", class_of_surface(surface, text));
    switch (surface % 4) {
    case 0: buf_printf(svg->out, "M%d %da4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", x - 4, y); break;
    case 1: buf_printf(svg->out, "M%d %dh7v7h-7Z", x - 3, y - 3); break;
    case 2: buf_printf(svg->out, "M%d %dl4 8h-8Z", x, y - 4); break;
    default: buf_printf(svg->out, "M%d %dl5 5l-5 5l-5 -5Z", x, y - 5); break;
    }
    buf_append(svg->out, STR("\"/>"));
}

static void text_write(struct svg *svg, const char *class, int x, int y, const char *anchor, struct str text)
{
    buf_printf(svg->out, "<text%s%s%s x=\"%d\" y=\"%d\"%s%s%s>", *class ? " class=\"" : "", class, *class ? "\"" : "", x, y,
               *anchor ? " text-anchor=\"" : "", anchor, *anchor ? "\"" : "");
    svg_text_write(svg->out, text);
    buf_append(svg->out, STR("</text>"));
}

static void box_write(struct svg *svg, const char *class, const struct svg_box *box, int radius)
{
    buf_printf(svg->out, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"%d\"/>", class, box->x, box->y + svg->top, box->width,
               box->height, radius);
}

/* ---- areas, hosts, pins, chips ---- */

static void area_write(struct svg *svg, const struct svg_area *area)
{
    if (area->segment == MODEL_NONE)
        return;
    box_write(svg, "area", &area->box, 10);
    text_write(svg, "bold", area->box.x + 14, area->box.y + svg->top + area->header / 2 + 5, "", svg->map->model->segments[area->segment].name.text);
    buf_append_char(svg->out, '\n');
}

static void host_write(struct svg *svg, uint32_t number)
{
    const struct svg_host *host = &svg->layout->hosts[number];
    const struct model *m = svg->map->model;
    const struct model_host *h = host->party < m->n_hosts ? &m->hosts[host->party] : NULL;
    const struct model_prefixes *addresses = h ? &h->addresses : &m->segments[host->party - m->n_hosts].addresses;
    const char *what = h && h->gateway ? "gateway" : h && h->os == MODEL_OS_MACOS ? "macOS" : "";
    char note[ADDRESS_PREFIX_TEXT_SIZE + 32] = "", address[ADDRESS_PREFIX_TEXT_SIZE] = "";
    if (addresses->n && address_is_v4(&addresses->items[0].address))
        address_prefix_format(&addresses->items[0], address);
    snprintf(note, sizeof note, "%s%s%s", address, *address && *what ? " · " : "", what);
    int y = host->box.y + svg->top + host->header / 2 + 5;
    buf_printf(svg->out, "<g%s>", svg->lit_hosts[number] ? "" : " class=\"dim\"");
    svg_title_of_host(svg, host->party);
    box_write(svg, "host", &host->box, 7);
    buf_printf(svg->out, "<text class=\"bold\" style=\"font-size:13px\" x=\"%d\" y=\"%d\">", host->box.x + 12, y);
    svg_text_write(svg->out, h ? h->name.text : STR("others"));
    buf_append(svg->out, STR("</text>"));
    text_write(svg, "note", host->box.x + host->box.width - 12, y, "end", str_of(note));
    buf_append(svg->out, STR("</g>\n"));
}

static void pin_write(struct svg *svg, uint32_t number)
{
    const struct svg_pin *pin = &svg->layout->pins[number];
    char class[32], text[16];
    snprintf(class, sizeof class, "pin %s", svg_class_of(svg, pin->bundle, text));
    buf_printf(svg->out, "<g%s>", svg->lit_pins[number] ? "" : " class=\"dim\"");
    svg_title_of_pin(svg, pin);
    box_write(svg, class, &pin->box, 4);
    text_write(svg, "small bold", pin->box.x + pin->box.width / 2, pin->box.y + svg->top + 15, "middle", pin->text);
    buf_append(svg->out, STR("</g>\n"));
}

static void chip_write(struct svg *svg, uint32_t number)
{
    const struct svg_chip *chip = &svg->layout->chips[number];
    const struct model_service *s = &svg->map->model->services[chip->service];
    int x = chip->box.x + chip->box.width - SIGN_FIRST, y = chip->box.y + svg->top + chip->box.height / 2;
    buf_printf(svg->out, "<g%s>", svg->lit_chips[number] ? "" : " class=\"dim\"");
    svg_title_of_chip(svg, chip);
    box_write(svg, chip->is_served ? "chip" : "shut", &chip->box, 12);
    text_write(svg, "", chip->box.x + 10, y + 4, "", s->name.text);
    if (chip->is_served && s->kind == MODEL_KIND_DIRECT)
        svg_sign_write(svg, MODEL_NONE, x, y);
    for (uint32_t i = svg->map->model->n_surfaces; chip->is_served && s->kind == MODEL_KIND_WEB && i-- > 0;)
        if (svg->map->services[chip->service].surfaces >> i & 1) {
            svg_sign_write(svg, i, x, y);
            x -= SIGN_STEP;
        }
    buf_append(svg->out, STR("</g>\n"));
}

/* ---- legend ---- */

struct legend {
    struct svg *svg;
    int x, y;
    bool is_drawn; /* otherwise only measured */
};

/* Room for the next entry with that much before its text; its place is at legend->x after it. */
static int legend_next(struct legend *legend, int before, struct str text)
{
    int width = before + svg_text_width(text, SVG_FONT_SMALL, false);
    if (legend->x > MARGIN && legend->x + width > legend->svg->layout->width - MARGIN) {
        legend->x = MARGIN;
        legend->y += LEGEND_ROW;
    }
    int x = legend->x;
    legend->x += width + LEGEND_GAP;
    if (legend->is_drawn)
        text_write(legend->svg, "note", x + before, legend->y + 4, "", text);
    return x;
}

static void legend_line(struct legend *legend, const char *class, struct str text)
{
    int x = legend_next(legend, 34, text);
    if (legend->is_drawn)
        buf_printf(legend->svg->out, "<g class=\"key %s\"><path d=\"M%d %dh26\"/></g>\n", class, x, legend->y);
}

static void legend_surface(struct legend *legend, uint32_t surface)
{
    const struct model_surface *s = &legend->svg->map->model->surfaces[surface];
    char text[16];
    struct str words = arena_printf(&legend->svg->arena, "%.*s: what is served over port %u", STR_ARG(s->name.text), s->port);
    int x = legend_next(legend, 46, words);
    if (!legend->is_drawn)
        return;
    buf_printf(legend->svg->out, "<g class=\"key %s\"><path d=\"M%d %dh26\"/></g>", class_of_surface(surface, text), x, legend->y);
    svg_sign_write(legend->svg, surface, x + 35, legend->y);
    buf_append_char(legend->svg->out, '\n');
}

static bool has_reason(const struct map *map, enum flow_reason reason)
{
    for (uint32_t i = 0; i < map->n_bundles; i++)
        if (map->bundles[i].reason == reason)
            return true;
    return false;
}

/* What occurs is explained, and nothing else. Returns the height. */
static int legend_write(struct svg *svg, int y, bool is_drawn)
{
    struct legend legend = { .svg = svg, .x = MARGIN, .y = y, .is_drawn = is_drawn };
    bool is_any_shut = false;
    for (uint32_t i = 0; i < svg->layout->n_chips; i++)
        is_any_shut |= !svg->layout->chips[i].is_served;
    for (uint32_t i = 0; i < svg->map->model->n_surfaces; i++)
        legend_surface(&legend, i);
    if (has_reason(svg->map, FLOW_DIRECT)) {
        int x = legend_next(&legend, 46, STR("a service's own port, beside the gateway"));
        if (is_drawn) {
            buf_printf(svg->out, "<g class=\"key direct\"><path d=\"M%d %dh26\"/></g>", x, legend.y);
            svg_sign_write(svg, MODEL_NONE, x + 35, legend.y);
            buf_append_char(svg->out, '\n');
        }
    }
    if (has_reason(svg->map, FLOW_HOST_PORT))
        legend_line(&legend, "port", STR("a port of the host itself"));
    if (has_reason(svg->map, FLOW_INSTANCE))
        legend_line(&legend, "derived", STR("derived: from a gateway to what it serves elsewhere"));
    if (is_any_shut) {
        int x = legend_next(&legend, 34, STR("nobody reaches it"));
        struct svg_box box = { x, legend.y - 8 - svg->top, 26, 16 };
        if (is_drawn)
            box_write(svg, "shut", &box, 8);
    }
    return legend.y - y + LEGEND_ROW;
}

/* ---- the whole ---- */

static void head_write(struct svg *svg, int width, int height)
{
    const struct model *m = svg->map->model;
    struct str title = svg->options->from ?
        arena_printf(&svg->arena, "What %.*s reaches in %.*s", STR_ARG(svg->options->from_name), STR_ARG(m->domain.text)) :
        arena_printf(&svg->arena, "Who reaches what in %.*s", STR_ARG(m->domain.text));
    struct buf origin;
    buf_init(&origin, 1024);
    render_origin_write(&origin, m, svg->options->revision);
    buf_printf(svg->out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" "
                         "aria-labelledby=\"postern-title postern-about\">\n<title id=\"postern-title\">", width, height, width, height);
    svg_text_write(svg->out, title);
    buf_append(svg->out, STR("</title>\n<desc id=\"postern-about\">"));
    svg_text_write(svg->out, buf_str(&origin));
    svg_text_printf(svg->out, " %u hosts, %u services; every line is a way that the declaration allows, and there is no other.", m->n_hosts, m->n_services);
    buf_printf(svg->out, "</desc>\n%s<rect class=\"ground\" width=\"%d\" height=\"%d\"/>\n", style, width, height);
    text_write(svg, "title", MARGIN, 32, "", title);
    text_write(svg, "note", MARGIN, 51, "", buf_str(&origin));
    buf_append_char(svg->out, '\n');
    if (origin.error)
        svg->out->error = origin.error;
    buf_deinit(&origin);
}

static void body_write(struct svg *svg)
{
    const struct svg_layout *l = svg->layout;
    int legend_height = legend_write(svg, 0, false), legend_y = svg->top + l->height + 30;
    head_write(svg, l->width, legend_y + legend_height);
    for (uint32_t i = 0; i < l->n_areas; i++)
        area_write(svg, &l->areas[i]);
    for (uint32_t i = 0; i < l->n_hosts; i++)
        host_write(svg, i);
    svg_lines_write(svg);
    for (uint32_t i = 0; i < l->n_pins; i++)
        pin_write(svg, i);
    for (uint32_t i = 0; i < l->n_chips; i++)
        chip_write(svg, i);
    legend_write(svg, legend_y, true);
    buf_append(svg->out, STR("</svg>\n"));
}

int render_svg(const struct map *map, const struct render_svg_options *options, struct buf *out)
{
    struct svg_layout layout = { 0 };
    int r = svg_layout_init(&layout, map);
    if (r < 0)
        return r;
    struct svg svg = { .map = map, .layout = &layout, .options = options, .out = out, .top = TITLE_HEIGHT };
    arena_init(&svg.arena, (size_t)1 << 28);
    r = svg_light(&svg);
    if (r == 0)
        body_write(&svg);
    arena_deinit(&svg.arena);
    svg_layout_deinit(&layout);
    return r < 0 ? r : out->error;
}
