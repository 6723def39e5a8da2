/* Laying out columns: cells are kept until all are known, then written. */
#include "cli/columns.h"

#include <string.h>

void columns_begin(struct columns *columns, const char *const *heads, bool colour)
{
    *columns = (struct columns){ .colour = colour };
    buf_init(&columns->cells, COLUMNS_TEXT_MAX);
    while (columns->n_columns < COLUMNS_MAX && heads[columns->n_columns])
        columns->n_columns++;
    for (size_t i = 0; i < columns->n_columns; i++)
        columns_cell(columns, COLUMNS_HEAD, heads[i]);
}

void columns_cell(struct columns *columns, enum columns_mark mark, const char *text)
{
    size_t len = strlen(text);
    buf_append_char(&columns->cells, (char)mark);
    for (size_t i = 0; i < len; i++)
        buf_append_char(&columns->cells, (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i]);
    buf_append_char(&columns->cells, '\0');
    if (len > columns->widths[columns->column])
        columns->widths[columns->column] = len;
    columns->column = (columns->column + 1) % columns->n_columns;
}

void columns_end(struct columns *columns, FILE *out)
{
    static const char *const codes[] = { "", "\033[32m", "\033[31m", "\033[2m" };
    size_t column = 0, padding = 0;
    const char *at = columns->cells.ptr;
    const char *end = at + (columns->cells.error ? 0 : columns->cells.len);
    while (at < end) {
        const char *code = columns->colour ? codes[(unsigned char)*at] : "";
        const char *text = at + 1;
        size_t len = strlen(text);
        bool last = column + 1 == columns->n_columns;
        if (len > 0) { /* nothing is padded that nothing follows */
            fprintf(out, "%*s%s%s%s", (int)padding, "", code, text, code[0] ? "\033[0m" : "");
            padding = 0;
        }
        padding = last ? 0 : padding + columns->widths[column] - len + 2;
        if (last)
            fputc('\n', out);
        column = last ? 0 : column + 1;
        at = text + len + 1;
    }
    buf_deinit(&columns->cells);
}
