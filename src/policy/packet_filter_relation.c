/* All flows at once: addresses are put into classes that no element of any set tells apart, and the rules are worked out once per pair of
 * classes, from the last to the first, as functions of the port. A rule that accepts then needs no subtraction, however many there are. */
#include <errno.h>
#include <netinet/in.h>

#include "policy/packet_filter.h"
#include "policy/packet_filter_classes.h"
#include "policy/packet_filter_pieces.h"

/* How many pairs of classes are looked at. */
enum { CELLS_MAX = 1 << 26, MEMORY_MAX = 1 << 30 };

struct evaluator {
    struct packet_classes classes;
    struct buf gathered;           /* struct stretch */
    struct pieces_stack stack;
    struct pieces *constants;      /* of each set without addresses */
    struct relation *relations[2]; /* open, unknown; the next two are numbers in each */
    uint32_t *reasons[2];          /* of the filter's, in each; PACKET_NONE: not there yet */
    uint32_t *selectors[2][2];     /* of each side's classes */
    uint32_t at[2];                /* the pair of intervals that is being worked out */
    /* A rule that asks for sources of a set holds for few classes of them: it is passed over unless its stamp is the class's. */
    uint32_t *first_gated, *next_gated, *stamps; /* by set; by rule; by rule, PACKET_NONE: not gated */
    uint32_t stamp;
    uint8_t hook;
    bool is_v4;
};

static struct str bytes_of(const void *what, size_t size)
{
    return str_make(what, size);
}

/* n + 1 of them, none known yet. */
static uint32_t *no_numbers(struct evaluator *ev, uint32_t n)
{
    uint32_t *numbers = arena_array(&ev->classes.arena, (size_t)n + 1, uint32_t);
    for (uint32_t i = 0; numbers && i <= n; i++)
        numbers[i] = PACKET_NONE;
    return numbers;
}

/* ---- conditions ---- */

struct stretch {
    uint32_t first, last, reason;
    uint8_t value;
};

static void gather(struct evaluator *ev, const struct packet_live *live)
{
    struct stretch stretch = { live->first_port, live->last_port, live->reason, live->is_sure ? PIECE_YES : PIECE_MAYBE };
    if (live->is_tcp)
        buf_append(&ev->gathered, bytes_of(&stretch, sizeof stretch));
    stretch.first += PIECES_UDP;
    stretch.last += PIECES_UDP;
    if (live->is_udp)
        buf_append(&ev->gathered, bytes_of(&stretch, sizeof stretch));
}

static int compare_stretches(const void *a, const void *b)
{
    const struct stretch *x = a, *y = b;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : (x->last > y->last) - (x->last < y->last);
}

static struct pieces one_stretch(struct evaluator *ev, const struct stretch *s)
{
    struct pieces one = { 0 };
    if (s->first)
        pieces_append(&ev->stack, &one, 0, PIECE_NO, PACKET_NONE);
    pieces_append(&ev->stack, &one, s->first, s->value, s->reason);
    if (s->last + 1 < PIECES_END)
        pieces_append(&ev->stack, &one, s->last + 1, PIECE_NO, PACKET_NONE);
    return one;
}

/* Elements that overlap, which nftables' sets don't: what holds for sure goes before what may hold, an earlier one before a later one. */
static struct pieces overlapping(struct evaluator *ev, const struct stretch *all, uint32_t n)
{
    struct pieces whole = pieces_constant(&ev->stack, PIECE_NO, PACKET_NONE);
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint32_t i = n; i-- > 0;)
            if ((all[i].value == PIECE_YES) == (pass == 1)) {
                struct pieces here = one_stretch(ev, &(struct stretch){ all[i].first, all[i].last, PACKET_NONE, PIECE_YES });
                struct pieces value = pieces_constant(&ev->stack, all[i].value, all[i].reason);
                whole = pieces_choose(&ev->stack, here, value, whole, false, PACKET_NONE);
            }
    return whole;
}

