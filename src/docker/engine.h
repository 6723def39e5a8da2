/* What kind of engine answers: GET /version and GET /info. As docker/container.h: into the caller's arena, unknown fields ignored. */
#pragma once

#include "docker/container.h"

struct docker_version {
    struct str version, api_version, min_api_version; /* of the engine */
    bool is_podman;
};

struct docker_info {
    struct str name, root_directory, storage_driver, cgroup_version;
    bool is_rootless;      /* its networks live in a namespace of RootlessKit's, not in this host's */
    bool has_userns_remap;
    bool is_live_restore;  /* containers outlive dockerd */
    bool calls_iptables_for_bridges; /* bridge-nf-call-iptables was set when it was asked; false when it didn't say */
    struct str firewall;   /* "iptables", "nftables", "iptables+firewalld", ...; "" before API 1.49 */
};

/* 0; -EINVAL, -E2BIG, -ENOMEM. */
int docker_version_parse(struct str body, struct arena *arena, struct docker_version *ret, struct error *err) must_check;
int docker_info_parse(struct str body, struct arena *arena, struct docker_info *ret, struct error *err) must_check;
