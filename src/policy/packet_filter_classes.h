/* Addresses in classes that no element of a filter's sets tells apart, for one way and arrival: the ground on which whole relations are
 * worked out (packet_filter_relation.c). */
#pragma once

#include "policy/packet_filter.h"

enum packet_side { PACKET_SIDE_SOURCE, PACKET_SIDE_DESTINATION };

/* An element that can hold a packet of this arrival. */
struct packet_live {
    struct relation_range source, destination;
    uint32_t set, first_port, last_port, reason;
    bool is_sure, is_tcp, is_udp;  /* not sure: it depends on what can't be told */
};

/* What is left of a set. */
struct packet_shape {
    bool is_used, has[2];          /* has: addresses of that side */
    uint32_t first, n;             /* in lives */
};

/* One side of the address axis, cut into intervals. */
struct packet_axis {
    struct address *starts;        /* interval i ends before the start of i + 1 */
    bool *is_asked;                /* the interval is one of those that are asked about */
    uint32_t *first_member;        /* n + 1, in members */
    uint32_t *members;             /* which lives hold each interval, ascending */
    uint32_t *class_of, *next;     /* of an interval: its class; the next one of its class, or PACKET_NONE */
    uint32_t *representatives;     /* of each class, its first interval */
    uint32_t n, n_classes;
};

struct packet_classes {
    const struct packet_filter *filter;
    enum packet_path path;
    const struct packet_arrival *arrival;
    struct arena arena;
    struct packet_shape *shapes;   /* per set */
    struct packet_live *lives;
    struct buf lives_buf;
    struct packet_axis axes[2];
    uint32_t *base_chains, n_base_chains; /* on this way, in the order in which a packet meets them */
};

/* How often an element may be in an interval of addresses, in all. */
enum { PACKET_MEMBERS_MAX = 1 << 25, PACKET_CLASSES_MEMORY_MAX = 1 << 30 };

/* to, n_to: as of packet_filter_relation. 0, -ENOMEM, -E2BIG; to be deinited in any case. The filter and the arrival must outlive it. */
int packet_classes_init(struct packet_classes *ret, const struct packet_filter *filter, enum packet_path path, const struct packet_arrival *arrival,
                        const struct relation_range *to, uint32_t n_to) must_check;
void packet_classes_deinit(struct packet_classes *classes);
/* Whether some packet on this way has the field at all. */
bool packet_classes_has_field(const struct packet_classes *classes, uint8_t field);
bool packet_range_holds(const struct relation_range *range, const struct address *value);

static inline const struct relation_range *packet_live_range(const struct packet_live *live, enum packet_side side)
{
    return side == PACKET_SIDE_SOURCE ? &live->source : &live->destination;
}
