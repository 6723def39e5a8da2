/* The host firewall as a layer of "postern audit": what its nftables really let in, with everybody's tables, against what was rendered. */
#pragma once

#include "cli/audit.h"

/* What comes by the mesh; what comes by any other interface that some rule names, or by one that none does. path: a listing (nft -j list
 * ruleset), "-", or "kernel": this machine's is asked for. See struct audit_layer. */
int cli_audit_nftables_mesh(const struct audit_given *given, struct relation *expected, struct relation *actual, struct relation *unknown, struct error *err);
int cli_audit_nftables_lan(const struct audit_given *given, struct relation *expected, struct relation *actual, struct relation *unknown, struct error *err);
