/* What the declaration alone says, as a relation: the flows between hosts that it grants or that a grant needs on its way (flows.h says
 * the same one by one), who may ask for which web service over which surface, as service points, and what containers reach, as points of
 * theirs (containers.h says it one by one). */
#pragma once

#include "policy/containers.h"
#include "policy/grants.h"
#include "policy/relation.h"
#include "policy/sources.h"

/* What the rules' reasons say beside the grant's line. */
#define DECLARED_GRANT    "grant"
#define DECLARED_SURFACE  "derived: the way to surface "       /* and its name */
#define DECLARED_INSTANCE "derived: a gateway to its instance"
#define DECLARED_INSIDE   "derived: inside project "          /* and its name */

/* The numbers that stand for surfaces, services and containers in points; NULL: those of the model. Two declarations are compared on one
 * numbering by name. */
struct declared_numbers {
    const uint32_t *surfaces, *services, *containers;
};

/* Appends to the relation, in the order of the grants, so that relation_find_rule names the first in the file. Flows that stay on one host
 * are none. 0, -ENOMEM or -E2BIG. */
int declared_add(const struct grants *grants, const struct sources *sources, const struct containers *containers,
                 const struct declared_numbers *numbers, struct relation *relation) must_check;
/* Parts of it: these of the containers' passes, and what containers reach without any, inside projects. 0, -ENOMEM or -E2BIG. */
int declared_add_passes(const struct containers *containers, const struct declared_numbers *numbers, const uint32_t *order, uint32_t n,
                        struct relation *relation) must_check;
int declared_add_insides(const struct containers *containers, const struct declared_numbers *numbers, struct relation *relation) must_check;
struct address declared_container_point(const struct declared_numbers *numbers, uint32_t container);
/* The families in which a surface's gateways listen: who has only addresses of the other never gets there, whatever is granted. */
enum { DECLARED_IPV4 = 1, DECLARED_IPV6 = 2 };
unsigned declared_families(const struct model *model, uint32_t surface);
/* The file's name without its folders, as reasons have it. */
struct str declared_file(const struct model *model);
