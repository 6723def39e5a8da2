/* A mesh policy that is there already, with the declaration's part put into it. */
#pragma once

#include "cli/mesh.h"

/* Appends base with the declaration's grants, hosts, tags and tests put between marks; what stood between such marks before is gone,
 * everything else is as it was, comments too. What the policy then lets pass beside the declaration is listed on standard error.
 * 0; -EINVAL with err: base can't be read, says a name differently, or the whole is refused (a test of it fails, say); -ENOMEM; -E2BIG. */
int cli_mesh_merge(const struct model *model, const struct render_mesh_options *options, struct str base, const char *base_path, struct buf *out,
                   struct error *err) must_check;
