/* One packet's way through a filter, rule by rule. It shares nothing with the evaluator of whole relations but the structure, by intent. */
#include <netinet/in.h>

#include "policy/packet_filter.h"

struct question {
    const struct packet_filter *filter;
    enum packet_path path;
    const struct packet_arrival *arrival;
    const struct address *from, *to;
    uint8_t protocol;
    uint16_t port;
    uint32_t hook;
    uint64_t steps;
    unsigned depth; /* of conditions that can't be told, one within another */
};

struct decision {
    enum packet_answer answer;
    uint32_t reason;
    bool is_away; /* UNKNOWN, and what later chains say of the packet says nothing */
};

enum truth { NO, YES, MAYBE };

/* Where a chain was left by a jump. */
struct frame {
    uint32_t chain, rule;
};

struct way {
    struct frame frames[PACKET_FILTER_DEPTH_MAX + 1];
    unsigned depth;
};

static const uint64_t steps_max = UINT64_C(1) << 22;
enum { DEPTH_MAX = 1000 };

static bool holds(const struct relation_range *range, const struct address *value)
{
    return address_compare(&range->first, value) <= 0 && address_compare(value, &range->last) <= 0;
}

static bool holds_number(const struct relation_range *range, uint32_t value)
{
    const struct relation_range number = packet_number(value, value);
    return holds(range, &number.first);
}

static enum truth field_holds(const struct question *q, uint8_t field, const struct relation_range *range)
{
    const struct relation_range name = packet_name(q->arrival->interface, false);
    switch (field) {
    case PACKET_SOURCE: return holds(range, q->from) ? YES : NO;
    case PACKET_DESTINATION: return holds(range, q->to) ? YES : NO;
    case PACKET_PROTOCOL: return holds_number(range, q->protocol) ? YES : NO;
    case PACKET_PORT: return holds_number(range, q->port) ? YES : NO;
    case PACKET_INTERFACE: return holds(range, &name.first) ? YES : NO;
    case PACKET_CT_STATE: return holds_number(range, PACKET_CT_NEW) ? YES : NO;
    case PACKET_UID: return holds_number(range, q->arrival->uid) ? YES : NO;
    case PACKET_LOCAL: return holds_number(range, q->path == PACKET_TO_HOST) ? YES : NO;
    default: return MAYBE;
    }
}

/* Whether the packet has the field at all: without it, no condition on it holds, negated or not. */
static bool has_field(const struct question *q, uint8_t field)
{
    switch (field) {
    case PACKET_ICMP_TYPE: case PACKET_ICMPV6_TYPE: return false;
    case PACKET_INTERFACE: return q->path != PACKET_FROM_HOST;
    case PACKET_OUT_INTERFACE: return q->hook >= PACKET_HOOK_FORWARD;
    case PACKET_UID: return q->path == PACKET_FROM_HOST;
    default: return true;
    }
}

static enum truth match_holds(struct question *q, const struct packet_match *match, uint32_t *reason)
{
    const struct packet_set *set = packet_filter_set(q->filter, match->set);
    enum truth whole = NO;
    if (match->family && (match->family == PACKET_IPV4) != address_is_v4(q->from))
        return NO;
    for (unsigned i = 0; i < set->n_fields; i++)
        if (!has_field(q, set->fields[i]))
            return NO;
    for (uint32_t k = 0; k < set->n_elements && whole != YES; k++) {
        const struct relation_range *values = packet_filter_values(q->filter, set, k);
        enum truth one = YES;
        q->steps++;
        for (unsigned i = 0; i < set->n_fields && one != NO; i++) {
            enum truth field = field_holds(q, set->fields[i], &values[i]);
            one = field == YES ? one : field;
        }
        if (one == NO)
            continue;
        whole = one;
        if (!match->negated && packet_filter_element_reason(q->filter, set, k) != PACKET_NONE)
            *reason = packet_filter_element_reason(q->filter, set, k);
    }
    return whole == MAYBE ? MAYBE : (whole == YES) != match->negated ? YES : NO;
}

static struct decision follow(struct question *q, struct way way, uint32_t base);

/* Takes the rule's verdict on the way. True: it decided. */
static bool take(const struct packet_rule *rule, uint32_t reason, struct way *way, struct decision *ret)
{
    struct frame *top = &way->frames[way->depth];
    switch (rule->verdict) {
    case PACKET_ACCEPT: *ret = (struct decision){ PACKET_ADMITTED, reason, false }; return true;
    case PACKET_DROP: case PACKET_REJECT: *ret = (struct decision){ PACKET_DENIED, reason, false }; return true;
    case PACKET_ELSEWHERE: *ret = (struct decision){ PACKET_UNKNOWN, reason, true }; return true;
    case PACKET_RETURN: top->rule = UINT32_MAX; return false;
    case PACKET_GOTO: *top = (struct frame){ rule->target, 0 }; return false;
    case PACKET_JUMP:
        if (way->depth == PACKET_FILTER_DEPTH_MAX) {
            *ret = (struct decision){ PACKET_UNKNOWN, rule->reason, false };
            return true;
        }
        way->frames[++way->depth] = (struct frame){ rule->target, 0 };
        return false;
    default: return false;
    }
}

