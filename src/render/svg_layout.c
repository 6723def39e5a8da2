/* Laying out: how large everything is, and where it goes. Chips get as many columns as make the whole most like a page. */
#include "render/svg_layout.h"

#include <errno.h>

#include "render/svg_text.h"

enum {
    MARGIN = 24, AREA_PADDING = 14, AREA_GAP = 22, AREA_HEADER = 30, HOST_HEADER = 32, HOST_GAP = 12, HOST_PADDING = 12, CHIP_HEIGHT = 24, CHIP_GAP = 6,
    CHIP_PADDING = 10, DOT_STEP = 12, PIN_HEIGHT = 22, PIN_GAP = 7, PIN_OUT = 8, TAP_STEP = 10, TRACK_STEP = 14, CORRIDOR_MARGIN = 24,
    LANE_STEP = 14, CHIP_COLUMNS_MAX = 12, CHIP_STRETCH_MAX = 36,
};

static int larger(int a, int b)
{
    return a > b ? a : b;
}

/* ---- how large ---- */

static int header_height(int usual, const uint32_t n_taps[2])
{
    return larger(usual, (larger((int)n_taps[0], (int)n_taps[1]) - 1) * TAP_STEP + 20);
}

static int dots_of(const struct svg_layout *l, const struct svg_chip *chip)
{
    const struct model_service *s = &l->map->model->services[chip->service];
    if (!chip->is_served)
        return 0;
    return s->kind == MODEL_KIND_DIRECT ? 1 : __builtin_popcountll(l->map->services[chip->service].surfaces);
}

/* Sizes and places of chips within their host, as if its grid began at 0, 0. */
static struct svg_box grid_place(struct svg_layout *l, const struct svg_host *host, uint32_t columns)
{
    struct svg_box grid = { 0, 0, 0, 0 };
    columns = columns < host->n_chips ? columns : host->n_chips;
    if (columns == 0)
        return grid;
    for (uint32_t c = 0; c < columns; c++) {
        int widest = 0;
        for (uint32_t i = c; i < host->n_chips; i += columns) {
            const struct svg_chip *chip = &l->chips[host->first_chip + i];
            widest = larger(widest, svg_text_width(l->map->model->services[chip->service].name.text, SVG_FONT, false) + 2 * CHIP_PADDING +
                                        dots_of(l, chip) * DOT_STEP);
        }
        for (uint32_t i = c; i < host->n_chips; i += columns)
            l->chips[host->first_chip + i].box = (struct svg_box){ grid.width, (int)(i / columns) * (CHIP_HEIGHT + CHIP_GAP), widest, CHIP_HEIGHT };
        grid.width += widest + (c + 1 < columns ? CHIP_GAP : 0);
    }
    grid.height = (int)((host->n_chips + columns - 1) / columns) * (CHIP_HEIGHT + CHIP_GAP) - CHIP_GAP;
    return grid;
}

static int header_width(const struct svg_layout *l, const struct svg_host *host)
{
    const struct model *m = l->map->model;
    struct str name = STR("others");
    enum { NOTE_WIDTH = 150 }; /* an IPv4 address or prefix, and "gateway" */
    if (host->party < m->n_hosts)
        name = m->hosts[host->party].name.text;
    bool is_gateway = host->party < m->n_hosts && m->hosts[host->party].gateway;
    return svg_text_width(name, SVG_FONT + 1, true) + NOTE_WIDTH + (is_gateway ? 60 : 0) + 2 * HOST_PADDING;
}

static unsigned column_of_host(const struct svg_layout *l, const struct svg_host *host)
{
    return l->areas[host->area].column;
}

static int pins_room(const struct svg_layout *l, const struct svg_host *host, enum svg_side side)
{
    int width = l->pins_width[column_of_host(l, host)][side];
    return host->n_pins[side] || (side == SVG_LEFT && width) ? width - PIN_OUT + HOST_PADDING : HOST_PADDING;
}

