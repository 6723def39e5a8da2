/* postern apply: containers of this host are held to the declaration. */
#include "cli/apply.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/here.h"
#include "render/containers.h"

enum { CONFIRM_MAX_S = 86400, TEXT_MAX = 64 << 20 };

static void help_write(FILE *out)
{
    fputs("usage: postern apply [-f FILE] [--host HOST] [--confirm SECONDS | --watch] [--dry-run] [--json]\n"
          "       postern apply --confirmed\n"
          "\n"
          "Holds the containers of this host to the declaration: what a container of an enforced project may not reach is dropped, what one of an\n"
          "observed project would not be allowed is counted (postern suggest). It has nftables tables of its own, inet and bridge postern_containers,\n"
          "that take away only; Docker's rules and everybody else's stay as they are, and so does what isn't a container's.\n"
          "\n"
          "  -f, --file FILE           the declaration\n"
          "      --host HOST           which of its hosts this is (default: by this machine's name)\n"
          "      --confirm SECONDS     undo it after that time unless Enter is pressed here, or 'postern apply --confirmed' is run anywhere\n"
          "      --confirmed           keep what was applied with --confirm\n"
          "      --watch               stay, and keep it in force: containers that come and go, rules that somebody flushes\n"
          "      --dry-run             only show what would change\n"
          "      --json                the same for scripts\n"
          "      --state-directory DIR where it is remembered what is in force (default " STATE_DIRECTORY ")\n"
          "\n"
          "First time: 'postern apply --dry-run', then 'postern apply --confirm 60', then 'systemctl enable --now postern-apply', which keeps it\n"
          "in force. 'postern unapply' takes everything back.\n"
          "Exit status: 0 in force, 1 not (a change awaits its confirmation, or this one was undone), 2 could not be done.\n", out);
}

/* ---- the command line ---- */

static const struct option options[] = {
    { "file", required_argument, NULL, 'f' },   { "host", required_argument, NULL, 'H' },   { "confirm", required_argument, NULL, 'c' },
    { "confirmed", no_argument, NULL, 'C' },    { "watch", no_argument, NULL, 'w' },        { "dry-run", no_argument, NULL, 'n' },
    { "json", no_argument, NULL, 'j' },         { "state-directory", required_argument, NULL, 's' }, { "help", no_argument, NULL, 'h' },
    { 0 }
};

static bool seconds_read(const char *text, unsigned *ret)
{
    uint64_t seconds;
    if (!str_to_u64(str_of(text), CONFIRM_MAX_S, &seconds) || seconds == 0) {
        fprintf(stderr, "postern apply: '%s' is no number of seconds from 1 to %d\n", text, CONFIRM_MAX_S);
        return false;
    }
    *ret = (unsigned)seconds;
    return true;
}

/* 0: go on. Otherwise the exit status + 1. */
static int arguments_read(int argc, char **argv, struct apply_arguments *ret)
{
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "f:h", options, NULL)) != -1)
        switch (c) {
        case 'f': ret->file = optarg; break;
        case 'H': ret->host = optarg; break;
        case 'c':
            if (!seconds_read(optarg, &ret->confirm_s))
                return CLI_UNKNOWN + 1;
            break;
        case 'C': ret->is_confirmation = true; break;
        case 'w': ret->is_watch = true; break;
        case 'n': ret->is_dry_run = true; break;
        case 'j': ret->json = true; break;
        case 's': ret->state_directory = optarg; break;
        case 'h': help_write(stdout); return CLI_YES + 1;
        default: fputs("postern apply --help says what there is\n", stderr); return CLI_UNKNOWN + 1;
        }
    int n_ways = (ret->confirm_s > 0) + ret->is_confirmation + ret->is_watch + ret->is_dry_run;
    if (optind < argc || n_ways > 1 || (ret->json && (ret->confirm_s || ret->is_watch))) {
        fputs(optind < argc ? "postern apply: it takes options only\n"
                            : "postern apply: one of --confirm, --confirmed, --watch and --dry-run, and --json for what ends at once\n", stderr);
        return CLI_UNKNOWN + 1;
    }
    return 0;
}

/* ---- what a person is told ---- */

void apply_notes_write(struct buf *out, const struct holding_notes *notes, bool json)
{
    struct str rest = buf_str(&notes->text);
    bool is_first = true;
    if (json)
        buf_append(out, STR("\"notes\": ["));
    while (rest.len) {
        struct str line = str_split(&rest, '\n');
        if (json) {
            buf_append(out, is_first ? STR_NONE : STR(", "));
            buf_append_json(out, line);
        } else {
            buf_printf(out, "  note: %.*s\n", STR_ARG(line));
        }
        is_first = false;
    }
    if (json)
        buf_append(out, STR("]"));
}

