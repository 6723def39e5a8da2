/* What a declaration looks like as a lab: which stand-ins there must be and where, and which gateway each name leads to. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "model/model.h"

/* Where a stand-in lives. */
enum world_place {
    WORLD_HOST,      /* in the host's network namespace */
    WORLD_NAMESPACE, /* in one of its own that has nothing but its loopback */
    WORLD_UNIX,      /* a socket in the host's file system */
};

enum { WORLD_LISTEN_MAX = 8 };

struct world_instance {
    uint32_t service;         /* MODEL_NONE: a port of a host that grants or expectations speak of */
    uint32_t host;
    enum world_place place;
    struct str name;          /* what it calls itself: the service, or "port-22" */
    struct str path;          /* NAMESPACE: below the host's /run, without a leading slash; UNIX: the socket's whole path */
    enum model_transport transport;
    enum model_protocol protocol;
    bool echo;                /* answers bytes with bytes instead of HTTP */
    bool relayed;             /* a direct port of a namespace, for which the gateway listens on the host's mesh addresses */
    uint16_t port;
    struct address listen[WORLD_LISTEN_MAX];
    uint32_t n_listen;
    struct str unserved;      /* why the lab can't have it; empty: it can */
};

struct world_name {
    struct str name;
    uint32_t service;
    uint32_t host;            /* MODEL_NONE: any of its instances */
};

struct world {
    const struct model *model;
    struct arena arena;
    struct world_instance *instances;
    struct world_name *names;     /* of web services */
    uint32_t n_instances, n_names;
    struct str guest;             /* the name of a machine on the LAN that no declaration knows; empty: no host has a LAN address */
    struct address_prefix guest_lan[2];
    uint32_t n_guest_lan;
};

/* Borrows the model. 0, -ENOMEM. */
int world_init(struct world *ret, const struct model *model) must_check;
void world_deinit(struct world *world);

/* Whether that gateway serves the service: it has an instance of its own, or one is a port of a host. */
bool world_gateway_serves(const struct world *world, uint32_t gateway, uint32_t service, uint32_t host);
/* What a path below /run (/var/run) is there, without a leading slash; empty for any other path, and for one that climbs. */
struct str world_below_run(struct str path);
/* An /etc/hosts in which every name leads to the gateways that serve it, and every host's name to its mesh addresses. */
void world_write_hosts_file(const struct world *world, struct buf *out);
/* Whether lan: says an address, as opposed to a range: only those are a host's in the lab. */
static inline bool world_is_lan_address(const struct address_prefix *lan)
{
    return lan->bits == 128;
}
/* Whether it is met at its port on the host's mesh addresses. */
static inline bool world_has_port(const struct world_instance *instance)
{
    return instance->place == WORLD_HOST || instance->relayed;
}
/* Whether the host has a leg in the LAN. */
bool world_has_lan(const struct model_host *host);
/* The on-link length of a LAN address: what such networks usually have (/24, /64). */
unsigned world_lan_bits(const struct address *address);
