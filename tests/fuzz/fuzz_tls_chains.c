/* The certificates that a worker is pushed: whatever the bytes, texts stay inside them, and what was accepted is written the same again. */
#include <stdint.h>
#include <stdlib.h>

#include "tls/chains.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls_chain chains[TLS_CHAINS_MAX];
    if (size < 1)
        return 0;
    uint32_t n = data[0];
    const char *block = (const char *)data + 1;
    size--;
    if (tls_chains_decode(block, size, n, chains) < 0)
        return 0;
    struct buf again;
    buf_init(&again, TLS_CHAINS_SIZE_MAX);
    uint32_t n_defaults = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (chains[i].name.ptr < block || chains[i].pem.ptr + chains[i].pem.len > block + size)
            abort();
        n_defaults += chains[i].name.len == 0;
        tls_chains_append(&again, &chains[i]);
    }
    if (n_defaults != 1 || again.error || again.len != size)
        abort();
    buf_deinit(&again);
    return 0;
}