/* What was gathered, as one function. */
static struct pieces collect(struct evaluator *ev)
{
    struct stretch *all = (struct stretch *)(void *)ev->gathered.ptr;
    uint32_t n = (uint32_t)(ev->gathered.len / sizeof *all), at = 0;
    struct pieces whole = { 0 };
    if (n > 1)
        qsort(all, n, sizeof *all, compare_stretches);
    for (uint32_t i = 1; i < n; i++)
        if (all[i].first <= all[i - 1].last)
            return overlapping(ev, all, n);
    for (uint32_t i = 0; i < n; i++) {
        if (all[i].first > at)
            pieces_append(&ev->stack, &whole, at, PIECE_NO, PACKET_NONE);
        pieces_append(&ev->stack, &whole, all[i].first, all[i].value, all[i].reason);
        at = all[i].last + 1;
    }
    if (at < PIECES_END)
        pieces_append(&ev->stack, &whole, at, PIECE_NO, PACKET_NONE);
    return whole;
}

/* The part of the interval's members that are elements of the set. */
static const uint32_t *members_of(const struct evaluator *ev, enum packet_side side, const struct packet_shape *shape, uint32_t *ret_n)
{
    const struct packet_axis *axis = &ev->classes.axes[side];
    const uint32_t *all = axis->members + axis->first_member[ev->at[side]];
    uint32_t n = axis->first_member[ev->at[side] + 1] - axis->first_member[ev->at[side]], bounds[2];
    for (unsigned b = 0; b < 2; b++) {
        uint32_t low = 0, high = n, wanted = shape->first + (b ? shape->n : 0);
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (all[middle] < wanted)
                low = middle + 1;
            else
                high = middle;
        }
        bounds[b] = low;
    }
    *ret_n = bounds[1] - bounds[0];
    return all + bounds[0];
}

static struct pieces set_holds(struct evaluator *ev, uint32_t set)
{
    const struct packet_shape *shape = &ev->classes.shapes[set];
    enum packet_side side = shape->has[PACKET_SIDE_SOURCE] ? PACKET_SIDE_SOURCE : PACKET_SIDE_DESTINATION;
    uint32_t n, n_other;
    if (!shape->has[PACKET_SIDE_SOURCE] && !shape->has[PACKET_SIDE_DESTINATION])
        return ev->constants[set];
    const uint32_t *members = members_of(ev, side, shape, &n);
    if (shape->has[PACKET_SIDE_SOURCE] && shape->has[PACKET_SIDE_DESTINATION]) {
        const uint32_t *others = members_of(ev, PACKET_SIDE_DESTINATION, shape, &n_other);
        if (n_other < n) {
            side = PACKET_SIDE_DESTINATION;
            members = others;
            n = n_other;
        }
    }
    buf_clear(&ev->gathered);
    for (uint32_t i = 0; i < n; i++) {
        const struct packet_live *live = &ev->classes.lives[members[i]];
        if (!shape->has[!side] || packet_range_holds(packet_live_range(live, !side), &ev->classes.axes[!side].starts[ev->at[!side]]))
            gather(ev, live);
    }
    ev->stack.steps += n;
    if (ev->gathered.error && !ev->stack.error)
        ev->stack.error = ev->gathered.error;
    return collect(ev);
}

static bool has_field_here(const struct evaluator *ev, const struct packet_set *set)
{
    for (unsigned i = 0; i < set->n_fields; i++)
        if (!packet_classes_has_field(&ev->classes, set->fields[i]) || (set->fields[i] == PACKET_OUT_INTERFACE && ev->hook < PACKET_HOOK_FORWARD))
            return false;
    return true;
}

static struct pieces match_holds(struct evaluator *ev, const struct packet_match *match)
{
    if ((match->family && (match->family == PACKET_IPV4) != ev->is_v4) || !has_field_here(ev, packet_filter_set(ev->classes.filter, match->set)))
        return pieces_constant(&ev->stack, PIECE_NO, PACKET_NONE);
    struct pieces holds_there = set_holds(ev, match->set);
    return match->negated ? pieces_not(&ev->stack, holds_there) : holds_there;
}

static bool is_nowhere(const struct evaluator *ev, struct pieces pieces)
{
    return pieces.n == 1 && !ev->stack.error && ev->stack.items[pieces.at].value == PIECE_NO;
}

static struct pieces rule_holds(struct evaluator *ev, const struct packet_rule *rule)
{
    struct pieces all = pieces_constant(&ev->stack, PIECE_YES, PACKET_NONE);
    for (uint32_t k = 0; k < rule->n_matches && !is_nowhere(ev, all); k++)
        all = pieces_and(&ev->stack, all, match_holds(ev, packet_filter_match(ev->classes.filter, rule->first_match + k)));
    return all;
}

