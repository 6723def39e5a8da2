/* An engine's HTTP from anywhere, cut anywhere: the same response, or refused both times. */
#include <stdlib.h>

#include "docker/response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int feed(struct docker_response *response, struct str bytes, size_t step, size_t *ret_used)
{
    int r = DOCKER_RESPONSE_MORE;
    docker_response_init(response);
    *ret_used = 0;
    while (r == DOCKER_RESPONSE_MORE && *ret_used < bytes.len) {
        size_t used = 0;
        r = docker_response_feed(response, str_first(str_skip(bytes, *ret_used), step), &used);
        *ret_used += used;
    }
    return r == DOCKER_RESPONSE_MORE ? docker_response_finish(response) : r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct docker_response whole, cut;
    size_t used_whole, used_cut;
    if (size == 0)
        return 0;
    struct str bytes = str_make((const char *)data + 1, size - 1);
    int r_whole = feed(&whole, bytes, SIZE_MAX, &used_whole), r_cut = feed(&cut, bytes, data[0] % 61 + 1, &used_cut);
    if (r_whole != r_cut)
        abort();
    if (r_whole == 0 && (whole.status != cut.status || used_whole != used_cut || !str_equal(buf_str(&whole.body), buf_str(&cut.body)) ||
                         whole.keeps_alive != cut.keeps_alive))
        abort();
    if (r_whole == DOCKER_RESPONSE_REFUSED && (!whole.problem || !cut.problem))
        abort();
    docker_response_deinit(&whole);
    docker_response_deinit(&cut);
    return 0;
}
