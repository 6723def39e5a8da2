/* What this host itself says of its networks: its addresses, who is behind each interface, and what listens where. */
#pragma once

#include "base/address.h"
#include "base/arena.h"
#include "base/macros.h"

enum { OBSERVE_INTERFACES_MAX = 4096, OBSERVE_LISTENERS_MAX = 65536 };

/* Who is behind an address of this host. */
enum observe_side {
    OBSERVE_LOOPBACK,
    OBSERVE_LAN,        /* a private network */
    OBSERVE_INTERNET,   /* an address that the whole internet may send to, if no router on the way stops it */
    OBSERVE_MESH,       /* Tailscale, WireGuard and their like */
    OBSERVE_CONTAINERS, /* a bridge whose other ends are containers */
};

struct observe_interface {
    struct str name;
    struct address address;
    uint8_t bits;            /* of its subnet, as address_prefix counts them */
    enum observe_side side;
};

struct observe_interfaces {
    uint32_t n;
    const struct observe_interface *items; /* one for each address, link-local ones left out */
};

/* A socket that takes what comes from elsewhere. */
struct observe_listener {
    uint8_t protocol;        /* IPPROTO_TCP, IPPROTO_UDP */
    uint16_t port;
    struct address address;  /* where: 0.0.0.0 or :: for everywhere */
    struct str program;      /* of the process that holds it; "" where that can't be told */
    struct str container;    /* the ID of the container which that process is in, as its control group says; "" for none */
    uint64_t inode;
};

struct observe_listeners {
    uint32_t n;
    const struct observe_listener *items; /* by protocol, port, address */
};

/* The addresses of the current network namespace. Interfaces that are containers' bridges are told by who knows the engine. 0 or a negative errno. */
int observe_interfaces_read(struct arena *arena, struct observe_interfaces *ret) must_check;
/* On which side an address is, by itself and by its interface's name. */
enum observe_side observe_side_of(struct str interface, const struct address *address) pure_function;
/* Everywhere: 0.0.0.0 or ::. */
bool observe_address_is_any(const struct address *address) pure_function;

/* What listens in the network namespace of a process, from /proc/PID/net ("self" as pid 0: the caller's). -ENOENT when there is no such process. */
int observe_listeners_read(pid_t pid, struct arena *arena, struct observe_listeners *ret) must_check;
/* Fills in programs and containers, as far as /proc tells whose sockets they are. */
int observe_listeners_name(struct observe_listener *listeners, uint32_t n, struct arena *arena) must_check;
/* One table of /proc/PID/net ("tcp", "tcp6", "udp", "udp6"), appended to the caller's array; lines that are none are passed over. Returns how
 * many of at most max were added. */
uint32_t observe_listeners_parse(struct str text, uint8_t protocol, struct observe_listener *items, uint32_t max);
