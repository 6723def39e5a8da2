/* Shared by apply, unapply and suggest. */
#pragma once

#include "cli/declaration.h"
#include "enforce/putting.h"

struct apply_arguments {
    const char *file, *host, *state_directory;
    unsigned confirm_s;       /* 0: no confirmation is asked for */
    bool is_confirmation, is_watch, is_dry_run, json;
};

/* {"notes": [...]} without the braces, and the notes as lines for people. */
void apply_notes_write(struct buf *out, const struct holding_notes *notes, bool json);
/* Waits, at most until the change's deadline, for its confirmation or its end: exit status. */
int apply_await(const struct apply_arguments *arguments, struct state *state, const struct state_declaration *before);
/* Confirms the change that waits. Exit status. */
int apply_confirm(const struct apply_arguments *arguments, struct state *state);
/* postern apply --watch: the declaration, or where it can't be used what is in force already, and then for as long as it runs. Exit status. */
int apply_watch(const struct apply_arguments *arguments, struct state *state);
/* The declaration as it is remembered; its source is the declaration's. False: a message was printed. */
bool apply_remember(const struct apply_arguments *arguments, const struct cli_declaration *read, struct state_declaration *ret, uint32_t *ret_host);
