/* What the declaration alone says, as a relation: the flows between hosts that it grants or that a grant needs on its way (flows.h says
 * the same one by one), and who may ask for which web service over which surface, as service points. */
#pragma once

#include "policy/grants.h"
#include "policy/relation.h"
#include "policy/sources.h"

/* What the rules' reasons say beside the grant's line. */
#define DECLARED_GRANT    "grant"
#define DECLARED_SURFACE  "derived: the way to surface "       /* and its name */
#define DECLARED_INSTANCE "derived: a gateway to its instance"

/* The numbers that stand for surfaces and services in service points; NULL: those of the model. Two declarations are compared on one
 * numbering by name. */
struct declared_numbers {
    const uint32_t *surfaces, *services;
};

/* Appends to the relation, in the order of the grants, so that relation_find_rule names the first in the file. Flows that stay on one host
 * are none. 0, -ENOMEM or -E2BIG. */
int declared_add(const struct grants *grants, const struct sources *sources, const struct declared_numbers *numbers,
                 struct relation *relation) must_check;
/* The families in which a surface's gateways listen: who has only addresses of the other never gets there, whatever is granted. */
enum { DECLARED_IPV4 = 1, DECLARED_IPV6 = 2 };
unsigned declared_families(const struct model *model, uint32_t surface);
/* The file's name without its folders, as reasons have it. */
struct str declared_file(const struct model *model);
