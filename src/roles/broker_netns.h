/* Sockets inside other network namespaces: a short cache of checked namespace descriptors, and what addresses a namespace has.
 *
 * A namespace is named by a path of the dial block. It is opened without side effects, must be a network namespace (nsfs) and not the
 * broker's own, and its descriptor is held for a second at most: a held descriptor keeps a dead container's namespace alive. While it is
 * held, each use compares the path again, so that a namespace that was replaced is followed at once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/address.h"
#include "base/error.h"
#include "base/macros.h"
#include "policy/image.h"

enum { BROKER_NETNS_CACHE = 64, BROKER_NETNS_PATH_MAX = 512, BROKER_NETNS_HELD_MS = 1000 };

/* How an address is dialled. A namespace's own address is dialled from itself: should it have lost that address by now, and another have
 * it, then neither can the socket be bound, nor could the other's answer come back. */
struct broker_route {
    struct address address;
    struct address source;      /* bound before the connect when has_source */
    bool has_source;
};

struct broker_netns_entry {
    int fd;                     /* -1: empty */
    dev_t dev;
    ino_t ino;
    int64_t opened_ms, checked_ms;
    int64_t routes_ms;          /* when the routes were found; 0: they are to be found anew */
    unsigned n_routes;
    struct broker_route routes[IMAGE_TARGET_ADDRESSES]; /* to its own addresses */
};

struct broker_netns_named {
    struct broker_netns_entry entry;
    char path[BROKER_NETNS_PATH_MAX];
};

struct broker_netns {
    int home;
    dev_t home_dev;
    ino_t home_ino;
    unsigned n_held;
    struct broker_netns_named named[BROKER_NETNS_CACHE];
};

/* Opens the broker's own namespace, to come back to. Before confinement. Negative errno. */
int broker_netns_init(struct broker_netns *netns) must_check;

/* The namespace at the path, checked. *ret is good until the next call of this or of expire.
 * -ENOENT: nothing there; -EACCES with err: not a network namespace, the broker's own, or not ours to enter; other errno of open. */
int broker_netns_open(struct broker_netns *netns, struct str path, int64_t now_ms, struct broker_netns_entry **ret, struct error *err)
    must_check;

/* A non-blocking socket that belongs to the entry's namespace: the descriptor, or negative errno. Aborts if the way back fails:
 * from then on every socket would be made in the wrong namespace. */
int broker_netns_socket(struct broker_netns *netns, const struct broker_netns_entry *entry, int family, int type, int protocol) must_check;

/* Whether the descriptor is that of a network namespace other than the broker's own: *ret_st is what fstat says of it. name: for err.
 * 0; -EACCES with err; other negative errno. */
int broker_netns_check(const struct broker_netns *netns, int fd, const char *name, struct stat *ret_st, struct error *err) must_check;

/* Where the namespace itself is reached: its addresses, IPv4 first; or, where it has nothing but loopback, 127.0.0.1 and ::1 from
 * sources, which are put on its lo (and taken away again once it has an address of its own). Remembered with the entry for a second.
 * 0; -EADDRNOTAVAIL: loopback only and no source; other negative errno. */
int broker_netns_find_routes(struct broker_netns *netns, struct broker_netns_entry *entry, const struct address sources[static 2],
                             int64_t now_ms) must_check;

/* Closes what was held long enough; returns the milliseconds until the next one is due, or -1. */
int broker_netns_expire(struct broker_netns *netns, int64_t now_ms);
