/* What every subcommand shares: its entry in the table, where the declaration is, and how it ends. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/* Exit statuses, the same for every command. */
enum cli_exit { CLI_YES = 0, CLI_NO = 1, CLI_UNKNOWN = 2 };

struct cli_command {
    const char *name;
    const char *summary;              /* one line for postern --help */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns an exit status */
};

/* Subcommands, one file each: cli/NAME.c. */
int cli_access(int argc, char **argv);
int cli_apply(int argc, char **argv);
int cli_audit(int argc, char **argv);
int cli_ca(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_init(int argc, char **argv);
int cli_lab(int argc, char **argv);
int cli_log(int argc, char **argv);
int cli_map(int argc, char **argv);
int cli_read(int argc, char **argv);
int cli_plan(int argc, char **argv);
int cli_reload(int argc, char **argv);
int cli_render(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_suggest(int argc, char **argv);
int cli_unapply(int argc, char **argv);
int cli_upgrade(int argc, char **argv);
int cli_why(int argc, char **argv);

/* Whether to colour what goes to the stream: a terminal, and NO_COLOR unset. */
bool cli_colour(FILE *stream);
/* The declaration's path: given, else ./postern.yml, else /etc/postern/postern.yml; NULL (message printed) when there is none. */
const char *cli_declaration_path(const char *given);