static struct decision both(struct question *q, const struct packet_rule *rule, uint32_t reason, const struct way *way, uint32_t base)
{
    struct way taken = *way;
    struct decision with;
    if (q->depth == DEPTH_MAX)
        return (struct decision){ PACKET_UNKNOWN, rule->reason, false };
    q->depth++;
    if (!take(rule, reason, &taken, &with))
        with = follow(q, taken, base);
    struct decision without = follow(q, *way, base);
    q->depth--;
    if (with.answer == without.answer && with.answer != PACKET_UNKNOWN)
        return without;
    return (struct decision){ PACKET_UNKNOWN, without.answer == PACKET_UNKNOWN ? without.reason : with.answer == PACKET_UNKNOWN ? with.reason : rule->reason,
                              with.is_away || without.is_away };
}

/* From where the way is to the base chain's end. */
static struct decision follow(struct question *q, struct way way, uint32_t base)
{
    for (;;) {
        struct frame *top = &way.frames[way.depth];
        const struct packet_chain *chain = packet_filter_chain(q->filter, top->chain);
        if (top->rule >= chain->n_rules) {
            if (way.depth == 0) {
                const struct packet_chain *first = packet_filter_chain(q->filter, base);
                return (struct decision){ first->policy == PACKET_ACCEPT ? PACKET_ADMITTED : PACKET_DENIED, first->policy_reason, false };
            }
            way.depth--;
            continue;
        }
        const struct packet_rule *rule = packet_filter_rule_of(q->filter, chain, top->rule++);
        uint32_t reason = rule->reason;
        enum truth truth = YES;
        if (++q->steps > steps_max)
            return (struct decision){ PACKET_UNKNOWN, rule->reason, false };
        for (uint32_t k = 0; k < rule->n_matches && truth != NO; k++) {
            enum truth one = match_holds(q, packet_filter_match(q->filter, rule->first_match + k), &reason);
            truth = one == YES ? truth : one;
        }
        struct decision decision;
        if (truth == MAYBE && rule->verdict != PACKET_CONTINUE)
            return both(q, rule, reason, &way, base);
        if (truth == YES && take(rule, reason, &way, &decision))
            return decision;
    }
}

static bool is_on_path(enum packet_path path, uint8_t hook)
{
    switch (path) {
    case PACKET_TO_HOST: return hook <= PACKET_HOOK_INPUT;
    case PACKET_THROUGH_HOST: return hook <= PACKET_HOOK_PREROUTING || hook == PACKET_HOOK_FORWARD || hook == PACKET_HOOK_POSTROUTING;
    default: return hook == PACKET_HOOK_OUTPUT || hook == PACKET_HOOK_POSTROUTING;
    }
}

/* Whether a packet meets chain a before chain b. */
static bool is_before(const struct packet_filter *filter, uint32_t a, uint32_t b)
{
    const struct packet_chain *x = packet_filter_chain(filter, a), *y = packet_filter_chain(filter, b);
    if (x->hook != y->hook)
        return x->hook < y->hook;
    return x->priority != y->priority ? x->priority < y->priority : a < b;
}

/* The base chain that comes next after that one, or the first. */
static uint32_t next_base(const struct packet_filter *filter, uint32_t after)
{
    uint32_t best = PACKET_NONE;
    for (uint32_t i = 0; i < packet_filter_n_chains(filter); i++)
        if (packet_filter_chain(filter, i)->is_base && (after == PACKET_NONE || is_before(filter, after, i)) &&
            (best == PACKET_NONE || is_before(filter, i, best)))
            best = i;
    return best;
}

static bool is_of_rule(const struct packet_filter *filter, uint32_t reason)
{
    for (uint32_t i = 0; i < packet_filter_n_chains(filter); i++)
        if (packet_filter_chain(filter, i)->policy_reason == reason)
            return false;
    return true;
}

enum packet_answer packet_filter_decide(const struct packet_filter *filter, enum packet_path path, const struct packet_arrival *arrival,
                                        const struct address *from, const struct address *to, uint8_t protocol, uint16_t port, uint32_t *ret_reason)
{
    struct question q = { .filter = filter, .path = path, .arrival = arrival, .from = from, .to = to, .protocol = protocol, .port = port };
    struct decision whole = { PACKET_ADMITTED, PACKET_NONE, false };
    for (uint32_t i = next_base(filter, PACKET_NONE); i != PACKET_NONE && whole.answer != PACKET_DENIED && !whole.is_away; i = next_base(filter, i)) {
        const struct packet_chain *chain = packet_filter_chain(filter, i);
        uint8_t family = packet_filter_table(filter, chain->table)->family;
        if (!is_on_path(path, chain->hook) || (family && (family == PACKET_IPV4) != address_is_v4(from)))
            continue;
        struct way way = { .frames = { { i, 0 } } };
        q.hook = chain->hook;
        struct decision one = follow(&q, way, i);
        bool is_better = whole.reason == PACKET_NONE || (!is_of_rule(filter, whole.reason) && is_of_rule(filter, one.reason));
        if (one.answer == PACKET_DENIED || (one.answer == PACKET_UNKNOWN && whole.answer == PACKET_ADMITTED) || (one.answer == whole.answer && is_better))
            whole = one;
        whole.is_away = one.is_away && whole.answer == PACKET_UNKNOWN;
    }
    if (ret_reason)
        *ret_reason = whole.reason;
    return whole.answer;
}
