/* What the parts of one compilation share; private to compile*.c. */
#pragma once

#include "base/arena.h"
#include "base/table.h"
#include "policy/block.h"
#include "policy/compile.h"
#include "policy/containers.h"
#include "policy/grants.h"

/* Certificate authorities of one path, as read. */
struct compiler_ca {
    struct str pem;
    uint64_t hash;
};

struct compiler {
    const struct compile_input *input;
    const struct model *model;
    struct error *err;
    const struct offer_verdict *verdicts; /* of input->offers */
    struct arena arena;          /* this call's */
    struct grants grants;
    struct containers containers;
    struct str file;             /* the declaration's last path component: rules are "postern.yml:41" wherever it lies */
    uint64_t served;             /* bit per surface that this gateway serves */
    uint64_t *reach;             /* per service: surfaces of this gateway on which somebody may reach it */
    bool *is_relayed;            /* per service: a direct one in a namespace of this gateway, which somebody may reach */
    bool has_relayed;
    uint32_t *first_target;      /* per service, where reach is not 0 or it is relayed: its instances' first number in the dial block */
    uint64_t *identities;        /* per target */
    uint64_t n_verdicts;         /* in all views */
    struct compiler_ca *authorities; /* by ca_index */
    struct table ca_index;       /* by path */
};

/* "postern.yml:12: ..." in err; returns -EINVAL. */
int compiler_refuse(const struct compiler *c, struct model_place at, const char *format, ...) printf_like(3, 4);
/* The instances of a service, the local one first: the position in hosts of the k-th. */
uint32_t compiler_instance_host(const struct compiler *c, const struct model_service *service, uint32_t k);
/* The authorities that a service's certificate is verified with; NULL when it needs none. */
const struct compiler_ca *compiler_find_authorities(const struct compiler *c, const struct model_service *service);

/* Fills authorities for every service in reach. */
int compiler_read_authorities(struct compiler *c) must_check;
/* How many targets the service has here, from first_target on: instances on surfaces, this gateway's own of a relayed one. */
uint32_t compiler_n_targets(const struct compiler *c, uint32_t service);
/* Fills is_relayed and has_relayed. */
int compiler_find_relayed(struct compiler *c) must_check;
/* This gateway's listeners of direct ports. That no two services and no surface have the same port of a host, the model has seen to. */
int compiler_add_direct_listeners(struct compiler *c, struct block *plan) must_check;
/* Fills first_target and identities besides its block. */
int compiler_build_dial(struct compiler *c, struct compile_block *ret) must_check;
/* surface: one of the declaration's, or IMAGE_SURFACE_DIRECT. */
int compiler_build_view(struct compiler *c, uint32_t surface, struct compile_block *ret) must_check;
int compiler_build_plan(struct compiler *c, struct compile_block *ret) must_check;
int compiler_build_keys(struct compiler *c, struct compile_block *ret) must_check;
/* Leaves *ret as it is where this gateway looks for no container. */
int compiler_build_docker(struct compiler *c, struct compile_block *ret) must_check;
