/* nft's JSON from anywhere: it reads or is refused, and what reads is judged alike by both evaluators. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "observe/nftables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const struct packet_filter *filter, struct str interface)
{
    const struct packet_arrival arrival = { .interface = interface };
    struct relation open, unknown;
    relation_init(&open);
    relation_init(&unknown);
    int r = packet_filter_relation(filter, PACKET_TO_HOST, &arrival, NULL, 0, &open, &unknown);
    for (unsigned i = 0; r == 0 && i < 64; i++) {
        struct address from = { { 0 } }, to = { { 0 } };
        from.bytes[10] = from.bytes[11] = to.bytes[10] = to.bytes[11] = 0xff;
        from.bytes[12] = to.bytes[12] = i & 1 ? 10 : 100;
        from.bytes[15] = (uint8_t)(i >> 1);
        to.bytes[15] = 1;
        uint16_t port = i & 2 ? 443 : 22;
        enum packet_answer answer = packet_filter_decide(filter, PACKET_TO_HOST, &arrival, &from, &to, IPPROTO_TCP, port, NULL);
        bool is_open = relation_find_rule(&open, &from, &to, IPPROTO_TCP, port) != UINT32_MAX;
        bool is_unknown = relation_find_rule(&unknown, &from, &to, IPPROTO_TCP, port) != UINT32_MAX;
        if (is_open != (answer == PACKET_ADMITTED) || is_unknown != (answer == PACKET_UNKNOWN))
            abort();
    }
    relation_deinit(&open);
    relation_deinit(&unknown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct packet_filter filter;
    struct error err = { "" };
    int r = observe_nftables_read(str_make((const char *)data, size), STR("nftables on h"), &filter, &err);
    if (r < 0) {
        if (!err.text[0] && r == -EINVAL)
            abort();
        return 0;
    }
    judge(&filter, STR("tailscale0"));
    judge(&filter, STR(""));
    packet_filter_deinit(&filter);
    return 0;
}
