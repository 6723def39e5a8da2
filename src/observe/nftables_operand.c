/* What nft's JSON says a condition looks at, and with which values it compares. */
#include <errno.h>
#include <netinet/in.h>

#include "observe/nftables_reader.h"

enum { DEPTH_MAX = 8 };

struct named {
    const char *name;
    uint32_t number;
};

static bool number_of_name(const struct named *names, size_t n, const char *name, uint32_t *ret)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i].name, name) == 0) {
            *ret = names[i].number;
            return true;
        }
    return false;
}

static bool is(const char *a, const char *b)
{
    return a && strcmp(a, b) == 0;
}

/* ---- operands ---- */

static void add_field(struct nft_operand *ret, uint8_t field, bool is_nfproto)
{
    if (ret->n_fields == PACKET_SET_FIELDS_MAX) {
        ret->fields[PACKET_SET_FIELDS_MAX - 1] = PACKET_OTHER;
        return;
    }
    ret->is_nfproto[ret->n_fields] = is_nfproto;
    ret->fields[ret->n_fields++] = field;
}

static void need_protocol(struct nft_operand *ret, uint8_t protocol)
{
    ret->is_never |= ret->protocol && ret->protocol != protocol;
    ret->protocol = protocol;
}

static void need_family(struct nft_operand *ret, uint8_t family)
{
    ret->is_never |= ret->family && ret->family != family;
    ret->family = family;
}

static void read_payload(const json_t *payload, struct nft_operand *ret)
{
    const char *protocol = json_string_value(json_object_get(payload, "protocol")), *name = json_string_value(json_object_get(payload, "field"));
    bool is_v4 = is(protocol, "ip"), is_v6 = is(protocol, "ip6"), is_tcp = is(protocol, "tcp"), is_udp = is(protocol, "udp");
    if (is_v4 || is_v6)
        need_family(ret, is_v4 ? PACKET_IPV4 : PACKET_IPV6);
    if (is_tcp || is_udp)
        need_protocol(ret, is_tcp ? IPPROTO_TCP : IPPROTO_UDP);
    if ((is_v4 || is_v6) && is(name, "saddr"))
        add_field(ret, PACKET_SOURCE, false);
    else if ((is_v4 || is_v6) && is(name, "daddr"))
        add_field(ret, PACKET_DESTINATION, false);
    else if (is_v4 && is(name, "protocol"))
        add_field(ret, PACKET_PROTOCOL, false);
    else if ((is_tcp || is_udp || is(protocol, "th")) && is(name, "dport"))
        add_field(ret, PACKET_PORT, false);
    else if (is(protocol, "icmp"))
        add_field(ret, PACKET_ICMP_TYPE, false);
    else if (is(protocol, "icmpv6"))
        add_field(ret, PACKET_ICMPV6_TYPE, false);
    else
        add_field(ret, PACKET_OTHER, false);
}

static void read_meta(const char *key, struct nft_operand *ret)
{
    static const struct named keys[] = { { "iif", PACKET_INTERFACE }, { "iifname", PACKET_INTERFACE }, { "oif", PACKET_OUT_INTERFACE },
                                         { "oifname", PACKET_OUT_INTERFACE }, { "l4proto", PACKET_PROTOCOL }, { "skuid", PACKET_UID } };
    uint32_t field = PACKET_OTHER;
    if (is(key, "nfproto") || is(key, "protocol")) {
        add_field(ret, PACKET_SOURCE, true);
        return;
    }
    if (key)
        (void)number_of_name(keys, ARRAY_SIZE(keys), key, &field);
    add_field(ret, (uint8_t)field, false);
}

static void read_fib(const json_t *fib, struct nft_operand *ret)
{
    const json_t *flags = json_object_get(fib, "flags"), *only = json_is_array(flags) && json_array_size(flags) == 1 ? json_array_get(flags, 0) : flags;
    bool is_local = is(json_string_value(json_object_get(fib, "result")), "type") && is(json_string_value(only), "daddr");
    add_field(ret, is_local ? PACKET_LOCAL : PACKET_OTHER, false);
}

