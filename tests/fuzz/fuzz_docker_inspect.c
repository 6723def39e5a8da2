/* Docker's answer about one container from anywhere: it reads or is refused. */
#include <errno.h>
#include <stdlib.h>

#include "docker/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct docker_container c;
    struct error err = { "" };
    arena_init(&arena, 8 << 20);
    int r = docker_container_parse(str_make((const char *)data, size), &arena, &c, &err);
    if (r == 0) {
        if (!docker_id_is_valid(c.id) || !c.is_inspected || c.pid < 0 || (c.is_running && c.pid == 0))
            abort();
        for (uint32_t i = 0; i < c.n_ports; i++)
            if (c.ports[i].port == 0 || (c.ports[i].is_range && c.ports[i].host_port_last <= c.ports[i].host_port))
                abort();
        for (uint32_t i = 0; i < c.n_endpoints; i++)
            if ((c.endpoints[i].has_v4 && !address_is_v4(&c.endpoints[i].v4)) || (c.endpoints[i].has_v6 && address_is_v4(&c.endpoints[i].v6)))
                abort();
        for (uint32_t i = 0; i < c.n_cap_add; i++)
            if (strlen(c.cap_add[i].ptr) != c.cap_add[i].len)
                abort();
    } else if (r != -ENOMEM && !err.text[0]) {
        abort();
    }
    arena_deinit(&arena);
    return 0;
}
