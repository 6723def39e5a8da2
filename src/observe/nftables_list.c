/* Asking nft for all that it holds. */
#include "base/program.h"
#include "observe/nftables.h"

int observe_nftables_list(struct buf *out, struct error *err)
{
    static const char *const arguments[] = { "-j", "list", "ruleset", NULL };
    static const struct program nft = { "nft", "Debian's package nftables", arguments, OBSERVE_NFTABLES_TIMEOUT_MS };
    return program_run(&nft, STR_NONE, out, NULL, err);
}