static int output_write(const struct buf *out)
{
    if (!out->error && fwrite(out->ptr ? out->ptr : "", 1, out->len, stdout) == out->len && fflush(stdout) == 0)
        return CLI_YES;
    fputs("postern apply: could not write\n", stderr);
    return CLI_UNKNOWN;
}

static const char *some(uint32_t n, const char *one, const char *many)
{
    return n == 1 ? one : many;
}

static void summary_write(struct buf *out, const struct put_declaration *declaration, const struct put_result *result)
{
    const struct holding_counts *counts = &result->counts;
    buf_printf(out, "%.*s: %u %s enforced with %u running %s, %u observed; %u %s of grants in force",
               STR_ARG(declaration->model->hosts[declaration->host].name.text),
               counts->n_enforced, some(counts->n_enforced, "project", "projects"), counts->n_containers,
               some(counts->n_containers, "container", "containers"), counts->n_observed, counts->n_grants, some(counts->n_grants, "line", "lines"));
    if (result->n_cut)
        buf_printf(out, "; %u tracked %s cut", result->n_cut, some(result->n_cut, "connection", "connections"));
    buf_append_char(out, '\n');
}

static void result_write_json(struct buf *out, const struct put_declaration *declaration, const struct put_result *result, const char *what)
{
    const struct holding_counts *counts = &result->counts;
    buf_printf(out, "{\"result\": \"%s\", \"host\": ", what);
    buf_append_json(out, declaration->model->hosts[declaration->host].name.text);
    buf_printf(out, ", \"projects_enforced\": %u, \"projects_observed\": %u, \"containers\": %u, \"grants\": %u, \"connections_cut\": %u, ",
               counts->n_enforced, counts->n_observed, counts->n_containers, counts->n_grants, result->n_cut);
    apply_notes_write(out, &result->notes, true);
}

/* ---- dry run ---- */

/* What is in force now would hold for the same containers; nothing where nothing is. */
static int current_work_out(const struct state *state, struct container_filter *ret, struct error *err)
{
    cleanup_state_declaration struct state_declaration in_force = { .deadline_ms = 0 };
    struct put_declaration declaration;
    struct put_result result;
    int r = state_read(state, "in-force", &in_force, err);
    if (r == STATE_E_NONE) {
        container_filter_init(ret);
        return container_filter_seal(ret);
    }
    if (r == 0)
        r = put_declaration_read(&in_force, &declaration, err);
    if (r != 0)
        return r;
    r = put_work_out(&declaration, &result, err);
    model_free(declaration.model);
    if (r == 0) {
        buf_deinit(&result.notes.text);
        *ret = result.filter;
    }
    return r;
}

static int show_change(const struct apply_arguments *arguments, const struct state *state, const struct put_declaration *declaration,
                       const struct put_result *result, struct error *err)
{
    cleanup_container_filter struct container_filter before;
    cleanup_buf struct buf changes;
    cleanup_buf struct buf out;
    buf_init(&changes, TEXT_MAX);
    buf_init(&out, 2 * TEXT_MAX);
    int r = current_work_out(state, &before, err);
    if (r < 0) {
        container_filter_init(&before);
        return r;
    }
    uint32_t n = container_filter_describe_change(&before, &result->filter, &changes);
    if (arguments->json) {
        result_write_json(&out, declaration, result, n ? "would change" : "no change");
        buf_append(&out, STR(", \"changes\": ["));
        struct str rest = buf_str(&changes);
        for (bool is_first = true; rest.len; is_first = false) {
            buf_append(&out, is_first ? STR_NONE : STR(", "));
            buf_append_json(&out, str_split(&rest, '\n'));
        }
        buf_append(&out, STR("]}\n"));
    } else {
        buf_append(&out, buf_str(&changes));
        buf_append(&out, n ? STR("nothing was changed; applied, it would be\n") : STR("nothing would change:\n"));
        summary_write(&out, declaration, result);
        apply_notes_write(&out, &result->notes, false);
    }
    return output_write(&out) == CLI_YES ? 0 : -EIO;
}

/* ---- putting it in force ---- */

static int write_before(const struct apply_arguments *arguments, const struct state *state, struct state_declaration *ret, struct error *err)
{
    int r = state_read(state, "in-force", ret, err);
    if (r < 0)
        return r;
    ret->is_nothing = r == STATE_E_NONE;
    ret->deadline_ms = state_now_ms() + (uint64_t)arguments->confirm_s * 1000;
    put_token_make(ret->token);
    return state_write(state, "before", ret, err);
}

