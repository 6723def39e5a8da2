/* Collecting findings while a file is read: bounded, in any order, sorted once at the end. Internal to src/model, and for what judges a model as a
 * whole (policy/lint.h). */
#pragma once

#include "model/reader.h"

/* More than this tells nobody anything; the last one then says so. */
enum { DIAGNOSE_MAX = 1000, DIAGNOSE_TEXT_MAX = 60 };

struct diagnostics {
    struct model_findings found;
    int error; /* 0 or -ENOMEM; sticks */
    bool is_full;
};

void diagnose_init(struct diagnostics *d);
void diagnose_deinit(struct diagnostics *d);
/* length: bytes under the caret; 0 counts as 1. hint may be STR_NONE and is borrowed: it lives in the findings' arena or for ever. */
void diagnose_add(struct diagnostics *d, enum model_severity severity, struct model_place at, size_t length, struct str hint,
                  const char *format, ...) printf_like(6, 7);
/* A text in the findings' arena; STR_NONE when memory ran out (error is set). */
struct str diagnose_text(struct diagnostics *d, const char *format, ...) printf_like(2, 3);
/* s in single quotes, cut where it is long, control characters replaced: what a file contains never reaches a terminal raw.
 * NUL-terminated, in the findings' arena; "?" when memory ran out. */
const char *diagnose_quote(struct diagnostics *d, struct str s);
/* The same in double quotes, as it should be written in the file. */
const char *diagnose_double_quote(struct diagnostics *d, struct str s);
/* Puts the findings in the order of their places. */
void diagnose_sort(struct diagnostics *d);
