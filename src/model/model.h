/* The declaration as written: every name and value with its place in the file. Read-only once the reader returns it.
 *
 * Everything is allocated in one arena (the configuration's lifetime). References between things are indexes into the arrays of
 * struct model; MODEL_NONE where there is none. The reader has checked them all: later layers do not. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/arena.h"
#include "base/str.h"

#define MODEL_NONE UINT32_MAX
#define MODEL_DOCKER_SOCKET "/run/docker.sock"

struct model_place {
    uint32_t line, column; /* from 1; line 0: no place */
};

struct model_text {
    struct str text;
    struct model_place at;
};

struct model_texts {
    struct model_text *items;
    uint32_t n;
};

struct model_indexes {
    uint32_t *items;
    uint32_t n;
};

struct model_prefixes {
    struct address_prefix *items;
    uint32_t n;
};

/* How the mesh (Tailscale, Headscale) knows machines otherwise than by address; at most one of the two, the other is empty. */
struct model_binding {
    struct model_text tag;   /* "tag:prod" */
    struct model_text user;  /* "alice@example.org", or Headscale's "alice@" */
};

struct model_segment {
    struct model_text name;
    struct model_binding binding;    /* every host of the segment, and nobody else, carries the tag or is the user's */
    struct model_prefixes addresses; /* whoever comes from here and is no declared host belongs to the segment */
};

enum model_os { MODEL_OS_LINUX, MODEL_OS_MACOS };
enum model_firewall { MODEL_FIREWALL_NFTABLES, MODEL_FIREWALL_PF, MODEL_FIREWALL_NONE };

struct model_host {
    struct model_text name;
    uint32_t segment;
    struct model_prefixes addresses; /* on the mesh; whole addresses only */
    struct model_prefixes lan;
    struct model_binding binding;    /* its alone */
    struct model_text tailscale;     /* what the mesh calls the machine; the host's name where nothing is said, at line 0 then */
    enum model_os os;
    enum model_firewall firewall;    /* where nothing is said: nftables on Linux, none elsewhere */
    bool gateway;
    struct model_text docker;        /* the socket of its Docker Engine; where nothing is said: the usual one, at line 0, if a service there is in
                                      * a container, else "" */
};

/* Where a surface's certificate comes from. */
enum model_tls_source { MODEL_TLS_INTERNAL, MODEL_TLS_FILES, MODEL_TLS_ACME };

struct model_tls {
    enum model_tls_source source;
    struct model_place at;
    struct str certificate_file, key_file;                          /* FILES */
    /* ACME: the directory's URL, a contact, lego's name of the DNS provider, KEY=VALUE file of its token, CA of the directory's own TLS
     * ("": the system's) */
    struct str acme_directory, acme_email, acme_provider, acme_environment_file, acme_ca_file;
};

struct model_surface {
    struct model_text name;
    uint16_t port;
    uint16_t redirect_port;    /* plain HTTP that is answered with 308 to this surface; 0: none */
    uint32_t n_workers;        /* 0: one per core */
    struct model_indexes hosts;        /* gateways that serve it; the reader fills in all gateways where none is named */
    struct model_prefixes addresses;   /* to listen on instead of the gateway's mesh addresses; n 0: the mesh addresses */
    uint32_t max_connections_per_principal; /* 0: the default */
};

enum model_where { MODEL_WHERE_HOST, MODEL_WHERE_CONTAINER, MODEL_WHERE_UNIX, MODEL_WHERE_NETNS };
enum model_protocol { MODEL_PROTOCOL_HTTP, MODEL_PROTOCOL_H2C, MODEL_PROTOCOL_HTTPS };
enum model_kind { MODEL_KIND_WEB, MODEL_KIND_DIRECT, MODEL_KIND_INTERNAL };
enum model_transport { MODEL_TCP, MODEL_UDP };

struct model_service {
    struct model_text name;
    struct model_indexes hosts;       /* one instance on each */
    enum model_kind kind;
    enum model_where where;
    struct model_text place;          /* container's NAME or PROJECT/SERVICE, unix socket's path or namespace's path */
    uint32_t project;                 /* of PROJECT/SERVICE, where it is listed in projects; else MODEL_NONE */
    struct model_prefixes addresses;  /* dialled instead of the host's mesh addresses; inside a namespace: instead of its own */
    bool loopback;                    /* dial 127.0.0.1, then ::1 */
    uint16_t port;                    /* WEB and INTERNAL; 0 with a unix socket */
    enum model_transport transport;   /* DIRECT */
    enum model_protocol protocol;     /* WEB */
    struct model_texts names;         /* extra host names, whole, lower case */
    struct model_indexes surfaces;    /* the only surfaces it may be served on; n 0: any */
    /* protocol https: */
    struct str tls_name;              /* SNI and the name verified; "" : the service's host name */
    struct str tls_ca_file;           /* "" : the system's */
    struct str tls_pin;               /* base64 SHA-256 of the SubjectPublicKeyInfo; "" : none */
    bool tls_insecure;
    bool is_offered;                  /* not declared: a container offers it by label (policy/offers.h); only grants with labelled match it */
};

