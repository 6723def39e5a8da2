/* postern lab demo: the lab, every path tried, and a table of those worth a look. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
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

/* Rows of one source together, in the order in which sources are declared; then whatever else did not hold. */
static void write_table(const struct rows *rows, const struct paint *paint)
{
    struct widths widths = { 3, 8, 8, 5 };
    struct cells cells;
    for (uint32_t i = 0; i < rows->n; i++)
        if (rows->items[i].shown || !rows->items[i].holds) {
            fill(rows, &rows->items[i], &cells);
            widen(&widths, &cells);
        }
    printf("  %s%-*s  %-*s  %-*s  %-*s    %s%s\n", paint->bold, widths.from, "WHO", widths.asks, "ASKS FOR", widths.declared, "DECLARED", widths.line, "BY",
           "MEASURED", paint->off);
    uint32_t last = MODEL_NONE, n_failed = 0;
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < rows->n; i++) {
            const struct row *row = &rows->items[i];
            if (pass == 0 ? !row->shown : row->shown || row->holds)
                continue;
            if (pass == 1 && ++n_failed > FAILED_SHOWN_MAX)
                continue;
            fill(rows, row, &cells);
            if (row->from != last && last != MODEL_NONE)
                putchar('\n');
            write_row(row, &cells, &widths, row->from != last, paint);
            last = row->from;
        }
    if (n_failed > FAILED_SHOWN_MAX)
        printf("  %sand %u more that are not as declared%s\n", paint->red, n_failed - FAILED_SHOWN_MAX, paint->off);
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
    printf("  Every certificate was verified. %u times 404, for names that are there and one that isn't: the same bytes each time.\n", n_not_found);
}

static const struct row *first_shown(const struct rows *rows, enum row_expect expect)
{
    for (uint32_t i = 0; i < rows->n; i++)
        if (rows->items[i].shown && rows->items[i].expect == expect && rows->items[i].probe->kind == PROBE_HTTPS)
            return &rows->items[i];
    return NULL;
}

static void write_hints(const struct lab_up *up, const struct rows *rows, const char *program, const struct paint *paint)
{
    static const enum row_expect tries[] = { ROW_SERVED, ROW_NOT_FOUND };
    bool is_other = strcmp(up->space.name, "lab") != 0;
    const char *option = is_other ? " -n " : "", *name = is_other ? up->space.name : "";
    printf("\n  %sTry it by hand%s, from another terminal:\n", paint->bold, paint->off);
    for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
        const struct row *row = first_shown(rows, tries[i]);
        if (row)
            printf("    %s lab exec%s%s %.*s -- curl -i %.*s\n", program, option, name, STR_ARG(rows_from(rows, row->from)), STR_ARG(row->asks));
    }
    printf("    %s lab exec%s%s %.*s            %sa shell on that machine%s\n", program, option, name, STR_ARG(rows_from(rows, 0)), paint->dim, paint->off);
    printf("    %s lab status%s%s              %swhat runs%s\n", program, option, name, paint->dim, paint->off);
    printf("    tail -f %s/%.*s.log  %sits gateway's log%s\n", up->space.directory, STR_ARG(rows_from(rows, 0)), paint->dim, paint->off);
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

static int demonstrate(struct lab_up *up, int supervisor, int signals, bool once, double started)
{
    const struct paint *paint = cli_colour(stdout) ? &colours : &plain;
    struct error err = { "" };
    struct rows rows;
    write_head(up, seconds() - started, paint);
    fflush(stdout);
    if (rows_init(&rows, &up->world) < 0) {
        fprintf(stderr, "postern lab: out of memory\n");
        return CLI_UNKNOWN;
    }
    int status = CLI_UNKNOWN;
    started = seconds();
    if (rows_try(&rows, supervisor, &err) < 0) {
        fprintf(stderr, "postern lab: %s\n", err.text);
    } else {
        write_table(&rows, paint);
        write_foot(&rows, seconds() - started, paint);
        status = count_holding(&rows) == rows.n ? CLI_YES : CLI_NO;
        if (!once) {
            write_hints(up, &rows, program_invocation_name, paint);
            if (await_signal(signals, supervisor))
                printf("\r  taking the lab down\n");
            else
                fprintf(stderr, "postern lab: the lab has ended by itself\n");
        }
    }
    fflush(stdout);
    rows_deinit(&rows);
    return status;
}

int lab_demo(const char *file, const char *name, bool once)
{
    struct lab_up up;
    struct error err = { "" };
    sigset_t mask;
    double started = seconds();
    if (!lab_bring_up(file, name, true, stdout, &up))
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
        status = demonstrate(&up, supervisor, signals, once, started);
    take_down(&up, supervisor);
    lab_up_deinit(&up);
    return status;
}
