/* Packet filters made from a seed, dense with what goes wrong: nested ranges, negation, jumps back and forth, several base chains on one hook. */
#pragma once

#include "policy/packet_filter.h"
#include "random_world.h"

enum { RANDOM_FILTER_UNKNOWN = 1 }; /* with conditions that can't be told */

/* Initialises and seals. */
void random_filter(struct packet_filter *filter, uint64_t seed, unsigned flags);
/* Addresses and ports in and around those that such a filter speaks of. */
struct address random_filter_address(uint64_t *seed);
uint16_t random_filter_port(uint64_t *seed);
