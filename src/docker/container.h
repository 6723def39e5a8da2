/* A container as the Engine API describes it: what list and inspect say, without what nobody here asks about.
 *
 * Parsers take the body of an answer and put everything into the caller's arena; every text ends with a NUL and is "" where nothing was
 * said, except where a field says "may be NULL". Unknown fields are ignored, missing ones are empty; a field of another type than the
 * API's is a missing one. The engine is trusted to say what runs, not to be in good health: nothing it sends costs more than
 * DOCKER_JSON_MEMORY_MAX. The arena may hold part of the answer after a failure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/address.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/macros.h"
#include "base/str.h"

enum {
    DOCKER_JSON_MEMORY_MAX = 256 << 20, /* while one answer is read */
    DOCKER_CONTAINERS_MAX = 65536,      /* in one list */
    DOCKER_TEXT_MAX = 4096,             /* of one name, label, path: longer ones are missing ones */
    DOCKER_ID_LEN = 64,
};

enum docker_state {
    DOCKER_STATE_UNKNOWN, DOCKER_CREATED, DOCKER_RUNNING, DOCKER_PAUSED, DOCKER_RESTARTING, DOCKER_REMOVING, DOCKER_EXITED, DOCKER_DEAD
};

/* Whose network namespace a container uses. */
enum docker_network_mode {
    DOCKER_NETWORKS,         /* its own, on the networks that it lists */
    DOCKER_NETWORK_NONE,     /* its own, with nothing but lo */
    DOCKER_NETWORK_HOST,     /* the host's */
    DOCKER_NETWORK_CONTAINER /* another container's: network_peer */
};

struct docker_label {
    struct str key, value;
};

/* One network that the container is attached to. */
struct docker_endpoint {
    struct str network, network_id, endpoint_id; /* network: its name. endpoint_id: "" while the container is not running */
    bool has_v4, has_v6;
    struct address v4, v6, gateway_v4, gateway_v6; /* a gateway of zero bytes: none */
    uint8_t v4_bits, v6_bits;                      /* of the subnet, as address_prefix counts them (a /24 of IPv4 is 120) */
    uint32_t n_aliases;
    const struct str *aliases;                     /* names by which others on this network find it */
};

/* A port of the container: published at an address of the host, or only exposed (metadata that opens nothing). */
struct docker_port {
    uint16_t port, host_port;    /* host_port 0: not published, or published at a port that is chosen at start */
    uint16_t host_port_last;     /* is_range: one of host_port to host_port_last is chosen at start */
    uint8_t protocol;            /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
    bool is_published, is_range;
    struct address host_address; /* published: where; 0.0.0.0 or :: for all. Without an address of its own (a stopped container's): :: */
};

struct docker_mount {
    struct str type, source, destination; /* "bind", "volume", ...; source: a path of the host */
    bool is_writable;
};

struct docker_container {
    struct str id, name, image, image_id; /* name: without the leading slash */
    struct str project, service;         /* Compose's labels, "" without */
    uint32_t number;                     /* Compose's container-number, 0 without */
    bool is_oneoff;                      /* "docker compose run" */
    struct str project_directory, project_files; /* com.docker.compose.project.working_dir, .config_files */
    uint32_t n_labels;
    const struct docker_label *labels;   /* all of them, by key */
    enum docker_state state;
    bool is_running;                     /* has a process: also while paused */
    enum docker_network_mode network_mode;
    struct str network_mode_text;        /* "default", "bridge", "none", "host", "container:ID", a network's name */
    struct str network_peer;             /* the ID or name behind "container:" */
    uint32_t n_endpoints;
    const struct docker_endpoint *endpoints; /* by network name */
    uint32_t n_ports;
    const struct docker_port *ports;     /* by protocol, port, address */
    uint32_t n_mounts;
    const struct docker_mount *mounts;   /* by destination */

    /* Only inspect says the rest; it is zero in a list. */
    bool is_inspected;
    pid_t pid;                           /* of its first process, in dockerd's pid namespace; 0: not running */
    struct str started_at;               /* RFC 3339 with nanoseconds: which run this is */
    struct str sandbox_id, sandbox_key;  /* sandbox_key: a path where the network namespace is mounted; "" with another's namespace */
    struct str hostname;
    bool is_privileged, is_read_only;    /* is_read_only: its root file system */
    struct str user;                     /* "" is root */
    struct str pid_mode, ipc_mode, userns_mode; /* "host", "container:ID", ... */
    uint32_t n_cap_add, n_security_opt, n_dns;
    const struct str *cap_add, *security_opt, *dns;
    struct str restart_policy;           /* "no", "always", "unless-stopped", "on-failure" */
    uint32_t restart_count;
};

struct docker_containers {
    uint32_t n;
    struct docker_container *items; /* as the engine lists them: newest first */
};

/* GET /containers/json. 0; -EINVAL (not such a list: err says where), -E2BIG, -ENOMEM. */
int docker_containers_parse(struct str body, struct arena *arena, struct docker_containers *ret, struct error *err) must_check;
/* GET /containers/ID/json. As above. */
int docker_container_parse(struct str body, struct arena *arena, struct docker_container *ret, struct error *err) must_check;

/* The label's value; STR_NONE without (a label may have the empty value "", which has a ptr). */
struct str docker_container_label(const struct docker_container *container, struct str key) pure_function;
/* How postern.yml may name it: "PROJECT/SERVICE" of a Compose container that is not one-off, or its NAME. */
bool docker_container_is_called(const struct docker_container *container, struct str reference) pure_function;
/* Of the network namespace that it really uses: itself, or along "container:" the one whose namespace that is. NULL: that one is not in
 * the list, or they go round in a circle. */
const struct docker_container *docker_container_network_owner(const struct docker_containers *list,
                                                              const struct docker_container *container) pure_function;
/* The path at which the engine's socket (or a directory that holds it, as /run or /) is mounted into it; NULL: none is. */
const struct docker_mount *docker_container_socket_mount(const struct docker_container *container, struct str socket_path) pure_function;
/* An ID as the API has it: 64 hexadecimal digits (so that it can be part of a request's path). */
bool docker_id_is_valid(struct str id) pure_function;
