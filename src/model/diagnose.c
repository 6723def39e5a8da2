/* Findings: kept up to a limit, with what the file contains made harmless to print. */
#include "model/diagnose.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

enum { DIAGNOSE_ARENA_MAX = 8 << 20 };

void diagnose_init(struct diagnostics *d)
{
    *d = (struct diagnostics){ 0 };
    arena_init(&d->found.arena, DIAGNOSE_ARENA_MAX);
}

void diagnose_deinit(struct diagnostics *d)
{
    model_findings_deinit(&d->found);
}

void model_findings_deinit(struct model_findings *findings)
{
    arena_deinit(&findings->arena);
    findings->items = NULL;
    findings->n = findings->n_errors = 0;
}

static struct str printf_like(2, 0) text_from(struct diagnostics *d, const char *format, va_list args)
{
    char text[1024];
    int n = vsnprintf(text, sizeof text, format, args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    struct str copy = arena_copy(&d->found.arena, str_make(text, len));
    if (!copy.ptr)
        d->error = -ENOMEM;
    return copy;
}

struct str diagnose_text(struct diagnostics *d, const char *format, ...)
{
    /* Past the limit nothing is shown any more, so nothing is made: a file of errors costs no more memory than a thousand. */
    if (d->is_full)
        return STR_NONE;
    va_list args;
    va_start(args, format);
    struct str text = text_from(d, format, args);
    va_end(args);
    return text;
}

void diagnose_add(struct diagnostics *d, enum model_severity severity, struct model_place at, size_t length, struct str hint,
                  const char *format, ...)
{
    struct model_findings *found = &d->found;
    found->n_errors += severity == MODEL_ERROR;
    if (d->is_full || d->error)
        return;
    if (!found->items)
        found->items = arena_array(&found->arena, DIAGNOSE_MAX + 1, struct model_finding);
    if (!found->items) {
        d->error = -ENOMEM;
        return;
    }
    struct model_finding *item = &found->items[found->n++];
    *item = (struct model_finding){ .severity = severity, .at = at, .length = length ? (uint32_t)length : 1, .hint = hint };
    va_list args;
    va_start(args, format);
    item->message = text_from(d, format, args);
    va_end(args);
    if (found->n == DIAGNOSE_MAX) {
        found->items[found->n++] = (struct model_finding){
            .severity = severity, .at = { UINT32_MAX, 1 }, .length = 1,
            .message = STR("there is more, which is not shown: mend these first"),
        };
        d->is_full = true;
    }
}

static const char *quote_with(struct diagnostics *d, struct str s, char mark)
{
    char text[DIAGNOSE_TEXT_MAX + 8];
    size_t n = 0;
    text[n++] = mark;
    for (size_t i = 0; i < s.len && n < DIAGNOSE_TEXT_MAX; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        /* An escape in a double-quoted scalar makes any character: C0, DEL, and C1 (two bytes, the first 0xc2). */
        bool is_c1 = c == 0xc2 && i + 1 < s.len && (unsigned char)s.ptr[i + 1] < 0xa0;
        i += is_c1;
        text[n++] = c < 0x20 || c == 0x7f || is_c1 ? '?' : (char)c;
    }
    if (s.len > DIAGNOSE_TEXT_MAX - 1) {
        while (n > 1 && ((unsigned char)text[n - 1] & 0xc0) == 0x80)
            n--; /* not in the middle of a character */
        n -= n > 1 && (unsigned char)text[n - 1] >= 0xc0;
        memcpy(text + n, "...", 3);
        n += 3;
    }
    text[n++] = mark;
    struct str copy = d->is_full ? STR_NONE : arena_copy(&d->found.arena, str_make(text, n));
    if (!copy.ptr && !d->is_full)
        d->error = -ENOMEM;
    return copy.ptr ? copy.ptr : "?";
}

const char *diagnose_quote(struct diagnostics *d, struct str s)
{
    return quote_with(d, s, '\'');
}

const char *diagnose_double_quote(struct diagnostics *d, struct str s)
{
    return quote_with(d, s, '"');
}

static int finding_compare(const void *a, const void *b)
{
    const struct model_finding *x = a, *y = b;
    if (x->at.line != y->at.line)
        return x->at.line < y->at.line ? -1 : 1;
    if (x->at.column != y->at.column)
        return x->at.column < y->at.column ? -1 : 1;
    if (x->severity != y->severity)
        return x->severity < y->severity ? -1 : 1;
    return str_compare(x->message, y->message);
}

void diagnose_sort(struct diagnostics *d)
{
    struct model_findings *found = &d->found;
    if (found->n)
        qsort(found->items, found->n, sizeof *found->items, finding_compare);
    if (d->is_full)
        found->items[found->n - 1].at = (struct model_place){ 0, 0 };
}
