/* This host's interfaces and addresses, as the kernel tells them at one moment. */
#pragma once

#include <net/if.h>

#include "base/address.h"
#include "base/buf.h"
#include "base/error.h"

enum { LINKS_NO_NAMESPACE = -1 };

struct link {
    int index, master;         /* master 0: none */
    int peer_namespace;        /* where a veth's other end is, as this namespace numbers others; LINKS_NO_NAMESPACE: here, or it isn't one */
    bool is_bridge;
    char name[IFNAMSIZ];
};

struct links {
    struct buf links;          /* struct link */
    struct buf prefixes;       /* struct address_prefix: of every address, loopback's left out */
};

/* *ret is the caller's, untouched on failure. 0 or a negative errno. */
int links_read(struct links *ret, struct error *err) must_check;
void links_deinit(struct links *links);
#define cleanup_links cleanup(links_deinit)

static inline uint32_t links_count(const struct links *links)
{
    return (uint32_t)(links->links.len / sizeof(struct link));
}

static inline const struct link *links_at(const struct links *links, uint32_t i)
{
    return (const struct link *)(const void *)links->links.ptr + i;
}

/* By name, or NULL. */
const struct link *links_find(const struct links *links, struct str name) pure_function;
/* The number by which this namespace knows the one that the path is mounted from; LINKS_NO_NAMESPACE where it has none, or there is no such path. */
int links_namespace_of(const char *path);
