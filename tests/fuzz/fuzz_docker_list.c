/* Docker's list of containers from anywhere: it reads or is refused, and what reads keeps what its header promises. */
#include <errno.h>
#include <stdlib.h>

#include "docker/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(struct str s)
{
    if (!s.ptr || s.len > DOCKER_TEXT_MAX || strlen(s.ptr) != s.len)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct docker_containers list;
    struct error err = { "" };
    arena_init(&arena, 8 << 20);
    int r = docker_containers_parse(str_make((const char *)data, size), &arena, &list, &err);
    for (uint32_t i = 0; r == 0 && i < list.n; i++) {
        const struct docker_container *c = &list.items[i];
        if (!docker_id_is_valid(c->id) || c->pid != 0 || c->is_inspected)
            abort();
        check_text(c->name);
        check_text(c->project);
        check_text(c->service);
        check_text(c->network_mode_text);
        if (str_find_char(c->name, '/') != c->name.len || str_find_char(c->project, '/') != c->project.len)
            abort();
        for (uint32_t k = 0; k < c->n_ports; k++)
            if (c->ports[k].port == 0 || c->ports[k].protocol == 0)
                abort();
        for (uint32_t k = 0; k < c->n_labels; k++)
            if (!str_equal(docker_container_label(c, c->labels[k].key), c->labels[k].value))
                abort();
        const struct docker_container *owner = docker_container_network_owner(&list, c);
        if (owner && owner->network_mode == DOCKER_NETWORK_CONTAINER)
            abort();
        (void)docker_container_socket_mount(c, STR("/run/docker.sock"));
        (void)docker_container_is_called(c, STR("p/s"));
    }
    if (r < 0 && r != -ENOMEM && !err.text[0])
        abort();
    arena_deinit(&arena);
    return 0;
}
