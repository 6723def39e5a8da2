/* postern check: every error of a declaration, with its place and what to do. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cli/declaration.h"
#include "cli/judge.h"

static const char usage[] =
    "usage: postern check [-f FILE | FILE] [--before OLD] [--json]\n"
    "\n"
    "Reads the declaration and says everything that is wrong with it, each with its place and what to do. Of one that reads well it\n"
    "proves that the layers, as 'postern render' writes them, let pass what is declared and nothing else, and that every line of\n"
    "expect: holds; and it warns of grants that do nothing, names that nothing uses, and of administrators who would be cut off.\n"
    "Without FILE it is ./postern.yml, or /etc/postern/postern.yml.\n"
    "\n"
    "  -f, --file FILE    the declaration\n"
    "      --before OLD   the declaration that is in force: warn also of ssh that this one takes away\n"
    "      --json         for scripts: {\"file\", \"valid\", \"findings\": [{severity, line, column, ...}], \"advice\", \"expectations\", \"proof\"}\n"
    "\n"
    "What a proof covers: new TCP and UDP flows, every port, both families, from everywhere. Not ICMP, not what is established, and not\n"
    "hosts without a firewall that counts, which are named.\n"
    "\n"
    "Exit status: 0 it is right and proved (there may be warnings), 1 it is wrong, or something doesn't hold, 2 it could not be read or judged.\n";

struct check_options {
    const char *file, *before;
    bool json;
};

/* 0: go on. Otherwise the exit status + 1. */
static int options_read(int argc, char **argv, struct check_options *ret)
{
    static const struct option options[] = {
        { "file", required_argument, NULL, 'f' }, { "before", required_argument, NULL, 'b' }, { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' }, { 0 }
    };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "f:h", options, NULL)) != -1) {
        if (c == 'f') {
            ret->file = optarg;
        } else if (c == 'b') {
            ret->before = optarg;
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

/* ---- words ---- */

static void findings_write(struct buf *out, const struct model_findings *findings, const struct cli_declaration *declaration, bool colour)
{
    for (uint32_t i = 0; i < findings->n; i++)
        model_finding_write(out, &findings->items[i], str_of(declaration->path), buf_str(&declaration->source), colour);
}

static uint32_t warnings_count(const struct model_findings *findings)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < findings->n; i++)
        n += findings->items[i].severity == MODEL_WARNING;
    return n;
}

/* "proved: the mesh, 2 firewalls and 2 gateways let pass what is declared, and nothing else" */
static void proof_write(struct buf *out, const struct judgement *j)
{
    const struct model *m = j->access.model;
    uint32_t n_firewalls = 0;
    for (uint32_t i = 0; i < m->n_hosts; i++)
        n_firewalls += j->layers.all.firewalls && j->layers.all.firewalls[i];
    if (!j->is_proof_known)
        buf_printf(out, "not proved: the layers could not be judged: %s\n", j->why_unproved);
    else if (judgement_is_proved(j) && j->containers.n_enforced == 0)
        buf_printf(out, "proved: the mesh, %u firewall%s and %u gateway%s let pass what is declared, and nothing else\n", n_firewalls,
                   n_firewalls == 1 ? "" : "s", j->layers.n_gateways, j->layers.n_gateways == 1 ? "" : "s");
    else if (judgement_is_proved(j))
        buf_printf(out, "proved: the mesh, %u firewall%s, %u gateway%s and the rules for %u container%s let pass what is declared, and nothing else\n",
                   n_firewalls, n_firewalls == 1 ? "" : "s", j->layers.n_gateways, j->layers.n_gateways == 1 ? "" : "s", j->containers.n_enforced,
                   j->containers.n_enforced == 1 ? "" : "s");
    if (j->is_proof_known && j->proof.n_unproved) {
        buf_append(out, STR("unproved: "));
        judgement_write_unproved(out, j);
        buf_append_char(out, '\n');
    }
    if (j->is_proof_known && j->containers.n_unheld) {
        buf_append(out, STR("unproved: "));
        judgement_write_unheld(out, j);
        buf_append_char(out, '\n');
    }
}

static void plural_write(struct buf *out, uint32_t n, const char *noun)
{
    buf_printf(out, "%u %s%s", n, noun, n == 1 ? "" : "s");
}

