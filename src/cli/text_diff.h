/* How one text differs from another, line by line, short: for a person who wants to see what changes in a file. */
#pragma once

#include "base/buf.h"

struct text_diff_options {
    unsigned n_context;   /* equal lines around a change; they are left out where it is 0 */
    const char *indent;   /* before each line */
    bool colour;
    bool has_numbers;     /* the number of each line in its own text */
};

/* Appends "-" and "+" lines. Returns how many lines differ, 0 for equal texts; where the texts are too large and too different for an exact answer,
 * a sentence says how many lines each has. */
size_t text_diff_write(struct buf *out, struct str before, struct str after, const struct text_diff_options *options);
