/* What a first declaration is to say: hosts and segments of the mesh, and the services that containers seem to be. */
#pragma once

#include "observe/engine.h"
#include "observe/mesh.h"

enum { INIT_ADDRESSES_MAX = 4, INIT_LABEL_SIZE = 64 };

struct init_host {
    struct str name;                         /* a label */
    uint32_t segment;
    struct str addresses[INIT_ADDRESSES_MAX], lan[INIT_ADDRESSES_MAX];
    uint32_t n_addresses, n_lan;
    struct str mesh_name;                    /* where the mesh calls it otherwise; "" */
    struct str remark;                       /* "" */
    bool is_gateway, is_mac, is_elsewhere;   /* is_elsewhere: not a Linux machine, or not known to be one that loads rules */
};

struct init_segment {
    struct str name;
    struct str tag, user;                    /* that its hosts alone have; "" */
    bool is_guests;                          /* people's devices: the first grant is for them */
};

enum init_kind {
    INIT_WEB, INIT_DATABASE, INIT_DIRECT,
    INIT_HOST_PORT,                          /* on the host's own network */
    INIT_UNKNOWN,                            /* no port is known: written as a comment */
    INIT_PROXY,                              /* what postern stands in for: a comment, too */
};

struct init_service {
    enum init_kind kind;
    struct str name, reference, remark;
    uint16_t port;
    uint8_t protocol;                        /* of DIRECT */
    bool is_https;
};

struct init_plan {
    struct arena *arena;
    struct str domain;
    struct init_host *hosts;                 /* the gateway first */
    struct init_segment *segments;
    struct init_service *services;           /* by kind, then by name */
    uint32_t n_hosts, n_segments, n_services;
    uint32_t n_stopped, n_unnamed;           /* containers that were left out: not running; with a name that can't be written */
    bool has_engine, has_mesh, is_lan, has_placeholder; /* what this host is known by is on a LAN; has_placeholder: no address of it is known */
    struct str holder443, holder80;          /* who has the port on every address already; "" */
};

/* engine and mesh: NULL where there is none. host: what to call this machine. All texts live in the arena. 0, -ENOMEM. */
int init_plan_make(const struct observe_engine *engine, const struct observe_interfaces *interfaces, const struct observe_mesh *mesh, struct str host,
                   struct str domain, struct arena *arena, struct init_plan *ret) must_check;
/* The part of it that looks at containers; names holds those of hosts and segments. */
struct table;
int init_services_make(const struct observe_engine *engine, struct table *names, struct init_plan *plan) must_check;
/* A label made of text, not in names yet (a number is put behind it), and added there with all names it will be served at. "" and -ENOMEM in
 * *ret_error. host: "" for what is no service. */
struct str init_name_take(struct arena *arena, struct table *names, struct str text, struct str host, int *ret_error);

/* Appends the declaration. */
void init_plan_write(const struct init_plan *plan, struct buf *out);
