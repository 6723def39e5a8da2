/* What one gateway's compiled image lets through, read back from the blocks that its workers and its broker map: whom each surface serves
 * what, and where the broker dials for it. Not what the compiler meant: what it wrote. */
#pragma once

#include "model/model.h"
#include "policy/compile.h"
#include "policy/image.h"
#include "policy/relation.h"

enum gateway_way_kind {
    GATEWAY_WAY_HERE,    /* on the gateway itself: a namespace, a socket, a port of its own; no network is passed */
    GATEWAY_WAY_NETWORK, /* a port of another host, to which the network's layers have to let the gateway */
    GATEWAY_WAY_NONE,    /* it can't be dialled from here */
};

/* One target of the dial block. */
struct gateway_way {
    uint64_t surfaces;   /* bits, by the declaration's numbers: whose workers may ask for it; 0: of a direct port, the relay */
    uint32_t service;    /* the declaration's number */
    enum gateway_way_kind kind;
    struct address to[IMAGE_TARGET_ADDRESSES]; /* NETWORK: any of these will do, of one family with an address of the gateway */
    uint32_t n_to;
    uint16_t port;
    struct str text;     /* "grafana@roc", in the block */
    struct str why;      /* NONE: "is on bluejay"; in the block */
};

struct gateway_listener {
    uint32_t surface;
    struct address address;
    uint16_t port;       /* where TLS is spoken */
};

/* A direct port that it relays: what passes the network there is judged once more. */
struct gateway_port {
    struct address address;
    uint32_t service;    /* the declaration's number */
    uint16_t port;
    uint8_t protocol;    /* RELATION_TCP or RELATION_UDP */
};

struct gateway_layer {
    struct arena arena;
    uint32_t host;
    struct gateway_listener *listeners;
    uint32_t n_listeners;
    struct gateway_port *ports;
    uint32_t n_ports;
    struct gateway_way *ways;  /* by service, in the order in which the gateway prefers them */
    uint32_t n_ways;
    struct relation relation;  /* verdicts: sources to service points, and to direct ports; the rules' places are the reasons */
};

/* The blocks are borrowed for as long as the layer is used. 0; -ENOMEM; -E2BIG; -EINVAL with err when a block is none or names what the
 * declaration doesn't know. */
int gateway_layer_init(struct gateway_layer *ret, const struct model *model, uint32_t host, const struct compile_output *blocks,
                       struct error *err) must_check;
/* The direct port there, or NULL. */
const struct gateway_port *gateway_layer_find_port(const struct gateway_layer *layer, const struct address *address, uint8_t protocol, uint16_t port);
void gateway_layer_deinit(struct gateway_layer *layer);
