/* Asking nft what the current network namespace holds. */
#include "observe/nftables.h"

#include "observe/tool.h"

int observe_nftables_list(struct buf *out, struct error *err)
{
    static const char *const places[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft", NULL };
    static const char *const arguments[] = { "-j", "list", "ruleset", NULL };
    static const struct observe_tool nft = { "nft", places, arguments, "Debian's package nftables", OBSERVE_NFTABLES_TIMEOUT_MS };
    return observe_tool_run(&nft, out, err);
}
