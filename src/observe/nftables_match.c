/* Match statements, as conditions: a set is made for each, of a named one once per way in which it is looked at. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include "observe/nftables_reader.h"

enum { KEY_SIZE = 1024, TEXT_SIZE = 300 };

/* ---- conditions ---- */

int nft_add_condition(struct nft_reader *reader, struct nft_conditions *conditions, uint32_t set, uint8_t family, bool negated)
{
    if (reader->filter->error)
        return reader->filter->error;
    if (conditions->n == NFT_MATCHES_MAX) {
        error_set(reader->err, "a rule with more than %d conditions", NFT_MATCHES_MAX);
        return -EINVAL;
    }
    conditions->items[conditions->n++] = (struct packet_match){ set, family, negated };
    return 0;
}

static int add_simple(struct nft_reader *reader, struct nft_conditions *conditions, uint8_t field, struct relation_range range, uint8_t family)
{
    const struct packet_set set = { .fields = { field }, .n_fields = 1, .family = family };
    uint32_t index = packet_filter_add_set(reader->filter, &set);
    packet_filter_add_element(reader->filter, &range, PACKET_NONE);
    return nft_add_condition(reader, conditions, index, family, false);
}

int nft_add_other(struct nft_reader *reader, struct nft_conditions *conditions, uint8_t family)
{
    return add_simple(reader, conditions, PACKET_OTHER, packet_number(0, UINT32_MAX), family);
}

int nft_add_implied(struct nft_reader *reader, struct nft_conditions *conditions, const struct nft_operand *operand)
{
    int r = 0;
    if (operand->is_never)
        return add_simple(reader, conditions, PACKET_ICMP_TYPE, packet_number(0, 0), PACKET_ANY_FAMILY);
    if (operand->protocol)
        r = add_simple(reader, conditions, PACKET_PROTOCOL, packet_number(operand->protocol, operand->protocol), PACKET_ANY_FAMILY);
    return r;
}

/* ---- elements ---- */

