/* Who and what there is to ask about in a declaration, in its own names, so that matrices over addresses can be read as
 * "robin reaches registry over agents". */
#pragma once

#include "base/buf.h"
#include "policy/declared.h"
#include "policy/matrix.h"

/* A host with an address, a segment's addresses that no host has, or a container: one that some grant lets ask, that talks inside its
 * project, or of which an expectation speaks. */
struct access_subject {
    uint32_t host, segment;   /* host MODEL_NONE: of the segment at large; segment MODEL_NONE: a host without one; both: a container */
    uint32_t container;       /* MODEL_NONE: none */
    struct address point;     /* a container's */
    const uint32_t *ranges;   /* in sources; not a container's */
    uint32_t n_ranges;
};

enum access_kind {
    ACCESS_WEB,       /* a web service over a surface */
    ACCESS_DIRECT,    /* a direct service's port on one of its hosts */
    ACCESS_HOST_PORT, /* a port of a host, as some grant names it */
    ACCESS_CONTAINER, /* a container, every port of it: what talks inside a project */
    ACCESS_CONTAINER_PORT, /* a port of a container, as some grant names it */
    ACCESS_INTERNET,
    ACCESS_SURFACE,   /* derived: a gateway's port of a surface, or the port that redirects there */
    ACCESS_INSTANCE,  /* derived: a web service's port on a host, which gateways dial */
    ACCESS_KINDS
};

struct access_object {
    enum access_kind kind;
    uint32_t service, surface, host; /* MODEL_NONE where it has none; a container's: the first service that names it */
    uint8_t protocol;                /* RELATION_TCP or RELATION_UDP; 0, with port 0: all of them (CONTAINER, INTERNET) */
    uint16_t port;
    const struct address *to;        /* where it is: addresses of a host, or one point */
    uint32_t n_to;
    uint32_t container;              /* CONTAINER, CONTAINER_PORT */
};

struct access {
    const struct model *model;
    struct arena arena;
    struct grants grants;
    struct sources sources;
    struct containers containers;
    struct relation relation;        /* declared_add's */
    uint8_t *families;               /* by surface: declared_families */
    bool *is_inside;                 /* by container: others of its project are beside it, and may talk to it */
    struct access_subject *subjects; /* by segment, then in the order of the file; then containers */
    struct access_object *objects;   /* by kind (containers' before what is derived), then in the order of the file */
    uint32_t n_subjects, n_objects;
};

/* 0, -ENOMEM or -E2BIG. The model must outlive it, numbers need not; as in declared_add. */
int access_init(struct access *ret, const struct model *model, const struct declared_numbers *numbers) must_check;
void access_deinit(struct access *access);
#define cleanup_access cleanup(access_deinit)

/* PARTLY: by some addresses of one or the other only. NONE: there is nothing to ask: both are one host, or they share no family. */
enum access_answer { ACCESS_NO, ACCESS_YES, ACCESS_PARTLY, ACCESS_NONE };
enum access_answer access_ask(const struct access *access, const struct matrix *matrix, uint32_t subject, const struct access_object *object);
/* The first rule of the relation that lets the subject reach the object by some address, or UINT32_MAX. */
uint32_t access_find_rule(const struct access *access, const struct relation *relation, uint32_t subject, const struct access_object *object);
/* "robin", "others of clients", or of a container "grafana", "backrest on roc". */
void access_write_subject(struct buf *out, const struct access *access, uint32_t subject);
/* "registry", "luanti on bluejay", "roc:22", "roc:udp/53", "prometheus:9090", "all of prometheus", "the internet"; the surface of a web
 * service is not said. */
void access_write_object(struct buf *out, const struct access *access, uint32_t object);
/* The segment a subject is in: a container, in its host's; MODEL_NONE. */
uint32_t access_subject_segment(const struct access *access, uint32_t subject);
/* "grafana", "backrest on roc": a container by the first service that names it. */
void access_write_container(struct buf *out, const struct containers *containers, uint32_t container);
/* What a container is as an object: one port of it, or all. to: room for its point, which must live as long. */
struct access_object access_container_object(const struct access *access, uint32_t container, uint8_t protocol, uint16_t port, struct address *to);
/* The segment an object is in: of its host, or of a web service's first host; MODEL_NONE. */
uint32_t access_object_segment(const struct access *access, uint32_t object);
