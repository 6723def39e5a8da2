/* When certificates are renewed, and when what failed is tried again. Pure: times are handed in, in seconds. */
#pragma once

#include <stdint.h>

#include "base/macros.h"

/* When to renew what is valid from not_before to not_after: between 60 % and two thirds of its life, where in between is the seed's choice,
 * so that certificates made together don't come due together; the same seed always gives the same time. */
int64_t tls_renewal_time(int64_t not_before, int64_t not_after, uint64_t seed) pure_function;

/* How long to wait after the n-th failure in a row (n >= 1): first_s, doubled each time up to max_s, and up to a quarter more by the seed. */
int64_t tls_retry_delay(uint32_t n_failures, int64_t first_s, int64_t max_s, uint64_t seed) pure_function;
