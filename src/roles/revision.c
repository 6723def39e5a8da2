/* A version of the declaration, named by what is in it. */
#include "roles/revision.h"

#include <openssl/evp.h>
#include <stdio.h>

bool revision_of(struct str text, char ret[static REVISION_DIGITS + 1])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_Digest(text.ptr, text.len, hash, &n, EVP_sha256(), NULL) != 1)
        return false;
    for (size_t i = 0; i < REVISION_DIGITS / 2; i++)
        snprintf(ret + 2 * i, 3, "%02x", hash[i]);
    return true;
}
