/* Text for a person's terminal that others had a hand in: nothing in it moves the cursor or reorders letters, and it keeps to the width. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"

enum { PARAGRAPH_WIDTH = 100, PARAGRAPH_WIDTH_MIN = 80, PARAGRAPH_WIDTH_MAX = 120, PARAGRAPH_TEXT_MAX = 4096 };

/* The terminal's, within the bounds; PARAGRAPH_WIDTH where it is none. */
unsigned paragraph_width(FILE *stream);
/* Appends text with everything replaced by '?' that is not a letter, digit, mark or blank of its own width: control characters of both sets,
 * bytes that are no UTF-8, direction marks, blanks of no width. At most max bytes of it, then "...". */
void paragraph_append_safe(struct buf *out, struct str text, size_t max);
/* Appends text, made safe, broken at blanks into lines of at most width columns, the first after what is in the line already (at columns),
 * the others after `indent` blanks; a word that is longer than a line is cut. Ends with a newline. */
void paragraph_append(struct buf *out, struct str text, unsigned at, unsigned indent, unsigned width);
