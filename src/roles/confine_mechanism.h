/* The mechanisms behind confine_apply. Each returns 0 (in force), CONFINE_E_MISSING (kernel or rights lack it), or a negative errno with err. */
#pragma once

#include "roles/confine.h"

enum { CONFINE_E_MISSING = 1 };

int confine_limits(const struct confine_profile *profile, struct error *err) must_check;
/* Empties the bounding set but for the profile's capabilities: while CAP_SETPCAP is still there. */
int confine_bounding(const struct confine_profile *profile, struct error *err) must_check;
/* Becomes uid and gid with no other group; capabilities that the profile keeps survive it. */
int confine_uid(uint32_t uid, uint32_t gid, struct error *err) must_check;
/* Leaves exactly the profile's capabilities, of those the process has. */
int confine_capabilities(const struct confine_profile *profile, struct error *err) must_check;
int confine_no_new_privileges(struct error *err) must_check;
int confine_landlock(const struct confine_profile *profile, struct error *err) must_check;
int confine_seccomp(const struct confine_profile *profile, struct error *err) must_check;
