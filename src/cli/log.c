/* postern log: what was asked for and how it was answered: the last records, those that come, or the one with an id. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/control.h"
#include "roles/logger_record.h"

enum { LAST_DEFAULT = 20, LAST_MAX = 4096, LINE_MAX = 64 * 1024, RECONNECTS = 100, RECONNECT_MS = 100 };

static const char usage[] =
    "usage: postern log [-n N] [--follow] [FILTER...] [--json]\n"
    "       postern log ID\n"
    "\n"
    "Shows the last requests of the running postern (20, or N up to 4096), and with --follow each that comes. With the id that an answer\n"
    "carried (Postern-Request-Id), everything about that one; ids that are older are looked for in the log file.\n"
    "\n"
    "      --from WHO            a host, a segment or an address; '*' matches any run, as in --to\n"
    "      --to WHAT             a service, an instance (backrest@roc) or a name asked for\n"
    "      --surface NAME        came in there\n"
    "      --denied              only what the declaration doesn't allow\n"
    "      --status 404 | 5xx    answered so\n"
    "      --json                the records as they are in the log\n"
    "      --run-directory DIR   that of the postern to ask (/run/postern)\n"
    "\n"
    "Exit status: 0 shown, 1 there is no record with that id, 2 no postern answers.\n";

struct log_options {
    const char *run_directory;
    bool json, follow;
    uint64_t last;
    struct logger_filter filter;
};

/* ---- a line of the log as a record ---- */

struct shown {
    struct ipc_record record;
    char surface[IPC_NAME_MAX];
    uint32_t worker;
};

static void take_text(const json_t *line, const char *key, char *to, size_t size)
{
    const char *text = json_string_value(json_object_get(line, key));
    str_copy(to, size, str_of(text ? text : ""));
}

static uint32_t take_us(const json_t *line, const char *key)
{
    const json_t *ms = json_object_get(line, key);
    double us = json_number_value(ms) * 1000 + 0.5;
    return json_is_number(ms) && us >= 0 && us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static uint64_t take_number(const json_t *line, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(line, key));
    return value > 0 ? (uint64_t)value : 0;
}

static bool take_time(const json_t *line, uint64_t *ret_us)
{
    const char *text = json_string_value(json_object_get(line, "time"));
    struct tm utc = { 0 };
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &utc) : NULL;
    unsigned ms = 0;
    if (!rest || sscanf(rest, ".%3uZ", &ms) != 1)
        return false;
    *ret_us = (uint64_t)timegm(&utc) * 1000000 + ms * 1000;
    return true;
}

/* False when it is no record of ours (the log file is anybody's to write into who may). */
static bool parse_line(struct str text, struct shown *ret)
{
    struct shown shown = { 0 };
    struct ipc_record *record = &shown.record;
    char http[8], denied[32], client[ADDRESS_TEXT_SIZE];
    json_t *line = json_loadb(text.ptr, text.len, 0, NULL);
    enum ipc_record_denied why = IPC_DENIED_NOT;
    take_text(line, "id", record->id, sizeof record->id);
    take_text(line, "surface", shown.surface, sizeof shown.surface);
    take_text(line, "client", client, sizeof client);
    take_text(line, "method", record->method, sizeof record->method);
    take_text(line, "principal", record->principal, sizeof record->principal);
    take_text(line, "segment", record->segment, sizeof record->segment);
    take_text(line, "service", record->service, sizeof record->service);
    take_text(line, "instance", record->instance, sizeof record->instance);
    take_text(line, "host", record->host, sizeof record->host);
    take_text(line, "rule", record->rule, sizeof record->rule);
    take_text(line, "revision", record->revision, sizeof record->revision);
    take_text(line, "reason", record->reason, sizeof record->reason);
    take_text(line, "http", http, sizeof http);
    take_text(line, "denied", denied, sizeof denied);
    record->http_version = strcmp(http, "2") == 0 ? 20 : strcmp(http, "1.1") == 0 ? 11 : strcmp(http, "1.0") == 0 ? 10 : 0;
    record->status = (uint16_t)(take_number(line, "status") % 1000);
    record->bytes_in = take_number(line, "bytes_in");
    record->bytes_out = take_number(line, "bytes_out");
    record->generation = take_number(line, "generation");
    record->connect_us = take_us(line, "connect_ms");
    record->first_byte_us = take_us(line, "first_byte_ms");
    record->total_us = take_us(line, "total_ms");
    shown.worker = (uint32_t)take_number(line, "worker");
    bool sound = json_is_object(line) && take_time(line, &record->time_us) && address_parse(str_of(client), &record->client) &&
                 logger_denied_parse(str_of(denied), &why);
    record->denied = (uint8_t)why;
    json_decref(line);
    if (!sound || !logger_record_check(record))
        return false;
    *ret = shown;
    return true;
}

