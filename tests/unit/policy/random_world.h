/* Small declarations made from a seed, dense with what goes wrong: nested prefixes, hosts inside them, restricted services, patterns. */
#pragma once

#include "world.h"

/* splitmix64: the same numbers everywhere. */
static inline uint64_t random_next(uint64_t *seed)
{
    uint64_t z = (*seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint32_t random_below(uint64_t *seed, uint32_t n)
{
    return (uint32_t)(random_next(seed) % n);
}

/* Initialises w. Host 0 is a gateway that serves every surface. */
void random_world(struct world *w, uint64_t seed);

enum { PROBES_MAX = 160 };
/* Addresses that tell principals apart: every declared one, the edges of every prefix and what is just outside of them, strangers. */
uint32_t random_probes(const struct world *w, uint64_t seed, struct address probes[static PROBES_MAX]);
