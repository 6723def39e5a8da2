/* The compiled declaration: flat, relocatable blocks that enforcers map read-only. Offsets and indexes, no pointers.
 *
 * One declaration compiles to several blocks, so that each role is given what it may know and nothing else:
 *   IMAGE_VIEW  one per surface, for its workers: its guests, the services they may reach, the verdicts; and one of the direct ports;
 *   IMAGE_DIAL  for the broker: how each instance is dialled and which surfaces may ask for it;
 *   IMAGE_PLAN  for the parent: listeners, workers, logging, metrics;
 *   IMAGE_KEYS  for the keeper: which certificates each surface needs and where they come from;
 *   IMAGE_DOCKER for the docker role: the names of the containers to look for. A gateway without any has none.
 * A block is an image_header, its section table, and the sections: arrays of the structs below, 16-byte aligned, in the machine's
 * byte order. image_attach checks every offset, index and string once; after it, readers trust the block. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/error.h"
#include "base/macros.h"
#include "base/str.h"

#define IMAGE_MAGIC "postern"
#define IMAGE_NONE  UINT32_MAX
/* In a view's addresses and prefixes: a declared address without a grant here, so that no shorter prefix claims it. Look-ups say IMAGE_NONE. */
#define IMAGE_NOBODY (UINT32_MAX - 1)
enum { IMAGE_VERSION = 1, IMAGE_ALIGN = 16, IMAGE_SURFACES_MAX = 64, IMAGE_REVISION_SIZE = 32 };
/* In the place of a surface's number: the direct ports, which have a relay instead of workers, and with it a view and targets of their own. */
enum { IMAGE_SURFACE_DIRECT = IMAGE_SURFACES_MAX, IMAGE_VIEWS_MAX };
#define IMAGE_DIRECT_NAME "direct" /* its name, which no surface can have */

enum image_kind { IMAGE_VIEW = 1, IMAGE_DIAL, IMAGE_PLAN, IMAGE_KEYS, IMAGE_DOCKER };

enum image_section_id {
    IMAGE_STRINGS,          /* char */
    IMAGE_BLOBS,            /* char: certificate authorities in PEM */
    IMAGE_SURFACES,         /* struct image_surface; a view has exactly one, plan and keys have all of the declaration's by number */
    IMAGE_PRINCIPALS,       /* view: struct image_principal */
    IMAGE_ADDRESSES,        /* view: struct image_address_slot, hash, power of two */
    IMAGE_PREFIXES,         /* view: struct image_prefix, longest first */
    IMAGE_NAMES,            /* view: struct image_name_slot, hash, power of two */
    IMAGE_SERVICES,         /* view: struct image_service */
    IMAGE_INSTANCES,        /* view: struct image_instance, a service's together */
    IMAGE_VERDICTS,         /* view: uint32_t[n_classes * n_services], row per class: rule index + 1, or 0 for denied */
    IMAGE_RULES,            /* view: struct image_rule */
    IMAGE_TARGETS,          /* dial: struct image_target */
    IMAGE_LISTENERS,        /* plan: struct image_listener */
    IMAGE_SETTINGS,         /* plan: struct image_settings, exactly one */
    IMAGE_CERTIFICATES,     /* keys: struct image_certificate */
    IMAGE_CONTAINERS,       /* docker: struct image_container, by number */
    IMAGE_ENGINE,           /* docker: struct image_engine, exactly one */
    IMAGE_OFFERS,           /* plan: struct image_offer */
    IMAGE_SECTION_COUNT
};

struct image_section {
    uint64_t offset, count;  /* from the block's start; in elements */
    uint32_t stride, unused; /* bytes per element; must be what this version knows */
};

struct image_header {
    char magic[8];
    uint32_t version, kind;
    uint64_t size;           /* of the whole block */
    uint64_t generation;     /* set by the parent's count; larger is newer */
    char revision[IMAGE_REVISION_SIZE]; /* hex digest of the declaration, NUL-terminated */
    struct image_section sections[IMAGE_SECTION_COUNT];
};

/* Text in IMAGE_STRINGS. */
struct image_text {
    uint32_t offset, length;
};

struct image_surface {
    struct image_text name, domain;
    uint16_t port, redirect_port;
    uint32_t n_workers;                     /* 0: one per core */
    uint32_t max_connections_per_principal;
    uint32_t n_classes;                     /* view: rows of IMAGE_VERDICTS */
    uint32_t first_certificate, n_certificates; /* keys: its slice of IMAGE_CERTIFICATES; the first is the default */
    uint32_t index;                         /* the surface's number in the declaration */
};

/* Who may be asking: a declared host, a segment's addresses that no host has, or a service in a container, whose addresses are no part of
 * the declaration: the engine says them while it runs. Only those with a grant on this surface are in a view. */
