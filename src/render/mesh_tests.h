/* Tests for a mesh policy: what is declared must pass, what lies right beside it must not. Internal to src/render. */
#pragma once

#include "render/mesh_text.h"

/* Appends tests, as many as are useful: every source that a grant has, towards every host, by the ports that anybody is granted there, those
 * that expect: names, and ssh. Only those that hold for every machine of both sides are written. is_part: of what must not pass, only what
 * expect: names. 0, -ENOMEM, -E2BIG. */
int mesh_tests_write(const struct mesh_text *text, const struct flows *flows, const struct mesh_grants *grants, bool is_part, struct buf *out)
    must_check;
