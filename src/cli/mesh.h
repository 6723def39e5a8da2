/* A mesh policy's text among the declaration's hosts: what each of them would let in, as a layer. */
#pragma once

#include "base/error.h"
#include "model/model.h"
#include "observe/tailscale.h"
#include "render/tailscale.h"

/* The declared hosts as a mesh's machines: tags and users as they are bound. A host that is bound to neither belongs to somebody, nobody
 * knows to whom: to one person, the same for all of them. 0 or -ENOMEM, -E2BIG. */
int cli_mesh_nodes(const struct model *model, struct tailscale_nodes *ret) must_check;

/* What the policy lets pass to the declared hosts. Reasons name file, the line of the rule and, where the policy was rendered, the
 * declaration's lines: "grant 2 (postern.yml:41)". 0; TAILSCALE_E_INVALID or -ENOTSUP with err: it is refused, or depends on what the
 * declaration doesn't tell; -ENOMEM; -E2BIG. */
int cli_mesh_relation(const struct model *model, struct str text, const char *file, struct relation *relation, struct error *err) must_check;

/* The same among the machines that nodes_text lists (tailscale_nodes_read) instead of the declared ones. */
int cli_mesh_relation_of_nodes(struct str nodes_text, const char *nodes_file, struct str text, const char *file, struct relation *relation,
                               struct error *err) must_check;

/* Runs the policy's own tests among the declared hosts. 0; TAILSCALE_E_INVALID: one fails; otherwise as above. */
int cli_mesh_test(const struct model *model, struct str text, const char *file, struct error *err) must_check;

/* The layer as it will be rendered: the Tailscale policy is written and read back. Errors as above, and -EINVAL where it can't be written. */
int cli_mesh_rendered_relation(const struct model *model, struct relation *relation, struct error *err) must_check;
