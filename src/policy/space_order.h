/* Inside the cutting of the address axis: its elements, the ranges between all places where a used selector begins or ends. For space.c
 * and space_order.c only. */
#pragma once

#include <endian.h>

#include "policy/space.h"

enum { N_SIDES = 2, DIGIT_BITS = 11, DIGIT_MASK = (1 << DIGIT_BITS) - 1, MAPPED = 0xffff };
/* Ranges in all, and how many elements they may hold, each counted for itself: past either, the space is too big. */
enum { SPACE_RANGES_MAX = 1 << 24, SPACE_STEPS_MAX = INT32_MAX };

/* An address as two numbers, so that comparing takes no call. */
struct key {
    uint64_t hi, lo;
};

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
    struct relation_selector *selectors;  /* by id */
    uint8_t *sides;                       /* by id: bit per side that uses it */
    struct key *keys;                     /* where elements begin that are not of IPv4, ascending; the first is the axis's beginning */
    size_t n_keys, n_low;                 /* n_low: of keys, those below the mapped addresses */
    struct page_block *blocks[N_BLOCKS];
    struct page *pages;
    uint32_t n_pages, max_pages;
    uint32_t *v4;                         /* where elements of IPv4 begin; the first is 0.0.0.0 */
    uint32_t n_v4, n_elements;
    uint64_t n_steps;
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

/* Where an element begins, in the order of the axis. */
static inline struct key element_start(const struct cutting *c, uint32_t element)
{
    if (element < c->n_low)
        return c->keys[element];
    if (element >= c->n_low + c->n_v4)
        return c->keys[element - c->n_v4];
    return (struct key){ 0, (uint64_t)MAPPED << 32 | c->v4[element - c->n_low] };
}

/* Whether a family begins there. */
static inline bool is_border(const struct cutting *c, uint32_t element)
{
    return element == c->n_low || element == c->n_low + c->n_v4;
}

/* Gives equal selectors of all relations one number, large ones small numbers. 0, -ENOMEM, -E2BIG. */
int cutting_number_selectors(struct cutting *c) must_check;
/* Finds all elements. 0, -ENOMEM, -E2BIG. */
int cutting_find_elements(struct cutting *c) must_check;
/* The elements of each of a selector's ranges; ret has room for as many as ranges. */
void cutting_find_spans(const struct cutting *c, const struct relation_selector *selector, struct span *ret);
