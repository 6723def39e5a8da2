/* The two error classes, and the sentence that a user gets.
 *
 * A function that can fail returns 0, a negative errno (nobody expected it: forward it unchanged), or a positive code that
 * its header documents (the caller must handle it). What a user reads is built in a struct error, innermost cause first, each
 * caller wrapping it in what it was doing. */
#pragma once

#include "base/macros.h"

struct error {
    char text[512];
};

/* Sets the text; a text that doesn't fit is cut. err may be NULL: nothing happens. */
void error_set(struct error *err, const char *format, ...) printf_like(2, 3);
/* Puts "what: " before the text that is there. */
void error_wrap(struct error *err, const char *format, ...) printf_like(2, 3);
