/* pf rules from anywhere: they read or are refused with a line, and what reads is judged. */
#include <errno.h>
#include <stdlib.h>

#include "observe/pf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct packet_arrival arrival = { .interface = STR("utun4") };
    struct packet_filter filter;
    struct relation open;
    struct error err = { "" };
    int r = observe_pf_read(str_make((const char *)data, size), STR("pf on h"), &filter, &err);
    if (r < 0) {
        if (r == -EINVAL && !str_starts_with(str_of(err.text), STR("line ")))
            abort();
        return 0;
    }
    relation_init(&open);
    if (packet_filter_relation(&filter, PACKET_TO_HOST, &arrival, NULL, 0, &open, NULL) == -EINVAL)
        abort();
    relation_deinit(&open);
    packet_filter_deinit(&filter);
    return 0;
}
