/* Docker's networks, version and info from anywhere: they read or are refused. */
#include <errno.h>
#include <stdlib.h>

#include "docker/engine.h"
#include "docker/network.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str body = str_make((const char *)data, size);
    struct arena arena;
    struct docker_networks list;
    struct docker_network one;
    struct docker_version version;
    struct docker_info info;
    struct error err = { "" };
    arena_init(&arena, 8 << 20);
    int r = docker_networks_parse(body, &arena, &list, &err);
    for (uint32_t i = 0; r == 0 && i < list.n; i++) {
        const struct docker_network *n = &list.items[i];
        if (!docker_id_is_valid(n->id) || strlen(n->bridge.ptr) != n->bridge.len || (i > 0 && str_compare(list.items[i - 1].name, n->name) > 0))
            abort();
        for (uint32_t k = 0; k < n->n_subnets; k++)
            if (!address_prefix_contains(&n->subnets[k].prefix, &n->subnets[k].prefix.address))
                abort();
    }
    if (r < 0 && r != -ENOMEM && !err.text[0])
        abort();
    (void)!docker_network_parse(body, &arena, &one, &err);
    (void)!docker_version_parse(body, &arena, &version, &err);
    (void)!docker_info_parse(body, &arena, &info, &err);
    arena_deinit(&arena);
    return 0;
}
