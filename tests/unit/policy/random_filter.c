/* Making packet filters from a seed. */
#include "random_filter.h"

#include <stdio.h>

enum { N_NAMED = 6, N_CHAINS = 5 };

struct address random_filter_address(uint64_t *seed)
{
    struct address a = { 0 };
    if (random_below(seed, 2)) {
        a.bytes[10] = a.bytes[11] = 0xff;
        a.bytes[12] = 10;
    } else {
        a.bytes[0] = 0xfd;
    }
    a.bytes[15] = (uint8_t)random_below(seed, 24);
    return a;
}

uint16_t random_filter_port(uint64_t *seed)
{
    static const uint16_t edges[] = { 0, 65535, 22 };
    return random_below(seed, 8) ? (uint16_t)random_below(seed, 40) : edges[random_below(seed, 3)];
}

static struct relation_range random_numbers(uint64_t *seed, uint32_t n)
{
    uint32_t first = random_below(seed, n), last = random_below(seed, 2) ? first : first + random_below(seed, n - first);
    return packet_number(first, last);
}

static struct relation_range random_value(uint64_t *seed, uint8_t field, uint8_t family)
{
    static const struct str names[] = { STR("mesh0"), STR("lo"), STR("eth1"), STR("eth"), STR("") };
    static const uint32_t states[] = { PACKET_CT_ESTABLISHED, PACKET_CT_NEW, PACKET_CT_NEW, PACKET_CT_INVALID };
    struct relation_range range;
    switch (field) {
    case PACKET_SOURCE: case PACKET_DESTINATION:
        do
            range.first = random_filter_address(seed);
        while (address_is_v4(&range.first) != (family == PACKET_IPV4));
        range.last = range.first;
        if (random_below(seed, 2))
            range.last.bytes[15] = (uint8_t)(range.first.bytes[15] + random_below(seed, 12));
        return range;
    case PACKET_PROTOCOL: return random_below(seed, 6) ? packet_number(random_below(seed, 2) ? 6 : 17, 17) : random_numbers(seed, 20);
    case PACKET_PORT: return random_below(seed, 10) ? random_numbers(seed, 40) : packet_number(30, 65535);
    case PACKET_INTERFACE: case PACKET_OUT_INTERFACE: return packet_name(names[random_below(seed, ARRAY_SIZE(names))], !random_below(seed, 3));
    case PACKET_CT_STATE: {
        uint32_t state = states[random_below(seed, ARRAY_SIZE(states))];
        return packet_number(state, state);
    }
    case PACKET_LOCAL: return packet_number(1, 1);
    case PACKET_UID: return packet_number(random_below(seed, 2) ? 900 : 902, 907);
    default: return random_numbers(seed, 20);
    }
}

static uint32_t random_set(struct packet_filter *filter, uint64_t *seed, uint32_t table, const char *name, unsigned flags)
{
    static const uint8_t fields[] = { PACKET_SOURCE, PACKET_DESTINATION, PACKET_PROTOCOL, PACKET_PORT, PACKET_INTERFACE, PACKET_CT_STATE, PACKET_PORT,
                                      PACKET_SOURCE, PACKET_UID, PACKET_OUT_INTERFACE, PACKET_LOCAL, PACKET_OTHER };
    uint32_t n_fields = (uint32_t)ARRAY_SIZE(fields) - !(flags & RANDOM_FILTER_UNKNOWN), seen = 0;
    struct packet_set set = { .table = table, .name = str_of(name), .family = random_below(seed, 2) ? PACKET_IPV4 : PACKET_IPV6 };
    for (uint32_t i = 0, wanted = 1 + random_below(seed, 4); i < wanted; i++) {
        uint8_t field = fields[random_below(seed, n_fields - (random_below(seed, 3) ? 5 : 0))];
        if (!(seen >> field & 1))
            set.fields[set.n_fields++] = field;
        seen |= 1u << field;
    }
    uint32_t index = packet_filter_add_set(filter, &set);
    for (uint32_t k = 0, n = random_below(seed, 6); k < n; k++) {
        struct relation_range values[PACKET_SET_FIELDS_MAX];
        uint32_t reason = PACKET_NONE;
        for (unsigned i = 0; i < set.n_fields; i++)
            values[i] = random_value(seed, set.fields[i], set.family);
        if (random_below(seed, 2))
            reason = packet_filter_add_reason(filter, (struct relation_reason){ .text = STR("an element") });
        packet_filter_add_element(filter, values, reason);
    }
    return index;
}