/* ---- rules that need not be asked ---- */

static int find_gates(struct evaluator *ev)
{
    const struct packet_filter *filter = ev->classes.filter;
    ev->first_gated = no_numbers(ev, packet_filter_n_sets(filter));
    ev->next_gated = no_numbers(ev, packet_filter_n_rules(filter));
    ev->stamps = no_numbers(ev, packet_filter_n_rules(filter));
    if (!ev->first_gated || !ev->next_gated || !ev->stamps)
        return -ENOMEM;
    for (uint32_t i = 0; i < packet_filter_n_rules(filter); i++) {
        const struct packet_rule *rule = packet_filter_rule(filter, i);
        for (uint32_t k = 0; k < rule->n_matches; k++) {
            const struct packet_match *match = packet_filter_match(filter, rule->first_match + k);
            if (match->negated || !ev->classes.shapes[match->set].has[PACKET_SIDE_SOURCE])
                continue;
            ev->next_gated[i] = ev->first_gated[match->set];
            ev->first_gated[match->set] = i;
            ev->stamps[i] = 0;
            break;
        }
    }
    return 0;
}

/* Stamps the rules whose set holds the sources that are being worked out. */
static void open_gates(struct evaluator *ev)
{
    const struct packet_axis *axis = &ev->classes.axes[PACKET_SIDE_SOURCE];
    uint32_t interval = ev->at[PACKET_SIDE_SOURCE], last = PACKET_NONE;
    ev->stamp++;
    for (uint32_t m = axis->first_member[interval]; m < axis->first_member[interval + 1]; m++) {
        uint32_t set = ev->classes.lives[axis->members[m]].set;
        for (uint32_t i = set == last ? PACKET_NONE : ev->first_gated[set]; i != PACKET_NONE; i = ev->next_gated[i])
            ev->stamps[i] = ev->stamp;
        last = set;
    }
}

static bool is_passed_over(const struct evaluator *ev, const struct packet_rule *rule)
{
    uint32_t stamp = ev->stamps[rule - (const struct packet_rule *)(const void *)ev->classes.filter->rules.ptr];
    return stamp != PACKET_NONE && stamp != ev->stamp;
}

/* ---- chains ---- */

/* What becomes of a flow that enters the chain, where after is what becomes of it once it leaves at its end. */
static struct pieces chain_does(struct evaluator *ev, uint32_t index, struct pieces after)
{
    const struct packet_chain *chain = packet_filter_chain(ev->classes.filter, index);
    struct pieces rest = after;
    for (uint32_t k = chain->n_rules; k-- > 0 && !ev->stack.error;) {
        const struct packet_rule *rule = packet_filter_rule_of(ev->classes.filter, chain, k);
        struct pieces does;
        if (rule->verdict == PACKET_CONTINUE || is_passed_over(ev, rule))
            continue;
        struct pieces condition = rule_holds(ev, rule);
        if (is_nowhere(ev, condition))
            continue;
        switch (rule->verdict) {
        case PACKET_ACCEPT: does = pieces_constant(&ev->stack, PIECE_YES, rule->reason); break;
        case PACKET_ELSEWHERE: does = pieces_constant(&ev->stack, PIECE_AWAY, rule->reason); break;
        case PACKET_JUMP: does = chain_does(ev, rule->target, rest); break;
        case PACKET_GOTO: does = chain_does(ev, rule->target, after); break;
        case PACKET_RETURN: does = after; break;
        default: does = pieces_constant(&ev->stack, PIECE_NO, rule->reason); break;
        }
        bool is_verdict = rule->verdict == PACKET_ACCEPT || rule->verdict == PACKET_DROP || rule->verdict == PACKET_REJECT || rule->verdict == PACKET_ELSEWHERE;
        rest = pieces_choose(&ev->stack, condition, does, rest, is_verdict, rule->reason);
    }
    return rest;
}

static struct pieces base_does(struct evaluator *ev, uint32_t index)
{
    const struct packet_chain *chain = packet_filter_chain(ev->classes.filter, index);
    ev->hook = chain->hook;
    return chain_does(ev, index, pieces_constant(&ev->stack, chain->policy == PACKET_ACCEPT ? PIECE_YES : PIECE_NO, chain->policy_reason));
}

