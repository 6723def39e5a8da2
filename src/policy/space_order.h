/* Inside the cutting of the address axis: its ranges in order, and the sweep's state. For space.c and space_order.c only. */
#pragma once

#include <endian.h>

#include "policy/space.h"

enum { N_SIDES = 2, DIGIT_BITS = 11, DIGIT_MASK = (1 << DIGIT_BITS) - 1, SORT_FEW = 32, MAPPED = 0xffff };
/* Ranges in all, and how many selectors the sweep may look at on its way, over and over: past either, the space is too big. */
enum { SPACE_RANGES_MAX = 1 << 24, SPACE_STEPS_MAX = INT32_MAX };

/* An address as two numbers, so that comparing takes no call. */
struct key {
    uint64_t hi, lo;
};

/* A range of a used selector. */
struct item {
    struct key first;
    uint32_t id;
    uint32_t k;          /* its number in the selector, or ITEM_SINGLE for one address */
};

enum { ITEM_SINGLE = UINT32_MAX };

/* The same of IPv4, half the size: of these there are most. */
struct item_v4 {
    uint32_t first, id, k;
};

/* A selector that holds the address where the sweep is. */
struct active {
    struct key last;
    uint32_t id;
};

struct sweep_side {
    struct space_part *part;
    struct active *active;  /* by id */
    uint32_t n, max;
    uint32_t *singles;      /* ids that hold this one address only, ascending */
    uint32_t n_singles, max_singles;
    uint32_t *list;         /* scratch of as many as both */
    uint32_t around;        /* + 1: the class of the active ones without singles; 0: not known */
    struct space_lists lists;
    uint32_t *class_of_single; /* by id: of the addresses in that one selector alone, + 1 */
    bool is_changed;
};

struct cutting {
    struct space *space;
    struct relation_selector *selectors;  /* by id */
    uint8_t *sides;                       /* by id: bit per side that uses it */
    struct item *items, *spare;           /* of IPv6: first those below the mapped addresses */
    struct item_v4 *v4;
    unsigned v4_shift;                    /* to the first bits in which IPv4 addresses differ */
    size_t n_items, n_low, n_v4;
    uint64_t n_steps;
    struct sweep_side side[N_SIDES];
};

static inline struct key key_of(const struct address *address)
{
    struct key key;
    memcpy(&key.hi, address->bytes, 8);
    memcpy(&key.lo, address->bytes + 8, 8);
    return (struct key){ be64toh(key.hi), be64toh(key.lo) };
}

static inline struct address address_of(struct key key)
{
    struct address address;
    key = (struct key){ htobe64(key.hi), htobe64(key.lo) };
    memcpy(address.bytes, &key.hi, 8);
    memcpy(address.bytes + 8, &key.lo, 8);
    return address;
}

static inline bool is_before(struct key a, struct key b)
{
    return a.hi != b.hi ? a.hi < b.hi : a.lo < b.lo;
}

static inline bool is_same(struct key a, struct key b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* False past the end of the axis. */
static inline bool key_step(struct key *key)
{
    key->lo++;
    if (key->lo == 0)
        key->hi++;
    return key->lo || key->hi;
}

/* Where a family ends and the other one begins: no range of a class goes across. */
static const struct key space_borders[] = { { 0, UINT64_C(0x0000ffff00000000) }, { 0, UINT64_C(0x0001000000000000) } };

/* The i-th of all, in the order of the axis. */
static inline struct item item_at(const struct cutting *c, size_t i)
{
    if (i < c->n_low)
        return c->items[i];
    if (i >= c->n_low + c->n_v4)
        return c->items[i - c->n_v4];
    const struct item_v4 *v4 = &c->v4[i - c->n_low];
    return (struct item){ { 0, (uint64_t)MAPPED << 32 | v4->first }, v4->id, v4->k };
}

static inline size_t count_all(const struct cutting *c)
{
    return c->n_items + c->n_v4;
}

/* Gives equal selectors of all relations one number. 0, -ENOMEM, -E2BIG. */
int cutting_number_selectors(struct cutting *c) must_check;
/* Takes the ranges of all used selectors and sorts them by where they begin. 0, -ENOMEM, -E2BIG. */
int cutting_sort(struct cutting *c) must_check;
