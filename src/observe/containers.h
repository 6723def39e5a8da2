/* The container tables that are in force, read back: the elements of their sets, and what was counted. The other half of render/containers.h.
 *
 * The rules are always the same text; whoever wants to know that nobody changed them compares listings (postern apply --watch listens instead). */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "policy/container_filter.h"

enum { OBSERVE_CONTAINERS_MAX = 64 << 20 };

/* One line of what was counted: dropped, or seen of who is only observed. */
struct container_count {
    struct container_element what;  /* name: the bridge; "" from table bridge */
    uint64_t n_packets;
    bool is_denied;
};

struct container_counts {
    struct buf items;               /* struct container_count */
};

static inline void container_counts_deinit(struct container_counts *counts)
{
    buf_deinit(&counts->items);
}
#define cleanup_container_counts cleanup(container_counts_deinit)

/* text: what "nft -j list table inet|bridge postern_containers" writes; adds to filter, which is neither sealed nor emptied, and to counts (either may be
 * NULL). What isn't a set of the tables is passed over. 0; -EINVAL with err for what no nft writes of them; -E2BIG, -ENOMEM. */
int observe_containers_read(struct str text, struct container_filter *filter, struct container_counts *counts, struct error *err) must_check;
/* Both tables as they are in this network namespace, by a short-lived child each. OBSERVE_CONTAINERS_NONE: there are none. */
enum { OBSERVE_CONTAINERS_NONE = 1 };
int observe_containers(struct container_filter *filter, struct container_counts *counts, struct error *err) must_check;