/* With the lock held. */
static int put(const struct apply_arguments *arguments, const struct state *state, const struct state_declaration *applied,
               const struct put_declaration *declaration, struct put_result *result, struct state_declaration *before, struct error *err)
{
    int r = 0;
    if (arguments->confirm_s) {
        r = write_before(arguments, state, before, err);
        if (r == 0)
            r = put_guard_start(arguments->state_directory, before, err);
    }
    if (r == 0)
        r = state_write(state, "in-force", applied, err);
    if (r == 0)
        r = put_load(declaration, result, err);
    if (r < 0 && arguments->confirm_s) {
        struct error ignored;
        (void)!put_undo(state, &ignored);
    }
    return r;
}

/* A change that awaits its confirmation is nobody else's to overwrite; one that nobody undid in time is undone now. */
static int look_for_waiting(const struct state *state, struct error *err)
{
    cleanup_state_declaration struct state_declaration before = { .deadline_ms = 0 };
    int r = state_read(state, "before", &before, err);
    if (r != 0)
        return r == STATE_E_NONE ? 0 : r;
    if (state_now_ms() >= before.deadline_ms)
        return put_undo(state, err);
    error_set(err, "a change awaits its confirmation for %llu more seconds: 'postern apply --confirmed' keeps it, waiting undoes it",
              (unsigned long long)(before.deadline_ms - state_now_ms() + 999) / 1000);
    return -EBUSY;
}

static int report(const struct apply_arguments *arguments, const struct put_declaration *declaration, const struct put_result *result)
{
    cleanup_buf struct buf out;
    buf_init(&out, TEXT_MAX);
    if (arguments->json) {
        result_write_json(&out, declaration, result, "in force");
        buf_append(&out, STR("}\n"));
    } else {
        summary_write(&out, declaration, result);
        apply_notes_write(&out, &result->notes, false);
    }
    return output_write(&out);
}

static int apply(const struct apply_arguments *arguments, struct state *state, const struct state_declaration *applied,
                 const struct put_declaration *declaration)
{
    cleanup_state_declaration struct state_declaration before = { .deadline_ms = 0 };
    struct error err = { "" };
    struct put_result result;
    int status = CLI_YES, r = state_lock(state, &err);
    if (r == 0)
        r = look_for_waiting(state, &err);
    if (r == 0)
        r = put_work_out(declaration, &result, &err);
    if (r < 0) {
        fprintf(stderr, "postern apply: %s\n", err.text[0] ? err.text : strerror(-r));
        return r == -EBUSY ? CLI_NO : CLI_UNKNOWN;
    }
    r = arguments->is_dry_run ? show_change(arguments, state, declaration, &result, &err)
                              : put(arguments, state, applied, declaration, &result, &before, &err);
    state_unlock(state);
    if (r < 0)
        fprintf(stderr, "postern apply: %s\n", err.text[0] ? err.text : strerror(-r));
    else if (!arguments->is_dry_run)
        status = report(arguments, declaration, &result);
    put_result_deinit(&result);
    if (r == 0 && arguments->confirm_s)
        return apply_await(arguments, state, &before);
    return r < 0 ? CLI_UNKNOWN : status;
}

bool apply_remember(const struct apply_arguments *arguments, const struct cli_declaration *read, struct state_declaration *ret, uint32_t *ret_host)
{
    uint32_t host = cli_host_here("apply", read->model, arguments->host);
    struct state_declaration applied = { .source = read->source };
    if (host == MODEL_NONE)
        return false;
    char *path = realpath(read->path, NULL);
    str_copy(applied.host, sizeof applied.host, read->model->hosts[host].name.text);
    str_copy(applied.path, sizeof applied.path, str_of(path ? path : read->path));
    free(path);
    *ret = applied;
    *ret_host = host;
    return true;
}

static int run(const struct apply_arguments *arguments, struct state *state)
{
    cleanup_declaration struct cli_declaration read = { 0 };
    struct state_declaration applied;
    uint32_t host;
    if (!cli_declaration_load(arguments->file, &read))
        return CLI_UNKNOWN;
    if (!apply_remember(arguments, &read, &applied, &host))
        return CLI_NO;
    struct put_declaration declaration;
    put_declaration_make(read.model, host, &declaration);
    return apply(arguments, state, &applied, &declaration);
}

int cli_apply(int argc, char **argv)
{
    struct apply_arguments arguments = { .state_directory = STATE_DIRECTORY };
    cleanup_state struct state state = { .directory = -1, .lock = -1 };
    struct error err;
    int status = arguments_read(argc, argv, &arguments);
    if (status)
        return status - 1;
    if (state_open(arguments.state_directory, &state, &err) < 0) {
        fprintf(stderr, "postern apply: %s\n", err.text);
        return CLI_UNKNOWN;
    }
    if (arguments.is_confirmation)
        return apply_confirm(&arguments, &state);
    if (arguments.is_watch)
        return apply_watch(&arguments, &state);
    return run(&arguments, &state);
}
