/* Findings as a person reads them, with the line and a caret, and as JSON. */
#include "model/reader.h"

enum { REPORT_WIDTH = 140, REPORT_BEFORE = 60 };

/* Places don't count a byte order mark before the text. */
static struct str source_line(struct str source, uint32_t line)
{
    struct str mark = STR("\xef\xbb\xbf"), rest = str_starts_with(source, mark) ? str_skip(source, mark.len) : source;
    for (uint32_t i = 1; i < line && rest.len; i++) {
        const char *p = rest.ptr;
        size_t at = 0;
        while (at < rest.len && p[at] != '\n' && p[at] != '\r')
            at++;
        at += at + 1 < rest.len && p[at] == '\r' && p[at + 1] == '\n';
        rest = str_skip(rest, at + 1);
    }
    size_t end = 0;
    while (end < rest.len && rest.ptr[end] != '\n' && rest.ptr[end] != '\r')
        end++;
    return str_first(rest, end);
}

/* The byte at which the column (in characters, from 1) starts. */
static size_t column_offset(struct str line, uint32_t column)
{
    size_t at = 0;
    for (uint32_t i = 1; i < column && at < line.len; i++)
        for (at++; at < line.len && ((unsigned char)line.ptr[at] & 0xc0) == 0x80; at++)
            ;
    return at;
}

static size_t character_start(struct str line, size_t at)
{
    while (at > 0 && at < line.len && ((unsigned char)line.ptr[at] & 0xc0) == 0x80)
        at--;
    return at;
}

/* One column per character. Controls become spaces: the reader refuses files with others than tabs, but also shows this line of them. */
static void append_visible(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool is_c1 = c == 0xc2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xa0;
        i += is_c1;
        buf_append_char(out, c < 0x20 || c == 0x7f || is_c1 ? ' ' : (char)c);
    }
}

static size_t character_count(struct str text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += ((unsigned char)text.ptr[i] & 0xc0) != 0x80;
    return n;
}

static void append_repeated(struct buf *out, char c, size_t n)
{
    while (n--)
        buf_append_char(out, c);
}

static void write_line_with_caret(struct buf *out, const struct model_finding *finding, struct str source, bool colour)
{
    struct str line = source_line(source, finding->at.line);
    size_t offset = column_offset(line, finding->at.column);
    size_t from = line.len > REPORT_WIDTH && offset > REPORT_BEFORE ? character_start(line, offset - REPORT_BEFORE) : 0;
    size_t to = line.len - from > REPORT_WIDTH ? character_start(line, from + REPORT_WIDTH) : line.len;
    size_t end = offset + finding->length < to ? offset + finding->length : to;
    size_t width = end > offset ? character_count(str_make(line.ptr + offset, end - offset)) : 0;

    buf_printf(out, "%6u | ", finding->at.line);
    append_visible(out, str_make(line.ptr + from, to - from));
    buf_append(out, STR("\n       | "));
    append_repeated(out, ' ', character_count(str_make(line.ptr + from, offset - from)));
    buf_append(out, colour ? STR("\033[1;32m") : STR(""));
    buf_append_char(out, '^');
    append_repeated(out, '~', width ? width - 1 : 0);
    buf_append(out, colour ? STR("\033[0m\n") : STR("\n"));
}

void model_finding_write(struct buf *out, const struct model_finding *finding, struct str file, struct str source, bool colour)
{
    bool is_error = finding->severity == MODEL_ERROR;
    const char *on = !colour ? "" : is_error ? "\033[1;31m" : "\033[1;35m", *off = colour ? "\033[0m" : "";
    buf_printf(out, "%.*s:", STR_ARG(file));
    if (finding->at.line)
        buf_printf(out, "%u:%u:", finding->at.line, finding->at.column);
    buf_printf(out, " %s%s:%s %.*s\n", on, is_error ? "error" : "warning", off, STR_ARG(finding->message));
    if (finding->at.line)
        write_line_with_caret(out, finding, source, colour);
    if (finding->hint.len)
        buf_printf(out, "       = %.*s\n", STR_ARG(finding->hint));
}

void model_findings_write_json(struct buf *out, const struct model_findings *findings, struct str file)
{
    buf_append_char(out, '[');
    for (uint32_t i = 0; i < findings->n; i++) {
        const struct model_finding *finding = &findings->items[i];
        buf_append(out, i ? STR(",\n  {") : STR("\n  {"));
        buf_printf(out, "\"severity\": \"%s\", \"file\": ", finding->severity == MODEL_ERROR ? "error" : "warning");
        buf_append_json(out, file);
        buf_printf(out, ", \"line\": %u, \"column\": %u, \"length\": %u, \"message\": ", finding->at.line, finding->at.column,
                   finding->length);
        buf_append_json(out, finding->message);
        buf_append(out, STR(", \"hint\": "));
        buf_append_json(out, finding->hint);
        buf_append_char(out, '}');
    }
    buf_append(out, findings->n ? STR("\n]") : STR("]"));
}