/* A computed value: only what it is computed from is asked of the packet. */
static void read_computed(const json_t *left, unsigned depth, struct nft_operand *ret)
{
    const json_t *parts = json_object_iter_value(json_object_iter((json_t *)(uintptr_t)left));
    struct nft_operand inner = { 0 };
    if (json_is_array(parts) && json_is_object(json_array_get(parts, 0)))
        nft_operand_read(json_array_get(parts, 0), depth + 1, &inner);
    if (inner.family)
        need_family(ret, inner.family);
    if (inner.protocol)
        need_protocol(ret, inner.protocol);
    for (unsigned i = 0; i < inner.n_fields; i++)
        if (inner.fields[i] == PACKET_ICMP_TYPE || inner.fields[i] == PACKET_ICMPV6_TYPE)
            ret->is_never = true;
    ret->is_never |= inner.is_never;
    add_field(ret, PACKET_OTHER, false);
}

void nft_operand_read(const json_t *left, unsigned depth, struct nft_operand *ret)
{
    const json_t *inner;
    if (depth == 0)
        *ret = (struct nft_operand){ 0 };
    if (depth > DEPTH_MAX || !json_is_object(left))
        add_field(ret, PACKET_OTHER, false);
    else if ((inner = json_object_get(left, "payload")))
        read_payload(inner, ret);
    else if ((inner = json_object_get(left, "meta")))
        read_meta(json_string_value(json_object_get(inner, "key")), ret);
    else if ((inner = json_object_get(left, "ct")))
        add_field(ret, is(json_string_value(json_object_get(inner, "key")), "state") ? PACKET_CT_STATE : PACKET_OTHER, false);
    else if ((inner = json_object_get(left, "fib")))
        read_fib(inner, ret);
    else if ((inner = json_object_get(left, "concat")) && json_is_array(inner))
        for (size_t i = 0; i < json_array_size(inner); i++)
            nft_operand_read(json_array_get(inner, i), depth + 1, ret);
    else
        read_computed(left, depth, ret);
    if (ret->n_fields == 0)
        add_field(ret, PACKET_OTHER, false);
}

/* ---- values ---- */

static const struct relation_range whole_axis = { .last = { { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 } } };

static bool read_number(uint8_t field, const json_t *value, uint32_t *ret)
{
    static const struct named protocols[] = { { "tcp", 6 }, { "udp", 17 }, { "icmp", 1 }, { "igmp", 2 }, { "gre", 47 }, { "esp", 50 }, { "ah", 51 },
                                              { "comp", 108 }, { "ipcomp", 108 }, { "icmpv6", 58 }, { "ipv6-icmp", 58 }, { "sctp", 132 },
                                              { "udplite", 136 }, { "dccp", 33 } };
    static const struct named states[] = { { "invalid", PACKET_CT_INVALID }, { "established", PACKET_CT_ESTABLISHED }, { "related", PACKET_CT_RELATED },
                                           { "new", PACKET_CT_NEW }, { "untracked", PACKET_CT_UNTRACKED } };
    static const struct named types[] = { { "local", 1 }, { "unicast", 0 }, { "broadcast", 2 }, { "anycast", 2 }, { "multicast", 2 },
                                          { "blackhole", 2 }, { "unreachable", 2 }, { "prohibit", 2 } };
    const char *text = json_string_value(value);
    json_int_t max = field == PACKET_PORT ? UINT16_MAX : field == PACKET_PROTOCOL ? UINT8_MAX : UINT32_MAX;
    if (json_is_integer(value) && field != PACKET_LOCAL && field != PACKET_CT_STATE && json_integer_value(value) >= 0 && json_integer_value(value) <= max) {
        *ret = (uint32_t)json_integer_value(value);
        return true;
    }
    if (!text)
        return false;
    switch (field) {
    case PACKET_PROTOCOL: return number_of_name(protocols, ARRAY_SIZE(protocols), text, ret);
    case PACKET_CT_STATE: return number_of_name(states, ARRAY_SIZE(states), text, ret);
    case PACKET_LOCAL: return number_of_name(types, ARRAY_SIZE(types), text, ret);
    default: return false;
    }
}

