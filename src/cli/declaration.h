/* Reading the declaration for a subcommand, with the words for a file that can't be read. */
#pragma once

#include "base/buf.h"
#include "cli/cli.h"
#include "model/reader.h"

/* A thousand findings with their lines fit. */
enum { CLI_OUTPUT_MAX = 16 << 20 };

struct cli_declaration {
    const char *path;     /* borrowed */
    struct buf source;
    struct model *model;  /* NULL: the file is wrong, findings say why */
    struct model_findings findings;
};

/* given as in cli_declaration_path. False when there is no file or it can't be read: a message was printed, *ret is untouched. */
bool cli_declaration_read(const char *given, struct cli_declaration *ret) must_check;
/* Every finding as text. */
void cli_findings_write(struct buf *out, const struct cli_declaration *declaration, bool colour);
/* For commands that need a right file: prints errors to standard error and returns false where there are any. Warnings are left to check. */
bool cli_declaration_load(const char *given, struct cli_declaration *ret) must_check;
void cli_declaration_deinit(struct cli_declaration *declaration);
#define cleanup_declaration cleanup(cli_declaration_deinit)
