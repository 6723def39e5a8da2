/* A rule's statements: conditions in order, and the one that decides. */
#include <errno.h>

#include "observe/nftables_reader.h"

/* What a statement that isn't a match means for the flow. */
enum effect { NOTHING, CONDITION, DECIDES, DEPENDS /* a condition, and if nothing else decides, perhaps a verdict */ };

struct statement {
    const char *name;
    uint8_t effect, verdict;
};

static const struct statement statements[] = {
    { "accept", DECIDES, PACKET_ACCEPT },       { "drop", DECIDES, PACKET_DROP },           { "reject", DECIDES, PACKET_REJECT },
    { "return", DECIDES, PACKET_RETURN },       { "continue", DECIDES, PACKET_CONTINUE },   { "jump", DECIDES, PACKET_JUMP },
    { "goto", DECIDES, PACKET_GOTO },           { "queue", DECIDES, PACKET_ELSEWHERE },     { "dnat", DECIDES, PACKET_ELSEWHERE },
    { "redirect", DECIDES, PACKET_ELSEWHERE },  { "tproxy", DECIDES, PACKET_ELSEWHERE },    { "fwd", DECIDES, PACKET_ELSEWHERE },
    { "synproxy", DECIDES, PACKET_ELSEWHERE },  { "notrack", DECIDES, PACKET_ELSEWHERE },   { "snat", DECIDES, PACKET_ACCEPT },
    { "masquerade", DECIDES, PACKET_ACCEPT },   { "counter", NOTHING, 0 },                  { "log", NOTHING, 0 },
    { "dup", NOTHING, 0 },                      { "flow", NOTHING, 0 },                     { "ct helper", NOTHING, 0 },
    { "ct timeout", NOTHING, 0 },               { "ct expectation", NOTHING, 0 },           { "secmark", NOTHING, 0 },
    { "last", NOTHING, 0 },                     { "limit", CONDITION, 0 },                  { "quota", CONDITION, 0 },
    { "ct count", CONDITION, 0 },               { "set", CONDITION, 0 },                    { "map", CONDITION, 0 },
};

/* iptables' targets, of which the listing says no more than the name. */
static const struct statement xt_targets[] = {
    { "REJECT", DECIDES, PACKET_REJECT }, { "MASQUERADE", DECIDES, PACKET_ACCEPT }, { "SNAT", DECIDES, PACKET_ACCEPT }, { "LOG", NOTHING, 0 },
    { "NFLOG", NOTHING, 0 },              { "MARK", NOTHING, 0 },                   { "CONNMARK", NOTHING, 0 },         { "TRACE", NOTHING, 0 },
    { "CHECKSUM", NOTHING, 0 },           { "CLASSIFY", NOTHING, 0 },               { "TCPMSS", NOTHING, 0 },           { "DSCP", NOTHING, 0 },
    { "TOS", NOTHING, 0 },                { "AUDIT", NOTHING, 0 },                  { "ACCEPT", DECIDES, PACKET_ACCEPT },
    { "DROP", DECIDES, PACKET_DROP },     { "RETURN", DECIDES, PACKET_RETURN },
};

struct rule {
    struct nft_reader *reader;
    const char *family, *table, *chain;
    uint32_t number;                 /* of the chain */
    struct nft_conditions conditions;
    struct str comment;
    uint32_t line;
    uint8_t verdict;
    uint32_t target;
    bool decides, may_decide;
    const json_t *map;               /* a verdict per key */
    struct nft_operand key;
};

