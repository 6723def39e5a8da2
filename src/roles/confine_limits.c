/* Resource limits: no core of a process that holds secrets or connections, and what the profile adds. */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "roles/confine_mechanism.h"

static int set_limit(int resource, uint64_t value, struct error *err)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) < 0) {
        error_set(err, "limit %d: %s", resource, strerror(errno));
        return -errno;
    }
    if (value == CONFINE_LIMIT_HARD) {
        limit.rlim_cur = limit.rlim_max;
    } else {
        /* A lower hard limit is somebody else's decision: it stays. */
        limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
        limit.rlim_max = limit.rlim_cur;
    }
    if (setrlimit((__rlimit_resource_t)resource, &limit) < 0) {
        error_set(err, "limit %d: %s", resource, strerror(errno));
        return -errno;
    }
    return 0;
}

int confine_limits(const struct confine_profile *profile, struct error *err)
{
    int r = set_limit(RLIMIT_CORE, 0, err);
    for (size_t i = 0; r == 0 && i < profile->n_limits; i++)
        if (profile->limits[i].resource != RLIMIT_DATA || !IS_SANITIZED)
            r = set_limit(profile->limits[i].resource, profile->limits[i].value, err);
    return r;
}
