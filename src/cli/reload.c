/* postern reload: has the running postern read its declaration again, and says what changed or why it refused. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/control.h"

static const char usage[] =
    "usage: postern reload [--run-directory DIR] [--json]\n"
    "\n"
    "Has the running postern read its declaration again. What is right takes effect without a connection lost, and what came and went is\n"
    "listed; what is wrong is explained, and the old one stays in force.\n"
    "\n"
    "      --run-directory DIR   that of the postern to ask (/run/postern)\n"
    "      --json                for scripts: {\"status\", \"revision\", \"generation\", \"report\"}\n"
    "\n"
    "Exit status: 0 in force, 1 refused, the file is wrong, 2 it could not be read, or no postern answers.\n";

struct reload_options {
    const char *run_directory;
    bool json;
};

/* 0: go on. Otherwise the exit status + 1. */
static int options_read(int argc, char **argv, struct reload_options *ret)
{
    static const struct option options[] = {
        { "run-directory", required_argument, NULL, 'r' }, { "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c == 'r') {
            ret->run_directory = optarg;
        } else if (c == 'j') {
            ret->json = true;
        } else {
            fputs(usage, c == 'h' ? stdout : stderr);
            return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "postern reload: '%s' is too much: the running postern knows its file\n", argv[optind]);
        return CLI_UNKNOWN + 1;
    }
    return 0;
}

static int answer_print(const json_t *answer, bool json)
{
    json_t *status = json_object_get(answer, "status");
    json_t *revision = json_object_get(answer, "revision"), *report = json_object_get(answer, "report");
    if (json) {
        json_dumpf(answer, stdout, JSON_COMPACT);
        fputc('\n', stdout);
    } else {
        bool done = json_is_integer(status) && json_integer_value(status) == 0;
        fputs(json_is_string(report) ? json_string_value(report) : "", done ? stdout : stderr);
        fprintf(done ? stdout : stderr, "%s: revision %s\n", done ? "in force" : "refused; what was in force stays",
            json_is_string(revision) ? json_string_value(revision) : "unknown");
    }
    json_int_t value = json_is_integer(status) ? json_integer_value(status) : CLI_UNKNOWN;
    return value == CLI_YES || value == CLI_NO ? (int)value : CLI_UNKNOWN;
}

int cli_reload(int argc, char **argv)
{
    struct reload_options options = { .run_directory = CLI_RUN_DIRECTORY };
    struct error err = { "" };
    json_t *answer = NULL;
    int r = options_read(argc, argv, &options);
    if (r != 0)
        return r - 1;
    if (control_ask(options.run_directory, "reload", &answer, &err) < 0) {
        fprintf(stderr, "postern reload: %s\n", err.text);
        return CLI_UNKNOWN;
    }
    r = answer_print(answer, options.json);
    json_decref(answer);
    return r;
}
