/* The way of one question through the layers, one after the other: what each answers and by which rule. The measure is relation_find_rule:
 * short, slow enough to be plainly right, fast enough for a person. */
#pragma once

#include "policy/verify.h"

enum explain_layer { EXPLAIN_MESH, EXPLAIN_LAN, EXPLAIN_FIREWALL, EXPLAIN_CONTAINER, EXPLAIN_GATEWAY, EXPLAIN_INSTANCE };

enum explain_answer {
    EXPLAIN_NO,
    EXPLAIN_YES,
    EXPLAIN_ABSENT,    /* there is no such layer: it stops nothing, and vouches for nothing */
    EXPLAIN_NOT_ASKED, /* a layer before said no */
};

struct explain_hop {
    enum explain_layer layer;
    enum explain_answer answer;
    uint32_t asker;                        /* who passes here: a host; MODEL_NONE: who asked */
    uint32_t host;                         /* whose firewall or gateway; where a flow goes to; MODEL_NONE: no declared one's */
    uint32_t service;                      /* GATEWAY and INSTANCE */
    struct address to;                     /* MESH, LAN, FIREWALL; CONTAINER: an address, or the point of a container or of the internet */
    uint8_t protocol;
    uint16_t port;
    const struct relation_reason *rule;    /* the layer's own, in its own words; NULL: none, or the layer has no rules */
    const struct relation_reason *declared; /* the declaration's for the same flow */
    const struct gateway_way *way;         /* INSTANCE */
};

enum { EXPLAIN_HOPS_MAX = 8 };

struct explain_path {
    struct explain_hop hops[EXPLAIN_HOPS_MAX];
    uint32_t n_hops;
    uint32_t gateway;                      /* of a web service: by which; MODEL_NONE: no gateway serves the surface to it */
    struct address from;
    bool is_open, stays_on_host;           /* of a flow between addresses of one host no layer is asked */
    uint32_t n_passed;                     /* hops before the first no */
};

/* One flow. */
void explain_flow(const struct verify_layers *layers, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port,
                  struct explain_path *ret);
/* A web service over a surface: the gateway, address and instance by which it is reached, or else those that come furthest. */
void explain_web(const struct verify_layers *layers, const struct address *from, uint32_t service, uint32_t surface, struct explain_path *ret);
/* The same for a container, whose point from is: by the gateway beside it. way_in: what the container layer says to its listener's port. */
void explain_web_beside(const struct verify_layers *layers, const struct address *from, const struct explain_hop *way_in, uint32_t service,
                        uint32_t surface, struct explain_path *ret);
/* The hop that says no, or NULL. */
const struct explain_hop *explain_closed(const struct explain_path *path);
