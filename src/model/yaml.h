/* A file's YAML as a tree of texts with their places. Anchors, aliases, tags, merge keys and a second document are findings.
 *
 * libfyaml's events are used, not its documents, whose duplicate check takes quadratic time. Internal to src/model. */
#pragma once

#include "model/diagnose.h"

enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

/* The grammar needs five levels; a file of 100,000 services needs a million nodes. */
enum { YAML_DEPTH_MAX = 16, YAML_NODES_MAX = 2000000 };

struct yaml_node {
    enum yaml_kind kind;
    bool is_plain;  /* a scalar without quotes: other readers may take it for a number, a truth value or a date */
    bool is_broken; /* a finding was made already; say no more of it */
    struct model_place at;
    uint32_t length;      /* bytes on the first line, for the caret */
    uint32_t n;           /* of a sequence or mapping */
    struct str text;      /* of a scalar */
    struct yaml_node *key;         /* of a value in a mapping */
    struct yaml_node *first, *next;
};

/* Reads source, which must outlive the tree: texts point into it where they stand there literally, and are made in texts where not.
 * 0: *ret_root is the tree, findings may hold errors. YAML_E_INVALID: the file stops being YAML at the last finding. -ENOMEM. */
enum { YAML_E_INVALID = 1 };
int yaml_read(struct str source, struct arena *nodes, struct arena *texts, struct diagnostics *d,
              struct yaml_node **ret_root) must_check;

/* Whether a plain scalar means something other than text to a reader of YAML 1.1 or 1.2 (a number, 1:30, yes, null, a date). */
bool yaml_text_is_typed(struct str text) pure_function;
bool yaml_text_is_null(struct str text) pure_function;
