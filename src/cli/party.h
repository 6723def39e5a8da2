/* Who asks and what is asked for, as named on the command line: hosts, segments, services, users, tags, addresses. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "policy/access.h"

/* One who asks: a host, a segment's others, a container, or an address. */
struct party_asker {
    struct str text;                   /* "robin", "others of clients", "100.64.0.50" */
    uint32_t host, segment;            /* both MODEL_NONE, and container: nobody that the declaration knows */
    uint32_t container;                /* MODEL_NONE: none; its only address is its point then */
    const struct address *addresses;   /* one for each stretch that the declaration treats alike */
    uint32_t n_addresses;
};

/* One thing that is asked for. */
struct party_asked {
    struct str text;                   /* "grafana", "luanti on bluejay", "roc:22" */
    bool is_web;
    uint32_t service;                  /* MODEL_NONE: a port that no service has */
    uint32_t host;                     /* of a port; MODEL_NONE: an address that no host has */
    uint32_t container;                /* whose port it is, port 0: every one; MODEL_NONE: none's. Its only address is its point then */
    bool is_internet;
    const struct address *to;          /* of a port */
    uint32_t n_to;
    uint8_t protocol;
    uint16_t port;
};

struct parties {
    struct arena arena;
    struct party_asker *askers;
    struct party_asked *asked;
    uint32_t n_askers, n_asked;
    bool is_group;                     /* askers are a segment's, a tag's, a user's */
    uint32_t segment;                  /* FROM is all of this one; MODEL_NONE */
};

/* Reads FROM and TO. 0; -ENOMEM; -EINVAL with err when a name is unknown, or means two things (err says how to write both). Either may be NULL:
 * nothing is filled in for it. */
int parties_read(const struct access *access, const char *from, const char *to, struct parties *ret, struct error *err) must_check;
void parties_deinit(struct parties *parties);
#define cleanup_parties cleanup(parties_deinit)
