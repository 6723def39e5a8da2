/* Parts of a Caddyfile that know nothing of guests: address ranges, ways to services, certificates. */
#pragma once

#include "base/buf.h"
#include "model/model.h"

/* Appends " PREFIX" for each of the fewest prefixes that are together the range. */
void caddy_range_write(struct buf *out, const struct address *first, const struct address *last);
/* The snippet "(NAME)" with the way from that gateway to the service's instances, the near one first; with instance_host, "(NAME-HOST)" with
 * the way to that one. */
void caddy_snippet_write(const struct model *model, uint32_t gateway, const struct model_service *service, uint32_t instance_host, struct buf *out);
/* The line or block that says where certificates come from. */
void caddy_tls_write(const struct model_tls *tls, struct buf *out);