struct image_principal {
    struct image_text host;     /* empty: of the segment at large; a container's service: the service's name */
    struct image_text segment;  /* empty for a container's service */
    uint32_t class_index;       /* row of IMAGE_VERDICTS */
    uint32_t unused;
    uint64_t container;         /* its container's number; 0: a host or a segment. At most one principal of a view for each */
};

struct image_address_slot {
    struct address address;
    uint32_t principal;         /* IMAGE_NONE: empty slot */
    uint32_t unused[3];
};

struct image_prefix {
    struct address_prefix prefix;
    uint8_t unused[3];
    uint32_t principal;
};

struct image_name_slot {
    struct image_text name;     /* whole host name, lower case; length 0: empty slot */
    uint32_t service;
    uint32_t instance;          /* index in IMAGE_INSTANCES, or IMAGE_NONE for any of the service's */
};

/* TCP and UDP: of the direct ports' view, where a service's name in IMAGE_NAMES is its port, "udp/30000". */
enum image_protocol { IMAGE_PROTOCOL_HTTP, IMAGE_PROTOCOL_H2C, IMAGE_PROTOCOL_HTTPS, IMAGE_PROTOCOL_TCP, IMAGE_PROTOCOL_UDP };
enum image_service_flags { IMAGE_SERVICE_TLS_INSECURE = 1 };

struct image_service {
    struct image_text name;
    uint32_t first_instance, n_instances;
    uint32_t protocol;
    uint32_t flags;
    struct image_text tls_name, tls_pin;        /* IMAGE_PROTOCOL_HTTPS */
    uint32_t tls_ca_offset, tls_ca_length;      /* in IMAGE_BLOBS; length 0: only the pin counts, and without one nothing is trusted */
};

struct image_instance {
    struct image_text name;     /* "grafana@roc", for the log */
    uint32_t service;
    uint32_t target;            /* its number in the dial block of the same generation: what the broker is asked for */
    uint64_t identity;          /* equal in two generations exactly when the same thing is dialled the same way; keys pooled connections */
};

struct image_rule {
    struct image_text place;    /* "postern.yml:41" */
};

/* NETNS and CONTAINER with n_addresses 0: the namespace's own address, which the broker finds there (its loopback is dialled only when
 * declared). CONTAINER is a namespace that the docker role hands to the broker, by number. */
enum image_target_kind { IMAGE_TARGET_ADDRESS, IMAGE_TARGET_UNIX, IMAGE_TARGET_NETNS, IMAGE_TARGET_UNRESOLVED, IMAGE_TARGET_CONTAINER };
enum { IMAGE_TARGET_ADDRESSES = 4 };

/* A direct service's target is no surface's: the relay alone may ask for it. */
enum image_direct { IMAGE_DIRECT_NOT, IMAGE_DIRECT_TCP, IMAGE_DIRECT_UDP };

struct image_target {
    uint64_t surfaces;          /* bit per surface that may ask */
    uint64_t identity;
    uint32_t kind;
    uint32_t n_addresses;       /* ADDRESS, NETNS, CONTAINER: tried in this order; the latter two with 0: the namespace's own */
    struct address addresses[IMAGE_TARGET_ADDRESSES];
    struct image_text path;     /* UNIX: the socket; NETNS: the namespace; CONTAINER: what it is called ("monitoring/grafana"); UNRESOLVED:
                                 * why, to be said after its name ("is on bluejay") */
    struct image_text name;     /* for messages: "grafana@roc" */
    uint16_t port;
    uint16_t direct;            /* enum image_direct; not 0: surfaces is 0 */
    uint16_t unused[2];
    /* NETNS, CONTAINER without addresses: this gateway's first IPv4 and first IPv6 mesh address (zeroes: it has none). Where the namespace has nothing
     * but its loopback, the broker puts them on that lo and dials from them, so that the service doesn't take the gate for localhost. */
    struct address sources[2];
    uint64_t container;         /* CONTAINER: its number */
};

enum image_container_flags {
    IMAGE_CONTAINER_DIALLED = 1,  /* the broker may be asked for it: its namespace is wanted */
    IMAGE_CONTAINER_GUEST = 2,    /* it asks on a surface of this gateway: its addresses are wanted */
};

/* A container that the declaration names, by Compose's "PROJECT/SERVICE" or its own NAME. Its number is that text's fingerprint: the same in
 * every generation, and no two containers of one block share it. */
struct image_container {
    uint64_t number;            /* never 0 */
    struct image_text reference;
    uint32_t flags;
    uint32_t unused;
};

/* What a container offered by label, and whether it is taken: for status. */
struct image_offer {
    struct image_text name, reference;
    struct image_text why;      /* empty: it is taken */
    uint16_t port;
    uint16_t unused[3];
};

struct image_engine {
    struct image_text socket;   /* absolute path */
    uint32_t wants_offers;      /* 1: a grant speaks of services that containers offer by label */
    uint32_t unused;
};