/* ---- showing ---- */

static void show_line(const struct log_options *options, struct str line)
{
    struct shown shown;
    char text[LOGGER_LINE_MAX];
    if (options->json) {
        printf("%.*s\n", STR_ARG(line));
    } else if (parse_line(line, &shown)) {
        size_t len = logger_record_readable(&shown.record, str_of(shown.surface), cli_colour(stdout), text);
        fwrite(text, 1, len, stdout);
    }
}

static void show_duration(const char *what, uint32_t us)
{
    if (us != UINT32_MAX)
        printf("  %-10s %u.%03u ms\n", what, us / 1000, us % 1000);
}

/* Everything about one request, for somebody who wonders. */
static void show_one(const struct log_options *options, struct str line)
{
    struct shown shown;
    char client[ADDRESS_TEXT_SIZE], when[64];
    if (options->json || !parse_line(line, &shown)) {
        printf("%.*s\n", STR_ARG(line));
        return;
    }
    const struct ipc_record *record = &shown.record;
    time_t seconds = (time_t)(record->time_us / 1000000);
    struct tm local;
    localtime_r(&seconds, &local);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S %Z", &local);
    printf("request %s\n", record->id);
    printf("  %-10s %s\n", "when", when);
    printf("  %-10s %s%s%s%s%s\n", "from", record->principal[0] ? record->principal : "", record->principal[0] ? ", " : "",
           record->segment[0] ? record->segment : "", record->segment[0] ? ", " : "", address_format(&record->client, client));
    printf("  %-10s %s %s%s%s, on surface %s (worker %u)\n", "asked", record->method[0] ? record->method : "-",
           record->host[0] ? record->host : "a name that is not served to it", record->http_version ? " over HTTP/" : "",
           record->http_version == 20 ? "2" : record->http_version == 11 ? "1.1" : record->http_version == 10 ? "1.0" : "", shown.surface, shown.worker);
    if (record->status > 0)
        printf("  %-10s %u\n", "answer", record->status);
    else
        printf("  %-10s none: the connection was closed\n", "answer");
    if (record->denied != IPC_DENIED_NOT)
        printf("  %-10s %s\n", "denied", logger_denied_name(record->denied));
    if (record->reason[0])
        printf("  %-10s %s\n", "reason", record->reason);
    if (record->rule[0])
        printf("  %-10s %s, revision %s\n", "rule", record->rule, record->revision);
    else
        printf("  %-10s no grant applied, revision %s\n", "rule", record->revision);
    if (record->service[0])
        printf("  %-10s %s%s%s\n", "service", record->service, record->instance[0] ? ", instance " : "", record->instance);
    printf("  %-10s %llu in, %llu out\n", "bytes", (unsigned long long)record->bytes_in, (unsigned long long)record->bytes_out);
    show_duration("connected", record->connect_us);
    show_duration("first byte", record->first_byte_us);
    show_duration("total", record->total_us);
}

/* ---- the log socket ---- */

static int connect_log(const char *run_directory, struct error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int n = snprintf(address.sun_path, sizeof address.sun_path, "%s/log.sock", run_directory);
    if (n < 0 || (size_t)n >= sizeof address.sun_path) {
        error_set(err, "%s/log.sock: the path is too long for a socket", run_directory);
        return -ENAMETOOLONG;
    }
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address)) {
        int r = -errno;
        if (r == -ENOENT || r == -ECONNREFUSED)
            error_set(err, "no postern runs here (%s); 'postern run' starts one, --run-directory names another's", address.sun_path);
        else
            error_set(err, "%s: %s", address.sun_path, r == -EACCES ? "only the user that runs postern may read its log" : strerror(-r));
        return r;
    }
    return TAKE_FD(fd);
}

