/* Selectors of a mesh policy as text. Internal to src/render. */
#pragma once

#include "base/buf.h"
#include "base/table.h"
#include "render/mesh_grants.h"

struct mesh_text {
    const struct model *model;
    struct table host_names;      /* of declared hosts */
};

int mesh_text_init(struct mesh_text *ret, const struct model *model) must_check;
void mesh_text_deinit(struct mesh_text *text);
#define cleanup_mesh_text cleanup(mesh_text_deinit)

/* The tag or user of a segment or host; empty of others. */
struct str mesh_text_binding(const struct mesh_text *text, const struct mesh_selector *selector);
/* What "hosts" calls an address of a host: its name, or NAME-2 and so on. False: it has no such name, another host is called so. */
bool mesh_text_alias(const struct mesh_text *text, const struct mesh_selector *selector, char ret[static 80]);
/* Calls for each text that the selector is, without quotes: one, or a range's prefixes. */
void mesh_text_each(const struct mesh_text *text, const struct mesh_selector *selector, void (*call)(void *context, struct str item), void *context);
