/* The few rtnetlink requests (rtnetlink(7)) that make a lab's links, in whichever network namespace the socket was opened. */
#pragma once

#include <stdbool.h>

#include "base/address.h"
#include "base/macros.h"

/* A NETLINK_ROUTE socket of the current network namespace, or a negative errno. */
int netlink_open(void) must_check;

/* Each waits for the kernel's answer: 0 or its negative errno. Names are shorter than IFNAMSIZ. */
int netlink_add_bridge(int netlink, const char *name) must_check;
/* A pair: name here, peer in the namespace that peer_namespace (an open descriptor) is. */
int netlink_add_veth(int netlink, const char *name, const char *peer, int peer_namespace) must_check;
/* isolated: the port talks to the bridge itself only, not to other such ports. */
int netlink_join_bridge(int netlink, const char *name, const char *bridge, bool isolated) must_check;
int netlink_set_up(int netlink, const char *name) must_check;
/* prefix->address with prefix->bits as the on-link length; an IPv6 address is usable at once (no duplicate detection). */
int netlink_add_address(int netlink, const char *name, const struct address *address, unsigned bits) must_check;
/* A route to prefix through name; by way of gateway when that is not NULL (taken to be on the link whatever its address). */
int netlink_add_route(int netlink, const char *name, const struct address_prefix *prefix, const struct address *gateway) must_check;