static void put_word(struct buf *request, const char *key, const char *value)
{
    if (value[0])
        buf_printf(request, " %s=%s", key, value);
}

static int send_request(int fd, const struct log_options *options, uint64_t last)
{
    cleanup_buf struct buf request;
    buf_init(&request, 512);
    buf_printf(&request, "last=%llu%s", (unsigned long long)last, options->follow ? " follow=1" : "");
    put_word(&request, "id", options->filter.id);
    put_word(&request, "from", options->filter.from);
    put_word(&request, "to", options->filter.to);
    put_word(&request, "surface", options->filter.surface);
    if (options->filter.denied)
        buf_append(&request, STR(" denied=1"));
    if (options->filter.status_low > 0 && options->filter.status_low == options->filter.status_high)
        buf_printf(&request, " status=%u", options->filter.status_low);
    else if (options->filter.status_low > 0)
        buf_printf(&request, " status=%uxx", options->filter.status_low / 100);
    buf_append_char(&request, '\n');
    if (request.error)
        return request.error;
    return send(fd, request.ptr, request.len, MSG_NOSIGNAL) == (ssize_t)request.len ? 0 : -EPIPE;
}

/* What the logger says besides records. False: it refused. */
static bool take_note(struct str line)
{
    if (str_starts_with(line, STR("{\"missed\":"))) {
        struct str rest = str_skip(line, strlen("{\"missed\":"));
        struct str number = str_split(&rest, '}');
        fprintf(stderr, "(%.*s records went by too fast to be shown)\n", STR_ARG(number));
        return true;
    }
    fprintf(stderr, "postern log: %.*s\n", STR_ARG(line));
    return false;
}

/* Reads lines to the end and shows them. *ret_n: how many records. 0, or -EPROTO when the logger refused. */
static int read_lines(int fd, const struct log_options *options, uint64_t *ret_n)
{
    cleanup_buf struct buf in;
    buf_init(&in, LINE_MAX * 2);
    uint64_t n_shown = 0;
    for (;;) {
        char *room = buf_reserve(&in, LINE_MAX);
        ssize_t n = room ? read(fd, room, LINE_MAX) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        in.len += (size_t)n;
        struct str rest = buf_str(&in);
        for (size_t end; (end = str_find_char(rest, '\n')) < rest.len; rest = str_skip(rest, end + 1)) {
            struct str line = str_first(rest, end);
            if (!str_starts_with(line, STR("{\"time\":"))) {
                if (!take_note(line))
                    return -EPROTO;
                continue;
            }
            n_shown++;
            if (options->filter.id[0])
                show_one(options, line);
            else
                show_line(options, line);
        }
        buf_consume(&in, in.len - rest.len);
        fflush(stdout);
    }
    *ret_n = n_shown;
    return 0;
}

/* ---- the log file, for an id that the logger doesn't hold any more ---- */

static bool find_in_file(const char *path, const struct log_options *options)
{
    FILE *file = fopen(path, "re");
    char wanted[32];
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    bool found = false;
    if (!file)
        return false;
    snprintf(wanted, sizeof wanted, "\"id\":\"%s\"", options->filter.id);
    while (!found && (n = getline(&line, &size, file)) > 0)
        if (memmem(line, (size_t)n, wanted, strlen(wanted))) {
            show_one(options, str_make(line, (size_t)n - (line[n - 1] == '\n')));
            found = true;
        }
    free(line);
    fclose(file);
    return found;
}

static int find_older(const struct log_options *options)
{
    struct error err = { "" };
    json_t *answer = NULL;
    bool found = false;
    char path[512] = "";
    if (control_ask(options->run_directory, "status", &answer, &err) == 0) {
        const char *file = json_string_value(json_object_get(answer, "log_file"));
        str_copy(path, sizeof path - 2, str_of(file ? file : ""));
    }
    json_decref(answer);
    if (path[0]) {
        size_t len = strlen(path);
        found = find_in_file(path, options);
        memcpy(path + len, ".1", 3); /* as logrotate leaves it */
        found = found || find_in_file(path, options);
        path[len] = '\0';
    }
    if (found)
        return CLI_YES;
    fprintf(stderr, "postern log: no record %s among the last %d%s%s\n", options->filter.id, LAST_MAX, path[0] ? " or in " : "",
            path[0] ? path : "; with log: { to: FILE } in the declaration older ones are kept");
    return CLI_NO;
}

