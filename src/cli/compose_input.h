/* A Compose project as "postern render compose" takes it: from the containers that run, or from what "docker compose config" writes. */
#pragma once

#include "cli/render.h"
#include "render/compose.h"

/* Appends the override file of given->project; as render_target's write. */
int cli_compose_write(const struct render_given *given, struct buf *out, struct error *err) must_check;

/* Internal, for tests of the parts: services by name, texts in the arena. */
struct compose_file {
    struct compose_service *services;
    uint32_t n_services;
};
/* A Compose file without anchors and includes, YAML or JSON. 0; -EINVAL with err (place and what to do); -E2BIG, -ENOMEM. */
int compose_file_read(struct str text, const char *path, struct arena *arena, struct compose_file *ret, struct error *err) must_check;
