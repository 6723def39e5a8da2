/* One question at a time, answered by walking the declaration from its top: slow, short, and the measure of everything compiled. */
#pragma once

#include "model/model.h"

/* Who an address is: a host, else the segment of the longest prefix (host MODEL_NONE), else nobody (both MODEL_NONE). */
struct naive_principal {
    uint32_t host, segment;
};
struct naive_principal naive_identify(const struct model *model, const struct address *address);

/* The first grant that lets the address reach the web service on the surface, or MODEL_NONE. */
uint32_t naive_verdict(const struct model *model, const struct address *from, uint32_t service, uint32_t surface);
/* The first grant that lets it use the direct service, or MODEL_NONE. */
uint32_t naive_direct(const struct model *model, const struct address *from, uint32_t service);
/* Whether the address has a grant on the surface at all. */
bool naive_is_guest(const struct model *model, const struct address *from, uint32_t surface);
/* The same for a container, known by its host and its reference: it asks the gateway beside it. */
uint32_t naive_container_verdict(const struct model *model, uint32_t host, struct str reference, uint32_t service, uint32_t surface);
/* Whether that gateway has a way to some instance: one of its own host, or a port that it dials over the mesh. */
bool naive_is_within_reach(const struct model *model, uint32_t service, uint32_t gateway);
bool naive_container_is_guest(const struct model *model, uint32_t host, struct str reference, uint32_t surface);
/* The first grant that lets it send to a port of another container of its host, or to the internet, or MODEL_NONE. *ret_inside: it may, on a
 * network of its project's own, without one. */
uint32_t naive_container_flow(const struct model *model, uint32_t host, struct str from, struct str to, enum model_transport transport, uint16_t port,
                              bool *ret_inside);
uint32_t naive_container_internet(const struct model *model, uint32_t host, struct str from);
/* The first grant that lets it to a port of its own host, or MODEL_NONE. */
uint32_t naive_container_port(const struct model *model, uint32_t host, struct str from, const struct address *to, enum model_transport transport,
                              uint16_t port);
/* The first grant that lets a new flow pass from one host to another, granted or derived, or MODEL_NONE. */
uint32_t naive_flow(const struct model *model, const struct address *from, const struct address *to, enum model_transport transport, uint16_t port);