/* A policy's "accept" gives no reason where a rule has one. */
static struct pieces without_policy(struct evaluator *ev, struct pieces does, uint32_t policy_reason)
{
    for (uint32_t i = 0; i < does.n && !ev->stack.error; i++) {
        struct piece *piece = &ev->stack.items[does.at + i];
        if (piece->reason == policy_reason && piece->value == PIECE_YES)
            piece->reason = PACKET_NONE;
    }
    return does;
}

static struct pieces cell_does(struct evaluator *ev)
{
    struct pieces whole = pieces_constant(&ev->stack, PIECE_YES, PACKET_NONE);
    uint32_t policy_reason = PACKET_NONE;
    for (uint32_t i = 0; i < ev->classes.n_base_chains; i++) {
        const struct packet_chain *chain = packet_filter_chain(ev->classes.filter, ev->classes.base_chains[i]);
        uint8_t family = packet_filter_table(ev->classes.filter, chain->table)->family;
        if (family && (family == PACKET_IPV4) != ev->is_v4)
            continue;
        policy_reason = policy_reason == PACKET_NONE ? chain->policy_reason : policy_reason;
        whole = pieces_compose(&ev->stack, whole, without_policy(ev, base_does(ev, ev->classes.base_chains[i]), chain->policy_reason));
        if (is_nowhere(ev, whole))
            break;
    }
    for (uint32_t i = 0; i < whole.n && !ev->stack.error; i++)
        if (ev->stack.items[whole.at + i].reason == PACKET_NONE)
            ev->stack.items[whole.at + i].reason = policy_reason;
    return whole;
}

/* ---- writing the relation ---- */

static int selector_of(struct evaluator *ev, enum packet_side side, uint32_t class_index, unsigned which, uint32_t *ret)
{
    struct packet_axis *axis = &ev->classes.axes[side];
    uint32_t *kept = &ev->selectors[side][which][class_index];
    if (*kept == PACKET_NONE) {
        cleanup_buf struct buf ranges;
        buf_init(&ranges, MEMORY_MAX);
        for (uint32_t i = axis->representatives[class_index]; i != PACKET_NONE; i = axis->next[i]) {
            struct relation_range range = { axis->starts[i], axis->starts[i + 1] };
            address_retreat(&range.last);
            buf_append(&ranges, bytes_of(&range, sizeof range));
        }
        if (ranges.error)
            return ranges.error;
        int r = relation_add_selector(ev->relations[which], (const struct relation_range *)(void *)ranges.ptr,
                                      (uint32_t)(ranges.len / sizeof(struct relation_range)), kept);
        if (r < 0)
            return r;
    }
    *ret = *kept;
    return 0;
}

static int reason_in(struct evaluator *ev, uint32_t reason, unsigned which, uint32_t *ret)
{
    static const struct relation_reason no_filter = { .text = STR("no rule of any chain on this way") };
    uint32_t n = (uint32_t)(ev->classes.filter->reasons.len / sizeof(struct relation_reason));
    uint32_t *kept = &ev->reasons[which][reason == PACKET_NONE ? n : reason];
    if (*kept == PACKET_NONE) {
        struct relation_reason what = reason == PACKET_NONE ? no_filter : *packet_filter_reason(ev->classes.filter, reason);
        if (reason == PACKET_NONE)
            what.file = ev->classes.filter->name;
        int r = relation_add_reason(ev->relations[which], what, kept);
        if (r < 0)
            return r;
    }
    *ret = *kept;
    return 0;
}

static int emit(struct evaluator *ev, uint32_t source_class, uint32_t destination_class, const struct piece *piece, uint32_t end)
{
    unsigned which = piece->value >= PIECE_MAYBE;
    struct relation_rule rule = { 0 };
    if (piece->value == PIECE_NO || !ev->relations[which])
        return 0;
    int r = selector_of(ev, PACKET_SIDE_SOURCE, source_class, which, &rule.source);
    if (r == 0)
        r = selector_of(ev, PACKET_SIDE_DESTINATION, destination_class, which, &rule.destination);
    if (r == 0)
        r = reason_in(ev, piece->reason, which, &rule.reason);
    for (unsigned udp = 0; r == 0 && udp < 2; udp++) {
        uint32_t first = udp ? PIECES_UDP : PIECES_TCP, last = first + UINT16_MAX;
        if (piece->start > last || end <= first)
            continue;
        rule.protocol_first = rule.protocol_last = udp ? IPPROTO_UDP : IPPROTO_TCP;
        rule.port_first = (uint16_t)(piece->start > first ? piece->start - first : 0);
        rule.port_last = (uint16_t)((end - 1 < last ? end - 1 : last) - first);
        r = relation_add_rule(ev->relations[which], &rule);
    }
    return r;
}

