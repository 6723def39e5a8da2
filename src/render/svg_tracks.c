/* The order of tracks in a corridor: a linear ordering with a price for each pair, improved by moving one track at a time. */
#include <errno.h>

#include "render/svg_layout.h"

/* The lines of one trunk's ends leave to the left or to the right at these heights. */
struct track {
    uint32_t trunk;
    int *left, *right;
    uint32_t n_left, n_right;
    int top, bottom;
};

enum { OVERLAP_PX = 7, OVERLAP_PRICE = 60, PASSES_MAX = 20, TRACKS_ORDERED_MAX = 400 };

static void add_end(struct track *track, bool is_left, int y)
{
    if (is_left)
        track->left[track->n_left++] = y;
    else
        track->right[track->n_right++] = y;
    track->top = y < track->top ? y : track->top;
    track->bottom = y > track->bottom ? y : track->bottom;
}

/* What is on the right of its column comes into the corridor from the left. */
static int track_init(struct svg_layout *l, uint32_t trunk, struct track *ret)
{
    const struct svg_trunk *t = &l->trunks[trunk];
    uint32_t n = 2;
    for (uint32_t i = 0; i < l->n_taps; i++)
        n += l->taps[i].trunk == trunk;
    for (uint32_t i = 0; i < l->n_pins; i++)
        n += l->pins[i].trunk == trunk;
    *ret = (struct track){ .trunk = trunk, .top = l->height, .left = arena_array(&l->arena, n, int), .right = arena_array(&l->arena, n, int) };
    if (!ret->left || !ret->right)
        return -ENOMEM;
    for (uint32_t i = 0; i < l->n_taps; i++)
        if (l->taps[i].trunk == trunk)
            add_end(ret, l->taps[i].side == SVG_RIGHT, l->taps[i].y);
    for (uint32_t i = 0; i < l->n_pins; i++)
        if (l->pins[i].trunk == trunk)
            add_end(ret, l->pins[i].side == SVG_RIGHT, l->pins[i].box.y + l->pins[i].box.height / 2);
    for (uint32_t i = 0; t->lane_y && i < l->n_trunks; i++)
        if (l->trunks[i].bundle == t->bundle && l->trunks[i].corridor != t->corridor && l->trunks[i].lane_y)
            add_end(ret, l->trunks[i].corridor < t->corridor, t->lane_y);
    return 0;
}

static long count_between(const int *ys, uint32_t n, int top, int bottom)
{
    long count = 0;
    for (uint32_t i = 0; i < n; i++)
        count += ys[i] > top && ys[i] < bottom;
    return count;
}

/* Of a left of b: crossings, and lines that would run on top of each other. */
static long price(const struct track *a, const struct track *b)
{
    long sum = count_between(b->left, b->n_left, a->top, a->bottom) + count_between(a->right, a->n_right, b->top, b->bottom);
    for (uint32_t i = 0; i < b->n_left; i++)
        sum += OVERLAP_PRICE * count_between(a->right, a->n_right, b->left[i] - OVERLAP_PX, b->left[i] + OVERLAP_PX);
    return sum;
}

/* Moves the track at one place of the order to another. */
static void move(uint32_t *order, uint32_t from, uint32_t to)
{
    uint32_t moved = order[from];
    if (from < to)
        memmove(&order[from], &order[from + 1], (to - from) * sizeof *order);
    else
        memmove(&order[to + 1], &order[to], (from - to) * sizeof *order);
    order[to] = moved;
}

/* The best place for the track that is now at that place; whether it is another. */
static bool improve(uint32_t *order, uint32_t n, uint32_t at, const long *prices)
{
    long best = 0, gain = 0;
    uint32_t best_to = at, me = order[at];
    for (uint32_t to = at; to-- > 0;) {
        uint32_t other = order[to];
        gain += prices[me * n + other] - prices[other * n + me];
        if (gain < best) {
            best = gain;
            best_to = to;
        }
    }
    gain = 0;
    for (uint32_t to = at + 1; to < n; to++) {
        uint32_t other = order[to];
        gain += prices[other * n + me] - prices[me * n + other];
        if (gain < best) {
            best = gain;
            best_to = to;
        }
    }
    if (best_to == at)
        return false;
    move(order, at, best_to);
    return true;
}

static int corridor_order(struct svg_layout *l, unsigned corridor)
{
    uint32_t n = l->n_tracks[corridor], k = 0;
    struct track *tracks = arena_array(&l->arena, n, struct track);
    uint32_t *order = arena_array(&l->arena, n, uint32_t);
    long *prices = n <= TRACKS_ORDERED_MAX ? arena_array(&l->arena, (size_t)n * n, long) : NULL;
    if (!tracks || !order)
        return -ENOMEM;
    if (!prices)
        return n <= TRACKS_ORDERED_MAX ? -ENOMEM : 0;
    for (uint32_t i = 0; i < l->n_trunks; i++) {
        int r = l->trunks[i].corridor == corridor ? track_init(l, i, &tracks[k++]) : 0;
        if (r < 0)
            return r;
    }
    for (uint32_t a = 0; a < n; a++) {
        order[a] = a;
        for (uint32_t b = 0; b < n; b++)
            prices[a * n + b] = a == b ? 0 : price(&tracks[a], &tracks[b]);
    }
    bool is_better = true;
    for (unsigned pass = 0; is_better && pass < PASSES_MAX; pass++) {
        is_better = false;
        for (uint32_t at = 0; at < n; at++)
            is_better |= improve(order, n, at, prices);
    }
    for (uint32_t at = 0; at < n; at++)
        l->trunks[tracks[order[at]].trunk].position = at;
    return 0;
}

int svg_tracks_order(struct svg_layout *layout)
{
    int r = 0;
    for (unsigned corridor = 0; r == 0 && corridor < SVG_COLUMNS; corridor++)
        r = corridor_order(layout, corridor);
    return r;
}
