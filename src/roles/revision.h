/* The short digest by which logs, status and rendered files name a version of the declaration. */
#pragma once

#include <stdbool.h>

#include "base/macros.h"
#include "base/str.h"

enum { REVISION_DIGITS = 12 };

/* The first digits of the text's SHA-256, in hex. False when the library has none; ret is untouched then. */
bool revision_of(struct str text, char ret[static REVISION_DIGITS + 1]) must_check;
