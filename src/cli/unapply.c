/* postern unapply: nothing of postern apply is left. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/apply.h"

static void help_write(FILE *out)
{
    fputs("usage: postern unapply [--json] [--state-directory DIR]\n"
          "\n"
          "Takes back what 'postern apply' put in force: both tables go, with what they counted and what was remembered. A 'postern apply --watch' that\n"
          "runs ends; 'systemctl disable postern-apply' keeps it from coming back with the machine.\n"
          "Exit status: 0 nothing of it is left, 2 could not be done.\n", out);
}

static int remove_all(struct state *state, struct error *err)
{
    static const char *const names[] = { "in-force", "before", "observed", "lock" };
    int r = state_lock(state, err);
    if (r == 0)
        r = state_remove(state, "in-force", err);
    if (r == 0)
        r = put_away(NULL, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++)
        r = state_remove(state, names[i], err);
    return r;
}

int cli_unapply(int argc, char **argv)
{
    static const struct option options[] = {
        { "json", no_argument, NULL, 'j' }, { "state-directory", required_argument, NULL, 's' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    const char *directory = STATE_DIRECTORY;
    cleanup_state struct state state = { .directory = -1, .lock = -1 };
    struct error err = { "" };
    bool json = false;
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1)
        switch (c) {
        case 'j': json = true; break;
        case 's': directory = optarg; break;
        case 'h': help_write(stdout); return CLI_YES;
        default: fputs("postern unapply --help says what there is\n", stderr); return CLI_UNKNOWN;
        }
    if (optind < argc) {
        fputs("postern unapply: it takes options only\n", stderr);
        return CLI_UNKNOWN;
    }
    int r = state_open(directory, &state, &err);
    if (r == 0)
        r = remove_all(&state, &err);
    if (r < 0) {
        fprintf(stderr, "postern unapply: %s\n", err.text[0] ? err.text : strerror(-r));
        return CLI_UNKNOWN;
    }
    (void)rmdir(directory);
    puts(json ? "{\"result\": \"not in force\"}" : "not in force any more: nothing holds this host's containers");
    return CLI_YES;
}