/* A Compose project: what is enforced between its containers and everything else. One that isn't listed is observed and open inside. */
enum model_mode { MODEL_MODE_OBSERVE, MODEL_MODE_ENFORCE };
enum model_inside { MODEL_INSIDE_OPEN, MODEL_INSIDE_DECLARED };

struct model_project {
    struct model_text name;
    struct model_indexes hosts;       /* where it runs */
    enum model_mode mode;             /* OBSERVE: what would be dropped is counted, nothing is */
    enum model_inside inside;         /* OPEN: its containers may talk on the project's own networks; DECLARED: only as granted */
};

/* A principal in from:, exactly one of host, segment and service. A service asks from the containers of its instances, each on its own host. */
struct model_principal {
    struct model_text text;
    uint32_t host, segment, service;
};

enum model_target_kind { MODEL_TARGET_SERVICE, MODEL_TARGET_PATTERN, MODEL_TARGET_HOST_PORT, MODEL_TARGET_SERVICE_PORT, MODEL_TARGET_INTERNET };

struct model_target {
    struct model_text text;
    enum model_target_kind kind;
    uint32_t service;             /* SERVICE, SERVICE_PORT */
    struct str pattern;           /* PATTERN: "*" or with a '*' in it; web services only */
    uint32_t host;                /* HOST_PORT */
    enum model_transport transport;
    uint16_t port;                /* HOST_PORT; SERVICE_PORT: of the service's container, asked for by containers of its host only */
};

struct model_grant {
    struct model_place at;
    struct model_principal *from;
    struct model_target *to;
    uint32_t n_from, n_to;
    struct model_indexes over;    /* surfaces; empty only where nothing in to is a web service */
    bool labelled;                /* its patterns match names that containers offer by label, too */
};

/* One line of expect:. */
struct model_expectation {
    struct model_place at;
    struct model_principal *from;
    struct model_target *can, *cannot;
    uint32_t n_from, n_can, n_cannot;
    struct model_indexes over;
};

enum model_log_to { MODEL_LOG_STDOUT, MODEL_LOG_FILE };

struct model {
    struct arena arena;
    struct str file;              /* as named by the user, for messages and rules: "postern.yml" */
    struct str source;            /* the whole text */
    struct model_text domain;     /* lower case, no trailing dot */
    struct model_tls tls;
    struct model_segment *segments;
    struct model_host *hosts;
    struct model_surface *surfaces;
    struct model_service *services;
    struct model_project *projects;
    struct model_grant *grants;
    struct model_expectation *expectations;
    uint32_t n_segments, n_hosts, n_surfaces, n_services, n_projects, n_grants, n_expectations;
    enum model_log_to log_to;
    struct str log_file;
    struct str metrics_unix;              /* "" : the run directory's metrics.sock */
    struct model_prefixes metrics_address; /* n 1: TCP as well */
    uint16_t metrics_port;
};

/* The Compose project in a container's PROJECT/SERVICE; "" where it is a container's NAME, or no container. */
static inline struct str model_service_project(const struct model_service *service)
{
    size_t slash = service->where == MODEL_WHERE_CONTAINER ? str_find_char(service->place.text, '/') : service->place.text.len;
    return slash < service->place.text.len ? str_first(service->place.text, slash) : STR_NONE;
}

static inline bool model_runs_on(const struct model_indexes *hosts, uint32_t host)
{
    uint32_t i = 0;
    while (i < hosts->n && hosts->items[i] != host)
        i++;
    return i < hosts->n;
}

/* Where an instance on that host is dialled. */
static inline const struct model_prefixes *model_instance_addresses(const struct model *model, const struct model_service *service, uint32_t host)
{
    return service->addresses.n ? &service->addresses : &model->hosts[host].addresses;
}

/* Whether gateways dial its instances on other hosts: what is in a namespace or on a loopback is dialled on its own host only. */
static inline bool model_is_dialled_over_mesh(const struct model_service *service)
{
    return service->kind == MODEL_KIND_WEB && service->where == MODEL_WHERE_HOST && (!service->loopback || service->addresses.n);
}

/* Of an instance's addresses, whether other hosts dial this one: another host's loopback is not ours. */
static inline bool model_is_dialled_from_afar(const struct model_service *service, const struct address *address)
{
    return !service->addresses.n || !address_is_loopback(address);
}

/* By its whole name: the number, or MODEL_NONE. */
uint32_t model_find_host(const struct model *model, struct str name);
uint32_t model_find_segment(const struct model *model, struct str name);
uint32_t model_find_surface(const struct model *model, struct str name);
uint32_t model_find_service(const struct model *model, struct str name);

/* Frees the model and its arena. NULL is fine; returns NULL. */
struct model *model_free(struct model *model);
