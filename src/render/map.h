/* The homelab as a graph, for pictures: who asks, at which ports of which hosts, and what is served behind them.
 *
 * Drawn from what the declaration allows (policy/flows.h, policy/grants.h) and from nothing else. Ports that the same parties may reach for
 * the same reason are one bundle, so that a picture has as many lines as there are different answers, however many services there are. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "policy/flows.h"

/* Past these a picture tells nobody anything; map_init says so. */
enum { MAP_HOSTS_MAX = 1000, MAP_SERVICES_MAX = 5000 };

/* A party is who may ask: a host by its number, or n_hosts + a segment's number for those of its addresses that are no declared host. */
struct map_port {
    uint32_t host;
    uint16_t port, redirect_port;  /* redirect_port: SURFACE, 0 for none */
    uint8_t transport;             /* enum model_transport */
    uint8_t reason;                /* enum flow_reason */
    uint32_t surface;              /* SURFACE; otherwise MODEL_NONE */
    uint32_t service, n_services;  /* DIRECT and INSTANCE: the first service here, and how many share the port; otherwise MODEL_NONE, 0 */
    uint32_t grant;                /* the first that needs it */
    uint32_t bundle;
};

struct map_bundle {
    uint64_t *parties;             /* bit set */
    uint32_t n_parties;
    uint32_t first_port, n_ports;  /* in ports */
    uint32_t surface;              /* all its ports' */
    uint8_t reason;
};

/* What parties may ask for over surfaces; one per service. */
struct map_service {
    uint64_t surfaces;             /* over which somebody may ask for it, and some gateway that has them can answer */
    uint32_t grant;                /* the first; MODEL_NONE: nobody */
};

/* Instances on one host that the same surfaces serve; those that are ports of their own in this map (direct, or on a host without a
 * gateway) are not in any. surfaces 0: nobody reaches them. */
struct map_group {
    uint64_t surfaces;
    uint32_t host;
    uint32_t first_service, n_services; /* in group_services */
};

struct map {
    struct arena arena;
    const struct model *model;
    struct grants grants;
    struct map_port *ports;        /* by bundle, then in the declaration's order of hosts, then by port */
    struct map_bundle *bundles;    /* surfaces in the declaration's order, then direct, then ports of hosts, then what gateways need */
    struct map_service *services;
    struct map_group *groups;      /* by host, in the order of their first service */
    uint32_t *group_services;
    uint64_t *asks;                /* bit set of the parties that may reach anything */
    uint32_t n_ports, n_bundles, n_groups, n_grouped, n_parties, n_words; /* n_words: of a bit set */
};

/* 0; -EINVAL with err when it is too much for a picture; -ENOMEM, -E2BIG. Borrows the model. */
int map_init(struct map *ret, const struct model *model, struct error *err) must_check;
void map_deinit(struct map *map);
#define cleanup_map cleanup(map_deinit)

static inline bool map_has(const uint64_t *set, uint32_t party)
{
    return set[party / 64] >> party % 64 & 1;
}

/* Whether a gateway on that host can hand requests to the service's instance on instance_host. */
bool map_gateway_reaches(const struct model *model, uint32_t gateway, const struct model_service *service, uint32_t instance_host);
/* Whether some gateway has one of the surfaces and an instance of the service that it can reach. */
bool map_is_served_by(const struct model *model, uint32_t gateway, const struct model_service *service);
/* Whether some gateway of one of the surfaces can hand requests to the service's instance on that host. */
bool map_is_handed(const struct map *map, uint32_t service, uint32_t instance_host, uint64_t surfaces);
/* The surfaces over which a party may ask for each service, into ret[n_services], and the first grant of each into ret_grants (may be NULL). */
void map_reach(const struct map *map, uint32_t party, uint64_t *ret, uint32_t *ret_grants);
/* The party's name into ret: "iphone", or "others in clients". */
struct str map_party_name(const struct map *map, uint32_t party, struct arena *arena);
uint32_t map_party_segment(const struct map *map, uint32_t party);
/* "main 443", "luanti udp/30000", "opencode 4096", "tcp/22". */
void map_port_label(const struct map *map, const struct map_port *port, struct buf *out);
/* Whether the host has a port or an instance in the picture, so that it is more than a party. */
bool map_host_serves(const struct map *map, uint32_t host);
