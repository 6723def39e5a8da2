/* One packet and the rules of container tables, as render/containers_text.c writes them: read here a second time, and only here, so that what
 * fills the sets is not its own judge. Of new flows only. */
#pragma once

#include "render/containers.h"

struct container_packet {
    const char *bridge;          /* by which it comes */
    const char *to_bridge;       /* where it goes; NULL: to the host, or out of it */
    const char *port;            /* of the bridge, by which it comes */
    const struct address *from, *to;
    uint8_t protocol;
    uint16_t number;             /* of the port that it asks for */
    bool is_local;               /* to an address of the host */
};

/* br_netfilter in force: what stays on a bridge passes table inet, too. *ret_entry: what let it, where an entry with a comment did; may be NULL. */
bool container_rules_pass(const struct container_filter *filter, const struct container_packet *packet, bool has_br_netfilter,
                          const struct container_element **ret_entry);
/* The first entry for flows from one address to another (CONTAINER_GRANTED4 or CONTAINER_PASSES4, by family), of how many. */
const struct container_element *container_rules_grants(const struct container_filter *filter, enum container_set set, const char *bridge,
                                                       const struct address *from, const struct address *to, uint32_t *ret_n);
