/* The rendered rules, loaded by nft into the current network namespace. */
#pragma once

#include "base/error.h"
#include "base/uids.h"
#include "model/model.h"

/* The interface that is the mesh, in every host of a lab. */
#define NFT_MESH_INTERFACE "mesh0"
/* Where a lab's gateways take their users from (postern run --uid-base), and which of them are workers. */
enum { NFT_UID_BASE = UIDS_BASE, NFT_WORKER_UID_FIRST = UIDS_BASE + UIDS_OF_WORKERS, NFT_WORKER_UID_LAST = UIDS_BASE + UIDS_N - 1 };

/* The filter between all hosts; the firewall of one. 0 or a negative errno with err (what nft said, in its first line). */
int nft_apply_mesh(const struct model *model, struct error *err) must_check;
int nft_apply_host(const struct model *model, uint32_t host, struct error *err) must_check;
