/* A network as the Engine API describes it. As docker/container.h: into the caller's arena, texts end with a NUL, unknown fields ignored. */
#pragma once

#include "docker/container.h"

enum { DOCKER_NETWORKS_MAX = 16384 };

struct docker_subnet {
    struct address_prefix prefix;
    bool has_gateway;
    struct address gateway; /* the bridge's own address, where it has one */
};

struct docker_network {
    struct str id, name, driver;   /* driver: "bridge", "host", "null", "macvlan", "ipvlan", "overlay", ... */
    struct str scope;              /* "local", "swarm" */
    struct str project, key;       /* Compose's labels: project, and the network's key in the file; "" without */
    bool is_internal, is_attachable, is_ingress, has_ipv6;
    struct str bridge;             /* the host's interface of a bridge network ("docker0", "br-0123456789ab", or as named); "" for other drivers */
    bool icc;                      /* containers on it reach each other: com.docker.network.bridge.enable_icc, true without */
    bool masquerade;               /* com.docker.network.bridge.enable_ip_masquerade, true without */
    struct str gateway_mode_v4, gateway_mode_v6; /* "nat" without: "nat", "nat-unprotected", "routed", "isolated" */
    struct str host_binding_v4;    /* where its ports are published when nobody says where; "" for everywhere */
    struct str trusted_interfaces; /* com.docker.network.bridge.trusted_host_interfaces */
    struct str parent;             /* macvlan, ipvlan: the host's interface */
    uint32_t n_subnets;
    const struct docker_subnet *subnets;
    uint32_t n_labels, n_options;
    const struct docker_label *labels, *options;
};

struct docker_networks {
    uint32_t n;
    struct docker_network *items; /* by name, then ID */
};

/* GET /networks. 0; -EINVAL, -E2BIG, -ENOMEM. */
int docker_networks_parse(struct str body, struct arena *arena, struct docker_networks *ret, struct error *err) must_check;
/* GET /networks/ID. As above. */
int docker_network_parse(struct str body, struct arena *arena, struct docker_network *ret, struct error *err) must_check;
/* By ID, or NULL. */
const struct docker_network *docker_network_find(const struct docker_networks *networks, struct str id) pure_function;
