/* Between the parts that find: how a finding is begun, and what they all ask about a container. */
#pragma once

#include "observe/findings.h"

struct finding_search {
    struct observe_engine *engine;
    struct findings *findings;
    struct str gateway;
};

/* A finding about a container, with its Compose service and file. NULL when there is no room: the search fails. Good until the next. */
struct finding *finding_begin(struct finding_search *search, enum finding_severity severity, enum finding_kind kind, uint32_t container);
void finding_line_add(struct finding_search *search, struct finding *finding, enum finding_mark mark, const char *format, ...) printf_like(4, 5);
/* The text in the arena, with the error kept; "" after one. */
struct str finding_text(struct finding_search *search, const char *format, ...) printf_like(2, 3);
struct str finding_text_of(struct finding_search *search, struct buf *text);

/* Its name as postern.yml has it. */
struct str finding_name(struct finding_search *search, uint32_t container);
/* "tcp", "udp", "sctp". */
const char *finding_protocol_text(uint8_t protocol);
bool finding_is_database(const struct observe_engine *engine, uint32_t container);

/* Where a container's ports are published, by where that may be reached from. */
struct finding_reach {
    bool any, at_address, loopback;
    bool lan, mesh, internet; /* someone is there */
};
struct finding_reach finding_reach_of(const struct observe_engine *engine, uint32_t container);
/* "the LAN, the mesh and the other containers": whoever a published or host-networked container is open to; "" for nobody. */
struct str finding_reach_text(struct finding_search *search, uint32_t container);
/* Whoever reaches an address of this host (0.0.0.0 or ::: any of them): "the LAN 192.168.1.0/24 (eth0), the mesh (tailscale0)". stopped: by
 * interface, what this host's rules keep off; NULL: nothing. */
void finding_sides_write(const struct observe_engine *engine, const struct address *address, const bool *stopped, struct buf *out);
/* Whoever shares a link with this host and can route to it: "neighbours on 192.168.1.0/24 (eth0)". */
void finding_neighbours_write(const struct observe_engine *engine, struct buf *out);
bool finding_side_has(const struct observe_engine *engine, const struct address *address, enum observe_side side, const bool *stopped);
/* How many other running containers reach this host's addresses and from there what is published. */
uint32_t finding_n_others(const struct observe_engine *engine, uint32_t container);

void finding_search_powers(struct finding_search *search, uint32_t container);
void finding_search_published(struct finding_search *search, uint32_t container);
void finding_search_networks(struct finding_search *search);
void finding_search_host(struct finding_search *search);