/* DIRECT_*: the surface is IMAGE_SURFACE_DIRECT. */
enum image_listener_kind { IMAGE_LISTENER_TLS, IMAGE_LISTENER_REDIRECT, IMAGE_LISTENER_DIRECT_TCP, IMAGE_LISTENER_DIRECT_UDP };

struct image_listener {
    uint32_t surface;
    uint32_t kind;
    struct address address;
    uint16_t port;
    uint16_t unused[3];
};

struct image_settings {
    struct image_text host, domain;    /* which gateway this is */
    struct image_text log_file;        /* empty: standard output */
    struct image_text metrics_unix;    /* empty: the default */
    struct address metrics_address;
    uint16_t metrics_port;             /* 0: none */
    uint16_t unused[3];
};

enum image_certificate_source { IMAGE_CERTIFICATE_INTERNAL, IMAGE_CERTIFICATE_FILES, IMAGE_CERTIFICATE_ACME };

struct image_certificate {
    uint32_t surface;
    uint32_t source;
    struct image_text name;            /* "*.home.example" (with "home.example") for the default, or one extra name */
    struct image_text certificate_file, key_file;
    struct image_text acme_directory, acme_email, acme_provider, acme_environment_file, acme_ca_file;
};

/* ---- reading ---- */

struct image {
    const struct image_header *header;
};

/* Checks the block of size bytes at data (16-byte aligned, mapped for as long as the image is used) and that it is of that kind.
 * 0, or -EINVAL with err saying which section and why; *ret is untouched then. */
int image_attach(const void *data, size_t size, enum image_kind kind, struct image *ret, struct error *err) must_check;

static inline const void *image_section(struct image image, enum image_section_id id)
{
    return (const char *)image.header + image.header->sections[id].offset;
}

static inline uint32_t image_count(struct image image, enum image_section_id id)
{
    return (uint32_t)image.header->sections[id].count;
}

static inline struct str image_str(struct image image, struct image_text text)
{
    return str_make((const char *)image_section(image, IMAGE_STRINGS) + text.offset, text.length);
}

#define IMAGE_ACCESSOR(name, type, id)                                                                                 \
    static inline const type *name(struct image image, uint32_t index)                                                 \
    {                                                                                                                  \
        return (const type *)image_section(image, id) + index;                                                         \
    }
IMAGE_ACCESSOR(image_surface, struct image_surface, IMAGE_SURFACES)
IMAGE_ACCESSOR(image_principal, struct image_principal, IMAGE_PRINCIPALS)
IMAGE_ACCESSOR(image_service, struct image_service, IMAGE_SERVICES)
IMAGE_ACCESSOR(image_instance, struct image_instance, IMAGE_INSTANCES)
IMAGE_ACCESSOR(image_rule, struct image_rule, IMAGE_RULES)
IMAGE_ACCESSOR(image_target, struct image_target, IMAGE_TARGETS)
IMAGE_ACCESSOR(image_listener, struct image_listener, IMAGE_LISTENERS)
IMAGE_ACCESSOR(image_settings, struct image_settings, IMAGE_SETTINGS)
IMAGE_ACCESSOR(image_certificate, struct image_certificate, IMAGE_CERTIFICATES)
IMAGE_ACCESSOR(image_container, struct image_container, IMAGE_CONTAINERS)
IMAGE_ACCESSOR(image_engine, struct image_engine, IMAGE_ENGINE)
IMAGE_ACCESSOR(image_offer, struct image_offer, IMAGE_OFFERS)
#undef IMAGE_ACCESSOR

/* Bytes per element of a section, and whether blocks of that kind have it. For whoever writes or checks blocks. */
uint32_t image_section_stride(enum image_section_id id);
bool image_section_belongs(enum image_kind kind, enum image_section_id id);

/* The longest of n prefixes (longest first, then by address) with at most max_bits that contains the address, or NULL. */
const struct image_prefix *image_find_prefix(const struct image_prefix *prefixes, uint32_t n, const struct address *address, unsigned max_bits);
/* The number of a container that is called so; never 0. */
uint64_t image_container_number(struct str reference);
/* The container of that number in a docker block, or IMAGE_NONE. */
uint32_t image_find_container(struct image docker, uint64_t number);
/* The principal that is the container of that number in a view, or IMAGE_NONE. */
uint32_t image_find_guest(struct image view, uint64_t container);
/* The principal of exactly that address; IMAGE_NOBODY: it is declared, and has no grant here; IMAGE_NONE: it is not declared. */
uint32_t image_find_declared(struct image view, const struct address *address);
/* The principal index of a source address, or IMAGE_NONE for nobody: exact address first, then the longest prefix. */
uint32_t image_find_principal(struct image view, const struct address *address);
/* The slot of a host name (already lower case, no port, no trailing dot), or NULL. Constant time in the number of services. */
const struct image_name_slot *image_find_name(struct image view, struct str name);
/* The rule index that lets the principal reach the service on this view's surface, or IMAGE_NONE (also for indexes out of range). */
uint32_t image_verdict(struct image view, uint32_t principal, uint32_t service);
