/* What holds a host's containers to the declaration: the elements of tables inet and bridge postern_containers (render/containers.h writes them,
 * observe/containers.h reads them back).
 *
 * The rules are always the same; all that differs from host to host and from moment to moment are the elements of their sets. So a change is
 * written as elements that come and go, in one transaction, and what is there can be read back as elements.
 *
 * Bridges have a class. What arrives from a bridge that is ENFORCED is dropped before any DNAT unless something lets it through: that depends on
 * the bridge's name alone, so that a container that has only just started is held like any other. Packets of the direction that opened the
 * connection are judged each, so that what is taken away ends at once, not with the connection. From an OBSERVED bridge everything goes on;
 * what would not have been let through is counted. Of other bridges nothing is said.
 *
 * Traffic on one bridge is judged in table bridge, by its ports (no bridge conntrack is needed: an answer is known by the granted port that it
 * comes from), and with br_netfilter in force once more in table inet. */
#pragma once

#include "base/address.h"
#include "base/arena.h"
#include "base/buf.h"

#define CONTAINER_TABLE "postern_containers"

enum container_class { CONTAINER_LEFT, CONTAINER_OBSERVED, CONTAINER_ENFORCED };

/* The sets, in pairs where there is one per family (IPv4 first). What an element of each has is in container_set_shape. */
enum container_set {
    CONTAINER_BRIDGES,        /* every bridge, with its class */
    CONTAINER_DOCKERS,        /* bridges of Docker's networks */
    CONTAINER_HELD,           /* bridges that are ENFORCED */
    CONTAINER_ITSELF,         /* the same, twice: from and to one bridge */
    CONTAINER_SUBNETS4, CONTAINER_SUBNETS6,   /* bridge, prefix: where the ENFORCED ones are; no rule asks, people do, and who cuts connections */
    CONTAINER_OPEN,           /* bridges, ENFORCED or OBSERVED, inside which everything may talk */
    CONTAINER_INSIDE4, CONTAINER_INSIDE6,     /* bridge, prefix: where these are */
    CONTAINER_GRANTED4, CONTAINER_GRANTED6,   /* bridge, from, to, protocol, port */
    CONTAINER_INTERNET4, CONTAINER_INTERNET6, /* bridge, from: may use the internet */
    CONTAINER_NEAR4, CONTAINER_NEAR6,         /* prefix: what is not the internet */
    CONTAINER_EXEMPT4, CONTAINER_EXEMPT6,     /* bridge, from: on an ENFORCED bridge, but only observed */
    CONTAINER_PUBLISHED,      /* protocol, port of the host at which containers that are held are published */
    /* Of table bridge: */
    CONTAINER_PORTS,          /* ports of bridges inside which not everything may talk, with their class */
    CONTAINER_JUDGED4, CONTAINER_JUDGED6,     /* prefix: where the ENFORCED ones of these are, for ports that are not known yet */
    CONTAINER_PAIRS4, CONTAINER_PAIRS6,       /* from, to: may talk, both ways */
    CONTAINER_PASSES4, CONTAINER_PASSES6,     /* from, to, protocol, port */
    CONTAINER_OWNED,          /* ports behind which it is known who is */
    CONTAINER_OWNER4, CONTAINER_OWNER6,       /* port, from: who */
    CONTAINER_N_SETS,
};

enum { CONTAINER_NAME_SIZE = 16, CONTAINER_ELEMENTS_MAX = 1 << 18 };

/* What is not said by a set's shape is zero. */
struct container_element {
    char name[CONTAINER_NAME_SIZE];  /* of a bridge or a port; NUL-padded */
    struct address from, to;
    uint8_t to_bits;                 /* a prefix; as address_prefix counts */
    uint8_t protocol;
    uint16_t port;
    uint8_t class;                   /* enum container_class */
    struct str comment;              /* the filter's, or "" */
};

enum {
    CONTAINER_KEY_NAME = 1, CONTAINER_KEY_NAME_AGAIN = 2, CONTAINER_KEY_FROM = 4, CONTAINER_KEY_TO = 8, CONTAINER_KEY_PREFIX = 16,
    CONTAINER_KEY_PORT = 32 /* protocol and port */,
};

struct container_shape {
    const char *name;
    uint8_t key;              /* CONTAINER_KEY_... */
    bool is_v6, is_of_bridge, has_class;
};

extern const struct container_shape container_shapes[CONTAINER_N_SETS];

struct container_filter {
    struct arena arena;
    struct buf sets[CONTAINER_N_SETS]; /* struct container_element; by key, each once, once sealed */
    int error;                         /* sticks: -ENOMEM, -E2BIG, -EINVAL for a name that can be no interface's; container_filter_seal says it */
};

void container_filter_init(struct container_filter *filter);
void container_filter_deinit(struct container_filter *filter);
#define cleanup_container_filter cleanup(container_filter_deinit)

/* Copies the element. The two forms of a set are chosen by the element's family: the IPv4 one is named. */
void container_filter_add(struct container_filter *filter, enum container_set set, const struct container_element *element);
int container_filter_seal(struct container_filter *filter) must_check;
/* The order of a set's elements: by key. 0: the same key. */
int container_element_compare(const struct container_element *x, const struct container_element *y) pure_function;
/* Whether that is a name that nft can be told: letters, digits, '.', '-', '_', at most 15. */
bool container_is_interface(struct str name) pure_function;

static inline uint32_t container_filter_count(const struct container_filter *filter, enum container_set set)
{
    return (uint32_t)(filter->sets[set].len / sizeof(struct container_element));
}

static inline const struct container_element *container_filter_at(const struct container_filter *filter, enum container_set set, uint32_t k)
{
    return (const struct container_element *)(const void *)filter->sets[set].ptr + k;
}

/* Whether a sealed filter's table inet lets a new flow go on from an ENFORCED bridge. is_local: to an address of this host. */
bool container_filter_passes(const struct container_filter *filter, const char *bridge, const struct address *from, const struct address *to,
                             uint8_t protocol, uint16_t port, bool is_local) pure_function;

/* The ENFORCED bridge that has the address inside; NULL: none. */
const char *container_filter_bridge_of(const struct container_filter *filter, const struct address *address) pure_function;
/* Whether the address is one of the internet, as the filter has it. */
bool container_filter_is_internet(const struct container_filter *filter, const struct address *address) pure_function;
