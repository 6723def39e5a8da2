/* A reader for pf's rules: words, then one statement after another. */
#include "observe/pf.h"

#include <errno.h>
#include <netinet/in.h>

#include "base/table.h"

enum { LIST_MAX = 1 << 26, INTERFACE_MAX = 15 };

struct token {
    struct str text;     /* empty: the end of a line, or of the text */
    bool is_quoted;
};

/* A table's prefixes, in ranges. */
struct pf_table {
    uint32_t first, n;
};

struct pf_rule {
    bool is_pass, is_reject, is_out, is_quick;
    uint32_t first_match, n_matches; /* in matches */
    uint32_t line;
    struct str label;
};

struct reader {
    struct str text;
    size_t at;
    uint32_t line;
    struct token now;
    struct packet_filter *filter;
    struct error *err;
    struct table names;
    struct buf tables, ranges, rules, matches; /* struct pf_table, relation_range, pf_rule, packet_match */
    uint8_t family;                            /* of the rule that is being read */
};

struct number_name {
    const char *name;
    uint32_t number;
};

static const struct number_name protocols[] = { { "tcp", IPPROTO_TCP }, { "udp", IPPROTO_UDP }, { "icmp", IPPROTO_ICMP }, { "icmp6", IPPROTO_ICMPV6 },
                                                { "ipv6-icmp", IPPROTO_ICMPV6 }, { "esp", IPPROTO_ESP }, { "igmp", IPPROTO_IGMP } };
static const struct number_name icmp_types[] = { { "echorep", 0 }, { "unreach", 3 }, { "echoreq", 8 }, { "timex", 11 }, { "paramprob", 12 } };
static const struct number_name icmpv6_types[] = { { "unreach", 1 },     { "toobig", 2 },      { "timex", 3 },        { "paramprob", 4 },
                                                   { "echoreq", 128 },   { "echorep", 129 },   { "routersol", 133 },  { "routeradv", 134 },
                                                   { "neighbrsol", 135 }, { "neighbradv", 136 } };

/* ---- words ---- */

static int complain(struct reader *r, const char *expected)
{
    if (r->now.text.len)
        error_set(r->err, "line %u: '%.*s' where %s was expected", r->line, STR_ARG(str_first(r->now.text, 60)), expected);
    else
        error_set(r->err, "line %u: the line ends where %s was expected", r->line, expected);
    return -EINVAL;
}

static bool is_word_char(char c)
{
    return c != ' ' && c != '\t' && c != '\r' && c != '\n' && !memchr("{},<>!\"#\\", c, 9);
}

/* Spaces, comments, and lines that go on. */
static void skip_spaces(struct reader *r)
{
    while (r->at < r->text.len) {
        const char *p = r->text.ptr + r->at;
        if (*p == '\\' && r->at + 1 < r->text.len && p[1] == '\n') {
            r->line++;
            r->at += 2;
        } else if (*p == ' ' || *p == '\t' || *p == '\r') {
            r->at++;
        } else if (*p == '#') {
            r->at += str_find_char(str_skip(r->text, r->at), '\n');
        } else {
            return;
        }
    }
}

static void next(struct reader *r)
{
    skip_spaces(r);
    struct str rest = str_skip(r->text, r->at);
    r->now = (struct token){ 0 };
    if (rest.len == 0 || rest.ptr[0] == '\n')
        return;
    size_t n = 0;
    if (rest.ptr[0] == '"') {
        n = str_find_char(str_skip(rest, 1), '"');
        r->now = (struct token){ str_first(str_skip(rest, 1), n), true };
        r->at += n + 2 < rest.len ? n + 2 : rest.len;
        return;
    }
    while (n < rest.len && is_word_char(rest.ptr[n]))
        n++;
    n = n ? n : 1;
    r->now.text = str_first(rest, n);
    r->at += n;
}

static bool is(const struct reader *r, const char *word)
{
    return !r->now.is_quoted && str_equal(r->now.text, str_of(word));
}

/* Whether it was that word; then it is taken. */
static bool take(struct reader *r, const char *word)
{
    if (!is(r, word))
        return false;
    next(r);
    return true;
}