/* A place in the declaration, or what people call this element. */
static uint32_t reason_of(struct nft_reader *reader, const char *set_name, struct str comment)
{
    char text[TEXT_SIZE];
    uint32_t place = packet_filter_add_place(reader->filter, comment);
    if (place != PACKET_NONE)
        return place;
    int n = snprintf(text, sizeof text, "set %s: %.*s", set_name, STR_ARG(str_first(comment, 128)));
    struct str whole = str_make(text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    return packet_filter_add_reason(reader->filter, (struct relation_reason){ reader->filter->name, 0, whole });
}

/* Without what surrounds an element's value: counters, comments, time left. */
static const json_t *bare(const json_t *element, const json_t **ret_comment)
{
    const json_t *inner = json_object_get(element, "elem");
    *ret_comment = inner ? json_object_get(inner, "comment") : NULL;
    return inner ? json_object_get(inner, "val") : element;
}

/* One element whose value isn't understood makes the whole set one that can't be told. */
static bool elements_are_known(const struct nft_operand *operand, const json_t *elements)
{
    struct relation_range values[PACKET_SET_FIELDS_MAX];
    const json_t *comment;
    size_t i;
    json_t *element;
    json_array_foreach(elements, i, element)
        if (!nft_value_read(operand, bare(element, &comment), values))
            return false;
    return true;
}

static void add_elements(struct nft_reader *reader, const struct nft_operand *operand, const char *set_name, const json_t *elements)
{
    struct relation_range values[PACKET_SET_FIELDS_MAX];
    size_t i;
    json_t *element;
    json_array_foreach(elements, i, element) {
        const json_t *comment;
        if (!nft_value_read(operand, bare(element, &comment), values))
            continue;
        uint32_t reason = json_is_string(comment) ? reason_of(reader, set_name, str_of(json_string_value(comment))) : PACKET_NONE;
        packet_filter_add_element(reader->filter, values, reason);
    }
}

static uint32_t add_set(struct nft_reader *reader, const struct nft_operand *operand, const char *name, uint32_t table, const json_t *elements)
{
    struct packet_set set = { .table = table, .name = str_of(name), .n_fields = operand->n_fields, .family = operand->family };
    memcpy(set.fields, operand->fields, sizeof set.fields);
    uint32_t index = packet_filter_add_set(reader->filter, &set);
    add_elements(reader, operand, name ? name : "", elements);
    return index;
}

/* ---- named sets ---- */

const struct nft_set *nft_find_set(const struct nft_reader *reader, const char *family, const char *table_name, const char *name)
{
    char key[KEY_SIZE];
    uint32_t index;
    int n = snprintf(key, sizeof key, "%s %s %s", family, table_name, name);
    if (n < 0 || (size_t)n >= sizeof key || !table_get(&reader->sets, str_make(key, (size_t)n), &index))
        return NULL;
    return (const struct nft_set *)(const void *)reader->listed.ptr + index;
}

static int read_named(struct nft_reader *reader, struct nft_conditions *conditions, const struct nft_operand *operand, const char *family,
                      const char *table_name, const char *name, bool negated)
{
    const struct nft_set *set = nft_find_set(reader, family, table_name, name);
    uint32_t index;
    if (!set) {
        error_set(reader->err, "a rule of table %.60s speaks of a set '%.60s' that isn't listed", table_name, name);
        return -EINVAL;
    }
    const json_t *elements = json_object_get(set->object, "elem");
    if (elements && !json_is_array(elements)) {
        error_set(reader->err, "set '%.60s': its elements are no list", name);
        return -EINVAL;
    }
    char letters[PACKET_SET_FIELDS_MAX + 1] = "";
    for (unsigned i = 0; i < operand->n_fields; i++)
        letters[i] = (char)((operand->is_nfproto[i] ? 'A' : 'a') + operand->fields[i]);
    struct str key = arena_printf(&reader->arena, "%s %s %s %u %s", family, table_name, name, operand->family, letters);
    if (!key.ptr)
        return -ENOMEM;
    if (!table_get(&reader->made, key, &index)) {
        bool is_known = !set->is_changing && elements_are_known(operand, elements);
        index = is_known ? add_set(reader, operand, name, set->table, elements) : PACKET_NONE;
        int r = table_add(&reader->made, key, index, NULL);
        if (r < 0)
            return r;
    }
    return index == PACKET_NONE ? nft_add_other(reader, conditions, operand->family) : nft_add_condition(reader, conditions, index, operand->family, negated);
}

/* ---- match ---- */

/* "tcp dport > 1024" as the ports that it means. */
static bool read_ordered(const struct nft_operand *operand, const char *op, const json_t *right, struct relation_range *ret)
{
    uint32_t max = operand->fields[0] == PACKET_PORT ? UINT16_MAX : operand->fields[0] == PACKET_PROTOCOL ? UINT8_MAX : UINT32_MAX;
    bool is_less = op[0] == '<', is_equal = op[1] == '=';
    if (operand->n_fields != 1 || (operand->fields[0] != PACKET_PORT && operand->fields[0] != PACKET_PROTOCOL && operand->fields[0] != PACKET_UID) ||
        !json_is_integer(right) || json_integer_value(right) < 0 || json_integer_value(right) > max)
        return false;
    json_int_t first = is_less ? 0 : json_integer_value(right) + !is_equal, last = is_less ? json_integer_value(right) - !is_equal : max;
    if (first > last)
        return false;
    *ret = packet_number((uint32_t)first, (uint32_t)last);
    return true;
}

/* The values as a list of elements: a set, several flags, or one. */
static json_t *listed(const char *op, const json_t *right)
{
    json_t *set = json_object_get(right, "set");
    if (json_is_array(set))
        return json_incref(set);
    if (strcmp(op, "in") == 0 && json_is_array(right))
        return json_incref((json_t *)(uintptr_t)right);
    json_t *one = json_array();
    if (one && json_array_append(one, (json_t *)(uintptr_t)right) < 0) {
        json_decref(one);
        return NULL;
    }
    return one;
}

static int read_values(struct nft_reader *reader, struct nft_conditions *conditions, const struct nft_operand *operand, const char *op, const json_t *right,
                       bool negated)
{
    json_t *values = listed(op, right);
    if (!values)
        return -ENOMEM;
    bool is_known = elements_are_known(operand, values);
    uint32_t set = is_known ? add_set(reader, operand, NULL, PACKET_NONE, values) : PACKET_NONE;
    json_decref(values);
    return is_known ? nft_add_condition(reader, conditions, set, operand->family, negated) : nft_add_other(reader, conditions, operand->family);
}

int nft_read_match(struct nft_reader *reader, struct nft_conditions *conditions, const char *family, const char *table_name, const json_t *match)
{
    const char *op = json_string_value(json_object_get(match, "op"));
    const json_t *left = json_object_get(match, "left"), *right = json_object_get(match, "right");
    struct nft_operand operand;
    struct relation_range range;
    if (!op || !left || !right) {
        error_set(reader->err, "a match without op, left and right");
        return -EINVAL;
    }
    nft_operand_read(left, 0, &operand);
    int r = nft_add_implied(reader, conditions, &operand);
    if (r < 0)
        return r;
    bool is_states = operand.n_fields == 1 && operand.fields[0] == PACKET_CT_STATE, negated = strcmp(op, "!=") == 0 || strcmp(op, "!") == 0;
    if (strchr("<>", op[0]) && op[0])
        return read_ordered(&operand, op, right, &range) ? add_simple(reader, conditions, operand.fields[0], range, operand.family) :
                                                           nft_add_other(reader, conditions, operand.family);
    if (strcmp(op, "==") != 0 && strcmp(op, "!=") != 0 && !(is_states && (strcmp(op, "in") == 0 || strcmp(op, "!") == 0)))
        return nft_add_other(reader, conditions, operand.family);
    const char *text = json_string_value(right);
    if (text && text[0] == '@')
        return read_named(reader, conditions, &operand, family, table_name, text + 1, negated);
    return read_values(reader, conditions, &operand, is_states ? "in" : op, right, negated);
}
