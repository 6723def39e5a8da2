/* What another declaration changes in each file that is rendered from it. */
#pragma once

#include "cli/declaration.h"

struct plan_file {
    struct str name;       /* "roc.nft" */
    struct str diff;       /* "-" and "+" lines; of a file that is new or gone, one line that says so */
    size_t n_lines;        /* that differ */
    bool is_new, is_gone;
};

struct plan_files {
    struct arena arena;
    struct plan_file *items; /* those that differ */
    uint32_t n;
};

/* Pictures and what only the lab uses are left out. 0, -ENOMEM or -E2BIG. */
int plan_files_init(struct plan_files *ret, const struct cli_declaration *before, const struct cli_declaration *after, bool colour) must_check;
void plan_files_deinit(struct plan_files *files);
#define cleanup_plan_files cleanup(plan_files_deinit)