/* Height and the width that it needs; chips get their places within the host. */
static void host_measure(struct svg_layout *l, struct svg_host *host, uint32_t columns)
{
    struct svg_box grid = grid_place(l, host, columns);
    int n_pins = larger((int)host->n_pins[0], (int)host->n_pins[1]), content = larger(grid.height, n_pins ? n_pins * (PIN_HEIGHT + PIN_GAP) - PIN_GAP : 0);
    int left = pins_room(l, host, SVG_LEFT), right = pins_room(l, host, SVG_RIGHT);
    host->header = header_height(HOST_HEADER, host->n_taps);
    for (uint32_t i = 0; i < host->n_chips; i++) {
        l->chips[host->first_chip + i].box.x += left;
        l->chips[host->first_chip + i].box.y += host->header;
    }
    host->box.height = host->header + (content ? content + HOST_PADDING : 0);
    host->content_width = left + grid.width + right;
    host->box.width = larger(header_width(l, host), host->content_width);
}

/* Chips share what their host is wider than they need, up to where they would look empty. */
static void chips_stretch(struct svg_layout *l, const struct svg_host *host, uint32_t columns)
{
    columns = columns < host->n_chips ? columns : host->n_chips;
    if (columns == 0)
        return;
    int each = (host->box.width - host->content_width) / (int)columns;
    each = each < CHIP_STRETCH_MAX ? each : CHIP_STRETCH_MAX;
    for (uint32_t i = 0; i < host->n_chips; i++) {
        l->chips[host->first_chip + i].box.x += (int)(i % columns) * each;
        l->chips[host->first_chip + i].box.width += each;
    }
}

/* ---- where ---- */

static int corridor_width(const struct svg_layout *l, unsigned corridor)
{
    uint32_t n = l->n_tracks[corridor];
    if (n)
        return 2 * CORRIDOR_MARGIN + (int)(n - 1) * TRACK_STEP;
    return corridor + 1 < SVG_COLUMNS && l->column_width[corridor] && l->column_width[corridor + 1] ? 2 * CORRIDOR_MARGIN : 0;
}

/* Areas under each other from 0 on, their hosts in them. Returns the column's height. */
static int column_stack(struct svg_layout *l, unsigned column)
{
    int y = 0, width = 0;
    for (uint32_t a = 0; a < l->n_areas; a++)
        for (uint32_t i = 0; l->areas[a].column == column && i < l->areas[a].n_hosts; i++)
            width = larger(width, l->hosts[l->areas[a].first_host + i].box.width + 2 * AREA_PADDING);
    for (uint32_t a = 0; a < l->n_areas; a++) {
        struct svg_area *area = &l->areas[a];
        if (area->column != column)
            continue;
        area->header = area->segment == MODEL_NONE ? 0 : header_height(AREA_HEADER, area->n_taps);
        area->box = (struct svg_box){ 0, y, width, area->header };
        y += area->header;
        for (uint32_t i = 0; i < area->n_hosts; i++) {
            struct svg_box *box = &l->hosts[area->first_host + i].box;
            *box = (struct svg_box){ AREA_PADDING, y, width - 2 * AREA_PADDING, box->height };
            y += box->height + HOST_GAP;
        }
        y += area->segment == MODEL_NONE ? -HOST_GAP : AREA_PADDING - HOST_GAP;
        area->box.height = y - area->box.y;
        y += AREA_GAP;
    }
    l->column_width[column] = width;
    return y ? y - AREA_GAP : 0;
}

