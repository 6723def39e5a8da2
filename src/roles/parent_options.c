/* The parent's command line, which is that of 'postern run'. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/uids.h"
#include "roles/parent.h"

enum { OPTION_HOST = 256, OPTION_RUN, OPTION_STATE, OPTION_CONTAINERS, OPTION_ROLES, OPTION_LOG, OPTION_NO_LOG, OPTION_UID_BASE, OPTION_GRACE,
    OPTION_DRAIN, OPTION_SUCCESSOR };

enum { DEFAULT_GRACE_S = 10, DEFAULT_DRAIN_S = 600, SECONDS_MAX = 7 * 24 * 3600 };

static const struct option long_options[] = {
    { "file", required_argument, NULL, 'f' },
    { "host", required_argument, NULL, OPTION_HOST },
    { "run-directory", required_argument, NULL, OPTION_RUN },
    { "state-directory", required_argument, NULL, OPTION_STATE },
    { "container-directory", required_argument, NULL, OPTION_CONTAINERS },
    { "role-directory", required_argument, NULL, OPTION_ROLES },
    { "log-requests", no_argument, NULL, OPTION_LOG },
    { "no-log-requests", no_argument, NULL, OPTION_NO_LOG },
    { "uid-base", required_argument, NULL, OPTION_UID_BASE },
    { "grace", required_argument, NULL, OPTION_GRACE },
    { "drain", required_argument, NULL, OPTION_DRAIN },
    { "successor", no_argument, NULL, OPTION_SUCCESSOR },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static void print_help(void)
{
    printf("Usage: postern run [-f FILE] [option...]\n"
           "Serves what the declaration says, until SIGTERM. SIGHUP reads it again, SIGUSR2 starts a newly installed postern in its place.\n\n"
           "  -f, --file FILE              the declaration (./postern.yml, then /etc/postern/postern.yml)\n"
           "      --host NAME              the declared host this machine is (found by its addresses, then by its name)\n"
           "      --run-directory DIR      where the control, log and metrics sockets are (/run/postern)\n"
           "      --state-directory DIR    where the keeper keeps keys and certificates (/var/lib/postern)\n"
           "      --container-directory DIR  one network namespace for each container name\n"
           "      --log-requests, --no-log-requests  a record per request (on)\n"
           "      --uid-base N             first of the %d uids that the roles run as (%d)\n"
           "      --grace SECONDS          how long SIGTERM lets connections finish (%d); a second SIGTERM ends at once\n"
           "      --drain SECONDS          how long connections of a replaced postern, or of a surface that is gone, may last (%d)\n"
           "      --role-directory DIR     where the roles' programs are (beside this one)\n",
        UIDS_N, UIDS_BASE, DEFAULT_GRACE_S, DEFAULT_DRAIN_S);
}

static bool parse_number(const char *option, const char *text, uint64_t max, uint32_t *ret)
{
    uint64_t value;
    if (!str_to_u64(str_of(text), max, &value)) {
        fprintf(stderr, "postern run: %s: '%s' is not a number from 0 to %llu\n", option, text, (unsigned long long)max);
        return false;
    }
    *ret = (uint32_t)value;
    return true;
}

static const char *absolute(const char *path)
{
    char cwd[PATH_MAX];
    char *whole = NULL;
    if (path[0] == '/' || !getcwd(cwd, sizeof cwd))
        return path;
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    return asprintf(&whole, "%s/%s", strcmp(cwd, "/") == 0 ? "" : cwd, path) < 0 ? path : whole;
}

static const char *own_directory(void)
{
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return POSTERN_ROLE_DIRECTORY;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (slash && slash != path)
        *slash = '\0';
    return path;
}

static bool find_file(struct parent_options *options)
{
    static const char *const places[] = { "postern.yml", "/etc/postern/postern.yml" };
    for (size_t i = 0; !options->file && i < ARRAY_SIZE(places); i++)
        if (access(places[i], F_OK) == 0)
            options->file = places[i];
    if (!options->file) {
        fprintf(stderr, "postern run: neither ./postern.yml nor /etc/postern/postern.yml is there; name the declaration with -f FILE\n");
        return false;
    }
    options->file = absolute(options->file);
    if (strlen(options->file) >= sizeof((struct ipc_compile *)0)->file) {
        fprintf(stderr, "postern run: the declaration's path is longer than %zu bytes\n", sizeof((struct ipc_compile *)0)->file - 1);
        return false;
    }
    return true;
}

static int parse_one(int option, struct parent_options *options)
{
    uint32_t seconds;
    switch (option) {
    case 'f':
        options->file = optarg;
        return 0;
    case OPTION_HOST:
        options->host = optarg;
        return 0;
    case OPTION_RUN:
        options->run_directory = absolute(optarg);
        return 0;
    case OPTION_STATE:
        options->state_directory = absolute(optarg);
        return 0;
    case OPTION_CONTAINERS:
        options->container_directory = absolute(optarg);
        return 0;
    case OPTION_ROLES:
        options->role_directory = absolute(optarg);
        return 0;
    case OPTION_LOG:
    case OPTION_NO_LOG:
        options->log_requests = option == OPTION_LOG;
        return 0;
    case OPTION_UID_BASE:
        return parse_number("--uid-base", optarg, UINT32_MAX - 1 - UIDS_N, &options->uid_base) ? 0 : 1 + 2;
    case OPTION_GRACE:
        if (!parse_number("--grace", optarg, SECONDS_MAX, &seconds))
            return 1 + 2;
        options->grace_ms = seconds * 1000;
        return 0;
    case OPTION_DRAIN:
        if (!parse_number("--drain", optarg, SECONDS_MAX, &seconds))
            return 1 + 2;
        options->drain_ms = seconds * 1000;
        return 0;
    case OPTION_SUCCESSOR:
        options->is_successor = true;
        return 0;
    case 'h':
        print_help();
        return 1 + 0;
    default:
        fprintf(stderr, "postern run: see 'postern run --help'\n");
        return 1 + 2;
    }
}

int options_parse(int argc, char **argv, struct parent_options *ret)
{
    struct parent_options options = { .host = "", .run_directory = "/run/postern", .state_directory = "/var/lib/postern", .container_directory = "",
        .log_requests = true, .uid_base = UIDS_BASE, .grace_ms = DEFAULT_GRACE_S * 1000, .drain_ms = DEFAULT_DRAIN_S * 1000 };
    int option;
    static char name[] = "postern run";
    argv[0] = name; /* how getopt's messages begin */
    while ((option = getopt_long(argc, argv, "f:h", long_options, NULL)) != -1) {
        int r = parse_one(option, &options);
        if (r != 0)
            return r;
    }
    if (optind < argc) {
        fprintf(stderr, "postern run: unexpected argument '%s'; the declaration is named with -f FILE\n", argv[optind]);
        return 1 + 2;
    }
    if (!find_file(&options))
        return 1 + 2;
    if (strlen(options.state_directory) >= sizeof((struct ipc_start *)0)->state_directory
        || strlen(options.container_directory) >= sizeof((struct ipc_compile *)0)->container_directory
        || strlen(options.host) >= sizeof((struct ipc_compile *)0)->host) {
        fprintf(stderr, "postern run: a directory or the host's name is longer than 255 bytes\n");
        return 1 + 2;
    }
    if (!options.role_directory)
        options.role_directory = own_directory();
    *ret = options;
    return 0;
}