static uint8_t family_of(const struct packet_filter *filter, uint32_t set)
{
    const struct packet_set *s = packet_filter_set(filter, set);
    for (unsigned i = 0; i < s->n_fields; i++)
        if (s->fields[i] == PACKET_SOURCE || s->fields[i] == PACKET_DESTINATION)
            return s->family;
    return PACKET_ANY_FAMILY;
}

static void random_rule(struct packet_filter *filter, uint64_t *seed, uint32_t chain, uint32_t n_chains, uint32_t table, unsigned flags)
{
    static const uint8_t verdicts[] = { PACKET_ACCEPT, PACKET_DROP, PACKET_ACCEPT, PACKET_REJECT, PACKET_JUMP, PACKET_GOTO, PACKET_RETURN, PACKET_CONTINUE,
                                        PACKET_ELSEWHERE };
    uint8_t verdict = verdicts[random_below(seed, (uint32_t)ARRAY_SIZE(verdicts) - !(flags & RANDOM_FILTER_UNKNOWN))];
    uint32_t target = chain + 1 < n_chains ? chain + 1 + random_below(seed, n_chains - chain - 1) : PACKET_NONE;
    if ((verdict == PACKET_JUMP || verdict == PACKET_GOTO) && target == PACKET_NONE)
        verdict = PACKET_DROP;
    packet_filter_add_rule(filter, chain, verdict, target);
    for (uint32_t k = 0, n = random_below(seed, 3) + (verdict == PACKET_DROP); k < n; k++) {
        uint32_t set = random_below(seed, 2) ? random_below(seed, N_NAMED) : random_set(filter, seed, table, "", flags);
        packet_filter_add_match(filter, set, family_of(filter, set), !random_below(seed, 4));
    }
}

void random_filter(struct packet_filter *filter, uint64_t seed, unsigned flags)
{
    static const uint8_t families[] = { PACKET_ANY_FAMILY, PACKET_ANY_FAMILY, PACKET_IPV4, PACKET_IPV6 };
    struct error err = { "" };
    char name[8];
    if (packet_filter_init(filter, STR("nftables on roc")) < 0)
        abort();
    uint32_t tables[2];
    for (unsigned i = 0; i < 2; i++)
        tables[i] = packet_filter_add_table(filter, families[random_below(&seed, 4)], STR("t"));
    for (unsigned i = 0; i < N_NAMED; i++) {
        (void)snprintf(name, sizeof name, "s%u", i);
        random_set(filter, &seed, tables[0], name, flags);
    }
    uint32_t n_base = 1 + random_below(&seed, 3);
    for (uint32_t i = 0; i < N_CHAINS; i++) {
        uint32_t chain = packet_filter_add_chain(filter, tables[random_below(&seed, 2)], STR("c"));
        if (i < n_base)
            packet_filter_set_hook(filter, chain, random_below(&seed, 3) ? random_below(&seed, 6) : PACKET_HOOK_INPUT, (int32_t)random_below(&seed, 3),
                                   random_below(&seed, 3) ? PACKET_ACCEPT : PACKET_DROP);
    }
    for (uint32_t i = 0, n = 4 + random_below(&seed, 14); i < n; i++)
        random_rule(filter, &seed, random_below(&seed, N_CHAINS), N_CHAINS, tables[0], flags);
    if (packet_filter_seal(filter, &err) < 0)
        abort();
}
