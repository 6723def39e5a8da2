/* The short digest by which logs, status and rendered files name a version of the declaration. */
#pragma once

#include "base/str.h"

enum { REVISION_DIGITS = 12 };

/* The first digits of the text's SHA-256, in hex. */
void revision_of(struct str text, char ret[static REVISION_DIGITS + 1]);
