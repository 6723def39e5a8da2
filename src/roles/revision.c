/* A version of the declaration, named by what is in it. */
#include "roles/revision.h"

#include <stdint.h>
#include <stdio.h>

#include "base/sha256.h"

void revision_of(struct str text, char ret[static REVISION_DIGITS + 1])
{
    uint8_t hash[SHA256_SIZE];
    sha256_of(text, hash);
    for (size_t i = 0; i < REVISION_DIGITS / 2; i++)
        snprintf(ret + 2 * i, 3, "%02x", hash[i]);
}