static int expect(struct reader *r, const char *word)
{
    return take(r, word) ? 0 : complain(r, word);
}

/* ---- values ---- */

/* Reads one value of the kind into ret. */
typedef int read_value_function(struct reader *r, struct relation_range *ret);

static int read_prefix(struct reader *r, struct relation_range *ret)
{
    struct address_prefix prefix;
    if (!address_prefix_parse(r->now.text, &prefix))
        return complain(r, "an address or a prefix");
    *ret = relation_range_of_prefix(&prefix);
    next(r);
    return 0;
}

static int read_number(struct reader *r, struct relation_range *ret, const struct number_name *names, size_t n_names, uint32_t max, const char *what)
{
    struct str last = r->now.text, first = str_split(&last, ':');
    uint64_t from, to;
    for (size_t i = 0; i < n_names; i++)
        if (is(r, names[i].name)) {
            *ret = packet_number(names[i].number, names[i].number);
            next(r);
            return 0;
        }
    bool is_range = str_find_char(r->now.text, ':') < r->now.text.len;
    if (!str_to_u64(first, max, &from) || !str_to_u64(is_range ? last : first, max, &to) || from > to)
        return complain(r, what);
    *ret = packet_number((uint32_t)from, (uint32_t)to);
    next(r);
    return 0;
}

static int read_protocol(struct reader *r, struct relation_range *ret)
{
    return read_number(r, ret, protocols, ARRAY_SIZE(protocols), UINT8_MAX, "a protocol");
}

static int read_port(struct reader *r, struct relation_range *ret)
{
    return read_number(r, ret, NULL, 0, UINT16_MAX, "a port or two with ':' between");
}

static int read_icmp_type(struct reader *r, struct relation_range *ret)
{
    return read_number(r, ret, icmp_types, ARRAY_SIZE(icmp_types), UINT8_MAX, "an ICMP type");
}

static int read_icmpv6_type(struct reader *r, struct relation_range *ret)
{
    return read_number(r, ret, icmpv6_types, ARRAY_SIZE(icmpv6_types), UINT8_MAX, "an ICMPv6 type");
}

static int append_range(struct reader *r, read_value_function *read)
{
    struct relation_range range;
    int e = read(r, &range);
    buf_append(&r->ranges, str_make((const char *)&range, e == 0 ? sizeof range : 0));
    return e < 0 ? e : r->ranges.error;
}

/* One value, or several in braces; lists may go over lines. */
static int read_list(struct reader *r, read_value_function *read)
{
    if (!take(r, "{"))
        return append_range(r, read);
    for (;;) {
        while (!r->now.text.len && !r->now.is_quoted && r->at < r->text.len) {
            r->at++;
            r->line++;
            next(r);
        }
        if (take(r, "}"))
            return 0;
        int e = append_range(r, read);
        if (e < 0)
            return e;
        (void)take(r, ",");
    }
}

/* ---- conditions ---- */

static int add_condition(struct reader *r, uint8_t field, const struct relation_range *ranges, uint32_t n, bool negated)
{
    const struct packet_set what = { .fields = { field }, .n_fields = 1, .family = r->family };
    bool is_address = field == PACKET_SOURCE || field == PACKET_DESTINATION;
    const struct packet_match match = { packet_filter_add_set(r->filter, &what), is_address ? r->family : PACKET_ANY_FAMILY, negated };
    for (uint32_t i = 0; i < n; i++)
        packet_filter_add_element(r->filter, &ranges[i], PACKET_NONE);
    buf_append(&r->matches, str_make((const char *)&match, sizeof match));
    return r->filter->error ? r->filter->error : r->matches.error;
}

static int read_condition(struct reader *r, uint8_t field, read_value_function *read, bool negated)
{
    size_t before = r->ranges.len;
    int e = read_list(r, read);
    if (e == 0)
        e = add_condition(r, field, (const struct relation_range *)(const void *)(r->ranges.ptr + before),
                          (uint32_t)((r->ranges.len - before) / sizeof(struct relation_range)), negated);
    r->ranges.len = before;
    return e;
}

