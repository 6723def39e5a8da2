/* postern lab demo: the lab, every path tried, and a table of those worth a look. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cli/lab.h"
#include "lab/rows.h"

struct paint {
    const char *bold, *dim, *green, *red, *yellow, *cyan, *off;
};

static const struct paint colours = { "\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[33m", "\033[36m", "\033[0m" };
static const struct paint plain = { "", "", "", "", "", "", "" };

enum { TEXT_MAX = 512, FAILED_SHOWN_MAX = 40 };

struct cells {
    char from[64], asks[TEXT_MAX], declared[TEXT_MAX], line[32], measured[TEXT_MAX];
};

static void fill(const struct rows *rows, const struct row *row, struct cells *cells)
{
    cleanup_buf struct buf text = { .max = TEXT_MAX };
    str_copy(cells->from, sizeof(cells->from), rows_from(rows, row->from));
    str_copy(cells->asks, sizeof(cells->asks), row->asks);
    rows_describe_expected(rows, row, &text);
    str_copy(cells->declared, sizeof(cells->declared), buf_str(&text));
    buf_clear(&text);
    rows_describe_measured(row, &text);
    str_copy(cells->measured, sizeof(cells->measured), buf_str(&text));
    if (row->line)
        snprintf(cells->line, sizeof(cells->line), "line %u", row->line);
    else
        str_copy(cells->line, sizeof(cells->line), STR("no grant"));
}

struct widths {
    int from, asks, declared, line;
};

static void widen(struct widths *widths, const struct cells *cells)
{
    const size_t lengths[] = { strlen(cells->from), strlen(cells->asks), strlen(cells->declared), strlen(cells->line) };
    int *const all[] = { &widths->from, &widths->asks, &widths->declared, &widths->line };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if ((int)lengths[i] > *all[i])
            *all[i] = (int)lengths[i];
}

static const char *expected_colour(const struct row *row, const struct paint *paint)
{
    switch (row->expect) {
    case ROW_SERVED:
    case ROW_ANSWERED: return paint->green;
    case ROW_REDIRECTED: return paint->cyan;
    case ROW_NOT_FOUND: return paint->yellow;
    case ROW_REFUSED: return paint->dim;
    }
    return "";
}

static void write_row(const struct row *row, const struct cells *cells, const struct widths *w, bool is_first_of_group, const struct paint *paint)
{
    printf("  %s%-*s%s  %-*s  %s%-*s%s  %s%-*s%s  %s%s%s %s%s%s\n", is_first_of_group ? paint->bold : paint->dim, w->from, cells->from, paint->off, w->asks,
           cells->asks, expected_colour(row, paint), w->declared, cells->declared, paint->off, paint->dim, w->line, cells->line, paint->off,
           row->holds ? paint->green : paint->red, row->holds ? "✔" : "✘", paint->off, row->holds ? expected_colour(row, paint) : paint->red,
           cells->measured, paint->off);
}

/* Who is asking, in the order of the table: people and agents, the LAN, then what gateways need themselves. */
static uint32_t place_of(const struct rows *rows, const struct row *row)
{
    const struct model *model = rows->world->model;
    bool is_gateway = row->from < model->n_hosts && model->hosts[row->from].gateway;
    return row->from + (is_gateway ? model->n_hosts + 1 : 0);
}

static int compare_rows(const void *a, const void *b, void *rows)
{
    const struct row *one = *(const struct row *const *)a, *other = *(const struct row *const *)b;
    uint32_t one_place = place_of(rows, one), other_place = place_of(rows, other);
    if (one_place != other_place)
        return one_place < other_place ? -1 : 1;
    if (one->expect != other->expect)
        return one->expect < other->expect ? -1 : 1;
    return (one > other) - (one < other);
}

/* Writes the rows, those of one source together; at most max of them. */
static void write_rows(struct rows *rows, const struct row **chosen, uint32_t n, uint32_t max, const struct widths *widths, const struct paint *paint)
{
    uint32_t last = MODEL_NONE;
    if (n)
        qsort_r(chosen, n, sizeof(*chosen), compare_rows, rows);
    for (uint32_t i = 0; i < n && i < max; i++) {
        struct cells cells;
        fill(rows, chosen[i], &cells);
        if (chosen[i]->from != last && last != MODEL_NONE)
            putchar('\n');
        write_row(chosen[i], &cells, widths, chosen[i]->from != last, paint);
        last = chosen[i]->from;
    }
}