/* Everything but taps, tracks and lanes, with chips in that many columns; the top at 0. */
static void place(struct svg_layout *l, uint32_t columns)
{
    int heights[SVG_COLUMNS], height = 0, x = MARGIN;
    for (uint32_t h = 0; h < l->n_hosts; h++)
        host_measure(l, &l->hosts[h], columns);
    for (unsigned c = 0; c < SVG_COLUMNS; c++)
        height = larger(height, heights[c] = column_stack(l, c));
    for (unsigned c = 0; c < SVG_COLUMNS; c++) {
        l->column_x[c] = x;
        for (uint32_t a = 0; a < l->n_areas; a++)
            if (l->areas[a].column == c) {
                l->areas[a].box.x += x;
                l->areas[a].box.y += (height - heights[c]) / 2;
            }
        for (uint32_t h = 0; h < l->n_hosts; h++)
            if (column_of_host(l, &l->hosts[h]) == c) {
                l->hosts[h].box.x += x;
                l->hosts[h].box.y += (height - heights[c]) / 2;
            }
        x += l->column_width[c] + corridor_width(l, c);
    }
    for (uint32_t h = 0; h < l->n_hosts; h++)
        chips_stretch(l, &l->hosts[h], columns);
    for (uint32_t i = 0; i < l->n_chips; i++) {
        l->chips[i].box.x += l->hosts[l->chips[i].host].box.x;
        l->chips[i].box.y += l->hosts[l->chips[i].host].box.y;
    }
    l->width = x + MARGIN;
    l->height = height;
}

/* As many columns of chips as make the page's proportions nearest to three by two. */
static void place_best(struct svg_layout *l)
{
    uint32_t best = 1;
    long best_badness = 0;
    for (uint32_t columns = 1; columns <= CHIP_COLUMNS_MAX; columns++) {
        place(l, columns);
        long a = 2L * l->width, b = 3L * (l->height + 160), badness = (a > b ? a * 1000 / larger((int)b, 1) : b * 1000 / larger((int)a, 1));
        if (columns == 1 || badness < best_badness) {
            best = columns;
            best_badness = badness;
        }
    }
    place(l, best);
}

static void place_pins(struct svg_layout *l)
{
    uint32_t placed[2] = { 0, 0 }, host = MODEL_NONE;
    for (uint32_t h = 0; h < l->n_hosts; h++)
        for (uint32_t i = 0; i < l->n_pins; i++) {
            struct svg_pin *pin = &l->pins[i];
            const struct svg_box *box = &l->hosts[h].box;
            if (pin->host != h)
                continue;
            if (host != h)
                placed[0] = placed[1] = 0;
            host = h;
            pin->box.width = l->pins_width[column_of_host(l, &l->hosts[h])][pin->side];
            pin->box.x = pin->side == SVG_LEFT ? box->x - PIN_OUT : box->x + box->width + PIN_OUT - pin->box.width;
            pin->box.y = box->y + l->hosts[h].header + (int)placed[pin->side]++ * (PIN_HEIGHT + PIN_GAP) + (CHIP_HEIGHT - PIN_HEIGHT) / 2;
        }
}

static int pin_y(const struct svg_pin *pin)
{
    return pin->box.y + pin->box.height / 2;
}

/* The mean height of a bundle's pins: taps of one host leave it in that order. */
static int mean_of_pins(const struct svg_layout *l, uint32_t bundle)
{
    long sum = 0, n = 0;
    for (uint32_t i = 0; i < l->n_pins; i++)
        if (l->pins[i].bundle == bundle) {
            sum += pin_y(&l->pins[i]);
            n++;
        }
    return n ? (int)(sum / n) : 0;
}

static int place_taps(struct svg_layout *l)
{
    int *means = arena_array(&l->arena, l->map->n_bundles, int);
    if (!means)
        return -ENOMEM;
    for (uint32_t i = 0; i < l->map->n_bundles; i++)
        means[i] = mean_of_pins(l, i);
    for (uint32_t i = 0; i < l->n_taps; i++) {
        struct svg_tap *tap = &l->taps[i];
        const struct svg_box *box = tap->is_area ? &l->areas[tap->at].box : &l->hosts[tap->at].box;
        int header = tap->is_area ? l->areas[tap->at].header : l->hosts[tap->at].header;
        int n = (int)(tap->is_area ? l->areas[tap->at].n_taps : l->hosts[tap->at].n_taps)[tap->side], before = 0;
        for (uint32_t k = 0; n > 1 && k < l->n_taps; k++) {
            const struct svg_tap *other = &l->taps[k];
            if (other->at == tap->at && other->is_area == tap->is_area && other->side == tap->side)
                before += means[other->bundle] < means[tap->bundle] || (means[other->bundle] == means[tap->bundle] && other->bundle < tap->bundle);
        }
        tap->x = tap->side == SVG_LEFT ? box->x : box->x + box->width;
        tap->y = box->y + header / 2 + (2 * before - (n - 1)) * TAP_STEP / 2;
    }
    return 0;
}

