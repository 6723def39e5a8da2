/* Exact equality of two relations, by asking both at every place where either may change. */
#pragma once

#include "policy/relation.h"

/* Fails the test where they differ. */
void same_assert(const struct relation *a, const struct relation *b, uint64_t seed);
