/* Files that a subcommand writes: whole or not at all, also when the machine goes down in between. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/macros.h"

/* Puts content under directory/name in the place of what was there: written beside it, synced, renamed. A name is one path component.
 * False: a message for the user was printed under the command's name, and the old file is as it was. */
bool cli_file_replace(const char *command, const char *directory, const char *name, struct str content, mode_t mode) must_check;
/* Makes the directory where it isn't there (its parent must be). False: a message was printed. */
bool cli_directory_make(const char *command, const char *directory) must_check;
/* The whole file, at most as large as the initialised buf may be. False: a message was printed. */
bool cli_file_read(const char *command, const char *path, struct buf *ret) must_check;