/* ---- the command ---- */

static int run(const struct log_options *options)
{
    struct error err = { "" };
    uint64_t last = options->last;
    for (int n_lost = 0;;) {
        cleanup_close int fd = connect_log(options->run_directory, &err);
        if (fd < 0 && (n_lost == 0 || n_lost > RECONNECTS)) {
            fprintf(stderr, "postern log: %s\n", err.text);
            return CLI_UNKNOWN;
        }
        uint64_t n = 0;
        int r = fd < 0 ? fd : send_request(fd, options, last);
        /* Turned away before it could ask, it is still told why. */
        if (fd >= 0 && read_lines(fd, options, &n) == -EPROTO)
            return CLI_UNKNOWN;
        if (!options->follow && r < 0) {
            fprintf(stderr, "postern log: the logger ended without an answer; try again\n");
            return CLI_UNKNOWN;
        }
        if (!options->follow)
            return options->filter.id[0] && n == 0 ? find_older(options) : CLI_YES;
        /* The logger ended; the parent starts another on the same socket. */
        n_lost = n > 0 ? 1 : n_lost + 1;
        last = 0;
        struct timespec wait = { .tv_nsec = RECONNECT_MS * 1000000L };
        nanosleep(&wait, NULL);
    }
}

static bool set_filter(struct log_options *options, const char *key, const char *value)
{
    if (logger_filter_set(&options->filter, str_of(key), str_of(value)) && !strpbrk(value, " \n"))
        return true;
    if (strcmp(key, "id") == 0)
        fprintf(stderr, "postern log: '%s' is no request id: 16 digits and letters a to f, as in the answer's Postern-Request-Id\n", value);
    else
        fprintf(stderr, "postern log: --%s %s: %s\n", key, value, strcmp(key, "status") == 0 ? "404 or 5xx is expected" : "a name is expected");
    return false;
}

int cli_log(int argc, char **argv)
{
    static const struct option options[] = {
        { "run-directory", required_argument, NULL, 'r' }, { "json", no_argument, NULL, 'j' }, { "follow", no_argument, NULL, 'F' },
        { "from", required_argument, NULL, 'f' }, { "to", required_argument, NULL, 't' }, { "surface", required_argument, NULL, 's' },
        { "denied", no_argument, NULL, 'd' }, { "status", required_argument, NULL, 'S' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    static const struct {
        int option;
        const char *key;
    } filters[] = { { 'f', "from" }, { 't', "to" }, { 's', "surface" }, { 'S', "status" } };
    struct log_options chosen = { .run_directory = CLI_RUN_DIRECTORY, .last = LAST_DEFAULT };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "hn:", options, NULL)) != -1) {
        switch (c) {
        case 'r':
            chosen.run_directory = optarg;
            break;
        case 'j':
            chosen.json = true;
            break;
        case 'F':
            chosen.follow = true;
            break;
        case 'd':
            chosen.filter.denied = true;
            break;
        case 'n':
            if (!str_to_u64(str_of(optarg), LAST_MAX, &chosen.last)) {
                fprintf(stderr, "postern log: -n %s: a number up to %d is expected; older records are in the log file\n", optarg, LAST_MAX);
                return CLI_UNKNOWN;
            }
            break;
        case 'h':
        case '?':
            fputs(usage, c == 'h' ? stdout : stderr);
            return c == 'h' ? CLI_YES : CLI_UNKNOWN;
        default:
            for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
                if (filters[i].option == c && !set_filter(&chosen, filters[i].key, optarg))
                    return CLI_UNKNOWN;
        }
    }
    if (argc - optind > 1) {
        fprintf(stderr, "postern log: '%s' is too much\n", argv[optind + 1]);
        return CLI_UNKNOWN;
    }
    if (optind < argc) {
        if (!set_filter(&chosen, "id", argv[optind]))
            return CLI_UNKNOWN;
        chosen.last = 1;
        chosen.follow = false;
    }
    return run(&chosen);
}
