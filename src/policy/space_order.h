/* Inside the cutting of the address axis: its elements, the ranges between all places where a used selector begins or ends. For space.c
 * and space_order.c only. */
#pragma once

#include <endian.h>

#include "policy/space.h"

enum { N_SIDES = 2, DIGIT_BITS = 11, DIGIT_MASK = (1 << DIGIT_BITS) - 1, MAPPED = 0xffff };
/* Ranges in all, and how many elements they may hold, each counted for itself: past either, the space is too big. */
enum { SPACE_RANGES_MAX = 1 << 24, SPACE_STEPS_MAX = INT32_MAX };

/* 256 IPv4 addresses: a bit for each at which an element begins, and how many begin before each 64. */
struct page {
    uint64_t bits[4];
    uint32_t before[4];
};

enum { PAGE_BITS = 8, BLOCK_BITS = 12, BLOCK_MASK = (1 << BLOCK_BITS) - 1, N_BLOCKS = 1 << (32 - PAGE_BITS - BLOCK_BITS) };

/* Numbers of pages + 1; 0: nothing begins there. */
struct page_block {
    uint32_t pages[1 << BLOCK_BITS];
};

/* The elements that a range holds. */
struct span {
    uint32_t first, end;
};

struct cutting {
    struct space *space;
    struct space_axis *axis;              /* the space's */
    struct arena arena;                   /* scratch: all below but the pages */
    struct relation_selector *selectors;  /* by id */
    uint8_t *sides;                       /* by id: bit per side that uses it */
    struct page_block *blocks[N_BLOCKS];
    struct page *pages;
    uint32_t n_pages, max_pages;
    uint64_t n_steps;
};

static inline struct space_key key_of(const struct address *address)
{
    return (struct space_key){ address_half(address, 0), address_half(address, 1) };
}

static inline struct address address_of(struct space_key key)
{
    struct address address;
    key = (struct space_key){ htobe64(key.hi), htobe64(key.lo) };
    memcpy(address.bytes, &key.hi, 8);
    memcpy(address.bytes + 8, &key.lo, 8);
    return address;
}

static inline bool is_before(struct space_key a, struct space_key b)
{
    return a.hi != b.hi ? a.hi < b.hi : a.lo < b.lo;
}

static inline bool is_same(struct space_key a, struct space_key b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* False past the end of the axis. */
static inline bool key_step(struct space_key *key)
{
    key->lo++;
    if (key->lo == 0)
        key->hi++;
    return key->lo || key->hi;
}

/* Where a family ends and the other one begins: no range of a class goes across. */
static const struct space_key space_borders[] = { { 0, UINT64_C(0x0000ffff00000000) }, { 0, UINT64_C(0x0001000000000000) } };

/* Where an element begins, in the order of the axis. */
static inline struct space_key element_start(const struct space_axis *axis, uint32_t element)
{
    if (element < axis->n_low)
        return axis->keys[element];
    if (element >= axis->n_low + axis->n_v4)
        return axis->keys[element - axis->n_v4];
    return (struct space_key){ 0, (uint64_t)MAPPED << 32 | axis->v4[element - axis->n_low] };
}

/* Whether a family begins there. */
static inline bool is_border(const struct space_axis *axis, uint32_t element)
{
    return element == axis->n_low || element == axis->n_low + axis->n_v4;
}

/* Gives equal selectors of all relations one number, large ones small numbers. 0, -ENOMEM, -E2BIG. */
int cutting_number_selectors(struct cutting *c) must_check;
/* Finds all elements. 0, -ENOMEM, -E2BIG. */
int cutting_find_elements(struct cutting *c) must_check;
/* The elements of a range of a selector. *at: 0 before the selector's first; its ranges must be asked for in their order. */
struct span cutting_find_span(const struct cutting *c, const struct relation_range *range, size_t *at);
