/* What there is on this host at one moment: containers, networks, interfaces; and what its tables are to hold for it. */
#pragma once

#include "docker/client.h"
#include "enforce/holding.h"
#include "enforce/resolvers.h"

struct scene {
    struct arena arena;
    struct docker_containers containers;
    struct docker_networks networks;
    struct links links;
    int *namespaces;                      /* of each container */
    struct address resolvers[RESOLVERS_MAX];
    uint32_t n_resolvers;
};

enum { SCENE_MEMORY_MAX = 512 << 20 };

/* Asks Docker and waits for its answers. 0 or a negative errno with err; *ret is untouched then. */
int scene_read(const char *docker_socket, struct scene *ret, struct error *err) must_check;
/* The part that Docker has no say in. A zeroed scene with an arena. */
int scene_read_host(struct scene *scene, struct error *err) must_check;
void scene_deinit(struct scene *scene);
#define cleanup_scene cleanup(scene_deinit)

/* As holding_init takes it. */
struct holding_input scene_input(const struct scene *scene, const struct model *model, uint32_t host);
