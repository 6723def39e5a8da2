/* postern check: every error of a declaration, with its place and what to do. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cli/declaration.h"

static const char usage[] =
    "usage: postern check [-f FILE | FILE] [--json]\n"
    "\n"
    "Reads the declaration and says everything that is wrong with it, each with its place and what to do.\n"
    "Without FILE it is ./postern.yml, or /etc/postern/postern.yml.\n"
    "\n"
    "  -f, --file FILE   the declaration\n"
    "      --json        for scripts: {\"file\", \"valid\", \"findings\": [{severity, line, column, ...}]}\n"
    "\n"
    "Exit status: 0 it is right (there may be warnings), 1 it is wrong, 2 it could not be read.\n";

struct check_options {
    const char *file;
    bool json;
};

/* 0: go on. Otherwise the exit status + 1. */
static int options_read(int argc, char **argv, struct check_options *ret)
{
    static const struct option options[] = {
        { "file", required_argument, NULL, 'f' }, { "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "f:h", options, NULL)) != -1) {
        if (c == 'f') {
            ret->file = optarg;
        } else if (c == 'j') {
            ret->json = true;
        } else {
            fputs(usage, c == 'h' ? stdout : stderr);
            return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
        }
    }
    if (optind < argc && !ret->file)
        ret->file = argv[optind++];
    if (optind < argc) {
        fprintf(stderr, "postern check: one file at a time; '%s' is too much\n", argv[optind]);
        return CLI_UNKNOWN + 1;
    }
    return 0;
}

static void summary_write(struct buf *out, const struct cli_declaration *declaration)
{
    const struct model *model = declaration->model;
    uint32_t n_errors = declaration->findings.n_errors, n_warnings = 0;
    for (uint32_t i = 0; i < declaration->findings.n; i++)
        n_warnings += declaration->findings.items[i].severity == MODEL_WARNING;
    if (n_errors)
        buf_printf(out, "%s: %u error%s\n", declaration->path, n_errors, n_errors == 1 ? "" : "s");
    else
        buf_printf(out, "%s: ok: %u hosts, %u services, %u surfaces, %u grants, %u expectations, %u warning%s\n", declaration->path,
                   model->n_hosts, model->n_services, model->n_surfaces, model->n_grants, model->n_expectations, n_warnings,
                   n_warnings == 1 ? "" : "s");
}

static void json_write(struct buf *out, const struct cli_declaration *declaration)
{
    buf_append(out, STR("{\"file\": "));
    buf_append_json(out, str_of(declaration->path));
    buf_printf(out, ", \"valid\": %s, \"findings\": ", declaration->model ? "true" : "false");
    model_findings_write_json(out, &declaration->findings, str_of(declaration->path));
    buf_append(out, STR("}\n"));
}

int cli_check(int argc, char **argv)
{
    struct check_options given = { 0 };
    int status = options_read(argc, argv, &given);
    if (status)
        return status - 1;
    cleanup_declaration struct cli_declaration declaration = { 0 };
    if (!cli_declaration_read(given.file, &declaration))
        return CLI_UNKNOWN;
    cleanup_buf struct buf out;
    buf_init(&out, CLI_OUTPUT_MAX);
    if (given.json)
        json_write(&out, &declaration);
    else
        cli_findings_write(&out, &declaration, cli_colour(stdout));
    if (!given.json)
        summary_write(&out, &declaration);
    if (out.error || fwrite(out.ptr, 1, out.len, stdout) != out.len || fflush(stdout) != 0) {
        fprintf(stderr, "postern check: could not write the answer: %s\n", strerror(out.error ? -out.error : errno));
        return CLI_UNKNOWN;
    }
    return declaration.model ? CLI_YES : CLI_NO;
}
