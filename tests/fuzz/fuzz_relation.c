/* Two relations from bytes: their classes and matrices, united, intersected and subtracted, say what walking the rules says.
 *
 * A rule is 12 bytes: to which of the two it belongs and its protocol; two ranges of sources and one of destinations, as places on a small axis
 * that has every border in it; ports. */
#include <stdlib.h>

#include "policy/matrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RULE_BYTES = 12, AXIS = 64, RULES_MAX = 40 };

/* Eight addresses each around where families and halves of the axis begin and end. */
static struct address position(unsigned at)
{
    static const uint8_t bases[AXIS / 8][16] = {
        { 0 }, { [9] = 0, [10] = 0xff, [11] = 0xfe, [12] = 0xff, [13] = 0xff, [14] = 0xff, [15] = 0xf8 }, { [10] = 0xff, [11] = 0xff },
        { [10] = 0xff, [11] = 0xff, [12] = 100, [13] = 64 }, { [10] = 0xff, [11] = 0xff, [12] = 0xff, [13] = 0xff, [14] = 0xff, [15] = 0xf8 },
        { [9] = 1 }, { 0xfd, [15] = 0xf8 }, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf8 },
    };
    struct address address;
    memcpy(address.bytes, bases[at / 8 % (AXIS / 8)], sizeof address.bytes);
    address.bytes[15] = (uint8_t)(address.bytes[15] + at % 8);
    return address;
}

static struct relation_range range_of(uint8_t first, uint8_t last)
{
    return (struct relation_range){ position(first % AXIS), position(last % AXIS) };
}

/* False where the relation refuses it: backwards, or of two families. */
static bool add_selector(struct relation *relation, const struct relation_range *ranges, uint32_t n, uint32_t *ret)
{
    return relation_add_selector(relation, ranges, n, ret) == 0;
}

static void add_rule(struct relation *relation, const uint8_t *bytes)
{
    const struct relation_range sources[] = { range_of(bytes[1], bytes[2]), range_of(bytes[3], bytes[4]) }, to = range_of(bytes[5], bytes[6]);
    struct relation_rule rule = { .protocol_first = bytes[7], .protocol_last = bytes[7], .port_first = (uint16_t)(bytes[8] << 8 | bytes[9]) };
    rule.port_last = (uint16_t)(rule.port_first + bytes[10] > RELATION_PORT_MAX ? RELATION_PORT_MAX : rule.port_first + bytes[10]);
    if (bytes[0] & 2) {
        rule.port_first = 0;
        rule.port_last = RELATION_PORT_MAX;
        rule.protocol_last = bytes[11] > bytes[7] ? bytes[11] : bytes[7];
    }
    if (add_selector(relation, sources, bytes[0] & 4 ? 2 : 1, &rule.source) && add_selector(relation, &to, 1, &rule.destination) &&
        relation_add_rule(relation, &rule) != 0)
        abort();
}

static void demand(bool ok)
{
    if (!ok)
        abort();
}

static void check_rows(const struct matrix *matrix)
{
    for (uint32_t row = 0; row < matrix->n_rows; row++)
        for (uint32_t i = 0; i < matrix->rows[row].n; i++) {
            const struct matrix_interval *x = &matrix->rows[row].items[i], *before = i ? x - 1 : NULL;
            demand(x->first <= x->last && x->last < 1 << 24);
            demand(!before || before->destination < x->destination || (before->destination == x->destination && before->last + 1 < x->first));
        }
}

/* Every place to every place, on the ports at the edges of a rule. */
static void compare(const struct relation *relations, const struct matrix *m, uint8_t protocol, uint16_t port)
{
    for (unsigned i = 0; i < AXIS; i++)
        for (unsigned k = 0; k < AXIS; k++) {
            struct address from = position(i), to = position(k);
            bool a = relation_find_rule(&relations[0], &from, &to, protocol, port) != UINT32_MAX;
            bool b = relation_find_rule(&relations[1], &from, &to, protocol, port) != UINT32_MAX;
            const bool expected[] = { a, b, a || b, a && b, a && !b };
            for (unsigned what = 0; what < ARRAY_SIZE(expected); what++)
                demand(matrix_allows(&m[what], &from, &to, protocol, port) == expected[what]);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct relation relations[2];
    const struct relation *both[] = { &relations[0], &relations[1] };
    struct space *space = NULL;
    struct matrix m[5];
    size_t n = size / RULE_BYTES < RULES_MAX ? size / RULE_BYTES : RULES_MAX;
    relation_init(&relations[0]);
    relation_init(&relations[1]);
    for (size_t i = 0; i < n; i++)
        add_rule(&relations[data[i * RULE_BYTES] & 1], data + i * RULE_BYTES);
    demand(space_init(&space, both, 2) == 0);
    demand(matrix_of(space, both[0], &m[0]) == 0 && matrix_of(space, both[1], &m[1]) == 0);
    demand(matrix_unite(&m[0], &m[1], &m[2]) == 0 && matrix_intersect(&m[0], &m[1], &m[3]) == 0 && matrix_subtract(&m[0], &m[1], &m[4]) == 0);
    for (unsigned i = 0; i < ARRAY_SIZE(m); i++)
        check_rows(&m[i]);
    for (size_t i = 0; i < n && i < 4; i++) {
        const uint8_t *rule = data + i * RULE_BYTES;
        compare(relations, m, rule[7], (uint16_t)(rule[8] << 8 | rule[9]));
        compare(relations, m, rule[7], (uint16_t)((rule[8] << 8 | rule[9]) + rule[10] + 1));
    }
    for (unsigned i = 0; i < ARRAY_SIZE(m); i++)
        matrix_deinit(&m[i]);
    space_free(space);
    relation_deinit(&relations[0]);
    relation_deinit(&relations[1]);
    return 0;
}
