/* The declaration as nftables files, to be loaded with "nft -f FILE": one transaction each, own tables only, the same bytes for the same input.
 *
 * A host's file (table inet postern) lets mesh hosts reach what is declared for that host and nothing else of it, closes the way round by
 * the LAN, and drops mesh addresses that come from elsewhere than the mesh. It says nothing about traffic that only passes through, so it
 * lives beside Docker's, the mesh's and anybody's tables: a drop here holds whatever they accept.
 *
 * The mesh's file (table inet postern_mesh) stands for the mesh's own filter where a network namespace is the mesh: it forwards declared
 * flows between hosts and refuses the rest at once with "administratively prohibited" (a connect fails with EHOSTUNREACH or EACCES, where a
 * port without a listener says ECONNREFUSED). The namespace either routes between its hosts, or bridges them with br_netfilter in force
 * (net.bridge.bridge-nf-call-iptables and -ip6tables 1) and has routes to the mesh's prefixes on the bridge: refusals are sent along them,
 * for IPv6 from the bridge's own link-local address, which net.ipv6.conf.BRIDGE.accept_dad=0 makes good at once.
 * The kernel limits refusals per host (some six at once) and in all (50 at once): in that namespace, net.ipv4.icmp_ratelimit=0,
 * net.ipv6.icmp.ratelimit=0 and, where it has them, large net.ipv4.icmp_msgs_per_sec and _burst lift that. A refusal that arrives while
 * connect() still holds its socket counts for the next SYN only: it may take a second to be seen. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "model/model.h"
#include "policy/packet_filter.h"

/* What Tailscale calls its interface on Linux, and the UDP port on which it talks itself. */
#define RENDER_MESH_INTERFACE "tailscale0"
#define RENDER_CONTAINER_INTERFACES "docker0,br-*,pn-*"
enum { RENDER_MESH_PORT = 41641 };

struct render_nftables_options {
    struct str revision;           /* hex digest of the declaration, for the header; may be empty */
    struct str mesh_interface;     /* "tailscale0"; empty: the mesh is known by its addresses only, and the guard is left out */
    uint16_t mesh_transport_port;  /* UDP port on which the mesh itself talks on the LAN (41641); 0: none is kept open */
    /* How the bridges of containers are called, separated by commas, "*" at the end for all that begin so; empty: as Docker and postern render compose
     * call them. By them a container reaches the ports of surfaces over which one on this host is granted something, and nothing else of the host's
     * mesh addresses. */
    struct str container_interfaces;
    bool keep_lan;                 /* leave ports of declared LAN addresses alone, but for those that are served on the mesh */
    uint32_t worker_uid_first, worker_uid_last; /* users that may start no connection (the gateway's workers); 0, 0: no such rule */
};

/* Appends the file to out. 0; -EINVAL with err when there can be none for that host or an option is no good; -ENOMEM, -E2BIG. */
int render_nftables_host(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct buf *out,
                         struct error *err) must_check;
int render_nftables_mesh(const struct model *model, const struct render_nftables_options *options, struct buf *out, struct error *err) must_check;

/* The same as a structure, sealed, for who judges it: the host's, or with MODEL_NONE the mesh's. Its reasons are the declaration's lines where a
 * set element stands for a grant. A host's judges what arrives (PACKET_TO_HOST) by mesh_interface, or by an empty name for the LAN and anywhere
 * else; the mesh's what passes (PACKET_THROUGH_HOST). On failure *ret is untouched. */
int render_nftables_filter(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct packet_filter *ret,
                           struct error *err) must_check;
/* Appends the addresses that a host's filter speaks for, as struct relation_range: its mesh addresses, those its surfaces listen on, its LAN's. */
void render_nftables_own(const struct model *model, uint32_t host, struct buf *out);