static int emit_cell(struct evaluator *ev, uint32_t source_class, uint32_t destination_class, struct pieces does)
{
    int r = ev->stack.error;
    for (uint32_t i = 0; r == 0 && i < does.n; i++) {
        struct piece piece = ev->stack.items[does.at + i];
        r = emit(ev, source_class, destination_class, &piece, i + 1 < does.n ? ev->stack.items[does.at + i + 1].start : PIECES_END);
    }
    return r;
}

/* ---- the whole ---- */

static int prepare(struct evaluator *ev)
{
    const struct packet_filter *filter = ev->classes.filter;
    ev->constants = arena_array(&ev->classes.arena, packet_filter_n_sets(filter) + 1, struct pieces);
    if (!ev->constants)
        return -ENOMEM;
    for (unsigned which = 0; which < 2; which++) {
        ev->reasons[which] = no_numbers(ev, (uint32_t)(filter->reasons.len / sizeof(struct relation_reason)));
        for (unsigned side = 0; side < 2; side++)
            ev->selectors[side][which] = no_numbers(ev, ev->classes.axes[side].n_classes);
        if (!ev->reasons[which] || !ev->selectors[0][which] || !ev->selectors[1][which])
            return -ENOMEM;
    }
    for (uint32_t s = 0; s < packet_filter_n_sets(filter); s++) {
        struct packet_shape *shape = &ev->classes.shapes[s];
        if (!shape->is_used || shape->has[0] || shape->has[1])
            continue;
        buf_clear(&ev->gathered);
        for (uint32_t k = 0; k < shape->n; k++)
            gather(ev, &ev->classes.lives[shape->first + k]);
        if (ev->gathered.error)
            return ev->gathered.error;
        ev->constants[s] = collect(ev);
    }
    return ev->stack.error ? ev->stack.error : find_gates(ev);
}

static int work_out(struct evaluator *ev)
{
    const struct packet_axis *sources = &ev->classes.axes[PACKET_SIDE_SOURCE], *destinations = &ev->classes.axes[PACKET_SIDE_DESTINATION];
    uint32_t floor = ev->stack.n;
    if ((uint64_t)sources->n_classes * destinations->n_classes > CELLS_MAX)
        return -E2BIG;
    for (uint32_t s = 0; s < sources->n_classes; s++) {
        ev->at[PACKET_SIDE_SOURCE] = sources->representatives[s];
        open_gates(ev);
        for (uint32_t d = 0; d < destinations->n_classes; d++) {
            ev->at[PACKET_SIDE_DESTINATION] = destinations->representatives[d];
            ev->is_v4 = address_is_v4(&sources->starts[ev->at[PACKET_SIDE_SOURCE]]);
            if (ev->is_v4 != address_is_v4(&destinations->starts[ev->at[PACKET_SIDE_DESTINATION]]))
                continue;
            ev->stack.n = floor;
            int r = emit_cell(ev, s, d, cell_does(ev));
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int packet_filter_relation(const struct packet_filter *filter, enum packet_path path, const struct packet_arrival *arrival,
                           const struct relation_range *to, uint32_t n_to, struct relation *ret_open, struct relation *ret_unknown)
{
    struct evaluator ev = { .relations = { ret_open, ret_unknown } };
    buf_init(&ev.gathered, PACKET_FILTER_BYTES_MAX);
    int r = packet_classes_init(&ev.classes, filter, path, arrival, to, n_to);
    if (r == 0)
        r = prepare(&ev);
    if (r == 0)
        r = work_out(&ev);
    pieces_stack_deinit(&ev.stack);
    buf_deinit(&ev.gathered);
    packet_classes_deinit(&ev.classes);
    return r;
}
