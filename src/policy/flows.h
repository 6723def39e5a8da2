/* What a declaration lets pass between hosts: every (source, destination, protocol, port) that a grant says or that one needs on its way.
 * The network layers are written from these, and only from these. */
#pragma once

#include "policy/grants.h"
#include "policy/sources.h"

enum flow_reason {
    FLOW_SURFACE,   /* a guest to its gateway's port, or to the port that redirects there */
    FLOW_HOST_PORT, /* granted as written: "roc:22" */
    FLOW_DIRECT,    /* a direct service's port */
    FLOW_INSTANCE,  /* derived: a gateway to an instance on another host */
};

struct flow {
    uint32_t source;            /* index in sources */
    uint32_t host;              /* the destination's; MODEL_NONE: its address is no declared host's */
    struct address destination;
    uint32_t grant;             /* the first in the file that needs it */
    uint16_t port;
    uint8_t transport;          /* enum model_transport */
    uint8_t reason;             /* enum flow_reason */
};

struct flows {
    struct arena arena;
    struct sources sources;
    struct flow *items;         /* by destination, protocol, port, source; each once */
    uint32_t n;
};

enum { FLOWS_MAX = 1 << 24 };

/* Flows to the host, or to every host with MODEL_NONE. What stays on one host is no flow.
 * 0, -ENOMEM, or -E2BIG when there are more than FLOWS_MAX. */
int flows_init(struct flows *ret, const struct grants *grants, uint32_t host) must_check;
void flows_deinit(struct flows *flows);
#define cleanup_flows cleanup(flows_deinit)
