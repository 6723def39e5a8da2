/* What every host's firewall is made of, whatever language it is written in: its addresses, the mesh's, its ports and its flows. */
#pragma once

#include "model/model.h"
#include "policy/flows.h"
#include "policy/packet_filter.h"

/* These append struct relation_range of one family, each once, in the declaration's order. */

/* What counts as an address of the mesh: Tailscale's and Headscale's prefixes, and the hosts that are declared outside of them. */
void host_filter_mesh(const struct model *model, bool v4, struct buf *out);
/* Addresses of the host where what isn't declared is dropped: on the mesh, and others that its surfaces are declared to listen on. */
void host_filter_here(const struct model *model, uint32_t host, bool v4, struct buf *out);
void host_filter_lan(const struct model *model, uint32_t host, bool v4, struct buf *out);

/* Every port on which something that the declaration knows is served there, granted to somebody or not. */
struct host_filter_port {
    uint8_t protocol;
    uint16_t port;
};
/* Appends struct host_filter_port, each once. */
void host_filter_served(const struct model *model, uint32_t host, struct buf *out);

/* The reasons of flows in a filter, each grant's made once. */
struct host_filter_reasons {
    struct packet_filter *filter;
    const struct model *model;
    struct str file;
    uint32_t *numbers; /* per grant, plain and derived; in the filter's arena */
};

int host_filter_reasons_init(struct host_filter_reasons *ret, struct packet_filter *filter, const struct model *model) must_check;
uint32_t host_filter_reason(struct host_filter_reasons *reasons, const struct flow *flow);