static bool read_nfproto(const json_t *value, struct relation_range *ret)
{
    const char *text = json_string_value(value);
    if (is(text, "ipv4") || is(text, "ip"))
        *ret = relation_all_v4;
    else if (is(text, "ipv6") || is(text, "ip6"))
        *ret = relation_all_v6;
    else
        return false;
    return true;
}

/* One name; the wildcard is a star at its end. */
static bool read_name(const json_t *value, struct relation_range *ret)
{
    struct str name = str_of(json_string_value(value));
    bool is_prefix = name.len > 0 && name.ptr[name.len - 1] == '*' && !(name.len > 1 && name.ptr[name.len - 2] == '\\');
    if (!name.ptr || memchr(name.ptr, '\\', name.len))
        return false;
    *ret = packet_name(str_first(name, name.len - is_prefix), is_prefix);
    return true;
}

static bool read_address(const struct nft_operand *operand, const json_t *value, struct relation_range *ret)
{
    const json_t *prefix = json_object_get(value, "prefix");
    const char *text = json_string_value(prefix ? json_object_get(prefix, "addr") : value);
    json_int_t bits = prefix ? json_integer_value(json_object_get(prefix, "len")) : 128;
    struct address_prefix whole;
    if (!text || !address_parse(str_of(text), &whole.address) || address_is_v4(&whole.address) != (operand->family == PACKET_IPV4))
        return false;
    if (prefix && (!json_is_integer(json_object_get(prefix, "len")) || bits < 0 || bits > (operand->family == PACKET_IPV4 ? 32 : 128)))
        return false;
    whole.bits = (uint8_t)(prefix && operand->family == PACKET_IPV4 ? bits + 96 : bits);
    whole.address = address_mask(&whole.address, whole.bits);
    *ret = relation_range_of_prefix(&whole);
    return true;
}

static bool read_single(const struct nft_operand *operand, unsigned i, const json_t *value, struct relation_range *ret)
{
    uint32_t number;
    switch (operand->fields[i]) {
    case PACKET_SOURCE: case PACKET_DESTINATION:
        return operand->is_nfproto[i] ? read_nfproto(value, ret) : read_address(operand, value, ret);
    case PACKET_INTERFACE: case PACKET_OUT_INTERFACE: return read_name(value, ret);
    case PACKET_OTHER: case PACKET_ICMP_TYPE: case PACKET_ICMPV6_TYPE: *ret = whole_axis; return true;
    default:
        if (!read_number(operand->fields[i], value, &number))
            return false;
        *ret = packet_number(number, number);
        return true;
    }
}

static bool read_part(const struct nft_operand *operand, unsigned i, const json_t *value, struct relation_range *ret)
{
    const json_t *range = json_object_get(value, "range");
    struct relation_range first, last;
    if (!range || operand->fields[i] == PACKET_OTHER)
        return read_single(operand, i, value, ret);
    if (json_array_size(range) != 2 || !read_single(operand, i, json_array_get(range, 0), &first) ||
        !read_single(operand, i, json_array_get(range, 1), &last) || address_compare(&first.first, &last.last) > 0)
        return false;
    *ret = (struct relation_range){ first.first, last.last };
    return true;
}

bool nft_value_read(const struct nft_operand *operand, const json_t *value, struct relation_range *ret)
{
    const json_t *parts = json_object_get(value, "concat");
    if (!parts)
        return operand->n_fields == 1 && read_part(operand, 0, value, ret);
    if (json_array_size(parts) != operand->n_fields)
        return false;
    for (unsigned i = 0; i < operand->n_fields; i++)
        if (!read_part(operand, i, json_array_get(parts, i), &ret[i]))
            return false;
    return true;
}
