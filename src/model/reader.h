/* From bytes to a checked model, or to every error in them in one pass. */
#pragma once

#include <stdio.h>

#include "base/buf.h"
#include "model/model.h"

enum { MODEL_FILE_SIZE_MAX = 16 << 20 };

enum model_severity { MODEL_ERROR, MODEL_WARNING };

struct model_finding {
    enum model_severity severity;
    struct model_place at;
    uint32_t length;      /* bytes under the caret, at least 1 */
    struct str message;   /* what is wrong and what was expected */
    struct str hint;      /* what to do ("did you mean 'grafana'?"); may be empty */
};

struct model_findings {
    struct arena arena;
    struct model_finding *items; /* in order of place */
    uint32_t n, n_errors;
};

/* Reads text (borrowed only during the call; the model keeps a copy). file is the name used in messages.
 * 0: *ret_model is complete, *ret_findings may hold warnings. MODEL_E_INVALID: *ret_findings holds at least one error and
 * *ret_model is untouched. Negative errno: neither output is set. Both outputs are the caller's to free. */
enum { MODEL_E_INVALID = 1 };
int model_read(struct str text, struct str file, struct model **ret_model, struct model_findings *ret_findings) must_check;

void model_findings_deinit(struct model_findings *findings);

/* "file:line:column: error: message", the line, a caret, the hint. colour: ANSI colours. source is the text that was read. */
void model_finding_write(struct buf *out, const struct model_finding *finding, struct str file, struct str source, bool colour);
/* The findings as a JSON array of {severity, file, line, column, length, message, hint}. */
void model_findings_write_json(struct buf *out, const struct model_findings *findings, struct str file);
