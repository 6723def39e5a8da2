/* The layers as they will be rendered: written out, and the writing read back, so that what is judged is what will be in force. */
#pragma once

#include "base/error.h"
#include "cli/container_layer.h"
#include "policy/access.h"
#include "policy/explain.h"
#include "policy/gateway_layer.h"

/* The usual name of the mesh's interface, as postern render has it. */
#define LAYERS_MESH_INTERFACE "tailscale0"

/* Hosts times sources: past it there are too many firewalls to work each of them out. */
enum { LAYERS_WORK_MAX = 1 << 28 };

struct layers {
    const struct access *access;
    struct arena arena;
    struct relation mesh;
    struct relation *firewalls, *firewalls_lan;             /* of the hosts that have one that counts */
    uint32_t n_firewalls;
    const struct relation **firewall_of, **firewall_lan_of; /* by host; NULL where it has none */
    struct compile_output *images;              /* by gateway */
    struct gateway_layer *gateways;
    uint32_t n_gateways;
    struct container_layer containers;          /* of hosts that enforce projects */
    struct verify_layers all;                   /* of them, for proving and asking */
};

/* wanted, by host: whose firewalls are worked out; NULL: everybody's. The access and its model must outlive the layers.
 * 0; -ENOMEM; -E2BIG; -EINVAL with err when a layer can't be written or read. */
int layers_init(struct layers *ret, const struct access *access, const bool *wanted, struct error *err) must_check;
void layers_deinit(struct layers *layers);
#define cleanup_layers cleanup(layers_deinit)
