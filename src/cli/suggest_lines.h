/* What was seen, as services and grants of a declaration. */
#pragma once

#include "enforce/putting.h"
#include "enforce/seen.h"

/* Appends the lines, for people or as JSON; *ret_is_any: there is a grant or a remark. containers: for the ports of services that the declaration
 * doesn't have yet. 0, -ENOMEM, -E2BIG. */
int suggest_lines_write(const struct put_declaration *declaration, const struct docker_containers *containers, const struct seen *seen, bool json,
                        struct buf *out, bool *ret_is_any) must_check;