static int read_interface(struct reader *r)
{
    bool negated = take(r, "!");
    if (!r->now.text.len || r->now.text.len > INTERFACE_MAX || is(r, "{") || is(r, "<"))
        return complain(r, "an interface");
    const struct relation_range name = packet_name(r->now.text, false);
    next(r);
    return add_condition(r, PACKET_INTERFACE, &name, 1, negated);
}

/* "any", addresses, or a table. */
static int read_end(struct reader *r, uint8_t field)
{
    uint32_t index;
    if (take(r, "any"))
        return 0;
    bool negated = take(r, "!");
    if (!take(r, "<"))
        return read_condition(r, field, read_prefix, negated);
    if (!table_get(&r->names, r->now.text, &index))
        return complain(r, "the name of a table above");
    next(r);
    const struct pf_table *table = (const struct pf_table *)(const void *)r->tables.ptr + index;
    int e = expect(r, ">");
    return e < 0 ? e : add_condition(r, field, (const struct relation_range *)(const void *)r->ranges.ptr + table->first, table->n, negated);
}

static int read_ends(struct reader *r)
{
    if (take(r, "all") || !is(r, "from"))
        return 0;
    next(r);
    int e = read_end(r, PACKET_SOURCE);
    if (e == 0)
        e = expect(r, "to");
    if (e == 0)
        e = read_end(r, PACKET_DESTINATION);
    if (e == 0 && take(r, "port"))
        e = read_condition(r, PACKET_PORT, read_port, false);
    return e;
}

/* ---- statements ---- */

static int read_table(struct reader *r)
{
    struct pf_table table = { .first = (uint32_t)(r->ranges.len / sizeof(struct relation_range)) };
    int e = expect(r, "<");
    struct str name = r->now.text;
    if (e < 0)
        return e;
    if (!name.len)
        return complain(r, "the name of a table");
    next(r);
    e = expect(r, ">");
    while (e == 0 && (take(r, "const") || take(r, "persist") || take(r, "counters")))
        ;
    if (e == 0 && is(r, "{"))
        e = read_list(r, read_prefix);
    if (e < 0)
        return e;
    table.n = (uint32_t)(r->ranges.len / sizeof(struct relation_range)) - table.first;
    e = table_add(&r->names, name, (uint32_t)(r->tables.len / sizeof table), NULL);
    if (e == TABLE_E_EXISTS) {
        error_set(r->err, "line %u: table <%.*s> is there twice", r->line, STR_ARG(str_first(name, 60)));
        return -EINVAL;
    }
    buf_append(&r->tables, str_make((const char *)&table, sizeof table));
    return e < 0 ? e : r->tables.error;
}

static int read_options(struct reader *r, struct pf_rule *rule)
{
    for (;;) {
        int e = 0;
        if (take(r, "icmp-type"))
            e = read_condition(r, PACKET_ICMP_TYPE, read_icmp_type, false);
        else if (take(r, "icmp6-type"))
            e = read_condition(r, PACKET_ICMPV6_TYPE, read_icmpv6_type, false);
        else if (take(r, "keep") || take(r, "no"))
            e = expect(r, "state");
        else if (take(r, "label")) {
            rule->label = r->now.text;
            if (!r->now.is_quoted)
                return complain(r, "a label in quotes");
            next(r);
        } else
            return 0;
        if (e < 0)
            return e;
    }
}

static int read_rule(struct reader *r, bool is_pass)
{
    struct pf_rule rule = { .is_pass = is_pass, .line = r->line, .first_match = (uint32_t)(r->matches.len / sizeof(struct packet_match)) };
    r->family = PACKET_ANY_FAMILY;
    if (!is_pass && !take(r, "drop"))
        rule.is_reject = take(r, "return");
    rule.is_out = is(r, "out");
    if (!take(r, "in") && !take(r, "out"))
        return complain(r, "in or out");
    (void)take(r, "log");
    rule.is_quick = take(r, "quick");
    int e = take(r, "on") ? read_interface(r) : 0;
    r->family = is(r, "inet") ? PACKET_IPV4 : is(r, "inet6") ? PACKET_IPV6 : PACKET_ANY_FAMILY;
    if (e == 0 && r->family) {
        const struct relation_range all = r->family == PACKET_IPV4 ? relation_all_v4 : relation_all_v6;
        next(r);
        e = add_condition(r, PACKET_SOURCE, &all, 1, false);
    }
    if (e == 0 && take(r, "proto"))
        e = read_condition(r, PACKET_PROTOCOL, read_protocol, false);
    if (e == 0)
        e = read_ends(r);
    if (e == 0)
        e = read_options(r, &rule);
    if (e < 0)
        return e;
    rule.n_matches = (uint32_t)(r->matches.len / sizeof(struct packet_match)) - rule.first_match;
    buf_append(&r->rules, str_make((const char *)&rule, sizeof rule));
    return r->rules.error;
}

