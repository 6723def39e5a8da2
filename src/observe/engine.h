/* A Docker engine and its host at one moment: containers, networks, what listens in each, and this host's own addresses and listeners. */
#pragma once

#include "docker/client.h"
#include "observe/guard.h"
#include "observe/host.h"

/* A saved state's size, and what all of it may take in memory. */
enum { OBSERVE_ENGINE_TEXT_MAX = 64 << 20, OBSERVE_ENGINE_MEMORY_MAX = 512 << 20 };

/* What is known of a container beyond the engine's words; same index as in containers. */
struct observe_container {
    bool knows_listeners;               /* else only what the image or the Compose file says is exposed */
    struct observe_listeners listeners;
    uint32_t owner;                     /* whose network namespace it uses: its own index, or along "container:" another's */
};

struct observe_engine {
    struct arena arena;
    struct docker_version version;
    struct docker_info info;
    bool is_live;                       /* asked just now, on this host: then the host is looked at, too */
    unsigned major;                     /* of the engine's version; 0: it can't be told */
    struct docker_containers containers;
    struct docker_networks networks;
    struct observe_container *details;
    struct observe_interfaces interfaces; /* live only */
    struct observe_listeners listeners;   /* the host's own; live only */
    struct observe_guard guard;           /* live only, and root's */
};

/* Asks the engine at that socket, and looks at this host. 0; a negative errno with err. Release it also after a failure. */
int observe_engine_ask(const char *socket_path, struct observe_engine *ret, struct error *err) must_check;
/* Reads what "docker version -f json", "docker inspect CONTAINER..." and "docker network inspect NETWORK..." wrote, one after the other, in any
 * order; nothing is known of that host beyond it. 0; -EINVAL with err where the text is something else; -E2BIG, -ENOMEM. */
int observe_engine_read(struct str text, struct observe_engine *ret, struct error *err) must_check;
void observe_engine_deinit(struct observe_engine *engine);
#define cleanup_observe_engine cleanup(observe_engine_deinit)

/* ---- looking up ---- */

/* The network of an endpoint, or NULL. */
const struct docker_network *observe_endpoint_network(const struct observe_engine *engine, const struct docker_endpoint *endpoint) pure_function;
/* "PROJECT/SERVICE", or the name of a container of no project. */
struct str observe_container_name(const struct docker_container *container, struct arena *arena);
/* What to call it in postern.yml: Compose's service, or the project where the service is called "app", "web" and the like; lower case, digits and '-'. */
struct str observe_suggested_name(const struct docker_container *container, struct arena *arena);
/* Whether the two are of one Compose project. */
bool observe_same_project(const struct docker_container *a, const struct docker_container *b) pure_function;

/* Ports by which others may reach it, as far as known: what listens on an address that isn't loopback, without what answers everybody's DNS;
 * where that can't be told, exposed ones. Sorted, each once; texts' lifetime is the arena's. n may be 0. */
struct observe_port {
    uint8_t protocol;
    uint16_t port;
};
uint32_t observe_container_ports(const struct observe_engine *engine, uint32_t container, struct observe_port *ret, uint32_t max);

/* What an image's name says of it. */
enum observe_image { OBSERVE_IMAGE_OTHER, OBSERVE_IMAGE_DATABASE, OBSERVE_IMAGE_WEB, OBSERVE_IMAGE_GAME };
struct observe_image_kind {
    const char *image;       /* the last part of its name, without tag */
    const char *title;       /* "PostgreSQL" */
    enum observe_image kind;
    uint16_t port;           /* its usual one */
    uint8_t protocol;
};
/* NULL for an image that isn't known. "docker.io/library/postgres:16-alpine" is postgres. */
const struct observe_image_kind *observe_image_find(struct str image) pure_function;
