/* Whom this host asks for names: so does Docker for its containers, unless it is told otherwise. */
#pragma once

#include "base/address.h"

enum { RESOLVERS_MAX = 8 };

/* Reads resolv.conf's nameservers; loopback ones are left out: of those dockerd asks itself. Returns how many. */
uint32_t resolvers_read(const char *path, struct address ret[static RESOLVERS_MAX]);