static int read_statements(struct reader *r)
{
    for (next(r); r->now.text.len || r->at < r->text.len; next(r)) {
        int e = 0;
        if (take(r, "table"))
            e = read_table(r);
        else if (take(r, "pass"))
            e = read_rule(r, true);
        else if (take(r, "block"))
            e = read_rule(r, false);
        if (e < 0)
            return e;
        if (r->now.text.len || r->now.is_quoted)
            return complain(r, "a table, a pass or block rule, or the end of the line");
        r->line += r->at < r->text.len;
        r->at++;
    }
    return 0;
}

/* ---- the filter ---- */

static void add_rule(struct reader *r, const struct pf_rule *rule, uint32_t chain)
{
    const struct packet_match *matches = (const struct packet_match *)(const void *)r->matches.ptr + rule->first_match;
    packet_filter_add_rule(r->filter, chain, rule->is_pass ? PACKET_ACCEPT : rule->is_reject ? PACKET_REJECT : PACKET_DROP, PACKET_NONE);
    for (uint32_t i = 0; i < rule->n_matches; i++)
        packet_filter_add_match(r->filter, matches[i].set, matches[i].family, matches[i].negated);
    packet_filter_set_comment(r->filter, rule->label);
    if (!r->filter->error)
        packet_filter_rule(r->filter, packet_filter_n_rules(r->filter) - 1)->line = rule->line;
}

static int add_rules(struct reader *r)
{
    uint32_t table = packet_filter_add_table(r->filter, PACKET_ANY_FAMILY, STR_NONE);
    uint32_t in = packet_filter_add_chain(r->filter, table, STR("in")), out = packet_filter_add_chain(r->filter, table, STR("out"));
    const struct pf_rule *rules = (const struct pf_rule *)(const void *)r->rules.ptr;
    size_t n = r->rules.len / sizeof *rules;
    packet_filter_set_hook(r->filter, in, PACKET_HOOK_INPUT, 0, PACKET_ACCEPT);
    packet_filter_set_hook(r->filter, out, PACKET_HOOK_OUTPUT, 0, PACKET_ACCEPT);
    for (size_t i = 0; i < n; i++)
        if (rules[i].is_quick)
            add_rule(r, &rules[i], rules[i].is_out ? out : in);
    for (size_t i = n; i-- > 0;)
        if (!rules[i].is_quick)
            add_rule(r, &rules[i], rules[i].is_out ? out : in);
    return packet_filter_seal(r->filter, r->err);
}

int observe_pf_read(struct str text, struct str name, struct packet_filter *ret, struct error *err)
{
    cleanup_packet_filter struct packet_filter filter = { 0 };
    struct reader r = { .text = text, .line = 1, .filter = &filter, .err = err };
    struct buf *const lists[] = { &r.tables, &r.ranges, &r.rules, &r.matches };
    if (text.len > OBSERVE_PF_MAX) {
        error_set(err, "more than %d MB of rules", OBSERVE_PF_MAX >> 20);
        return -E2BIG;
    }
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        buf_init(lists[i], LIST_MAX);
    int e = packet_filter_init(&filter, name);
    if (e == 0)
        e = read_statements(&r);
    if (e == 0)
        e = add_rules(&r);
    if (e == -E2BIG)
        error_set(err, "more rules than can be judged");
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        buf_deinit(lists[i]);
    table_deinit(&r.names);
    if (e == 0) {
        *ret = filter;
        filter = (struct packet_filter){ 0 };
    }
    return e;
}
