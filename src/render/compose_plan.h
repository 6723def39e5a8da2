/* Which networks a project's services need: the part of the override that is decided before anything is written. */
#pragma once

#include "render/compose.h"

enum compose_network_kind { COMPOSE_INSIDE, COMPOSE_BETWEEN, COMPOSE_OUT };

struct compose_network {
    enum compose_network_kind kind;
    struct str key, name;            /* key: in the file; name: as the engine has it */
    char bridge[16];
    struct address_prefix subnet;
    uint32_t *members, n_members;    /* services of the project */
    uint32_t peer;                   /* BETWEEN: a container of containers */
};

struct compose_plan {
    const struct compose_input *input;
    struct arena arena;
    struct containers containers;
    uint32_t *declared;              /* of each service: its number in containers, or MODEL_NONE */
    struct compose_network *networks;
    uint32_t n_networks;
    struct compose_taken *taken;     /* the input's, and what the plan takes */
    uint32_t n_taken;
};

/* As render_compose. */
int compose_plan_make(struct compose_plan *ret, const struct compose_input *input, struct error *err) must_check;
void compose_plan_deinit(struct compose_plan *plan);

/* Whether the two may talk without a grant: they share a network of the file's, and the project is open inside. */
bool compose_is_inside(const struct compose_plan *plan, uint32_t a, uint32_t b);
bool compose_is_on(const struct compose_network *network, uint32_t service);
