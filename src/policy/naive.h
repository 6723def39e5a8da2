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
/* Whether the address has a grant on the surface at all. */
bool naive_is_guest(const struct model *model, const struct address *from, uint32_t surface);
/* The first grant that lets a new flow pass from one host to another, granted or derived, or MODEL_NONE. */
uint32_t naive_flow(const struct model *model, const struct address *from, const struct address *to, enum model_transport transport, uint16_t port);
