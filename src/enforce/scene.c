/* Looking at a host once, for a program that may wait. */
#include "enforce/scene.h"

#include <errno.h>

#define RESOLV_CONF "/etc/resolv.conf"
/* Where systemd-resolved is asked at a loopback address, and dockerd reads the file that it keeps of its own servers. */
#define RESOLV_CONF_RESOLVED "/run/systemd/resolve/resolv.conf"

int scene_read_host(struct scene *scene, struct error *err)
{
    scene->n_resolvers = resolvers_read(RESOLV_CONF, scene->resolvers);
    if (!scene->n_resolvers)
        scene->n_resolvers = resolvers_read(RESOLV_CONF_RESOLVED, scene->resolvers);
    return links_read(&scene->links, err);
}

static int find_namespaces(struct scene *scene)
{
    scene->namespaces = arena_array(&scene->arena, scene->containers.n + 1, int);
    if (!scene->namespaces)
        return -ENOMEM;
    for (uint32_t i = 0; i < scene->containers.n; i++) {
        const struct docker_container *container = &scene->containers.items[i];
        bool has_own = container->is_running && container->sandbox_key.len;
        scene->namespaces[i] = has_own ? links_namespace_of(container->sandbox_key.ptr) : LINKS_NO_NAMESPACE;
    }
    return 0;
}

static int ask(const char *docker_socket, struct scene *scene, struct error *err)
{
    cleanup_docker_client struct docker_client *client = NULL;
    struct docker_info info;
    int r = docker_client_open(docker_socket, 0, &client, err);
    if (r == 0)
        r = docker_client_info(client, &scene->arena, &info, err);
    if (r == 0 && info.is_rootless) {
        error_set(err, "%s: a rootless engine's networks are in a namespace of its own, where nothing of this host's is in force", docker_socket);
        return -ENOTSUP;
    }
    /* Networks last: a container that is listed is on a network that is listed, too. */
    if (r == 0)
        r = docker_client_containers(client, true, &scene->arena, &scene->containers, err);
    return r == 0 ? docker_client_networks(client, &scene->arena, &scene->networks, err) : r;
}

int scene_read(const char *docker_socket, struct scene *ret, struct error *err)
{
    struct scene scene = { .n_resolvers = 0 };
    arena_init(&scene.arena, SCENE_MEMORY_MAX);
    int r = ask(docker_socket, &scene, err);
    if (r == 0)
        r = scene_read_host(&scene, err);
    if (r == 0)
        r = find_namespaces(&scene);
    if (r != 0) {
        scene_deinit(&scene);
        return r > 0 ? -ENOENT : r;
    }
    *ret = scene;
    return 0;
}

void scene_deinit(struct scene *scene)
{
    links_deinit(&scene->links);
    arena_deinit(&scene->arena);
}

struct holding_input scene_input(const struct scene *scene, const struct model *model, uint32_t host)
{
    return (struct holding_input){
        .model = model, .host = host, .containers = &scene->containers, .networks = &scene->networks, .links = &scene->links,
        .namespaces = scene->namespaces, .resolvers = scene->resolvers, .n_resolvers = scene->n_resolvers,
    };
}
