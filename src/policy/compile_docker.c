/* The docker block: which containers the docker role looks for, and nothing of what is done with them. */
#include <errno.h>

#include "policy/compiler.h"

struct wanted {
    struct image_container container;
    uint32_t service;
};

static int compare_wanted(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    if (x->container.number != y->container.number)
        return x->container.number < y->container.number ? -1 : 1;
    return x->service < y->service ? -1 : 1;
}

static uint32_t flags_of(const struct compiler *c, uint32_t service)
{
    const struct model_service *s = &c->model->services[service];
    if (s->where != MODEL_WHERE_CONTAINER || !model_runs_on(&s->hosts, c->input->gateway))
        return 0;
    uint32_t flags = c->reach[service] || s->kind == MODEL_KIND_DIRECT ? IMAGE_CONTAINER_DIALLED : 0;
    const struct model_indexes *asks = &c->grants.by_service[service];
    for (uint32_t i = 0; i < asks->n; i++)
        if (c->grants.grant_surfaces[asks->items[i]] & c->served)
            flags |= IMAGE_CONTAINER_GUEST;
    return flags;
}

/* Several services may share a container. Two names that share a number would be one container to everybody from here on. */
static int add_containers(struct compiler *c, struct block *block, struct wanted *wanted, uint32_t n)
{
    qsort(wanted, n, sizeof *wanted, compare_wanted);
    for (uint32_t i = 0, next; i < n; i = next) {
        struct str reference = c->model->services[wanted[i].service].place.text;
        struct image_container container = wanted[i].container;
        for (next = i + 1; next < n && wanted[next].container.number == container.number; next++) {
            const struct model_text *other = &c->model->services[wanted[next].service].place;
            if (!str_equal(other->text, reference))
                return compiler_refuse(c, other->at, "the names of containers %.*s and %.*s have the same fingerprint; rename one", STR_ARG(reference),
                                       STR_ARG(other->text));
            container.flags |= wanted[next].container.flags;
        }
        container.reference = block_text(block, reference);
        block_add(block, IMAGE_CONTAINERS, &container);
    }
    return 0;
}

int compiler_build_docker(struct compiler *c, struct compile_block *ret)
{
    const struct model *m = c->model;
    if (c->input->container_directory.len) /* they have names there; no engine is asked */
        return 0;
    struct wanted *wanted = arena_array(&c->arena, m->n_services, struct wanted);
    if (!wanted)
        return -ENOMEM;
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_services; i++) {
        uint32_t flags = flags_of(c, i);
        if (flags)
            wanted[n++] = (struct wanted){ { .number = image_container_number(m->services[i].place.text), .flags = flags }, i };
    }
    bool wants_offers = false;
    for (uint32_t i = 0; i < m->n_grants; i++)
        wants_offers |= m->grants[i].labelled && c->grants.grant_surfaces[i] & c->served;
    if (n == 0 && !wants_offers)
        return 0;
    cleanup_block struct block block;
    block_init(&block, IMAGE_DOCKER);
    int r = add_containers(c, &block, wanted, n);
    if (r < 0)
        return r;
    struct str socket = m->hosts[c->input->gateway].docker.text;
    struct image_engine engine = { .socket = block_text(&block, socket.len ? socket : STR(MODEL_DOCKER_SOCKET)), .wants_offers = wants_offers };
    block_add(&block, IMAGE_ENGINE, &engine);
    return block_finish(&block, c->input->generation, c->input->revision, ret);
}