/* The rows worth a look, then whatever else was not as declared. */
static void write_table(struct rows *rows, const struct paint *paint)
{
    struct widths widths = { 3, 8, 8, 2 };
    const struct row **shown = calloc(rows->n + 1, sizeof(*shown)), **failed = calloc(rows->n + 1, sizeof(*failed));
    uint32_t n_shown = 0, n_failed = 0;
    for (uint32_t i = 0; shown && failed && i < rows->n; i++) {
        struct cells cells;
        if (rows->items[i].shown)
            shown[n_shown++] = &rows->items[i];
        else if (!rows->items[i].holds)
            failed[n_failed++] = &rows->items[i];
        fill(rows, &rows->items[i], &cells);
        if (rows->items[i].shown || (!rows->items[i].holds && n_failed <= FAILED_SHOWN_MAX))
            widen(&widths, &cells);
    }
    printf("  %s%-*s  %-*s  %-*s  %-*s    %s%s\n", paint->bold, widths.from, "WHO", widths.asks, "ASKS FOR", widths.declared, "DECLARED", widths.line, "BY",
           "MEASURED", paint->off);
    write_rows(rows, shown, n_shown, n_shown, &widths, paint);
    if (n_failed)
        printf("\n  %s%sNot as declared:%s\n", paint->bold, paint->red, paint->off);
    write_rows(rows, failed, n_failed, FAILED_SHOWN_MAX, &widths, paint);
    if (n_failed > FAILED_SHOWN_MAX)
        printf("  %sand %u more%s\n", paint->red, n_failed - FAILED_SHOWN_MAX, paint->off);
    free(shown);
    free(failed);
}

static void write_json(const struct rows *rows)
{
    cleanup_buf struct buf out = { .max = CLI_OUTPUT_MAX };
    buf_append_char(&out, '[');
    for (uint32_t i = 0; i < rows->n; i++) {
        struct cells cells;
        fill(rows, &rows->items[i], &cells);
        buf_printf(&out, "%s\n  {\"from\": ", i ? "," : "");
        buf_append_json(&out, str_of(cells.from));
        buf_append(&out, STR(", \"asks\": "));
        buf_append_json(&out, str_of(cells.asks));
        buf_append(&out, STR(", \"declared\": "));
        buf_append_json(&out, str_of(cells.declared));
        buf_append(&out, STR(", \"measured\": "));
        buf_append_json(&out, str_of(cells.measured));
        buf_printf(&out, ", \"line\": %u, \"holds\": %s}", rows->items[i].line, rows->items[i].holds ? "true" : "false");
    }
    buf_append(&out, STR("\n]\n"));
    fwrite(out.ptr, 1, out.len, stdout);
}

static uint32_t count_holding(const struct rows *rows)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < rows->n; i++)
        n += rows->items[i].holds;
    return n;
}

static void write_head(const struct lab_up *up, double took_s, const struct paint *paint)
{
    const struct model *model = up->declaration.model;
    uint32_t n_gateways = 0;
    for (uint32_t i = 0; i < model->n_hosts; i++)
        n_gateways += model->hosts[i].gateway;
    printf("\n  %spostern lab%s  %s%s: %u machines, %u gateways, %u services; up in %.1f s%s\n\n", paint->bold, paint->off, paint->dim, up->declaration.path,
           model->n_hosts, n_gateways, model->n_services, took_s, paint->off);
}

static void write_foot(const struct rows *rows, double took_s, const struct paint *paint)
{
    uint32_t n = count_holding(rows);
    uint32_t n_not_found = 0;
    for (uint32_t i = 0; i < rows->n; i++)
        n_not_found += rows->items[i].expect == ROW_NOT_FOUND && rows->items[i].holds;
    printf("\n  %s%s%u paths tried, %u as declared%s, in %.1f s, over IPv4 and IPv6; these are the ones worth a look.\n", paint->bold,
           n == rows->n ? paint->green : paint->red, rows->n, n, paint->off, took_s);
    if (rows->n_left_out)
        printf("  %s%llu more were left out: there are too many.%s\n", paint->yellow, (unsigned long long)rows->n_left_out, paint->off);
    printf("  Every certificate was verified. %u times 404, for names that are there and one that isn't: the same bytes each time.\n", n_not_found);
}

static const struct row *first_shown(const struct rows *rows, enum row_expect expect)
{
    for (uint32_t i = 0; i < rows->n; i++)
        if (rows->items[i].shown && rows->items[i].expect == expect && rows->items[i].probe->kind == PROBE_HTTPS)
            return &rows->items[i];
    return NULL;
}

static void write_hint(const char *command, const char *what, const struct paint *paint)
{
    printf("    %-64s %s%s%s\n", command, paint->dim, what, paint->off);
}

