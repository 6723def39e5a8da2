/* Rendered rules go to a short-lived nft by its standard input. */
#include "lab/nft.h"

#include <errno.h>

#include "base/program.h"
#include "render/nftables.h"

enum { RULES_MAX = 64 << 20, NFT_TIMEOUT_MS = 60000 };

static int nft_load(struct str rules, struct error *err)
{
    static const char *const arguments[] = { "-f", "-", NULL };
    static const struct program nft = { "nft", "Debian's package nftables", arguments, NFT_TIMEOUT_MS };
    int r = program_run(&nft, rules, NULL, NULL, err);
    if (r == -EIO)
        error_wrap(err, "the rules are refused");
    return r;
}

static int nft_apply(const struct model *model, uint32_t host, struct error *err)
{
    const struct render_nftables_options options = {
        .mesh_interface = STR(NFT_MESH_INTERFACE), .worker_uid_first = NFT_WORKER_UID_FIRST, .worker_uid_last = NFT_WORKER_UID_LAST,
    };
    cleanup_buf struct buf rules = { .max = RULES_MAX };
    int r = host == MODEL_NONE ? render_nftables_mesh(model, &options, &rules, err) : render_nftables_host(model, host, &options, &rules, err);
    return r < 0 ? r : nft_load(buf_str(&rules), err);
}

int nft_apply_mesh(const struct model *model, struct error *err)
{
    return nft_apply(model, MODEL_NONE, err);
}

int nft_apply_host(const struct model *model, uint32_t host, struct error *err)
{
    return nft_apply(model, host, err);
}