static const struct statement *find(const struct statement *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

static int find_target(const struct rule *rule, const json_t *what, uint32_t *ret)
{
    const char *name = json_string_value(json_object_get(what, "target"));
    struct str key = name ? arena_printf(&rule->reader->arena, "%s %s %s", rule->family, rule->table, name) : STR_NONE;
    if (name && !key.ptr)
        return -ENOMEM;
    if (name && table_get(&rule->reader->chains, key, ret))
        return 0;
    error_set(rule->reader->err, "table %.60s, chain %.60s: a jump to a chain '%.60s' that isn't listed", rule->table, rule->chain, name ? name : "");
    return -EINVAL;
}

/* {"accept": null} and the like. 1: no verdict. */
static int read_verdict(const struct rule *rule, const json_t *object, uint8_t *ret_verdict, uint32_t *ret_target)
{
    void *at = json_object_iter((json_t *)(uintptr_t)object);
    const char *name = at ? json_object_iter_key(at) : NULL;
    const struct statement *statement = name ? find(statements, ARRAY_SIZE(statements), name) : NULL;
    if (!statement || statement->effect != DECIDES)
        return 1;
    *ret_verdict = statement->verdict;
    *ret_target = PACKET_NONE;
    return statement->verdict == PACKET_JUMP || statement->verdict == PACKET_GOTO ? find_target(rule, json_object_iter_value(at), ret_target) : 0;
}

static int add_rule(struct rule *rule, uint8_t verdict, uint32_t target, uint32_t element_set)
{
    struct packet_filter *filter = rule->reader->filter;
    packet_filter_add_rule(filter, rule->number, verdict, target);
    for (uint32_t i = 0; i < rule->conditions.n; i++)
        packet_filter_add_match(filter, rule->conditions.items[i].set, rule->conditions.items[i].family, rule->conditions.items[i].negated);
    if (element_set != PACKET_NONE)
        packet_filter_add_match(filter, element_set, rule->key.family, false);
    packet_filter_set_comment(filter, rule->comment);
    if (!filter->error)
        packet_filter_rule(filter, packet_filter_n_rules(filter) - 1)->line = rule->line;
    return filter->error;
}

/* ---- verdict maps ---- */

static const json_t *map_elements(struct rule *rule, const json_t *data)
{
    const char *name = json_string_value(data);
    const struct nft_set *set = name && name[0] == '@' ? nft_find_set(rule->reader, rule->family, rule->table, name + 1) : NULL;
    if (set && set->is_changing)
        return NULL;
    return set ? json_object_get(set->object, "elem") : json_object_get(data, "set");
}

/* One rule per element, in their order: elements don't overlap. */
static int add_map(struct rule *rule)
{
    const json_t *elements = map_elements(rule, rule->map);
    const char *name = json_string_value(rule->map);
    const struct nft_set *set = name && name[0] == '@' ? nft_find_set(rule->reader, rule->family, rule->table, name + 1) : NULL;
    size_t i;
    json_t *element;
    if (!json_is_array(elements)) {
        if (set && !set->is_changing && !elements)
            return 0; /* an empty map: no verdict for anybody */
        int r = nft_add_other(rule->reader, &rule->conditions, rule->key.family);
        return r < 0 ? r : add_rule(rule, PACKET_ELSEWHERE, PACKET_NONE, PACKET_NONE);
    }
    json_array_foreach(elements, i, element) {
        const json_t *key = json_array_get(element, 0), *inner = json_object_get(key, "elem");
        struct relation_range values[PACKET_SET_FIELDS_MAX];
        struct packet_set what = { .table = PACKET_NONE, .n_fields = rule->key.n_fields, .family = rule->key.family };
        uint8_t verdict;
        uint32_t target;
        int r = read_verdict(rule, json_array_get(element, 1), &verdict, &target);
        if (r < 0)
            return r;
        if (r > 0) {
            verdict = PACKET_ELSEWHERE;
            target = PACKET_NONE;
        }
        memcpy(what.fields, rule->key.fields, sizeof what.fields);
        if (!nft_value_read(&rule->key, inner ? json_object_get(inner, "val") : key, values)) {
            what.n_fields = 1;
            what.fields[0] = PACKET_OTHER;
            values[0] = packet_number(0, UINT32_MAX);
        }
        uint32_t index = packet_filter_add_set(rule->reader->filter, &what);
        packet_filter_add_element(rule->reader->filter, values, PACKET_NONE);
        r = add_rule(rule, verdict, target, index);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- statements ---- */

static int note(struct rule *rule, const struct statement *statement)
{
    if (statement && statement->effect == NOTHING)
        return 0;
    if (statement && statement->effect == DECIDES) {
        rule->decides = true;
        rule->verdict = statement->verdict;
        return 0;
    }
    rule->may_decide |= !statement;
    return nft_add_other(rule->reader, &rule->conditions, PACKET_ANY_FAMILY);
}

/* An iptables extension: a match by its name only, or a target. */
static int read_xt(struct rule *rule, const json_t *xt)
{
    const char *type = json_string_value(json_object_get(xt, "type")), *name = json_string_value(json_object_get(xt, "name"));
    static const struct statement unknown_match = { "", CONDITION, 0 }, unknown_target = { "", DECIDES, PACKET_ELSEWHERE };
    if (!type || !name)
        return note(rule, NULL);
    if (strcmp(type, "match") == 0)
        return strcmp(name, "comment") == 0 ? 0 : note(rule, &unknown_match);
    const struct statement *target = find(xt_targets, ARRAY_SIZE(xt_targets), name);
    return note(rule, target ? target : &unknown_target);
}

/* Marks and priorities change nothing that is judged here; a rewritten packet is another packet. */
static int read_mangle(struct rule *rule, const json_t *mangle)
{
    static const struct statement rewritten = { "", DECIDES, PACKET_ELSEWHERE };
    return json_object_get(json_object_get(mangle, "key"), "payload") ? note(rule, &rewritten) : 0;
}

static int read_statement(struct rule *rule, const json_t *object)
{
    void *at = json_object_iter((json_t *)(uintptr_t)object);
    const char *name = at ? json_object_iter_key(at) : NULL;
    const json_t *value = at ? json_object_iter_value(at) : NULL;
    if (!name)
        return note(rule, NULL);
    if (strcmp(name, "match") == 0)
        return nft_read_match(rule->reader, &rule->conditions, rule->family, rule->table, value);
    if (strcmp(name, "xt") == 0)
        return read_xt(rule, value);
    if (strcmp(name, "mangle") == 0)
        return read_mangle(rule, value);
    if (strcmp(name, "vmap") == 0) {
        nft_operand_read(json_object_get(value, "key"), 0, &rule->key);
        rule->map = json_object_get(value, "data");
        return nft_add_implied(rule->reader, &rule->conditions, &rule->key);
    }
    const struct statement *statement = find(statements, ARRAY_SIZE(statements), name);
    if (statement && (statement->verdict == PACKET_JUMP || statement->verdict == PACKET_GOTO)) {
        int r = find_target(rule, value, &rule->target);
        if (r < 0)
            return r;
    }
    return note(rule, statement);
}

static int finish(struct rule *rule)
{
    int r = 0;
    if (rule->map)
        r = add_map(rule);
    if (r < 0)
        return r;
    if (rule->decides)
        return add_rule(rule, rule->verdict, rule->target, PACKET_NONE);
    if (rule->map)
        return 0;
    return add_rule(rule, rule->may_decide ? PACKET_ELSEWHERE : PACKET_CONTINUE, PACKET_NONE, PACKET_NONE);
}

int nft_read_rule(struct nft_reader *reader, const json_t *object, uint32_t chain)
{
    struct rule rule = { .reader = reader, .number = chain, .target = PACKET_NONE,
                         .family = json_string_value(json_object_get(object, "family")), .table = json_string_value(json_object_get(object, "table")),
                         .chain = json_string_value(json_object_get(object, "chain")),
                         .comment = str_of(json_string_value(json_object_get(object, "comment"))) };
    const json_t *expr = json_object_get(object, "expr");
    size_t i;
    json_t *statement;
    if (!json_is_array(expr)) {
        error_set(reader->err, "table %.60s, chain %.60s: a rule without expr", rule.table, rule.chain);
        return -EINVAL;
    }
    json_array_foreach(expr, i, statement) {
        /* What stands behind a verdict is never reached. */
        if (rule.decides)
            break;
        int r = read_statement(&rule, statement);
        if (r < 0)
            return r;
    }
    return finish(&rule);
}
