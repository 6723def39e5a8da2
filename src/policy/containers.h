/* The containers that a declaration names, each once, and what it lets each of them reach: other containers of its host, surfaces of its
 * host's gateway, the internet. Who enforces it asks Docker for the addresses; the proof needs none.
 *
 * A container is known by its host and its reference, PROJECT/SERVICE or NAME. Services that name one container are one principal. */
#pragma once

#include "base/arena.h"
#include "policy/grants.h"

struct container {
    uint32_t host;
    struct str reference;         /* "monitoring/grafana", "luanti"; the model's */
    struct str project;           /* "monitoring"; "": its reference says none */
    uint32_t listed;              /* the project in model.projects, where that runs on the host; MODEL_NONE */
    const uint32_t *services;     /* that name it, ascending */
    uint32_t n_services;
};

enum container_way {
    CONTAINER_WAY_CONTAINER,      /* a port of another container of the host */
    CONTAINER_WAY_SURFACE,        /* derived: a port of the host's own gateway, where a web service may be asked for */
    CONTAINER_WAY_INTERNET,       /* everything outside: no protocol, no port */
};

struct container_pass {
    uint32_t from;                /* container */
    uint32_t to;                  /* CONTAINER: the container; SURFACE: the surface; INTERNET: MODEL_NONE */
    uint8_t way;                  /* enum container_way */
    uint8_t transport;            /* enum model_transport */
    uint16_t port;
    uint32_t grant;               /* the first in the file that says it */
};

/* By container and place in services: which container an instance is in. */
struct container_instance {
    uint32_t service, host, container;
};

struct containers {
    const struct model *model;
    struct arena arena;
    struct container *items;      /* by host, then by reference */
    uint32_t n;
    uint32_t *first_of_host;      /* n_hosts + 1: the containers of a host */
    struct container_instance *instances; /* by service, then by host */
    uint32_t n_instances;
    struct container_pass *passes; /* by from, way, to, transport, port; each once */
    uint32_t n_passes;
    uint32_t *first_of_pass;      /* n + 1: the passes of a container */
};

enum { CONTAINERS_PASSES_MAX = 1 << 22 };

/* 0, -ENOMEM, or -E2BIG past CONTAINERS_PASSES_MAX. The model must outlive it. */
int containers_init(struct containers *ret, const struct model *model) must_check;
void containers_deinit(struct containers *containers);
#define cleanup_containers cleanup(containers_deinit)

/* The container of a service on a host, or MODEL_NONE: it runs in none there. */
uint32_t containers_find(const struct containers *containers, uint32_t service, uint32_t host);
/* The container with that reference on a host, or MODEL_NONE. */
uint32_t containers_find_reference(const struct containers *containers, uint32_t host, struct str reference);
/* What is sent by it, and to it, is dropped unless it passes here. */
bool containers_is_enforced(const struct containers *containers, uint32_t container);
/* Whether both may talk without a grant, on networks of their project's own: it is one project, and not declared narrower. A container
 * whose reference names no project has none here, whatever Docker says. */
bool containers_is_inside(const struct containers *containers, uint32_t a, uint32_t b);
