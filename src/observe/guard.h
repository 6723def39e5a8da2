/* What this host's rules stop on the way to its containers, and which bridges "postern apply" holds. Only what is certain counts as stopped. */
#pragma once

#include "base/error.h"
#include "observe/host.h"
#include "policy/packet_filter.h"

struct observe_guard {
    struct arena arena;
    bool is_known;               /* the rules were read; otherwise nothing is stopped */
    struct packet_filter filter; /* without translation: what a packet meets once it is addressed to the container */
    const struct str *held;      /* bridges whose containers are held to a declaration */
    uint32_t n_held;
    bool forwards_all;           /* the table of iptables has the policy accept for what is forwarded */
};

/* text: "nft -j list ruleset". 0; -EINVAL with err; -E2BIG, -ENOMEM. Untouched on failure. */
int observe_guard_read(struct str text, struct observe_guard *ret, struct error *err) must_check;
void observe_guard_deinit(struct observe_guard *guard);

bool observe_guard_holds(const struct observe_guard *guard, struct str bridge) pure_function;
/* Whether nothing that comes by the interface from its subnet (of the internet's or a mesh's: from anywhere) is let through to that address and
 * port. What can't be told is let through. */
bool observe_guard_stops(const struct observe_guard *guard, const struct observe_interface *by, const struct address *to, uint8_t protocol, uint16_t port);
/* Whether that flow from a bridge to this host itself is dropped. */
bool observe_guard_stops_to_host(const struct observe_guard *guard, struct str bridge, const struct address *from, const struct address *to, uint8_t protocol,
                                 uint16_t port);