/* ---- lanes and tracks ---- */

static bool needs_lane(const struct svg_layout *l, uint32_t bundle)
{
    for (uint32_t i = 0; i < l->n_trunks; i++)
        if (l->trunks[i].bundle == bundle && (l->trunks[i].lane_in || l->trunks[i].lane_out))
            return true;
    return false;
}

static bool goes_under(const struct svg_layout *l, uint32_t bundle)
{
    long sum = 0, n = 0;
    for (uint32_t i = 0; i < l->n_taps; i++)
        if (l->taps[i].bundle == bundle) {
            sum += l->taps[i].y;
            n++;
        }
    for (uint32_t i = 0; i < l->n_pins; i++)
        if (l->pins[i].bundle == bundle) {
            sum += pin_y(&l->pins[i]);
            n++;
        }
    return n && sum / n > l->height / 2;
}

static void shift_down(struct svg_layout *l, int by)
{
    for (uint32_t i = 0; i < l->n_areas; i++)
        l->areas[i].box.y += by;
    for (uint32_t i = 0; i < l->n_hosts; i++)
        l->hosts[i].box.y += by;
    for (uint32_t i = 0; i < l->n_chips; i++)
        l->chips[i].box.y += by;
    for (uint32_t i = 0; i < l->n_pins; i++)
        l->pins[i].box.y += by;
    for (uint32_t i = 0; i < l->n_taps; i++)
        l->taps[i].y += by;
}

/* Above or below all columns, whichever is nearer to the bundle's ends; room is made above. */
static void place_lanes(struct svg_layout *l)
{
    int n_over = 0, n_under = 0;
    for (int pass = 0; pass < 2; pass++) {
        int height = l->height, over = 0, under = 0;
        for (uint32_t b = 0; b < l->map->n_bundles; b++) {
            if (!needs_lane(l, b))
                continue;
            bool is_under = goes_under(l, b);
            int place_y = is_under ? n_over * LANE_STEP + height + ++under * LANE_STEP : ++over * LANE_STEP - LANE_STEP / 2;
            for (uint32_t i = 0; pass == 1 && i < l->n_trunks; i++)
                if (l->trunks[i].bundle == b && (l->trunks[i].lane_in || l->trunks[i].lane_out))
                    l->trunks[i].lane_y = place_y;
        }
        n_over = over;
        n_under = under;
    }
    shift_down(l, n_over * LANE_STEP + (n_over ? LANE_STEP / 2 : 0));
    l->height += (n_over + n_under) * LANE_STEP + (n_over ? LANE_STEP / 2 : 0) + (n_under ? LANE_STEP : 0);
}

int svg_layout_init(struct svg_layout *ret, const struct map *map)
{
    struct svg_layout l = { .map = map };
    arena_init(&l.arena, (size_t)1 << 28);
    int r = svg_layout_find(&l);
    if (r == 0) {
        place_best(&l);
        place_pins(&l);
        r = place_taps(&l);
    }
    if (r == 0) {
        place_lanes(&l);
        r = svg_tracks_order(&l);
    }
    for (uint32_t i = 0; r == 0 && i < l.n_trunks; i++)
        l.trunks[i].x = l.column_x[l.trunks[i].corridor] + l.column_width[l.trunks[i].corridor] + CORRIDOR_MARGIN + (int)l.trunks[i].position * TRACK_STEP;
    if (r < 0) {
        arena_deinit(&l.arena);
        return r;
    }
    *ret = l;
    return 0;
}

void svg_layout_deinit(struct svg_layout *layout)
{
    arena_deinit(&layout->arena);
}
