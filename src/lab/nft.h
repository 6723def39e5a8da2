/* The rendered rules, loaded by nft into the current network namespace. */
#pragma once

#include "base/error.h"
#include "model/model.h"

/* The interface that is the mesh, in every host of a lab. */
#define NFT_MESH_INTERFACE "mesh0"
/* Where a lab's gateways take their users from (postern run --uid-base), and which of them are workers. */
enum { NFT_UID_BASE = 61900, NFT_WORKER_UID_FIRST = NFT_UID_BASE + 16, NFT_WORKER_UID_LAST = NFT_UID_BASE + 79 };

/* The filter between all hosts; the firewall of one. 0 or a negative errno with err (what nft said, in its first line). */
int nft_apply_mesh(const struct model *model, struct error *err) must_check;
int nft_apply_host(const struct model *model, uint32_t host, struct error *err) must_check;
