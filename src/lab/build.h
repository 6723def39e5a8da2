/* Making a lab's mounts, namespaces, links and rules, from inside its supervisor. */
#pragma once

#include "lab/world.h"

/* The calling process is init of the lab's PID namespace, in mount and network namespaces of its own; that network namespace becomes
 * the mesh. All: 0, or a negative errno with err. */
int build_mounts(const struct model *model, struct error *err) must_check;
/* Every host's namespaces (containers too), links and addresses; the mesh that joins them, the LAN beside it. */
int build_networks(const struct world *world, struct error *err) must_check;
/* The mesh's rules, and those of each Linux host. */
int build_rules(const struct world *world, struct error *err) must_check;
/* Writes text to a file below SPACE_ROOT (or any path), replacing it whole. */
int build_file(const char *path, struct str text, struct error *err) must_check;
