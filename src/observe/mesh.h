/* The machines on a mesh as its own client tells them: "tailscale status --json", of Tailscale or Headscale. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

enum { OBSERVE_MESH_TEXT_MAX = 64 << 20, OBSERVE_MESH_NODES_MAX = 4096, OBSERVE_MESH_ADDRESSES_MAX = 4, OBSERVE_MESH_TAGS_MAX = 16 };

struct observe_mesh_node {
    struct str name;                 /* what the mesh calls it: "roc" of "roc.tail1234.ts.net" */
    struct str os;                   /* "linux", "macOS", "iOS", "android", "windows", "" */
    struct str user;                 /* whose it is: "alice@example.org"; "" for a tagged machine */
    bool is_self;
    struct str addresses[OBSERVE_MESH_ADDRESSES_MAX], tags[OBSERVE_MESH_TAGS_MAX]; /* tags with "tag:"; addresses are such */
    uint32_t n_addresses, n_tags;
};

struct observe_mesh {
    struct arena arena;
    struct observe_mesh_node *nodes; /* this machine first, then by name */
    uint32_t n_nodes;
};

/* Machines that are others' (shared in, the operator's own relays) are left out. 0; -EINVAL with err; -E2BIG; -ENOMEM. Release it also after a
 * failure. */
int observe_mesh_read(struct str text, struct observe_mesh *ret, struct error *err) must_check;
void observe_mesh_deinit(struct observe_mesh *mesh);
#define cleanup_observe_mesh cleanup(observe_mesh_deinit)
/* Appends what the client says; a short-lived child. -ENOENT: there is none on this machine. As program_run. */
int observe_mesh_ask(struct buf *out, struct error *err) must_check;
