/* postern: the table of subcommands, and help that teaches. */
#include "cli/cli.h"

#include <string.h>

#include "base/macros.h"
#include "base/str.h"

/* In the order in which a new user needs them. */
static const struct cli_command commands[] = {
    { "init", "write a first declaration from the containers and machines that are there", cli_init },
    { "check", "say everything that is wrong with a declaration, and prove that its layers let pass what it says", cli_check },
    { "why", "who reaches what, layer by layer with the rule that says so, and on no what would make it yes", cli_why },
    { "access", "who can reach what, as one table: all of it, from one (--from) or to one (--to)", cli_access },
    { "plan", "what a new declaration opens and closes, worst first, before it is in force", cli_plan },
    { "run", "serve what the declaration says on this gateway", cli_run },
    { "status", "how the running postern is: processes and what confines them, surfaces, certificates", cli_status },
    { "log", "the last requests, those that come (--follow), or the one with an id", cli_log },
    { "reload", "have the running postern read its declaration again, and say what changed", cli_reload },
    { "upgrade", "put the postern that is now installed in the place of the running one", cli_upgrade },
    { "ca", "the internal certificate authority: show it, export what clients are to trust", cli_ca },
    { "map", "draw who reaches what, or what one host reaches", cli_map },
    { "render", "write what the declaration says in the words of a layer: firewall, names, pictures", cli_render },
    { "apply", "hold this host's containers to the declaration", cli_apply },
    { "suggest", "the grants for what containers were seen to do", cli_suggest },
    { "unapply", "take back what apply put in force", cli_unapply },
    { "audit", "compare a layer that is in force with the declaration: access gained and lost", cli_audit },
    { "read", "what an existing Tailscale policy lets reach each machine", cli_read },
    { "lab", "the declared machines as namespaces on this one: try who reaches what", cli_lab },
};

static const struct cli_command *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void help_write(FILE *out)
{
    fputs("postern: a narrow gate for home labs. One file says which machine may reach which service;\n"
          "postern serves them over TLS, and what the file doesn't grant isn't there.\n"
          "\n"
          "usage: postern COMMAND [-f FILE] [OPTION...]\n"
          "\n", out);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n"
          "The declaration is ./postern.yml or /etc/postern/postern.yml, unless -f names another. A small one:\n"
          "\n"
          "  postern: 1\n"
          "  domain: home.example\n"
          "  segments: { clients: {}, prod: {} }\n"
          "  hosts:\n"
          "    roc:    { segment: prod, address: 100.64.0.1, gateway: true }\n"
          "    laptop: { segment: clients, address: 100.64.0.10 }\n"
          "  surfaces: { main: { port: 443, redirect: 80 } }\n"
          "  services: { grafana: { host: roc, port: 3000 } }\n"
          "  grants:\n"
          "    - { from: clients, to: grafana, over: main }\n"
          "    - { from: laptop, to: \"roc:22\" }\n"
          "\n"
          "Write it, 'postern check' it, and run it. 'postern COMMAND --help' says more of each;\n"
          "postern(1) and postern.yml(5) say everything. Exit status: 0 yes, 1 no, 2 could not tell.\n", out);
}

static int unknown_command(const char *name)
{
    const struct cli_command *near = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(commands) && !near; i++)
        if (str_distance(str_of(name), str_of(commands[i].name), 2) <= 2)
            near = &commands[i];
    fprintf(stderr, "postern: there is no command '%s'", name);
    if (near)
        fprintf(stderr, "; did you mean '%s'?\n", near->name);
    else
        fputs("; 'postern --help' lists them\n", stderr);
    return CLI_UNKNOWN;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help_write(stderr);
        return CLI_UNKNOWN;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help_write(stdout);
        return CLI_YES;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        puts("postern " POSTERN_VERSION);
        return CLI_YES;
    }
    const struct cli_command *command = command_find(argv[1]);
    if (!command)
        return unknown_command(argv[1]);
    static char name[64]; /* what getopt's messages begin with */
    snprintf(name, sizeof name, "postern %s", command->name);
    argv[1] = name;
    return command->run(argc - 1, argv + 1);
}
