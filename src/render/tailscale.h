/* The declaration as a mesh's policy: a Tailscale policy file, or the subset of it that Headscale takes.
 *
 * Grants let pass exactly what is declared to pass between hosts; they always are there, so that what they don't name is denied. Segments
 * and hosts that are bound to a tag or a user are spoken of by it, the others by their addresses, IPv4 and IPv6. The tests are made from
 * what is declared, from expect: and from what lies right beside it; the control plane refuses a policy that fails one. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "model/model.h"

enum render_mesh_dialect { RENDER_TAILSCALE, RENDER_HEADSCALE };

struct render_mesh_options {
    enum render_mesh_dialect dialect;
    struct str revision;          /* hex digest of the declaration, for the header; may be empty */
    bool without_tests;           /* what is read back at once needs none */
    bool is_part;                 /* other grants stand beside these: only what expect: forbids is tested to be denied */
};

/* What a policy consists of, as lines that each end in a comma: members of "tagOwners" and "hosts" one a line, grants (a line of comment
 * and one of grant each) and tests. */
struct render_mesh_sections {
    struct buf tag_owners, hosts, grants, tests;
};

/* 0; -EINVAL with err where the dialect can't say it; -ENOMEM, -E2BIG. The caller deinits after success only. */
int render_mesh_sections_make(const struct model *model, const struct render_mesh_options *options, struct render_mesh_sections *ret,
                              struct error *err) must_check;
void render_mesh_sections_deinit(struct render_mesh_sections *sections);
#define cleanup_render_mesh_sections cleanup(render_mesh_sections_deinit)

/* The header's lines, each after "// ". */
void render_mesh_header_write(struct buf *out, const struct model *model, const struct render_mesh_options *options);
/* The whole file. */
int render_mesh_policy(const struct model *model, const struct render_mesh_options *options, struct buf *out, struct error *err) must_check;
int render_tailscale(const struct model *model, struct str revision, struct buf *out, struct error *err) must_check;
int render_headscale(const struct model *model, struct str revision, struct buf *out, struct error *err) must_check;