static void write_hints(const struct lab_up *up, const struct rows *rows, const char *program, const struct paint *paint)
{
    static const enum row_expect tries[] = { ROW_SERVED, ROW_NOT_FOUND };
    char command[TEXT_MAX], option[SPACE_NAME_MAX + 8] = "";
    if (strcmp(up->space.name, "lab") != 0)
        snprintf(option, sizeof(option), " -n %s", up->space.name);
    printf("\n  %sTry it by hand%s, from another terminal:\n", paint->bold, paint->off);
    for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
        const struct row *row = first_shown(rows, tries[i]);
        if (row)
            printf("    %s lab exec%s %.*s -- curl -i %.*s/\n", program, option, STR_ARG(rows_from(rows, row->from)), STR_ARG(row->asks));
    }
    snprintf(command, sizeof(command), "%s lab exec%s %.*s", program, option, STR_ARG(rows_from(rows, 0)));
    write_hint(command, "a shell on that machine", paint);
    snprintf(command, sizeof(command), "%s lab status%s", program, option);
    write_hint(command, "what runs", paint);
    snprintf(command, sizeof(command), "tail -f %s/%.*s.log", up->space.directory, STR_ARG(rows_from(rows, 0)));
    write_hint(command, "its gateway's log", paint);
    printf("\n  The lab stays up until you press Ctrl-C.\n");
    fflush(stdout);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Until SIGINT, SIGTERM or SIGHUP, or until the lab ends by itself (false). */
static bool await_signal(int signals, int supervisor)
{
    struct pollfd wait[2] = { { .fd = signals, .events = POLLIN }, { .fd = supervisor, .events = POLLIN } };
    while (poll(wait, ARRAY_SIZE(wait), -1) < 0 && errno == EINTR)
        ;
    return wait[0].revents != 0;
}

/* The lab ends with its lifeline; returns once it has. */
static void take_down(struct lab_up *up, int supervisor)
{
    struct pollfd wait = { .fd = supervisor, .events = POLLIN };
    close(up->lifeline);
    if (supervisor >= 0)
        poll(&wait, 1, 15000);
    space_remove(&up->space);
}

/* Tries every path and shows what came of it; *rows is the caller's to deinit unless CLI_UNKNOWN is returned. */
static int try_and_show(const struct world *world, int supervisor, bool json, const struct paint *paint, struct rows *rows)
{
    struct error err = { "" };
    double started = seconds();
    if (rows_init(rows, world) < 0) {
        fprintf(stderr, "postern lab: out of memory\n");
        return CLI_UNKNOWN;
    }
    if (rows_try(rows, supervisor, &err) < 0) {
        fprintf(stderr, "postern lab: %s\n", err.text);
        rows_deinit(rows);
        return CLI_UNKNOWN;
    }
    double took_s = seconds() - started;
    if (json) {
        write_json(rows);
    } else {
        write_table(rows, paint);
        write_foot(rows, took_s, paint);
    }
    fflush(stdout);
    return count_holding(rows) == rows->n ? CLI_YES : CLI_NO;
}

static int demonstrate(const struct lab_up *up, int supervisor, int signals, const struct lab_demo_options *options, double started)
{
    const struct paint *paint = cli_colour(stdout) ? &colours : &plain;
    struct rows rows;
    if (!options->json)
        write_head(up, seconds() - started, paint);
    fflush(stdout);
    int status = try_and_show(&up->world, supervisor, options->json, paint, &rows);
    if (status == CLI_UNKNOWN)
        return status;
    if (!options->once) {
        write_hints(up, &rows, program_invocation_name, paint);
        if (await_signal(signals, supervisor))
            printf("\r  taking the lab down\n");
        else
            fprintf(stderr, "postern lab: the lab has ended by itself\n");
    }
    fflush(stdout);
    rows_deinit(&rows);
    return status;
}

int lab_try(const char *file, const char *name, bool json)
{
    struct cli_declaration declaration;
    struct world world;
    struct space space;
    struct rows rows;
    struct error err = { "" };
    cleanup_close int supervisor = space_find(name, &space, &err) < 0 ? -1 : space_open(&space, &err);
    if (supervisor < 0) {
        fprintf(stderr, "postern lab: %s\n", err.text);
        return CLI_UNKNOWN;
    }
    if (!cli_declaration_load(file, &declaration))
        return CLI_UNKNOWN;
    int status = CLI_UNKNOWN;
    if (world_init(&world, declaration.model) == 0) {
        status = try_and_show(&world, supervisor, json, cli_colour(stdout) ? &colours : &plain, &rows);
        if (status != CLI_UNKNOWN)
            rows_deinit(&rows);
        world_deinit(&world);
    }
    cli_declaration_deinit(&declaration);
    return status;
}

int lab_demo(const char *file, const char *name, const struct lab_demo_options *options)
{
    struct lab_up up;
    struct error err = { "" };
    sigset_t mask;
    double started = seconds();
    if (!lab_bring_up(file, name, true, options->json ? stderr : stdout, &up))
        return CLI_UNKNOWN;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    cleanup_close int signals = signalfd(-1, &mask, SFD_CLOEXEC);
    cleanup_close int supervisor = space_open(&up.space, &err);
    int status = CLI_UNKNOWN;
    if (supervisor < 0 || signals < 0)
        fprintf(stderr, "postern lab: %s\n", supervisor < 0 ? err.text : strerror(errno));
    else
        status = demonstrate(&up, supervisor, signals, options, started);
    take_down(&up, supervisor);
    lab_up_deinit(&up);
    return status;
}
