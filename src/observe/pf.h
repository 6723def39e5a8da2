/* Rules for pf, read as a packet filter: the part of pf.conf's language that render/pf.c writes, and what people commonly add to it.
 *
 * Tables, and pass and block rules with interface, family, protocols, addresses, ports, ICMP types, state and label; comments, lists, lines that
 * go on after a backslash. Anything else is an error that names the line: a rule that isn't understood would make every answer a guess. */
#pragma once

#include "base/error.h"
#include "policy/packet_filter.h"

enum { OBSERVE_PF_MAX = 32 << 20 };

/* name: of the filter, "pf on robin". Rules that aren't "quick" are put behind those that are, the last first, so that the first that holds
 * decides. *ret is sealed, the caller's, untouched on failure. 0; -EINVAL with err; -E2BIG, -ENOMEM. */
int observe_pf_read(struct str text, struct str name, struct packet_filter *ret, struct error *err) must_check;
