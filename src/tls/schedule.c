/* When certificates are renewed, and when what failed is tried again. */
#include "tls/schedule.h"

/* A part of range, [0, range), from the seed alone; splitmix64's finalizer spreads seeds that are near each other. */
static int64_t spread(int64_t range, uint64_t seed)
{
    seed += 0x9e3779b97f4a7c15U;
    seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9U;
    seed = (seed ^ seed >> 27) * 0x94d049bb133111ebU;
    seed ^= seed >> 31;
    return range > 0 ? (int64_t)(seed % (uint64_t)range) : 0;
}

int64_t tls_renewal_time(int64_t not_before, int64_t not_after, uint64_t seed)
{
    if (not_after <= not_before)
        return not_before;
    int64_t life = not_after - not_before;
    return not_before + life / 3 * 2 - spread(life / 15, seed);
}

int64_t tls_retry_delay(uint32_t n_failures, int64_t first_s, int64_t max_s, uint64_t seed)
{
    int64_t delay = first_s;
    for (uint32_t i = 1; i < n_failures && delay < max_s; i++)
        delay *= 2;
    if (delay > max_s)
        delay = max_s;
    return delay + spread(delay / 4, seed + n_failures);
}
