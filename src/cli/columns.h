/* Columns for a person's eye: as wide as their widest cell, two spaces between, heads in dim, marks in colour. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"

enum { COLUMNS_MAX = 8, COLUMNS_TEXT_MAX = 1024 * 1024 };
enum columns_mark { COLUMNS_PLAIN, COLUMNS_GOOD, COLUMNS_BAD, COLUMNS_HEAD };

struct columns {
    size_t n_columns, column;          /* the next cell's */
    size_t widths[COLUMNS_MAX];
    bool colour;
    struct buf cells;                  /* mark, text, NUL; in the order they came */
};

/* heads ends with NULL. */
void columns_begin(struct columns *columns, const char *const *heads, bool colour);
/* The next cell; a row ends with its last column. Bytes that don't print become '?'. */
void columns_cell(struct columns *columns, enum columns_mark mark, const char *text);
/* Writes it and frees. */
void columns_end(struct columns *columns, FILE *out);