static void summary_write(struct buf *out, const struct cli_declaration *declaration, const struct judgement *j)
{
    const struct model *model = declaration->model;
    uint32_t n_errors = declaration->findings.n_errors + (j ? j->failures.found.n_errors : 0);
    uint32_t n_warnings = warnings_count(&declaration->findings) + (j ? warnings_count(&j->advice.found) : 0);
    if (j)
        proof_write(out, j);
    buf_printf(out, "%s: ", declaration->path);
    if (n_errors) {
        plural_write(out, n_errors, "error");
    } else if (model) {
        const struct { uint32_t n; const char *noun; } counts[] = {
            { model->n_hosts, "host" }, { model->n_services, "service" }, { model->n_surfaces, "surface" }, { model->n_grants, "grant" },
            { model->n_expectations, "expectation" }, { n_warnings, "warning" },
        };
        buf_append(out, j && judgement_holds(j) ? STR("ok: ") : STR("could not be judged: "));
        for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
            plural_write(out, counts[i].n, counts[i].noun);
            if (i + 1 < ARRAY_SIZE(counts))
                buf_append(out, STR(", "));
        }
    }
    buf_append_char(out, '\n');
}

static void text_write(struct buf *out, const struct cli_declaration *declaration, const struct judgement *j, bool colour)
{
    cli_findings_write(out, declaration, colour);
    if (j) {
        findings_write(out, &j->advice.found, declaration, colour);
        findings_write(out, &j->failures.found, declaration, colour);
    }
    summary_write(out, declaration, j);
}

static void json_write(struct buf *out, const struct cli_declaration *declaration, const struct judgement *j)
{
    struct str path = str_of(declaration->path);
    buf_append(out, STR("{\"file\": "));
    buf_append_json(out, path);
    buf_printf(out, ", \"valid\": %s, \"findings\": ", declaration->model ? "true" : "false");
    model_findings_write_json(out, &declaration->findings, path);
    if (j) {
        buf_append(out, STR(", \"advice\": "));
        model_findings_write_json(out, &j->advice.found, path);
        buf_printf(out, ", \"expectations\": {\"n\": %u, \"n_failed\": %u}, \"failures\": ", declaration->model->n_expectations, j->expectations.n);
        model_findings_write_json(out, &j->failures.found, path);
        buf_append(out, STR(", \"proof\": "));
        judgement_write_proof_json(out, j);
    }
    buf_append(out, STR("}\n"));
}

/* ---- the whole ---- */

static int answer_write(const struct check_options *given, const struct cli_declaration *declaration, const struct judgement *j)
{
    cleanup_buf struct buf out;
    buf_init(&out, CLI_OUTPUT_MAX);
    if (given->json)
        json_write(&out, declaration, j);
    else
        text_write(&out, declaration, j, cli_colour(stdout));
    if (out.error || fwrite(out.ptr, 1, out.len, stdout) != out.len || fflush(stdout) != 0) {
        fprintf(stderr, "postern check: could not write the answer: %s\n", strerror(out.error ? -out.error : errno));
        return CLI_UNKNOWN;
    }
    if (!declaration->model || (j && j->failures.found.n_errors))
        return CLI_NO;
    return j && j->is_proof_known ? CLI_YES : CLI_UNKNOWN;
}

int cli_check(int argc, char **argv)
{
    struct check_options given = { 0 };
    int status = options_read(argc, argv, &given);
    if (status)
        return status - 1;
    cleanup_declaration struct cli_declaration declaration = { 0 }, before = { 0 };
    cleanup_judgement struct judgement judgement = { 0 };
    if (!cli_declaration_read(given.file, &declaration) || (given.before && !cli_declaration_load(given.before, &before)))
        return CLI_UNKNOWN;
    if (!declaration.model)
        return answer_write(&given, &declaration, NULL);
    int r = judge(declaration.model, before.model, &judgement);
    if (r < 0) {
        fprintf(stderr, "postern check: %s: %s\n", declaration.path,
                r == -E2BIG ? "it reads well, but what it declares is too much to work out" : strerror(-r));
        return CLI_UNKNOWN;
    }
    return answer_write(&given, &declaration, &judgement);
}
