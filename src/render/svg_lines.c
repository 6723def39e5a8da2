/* The lines: for each trunk its ends with their curves, the run between them, and the lane to the bundle's other trunks. */
#include "render/svg_draw.h"

struct ends {
    const struct svg_trunk *trunk;
    int top, bottom;  /* of the run; bottom < top: none yet */
};

enum { ARROW = 7, NEAR = 2 * SVG_CURVE };

static int pin_y(const struct svg_pin *pin)
{
    return pin->box.y + pin->box.height / 2;
}

/* Where a line to the pin ends: at the foot of its arrow. */
static int pin_x(const struct svg_pin *pin)
{
    return pin->side == SVG_LEFT ? pin->box.x - ARROW : pin->box.x + pin->box.width + ARROW;
}

static void run_to(struct ends *ends, int y)
{
    ends->top = ends->bottom < ends->top || y < ends->top ? y : ends->top;
    ends->bottom = y > ends->bottom ? y : ends->bottom;
}

/* From an end at x, y to the trunk, turning up or down there. Not drawn: only the run goes that far. */
static void turn_write(struct svg *svg, struct ends *ends, int x, int y, bool down, bool drawn)
{
    int trunk = ends->trunk->x, before = x < trunk ? trunk - SVG_CURVE : trunk + SVG_CURVE, after = down ? y + SVG_CURVE : y - SVG_CURVE;
    if (drawn)
        buf_printf(svg->out, "M%d %dH%dQ%d %d %d %d", x, y + svg->top, before, trunk, y + svg->top, trunk, after + svg->top);
    run_to(ends, after);
}

/* A tap and a pin at nearly the same height: too near for two turns. */
static void near_write(struct svg *svg, const struct ends *ends, const struct svg_tap *tap, const struct svg_pin *pin)
{
    int y0 = tap->y + svg->top, y1 = pin_y(pin) + svg->top, x = ends->trunk->x, r = tap->side == SVG_RIGHT ? -SVG_CURVE : SVG_CURVE;
    if (tap->side != pin->side)
        buf_printf(svg->out, "M%d %dH%dC%d %d %d %d %d %dH%d", tap->x, y0, x + r, x, y0, x, y1, x - r, y1, pin_x(pin));
    else
        buf_printf(svg->out, "M%d %dH%dC%d %d %d %d %d %dH%d", tap->x, y0, x + r, x - r / 2, y0, x - r / 2, y1, x + r, y1, pin_x(pin));
}

static bool is_near(int a, int b)
{
    return a - b < NEAR && b - a < NEAR;
}

static bool is_tap_lit(const struct svg *svg, const struct svg_tap *tap)
{
    if (!svg->options->from || !svg->lit_bundles[tap->bundle] || svg->map->bundles[tap->bundle].reason == FLOW_INSTANCE)
        return svg->lit_bundles[tap->bundle];
    if (!tap->is_area)
        return map_has(svg->options->from, svg->layout->hosts[tap->at].party);
    const struct svg_area *area = &svg->layout->areas[tap->at];
    for (uint32_t i = 0; i < area->n_hosts; i++)
        if (map_has(svg->options->from, svg->layout->hosts[area->first_host + i].party))
            return true;
    return false;
}

/* The faint part of a bundle reaches as far as the rest does, which lies over it. */
static void taps_write(struct svg *svg, struct ends *ends, uint32_t trunk, bool lit)
{
    const struct svg_layout *l = svg->layout;
    const struct svg_trunk *t = ends->trunk;
    for (uint32_t i = 0; i < l->n_taps; i++) {
        const struct svg_tap *tap = &l->taps[i];
        bool drawn = is_tap_lit(svg, tap) == lit;
        if (tap->trunk != trunk || (lit && !drawn))
            continue;
        bool up = t->lane_out && t->lane_y < tap->y, down = t->lane_out && t->lane_y > tap->y;
        for (uint32_t k = 0; k < l->n_pins; k++) {
            const struct svg_pin *pin = &l->pins[k];
            if (pin->trunk != trunk)
                continue;
            if (is_near(pin_y(pin), tap->y) && drawn)
                near_write(svg, ends, tap, pin);
            else if (is_near(pin_y(pin), tap->y))
                continue;
            else if (pin_y(pin) < tap->y)
                up = true;
            else
                down = true;
        }
        if (up)
            turn_write(svg, ends, tap->x, tap->y, false, drawn);
        if (down)
            turn_write(svg, ends, tap->x, tap->y, true, drawn);
    }
}

static void pins_write(struct svg *svg, struct ends *ends, uint32_t trunk, bool lit)
{
    const struct svg_layout *l = svg->layout;
    const struct svg_trunk *t = ends->trunk;
    for (uint32_t i = 0; i < l->n_pins; i++) {
        const struct svg_pin *pin = &l->pins[i];
        int y = pin_y(pin);
        bool drawn = svg->lit_pins[i] == lit;
        if (pin->trunk != trunk || (lit && !drawn))
            continue;
        bool up = t->lane_in && t->lane_y < y, down = t->lane_in && t->lane_y > y;
        for (uint32_t k = 0; k < l->n_taps; k++)
            if (l->taps[k].trunk == trunk && !is_near(l->taps[k].y, y)) {
                up |= l->taps[k].y < y;
                down |= l->taps[k].y > y;
            }
        if (up)
            turn_write(svg, ends, pin_x(pin), y, false, drawn);
        if (down)
            turn_write(svg, ends, pin_x(pin), y, true, drawn);
    }
}

