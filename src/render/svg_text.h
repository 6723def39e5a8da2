/* Text in pictures: how wide it will be, and how it is written so that nothing in it is markup. */
#pragma once

#include "base/buf.h"
#include "base/str.h"

/* Pixels that the text needs at most, in any of the usual sans-serif fonts (measured on a wide one); bold takes some more. Rounded up. */
int svg_text_width(struct str text, int size_px, bool bold);
/* Appends text for an element's content or an attribute in double quotes (XML 1.0 section 2.4). Control characters, which XML 1.0 can't
 * hold at all, and bytes that are not UTF-8 become U+FFFD. */
void svg_text_write(struct buf *out, struct str text);
/* printf, then svg_text_write of the result. */
void svg_text_printf(struct buf *out, const char *format, ...) printf_like(2, 3);
