/* postern render: what the declaration says, in the words of one layer. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "base/uids.h"
#include "cli/declaration.h"
#include "render/nftables.h"
#include "roles/revision.h"

static const char usage[] =
    "usage: postern render nftables HOST [-f FILE] [OPTION...]\n"
    "       postern render mesh [-f FILE]\n"
    "\n"
    "nftables: the firewall of a declared host, for \"nft -f\". Of this host, mesh machines reach what is declared and nothing\n"
    "else; ports that are served on the mesh are closed on the LAN. It replaces its own table (inet postern) and touches no other.\n"
    "mesh: the filter between all hosts, for a network namespace that stands for the mesh (postern lab uses it).\n"
    "\n"
    "  -f, --file FILE          the declaration\n"
    "      --interface NAME     the mesh's interface (default tailscale0; \"\": none, know the mesh by its addresses only)\n"
    "      --mesh-port PORT     the mesh's own UDP port, kept open on the LAN (default 41641; 0: none)\n"
    "      --keep-lan           leave what listens on declared LAN addresses alone, but for ports that are served on the mesh\n"
    "      --worker-uids A-B    users that may start no connection: the gateway's workers, where postern run was given another --uid-base\n"
    "\n"
    "Exit status: 0 written, 1 there is none for that host, 2 the declaration could not be used.\n";

enum { RENDER_OUTPUT_MAX = 1 << 30 };

struct render_arguments {
    const char *file, *what, *host;
    struct render_nftables_options options;
};

static bool number_read(const char *text, uint64_t max, uint64_t *ret)
{
    if (str_to_u64(str_of(text), max, ret))
        return true;
    fprintf(stderr, "postern render: '%s' is no number up to %llu\n", text, (unsigned long long)max);
    return false;
}

static bool uids_read(const char *text, struct render_nftables_options *options)
{
    uint64_t first, last;
    struct str rest = str_of(text), head = str_split(&rest, '-');
    if (!str_to_u64(head, UINT32_MAX - 1, &first) || !str_to_u64(rest, UINT32_MAX - 1, &last) || first == 0 || first > last) {
        fprintf(stderr, "postern render: '%s' is no range of user ids; write 990-997\n", text);
        return false;
    }
    options->worker_uid_first = (uint32_t)first;
    options->worker_uid_last = (uint32_t)last;
    return true;
}

/* One option. False: a message or the usage was printed. */
static bool option_read(int c, struct render_arguments *ret)
{
    uint64_t port;
    switch (c) {
    case 'f': ret->file = optarg; return true;
    case 'i': ret->options.mesh_interface = str_of(optarg); return true;
    case 'k': ret->options.keep_lan = true; return true;
    case 'u': return uids_read(optarg, &ret->options);
    case 'p':
        if (!number_read(optarg, UINT16_MAX, &port))
            return false;
        ret->options.mesh_transport_port = (uint16_t)port;
        return true;
    default: fputs(usage, c == 'h' ? stdout : stderr); return false;
    }
}

/* 0: go on. Otherwise the exit status + 1. */
static int arguments_read(int argc, char **argv, struct render_arguments *ret)
{
    static const struct option options[] = {
        { "file", required_argument, NULL, 'f' },        { "interface", required_argument, NULL, 'i' },
        { "mesh-port", required_argument, NULL, 'p' },   { "keep-lan", no_argument, NULL, 'k' },
        { "worker-uids", required_argument, NULL, 'u' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "f:h", options, NULL)) != -1)
        if (!option_read(c, ret))
            return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
    ret->what = optind < argc ? argv[optind++] : NULL;
    ret->host = optind < argc ? argv[optind++] : NULL;
    bool is_nftables = ret->what && strcmp(ret->what, "nftables") == 0, is_mesh = ret->what && strcmp(ret->what, "mesh") == 0;
    if (optind == argc && ((is_nftables && ret->host) || (is_mesh && !ret->host)))
        return 0;
    if (is_nftables && !ret->host)
        fputs("postern render: nftables for which host? 'postern render nftables HOST'\n", stderr);
    else
        fputs(usage, stderr);
    return CLI_UNKNOWN + 1;
}

static uint32_t host_find(const struct model *model, struct str name)
{
    uint32_t near = MODEL_NONE;
    for (uint32_t i = 0; i < model->n_hosts; i++) {
        if (str_equal(model->hosts[i].name.text, name))
            return i;
        if (near == MODEL_NONE && str_distance(model->hosts[i].name.text, name, 2) <= 2)
            near = i;
    }
    fprintf(stderr, "postern render: the declaration has no host '%.*s'", STR_ARG(name));
    if (near != MODEL_NONE)
        fprintf(stderr, "; did you mean '%.*s'?\n", STR_ARG(model->hosts[near].name.text));
    else
        fputc('\n', stderr);
    return MODEL_NONE;
}

static int output_write(const struct buf *out)
{
    if (fwrite(out->ptr, 1, out->len, stdout) == out->len && fflush(stdout) == 0)
        return CLI_YES;
    fprintf(stderr, "postern render: could not write: %s\n", strerror(errno));
    return CLI_UNKNOWN;
}

int cli_render(int argc, char **argv)
{
    struct render_arguments given = { .options = { .mesh_interface = STR("tailscale0"), .mesh_transport_port = 41641 } };
    int status = arguments_read(argc, argv, &given);
    if (status)
        return status - 1;
    cleanup_declaration struct cli_declaration declaration = { 0 };
    if (!cli_declaration_load(given.file, &declaration))
        return CLI_UNKNOWN;
    cleanup_buf struct buf out;
    buf_init(&out, RENDER_OUTPUT_MAX);
    struct error err = { "" };
    char revision[REVISION_DIGITS + 1] = "";
    if (revision_of(buf_str(&declaration.source), revision))
        given.options.revision = str_of(revision);
    int r;
    if (given.host) {
        uint32_t host = host_find(declaration.model, str_of(given.host));
        if (host == MODEL_NONE)
            return CLI_NO;
        if (declaration.model->hosts[host].gateway && !given.options.worker_uid_last) {
            given.options.worker_uid_first = UIDS_BASE + UIDS_OF_WORKERS;
            given.options.worker_uid_last = UIDS_BASE + UIDS_N - 1;
        }
        r = render_nftables_host(declaration.model, host, &given.options, &out, &err);
    } else {
        r = render_nftables_mesh(declaration.model, &given.options, &out, &err);
    }
    if (r == 0)
        return output_write(&out);
    fprintf(stderr, "postern render: %s\n", err.text[0] ? err.text : strerror(-r));
    return r == -EINVAL ? CLI_NO : CLI_UNKNOWN;
}