static void run_write(struct svg *svg, const struct ends *ends)
{
    if (ends->bottom > ends->top)
        buf_printf(svg->out, "M%d %dV%d", ends->trunk->x, ends->top + svg->top, ends->bottom + svg->top);
}

static bool is_over(const struct svg_layout *l, const struct svg_trunk *trunk)
{
    return trunk->lane_y < l->height / 2;
}

/* From this trunk along the lane to the next one on the right that is on it, too. */
static void lane_write(struct svg *svg, struct ends *ends)
{
    const struct svg_layout *l = svg->layout;
    const struct svg_trunk *t = ends->trunk, *next = NULL;
    if (!t->lane_y)
        return;
    int y = t->lane_y, away = is_over(l, t) ? y + SVG_CURVE : y - SVG_CURVE;
    run_to(ends, away);
    for (uint32_t i = 0; i < l->n_trunks; i++)
        if (l->trunks[i].bundle == t->bundle && l->trunks[i].lane_y && l->trunks[i].corridor > t->corridor && (!next || l->trunks[i].x < next->x))
            next = &l->trunks[i];
    if (next)
        buf_printf(svg->out, "M%d %dQ%d %d %d %dH%dQ%d %d %d %d", t->x, away + svg->top, t->x, y + svg->top, t->x + SVG_CURVE, y + svg->top,
                   next->x - SVG_CURVE, next->x, y + svg->top, next->x, away + svg->top);
}

/* All of the bundle that stands out, or all that doesn't: the data of one path. */
static void data_write(struct svg *svg, uint32_t bundle, bool lit)
{
    const struct svg_layout *l = svg->layout;
    size_t begun = svg->out->len;
    for (uint32_t i = 0; i < l->n_trunks; i++) {
        if (l->trunks[i].bundle != bundle)
            continue;
        struct ends ends = { .trunk = &l->trunks[i], .top = 1, .bottom = 0 };
        taps_write(svg, &ends, i, lit);
        pins_write(svg, &ends, i, lit);
        if (lit == svg->lit_bundles[bundle])
            lane_write(svg, &ends);
        if (lit == svg->lit_bundles[bundle] || svg->out->len > begun)
            run_write(svg, &ends);
    }
}

/* One path, or none where there is nothing to draw. */
static void path_write(struct svg *svg, uint32_t bundle, const char *attributes, bool lit)
{
    size_t before = svg->out->len;
    buf_printf(svg->out, "<path%s d=\"", attributes);
    size_t begun = svg->out->len;
    data_write(svg, bundle, lit);
    if (svg->out->len == begun)
        svg->out->len = before;
    else
        buf_append(svg->out, STR("\"/>\n"));
}

static void arrows_write(struct svg *svg, uint32_t bundle)
{
    for (uint32_t i = 0; i < svg->layout->n_pins; i++) {
        const struct svg_pin *pin = &svg->layout->pins[i];
        if (pin->bundle != bundle)
            continue;
        int x = pin_x(pin), y = pin_y(pin) + svg->top, tip = pin->side == SVG_LEFT ? pin->box.x : pin->box.x + pin->box.width;
        buf_printf(svg->out, "<path class=\"a%s\" d=\"M%d %dL%d %dL%d %dZ\"/>\n", svg->lit_pins[i] ? "" : " dim", x, y - 4, tip, y, x, y + 4);
    }
    for (uint32_t i = 0; i < svg->layout->n_taps; i++) {
        const struct svg_tap *tap = &svg->layout->taps[i];
        if (tap->bundle == bundle)
            buf_printf(svg->out, "<circle class=\"a%s\" cx=\"%d\" cy=\"%d\" r=\"3\"/>\n", is_tap_lit(svg, tap) ? "" : " dim", tap->x, tap->y + svg->top);
    }
}

/* What is dimmed comes first, so that it lies under what isn't. */
void svg_lines_write(struct svg *svg)
{
    char text[16];
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = svg->map->n_bundles; i-- > 0;) {
            if (svg->lit_bundles[i] != (pass == 1))
                continue;
            buf_printf(svg->out, "<g class=\"way %s\">", svg_class_of(svg, i, text));
            svg_title_of_bundle(svg, i);
            path_write(svg, i, " class=\"hit\"", svg->lit_bundles[i]); /* wide and unseen: easier to point at */
            path_write(svg, i, " class=\"dim\"", false);
            path_write(svg, i, "", true);
            arrows_write(svg, i);
            buf_append(svg->out, STR("</g>\n"));
        }
}
