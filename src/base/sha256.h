/* SHA-256 (FIPS 180-4), for naming content: plain C, so that who only names something links no cryptographic library. Not for secrets. */
#pragma once

#include <stdint.h>

#include "base/str.h"

enum { SHA256_SIZE = 32 };

void sha256_of(struct str text, uint8_t ret[static SHA256_SIZE]);
