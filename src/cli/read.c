/* postern read: what a policy that is there already lets reach each machine. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cli/files.h"
#include "observe/tailscale.h"

static const char usage[] =
    "usage: postern read tailscale POLICY --nodes NODES [--json]\n"
    "\n"
    "Compiles a Tailscale policy file, as Tailscale's control plane does, into the packet filter of each machine: who may send what\n"
    "to it. The policy's own tests are run; one that fails refuses the policy.\n"
    "\n"
    "  POLICY          HuJSON: acls, grants, groups, hosts, tagOwners, ipsets, autogroups, via, tests\n"
    "      --nodes N   the machines: what 'tailscale status --json' says, or {\"users\": [{name, email}], \"nodes\": {NAME: {ipv4, ipv6,\n"
    "                  tags, user, approved_routes}}}\n"
    "      --json      for scripts: {\"nodes\": {NAME: [{Srcs, Dsts: [{Net, Ports: {First, Last}}], IPProto}]}}\n"
    "\n"
    "Exit status: 0 the policy is in order, 1 it is refused, 2 it could not be read.\n";

enum { READ_FILE_MAX = (16 << 20) + (64 << 10), READ_NODE_OUTPUT_MAX = 1 << 28 };

struct read_arguments {
    const char *policy, *nodes;
    bool json;
};

/* 0: go on. Otherwise the exit status + 1. */
static int arguments_read(int argc, char **argv, struct read_arguments *ret)
{
    static const struct option options[] = {
        { "nodes", required_argument, NULL, 'n' }, { "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c == 'n') {
            ret->nodes = optarg;
        } else if (c == 'j') {
            ret->json = true;
        } else {
            fputs(usage, c == 'h' ? stdout : stderr);
            return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
        }
    }
    bool is_right = argc - optind == 2 && strcmp(argv[optind], "tailscale") == 0;
    if (is_right && !ret->nodes)
        fputs("postern read: which machines? --nodes NODES, for example from 'tailscale status --json'\n", stderr);
    else if (optind < argc && strcmp(argv[optind], "tailscale") != 0)
        fprintf(stderr, "postern read: '%s' is nothing that it reads; 'postern read tailscale POLICY --nodes NODES' it is\n", argv[optind]);
    else if (!is_right)
        fputs(usage, stderr);
    if (!is_right || !ret->nodes)
        return CLI_UNKNOWN + 1;
    ret->policy = argv[optind + 1];
    return 0;
}

/* ---- what one node lets in ---- */

struct node_writer {
    const struct read_arguments *given;
    const struct tailscale_policy *policy;
    struct buf out;
    bool is_next;           /* something was written already */
    uint32_t last_rule;
};

static const char *protocol_name(uint8_t protocol, char number[static 4])
{
    static const struct { uint8_t number; const char *name; } names[] = {
        { 1, "icmp" }, { 2, "igmp" }, { 6, "tcp" }, { 17, "udp" }, { 47, "gre" }, { 50, "esp" }, { 51, "ah" }, { 58, "icmpv6" },
        { 132, "sctp" }
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i].number == protocol)
            return names[i].name;
    snprintf(number, 4, "%u", protocol);
    return number;
}

static bool range_is(const struct relation_range *range, const struct relation_range *other)
{
    return address_equal(&range->first, &other->first) && address_equal(&range->last, &other->last);
}

/* Calls write for each prefix of the range; the whole of a family is one. */
static void prefixes_write(struct buf *out, struct relation_range range, void (*write)(struct buf *out, const char *text, const void *context),
                           const void *context)
{
    char text[ADDRESS_PREFIX_TEXT_SIZE];
    bool is_more = !range_is(&range, &relation_all_v6);
    if (!is_more)
        write(out, "::/0", context);
    while (is_more) {
        struct address_prefix prefix;
        is_more = address_take_prefix(&range.first, &range.last, &prefix);
        write(out, address_prefix_format(&prefix, text), context);
    }
}

static void separate(struct buf *out)
{
    if (out->len && out->ptr[out->len - 1] != '[')
        buf_append(out, STR(", "));
}

static void source_write(struct buf *out, const char *text, const void *context)
{
    (void)context;
    separate(out);
    buf_printf(out, "\"%s%s\"", text, strchr(text, '/') ? "" : strchr(text, ':') ? "/128" : "/32");
}

static void destination_write(struct buf *out, const char *text, const void *context)
{
    const struct tailscale_service *service = context;
    separate(out);
    buf_printf(out, "{\"Net\": \"%s%s\", \"Ports\": {\"First\": %u, \"Last\": %u}}", text, strchr(text, '/') ? "" : strchr(text, ':') ? "/128" : "/32",
               service->port_first, service->port_last);
}

/* Services of the same protocols are one entry. Returns how many it took. */
static uint32_t json_entry(struct node_writer *w, const struct tailscale_pass *pass, uint32_t first)
{
    const struct tailscale_service *service = &pass->services[first];
    uint32_t n = 1;
    while (first + n < pass->n_services && pass->services[first + n].n_protocols == service->n_protocols &&
           memcmp(pass->services[first + n].protocols, service->protocols, service->n_protocols) == 0)
        n++;
    buf_append(&w->out, w->is_next ? STR(",\n    {\"Srcs\": [") : STR("\n    {\"Srcs\": ["));
    w->is_next = true;
    for (uint32_t i = 0; i < pass->n_sources; i++)
        prefixes_write(&w->out, pass->sources[i], source_write, NULL);
    buf_append(&w->out, STR("], \"Dsts\": ["));
    for (uint32_t k = first; k < first + n; k++)
        for (uint32_t i = 0; i < pass->n_destinations; i++)
            prefixes_write(&w->out, pass->destinations[i], destination_write, &pass->services[k]);
    buf_append(&w->out, STR("], \"IPProto\": ["));
    for (uint32_t i = 0; i < service->n_protocols; i++)
        buf_printf(&w->out, "%s%u", i ? ", " : "", service->protocols[i]);
    buf_append(&w->out, STR("]}"));
    return n;
}

static void table_services(struct buf *out, const struct tailscale_pass *pass)
{
    for (uint32_t i = 0; i < pass->n_services; i++) {
        const struct tailscale_service *service = &pass->services[i];
        buf_append(out, i ? STR(", ") : STR(""));
        for (uint32_t k = 0; k < service->n_protocols && service->n_protocols < 4; k++) {
            char number[4];
            buf_printf(out, "%s%s", k ? "/" : "", protocol_name(service->protocols[k], number));
        }
        bool is_every_port = service->port_first == 0 && service->port_last == UINT16_MAX;
        const char *space = service->n_protocols < 4 ? " " : "";
        if (is_every_port)
            buf_printf(out, "%s", service->n_protocols < 4 ? "" : "everything");
        else if (service->port_first == service->port_last)
            buf_printf(out, "%s%u", space, service->port_first);
        else
            buf_printf(out, "%s%u-%u", space, service->port_first, service->port_last);
    }
}

static void table_address(struct buf *out, const char *text, const void *context)
{
    (void)context;
    if (out->len && out->ptr[out->len - 1] != ' ')
        buf_append(out, STR(", "));
    buf_append(out, str_of(text));
}

static void table_entry(struct node_writer *w, const struct tailscale_pass *pass)
{
    uint32_t line;
    struct str name = tailscale_policy_rule(w->policy, pass->rule, &line);
    buf_append(&w->out, STR("    "));
    table_services(&w->out, pass);
    buf_append(&w->out, STR("  from "));
    tailscale_policy_write_sources(w->policy, pass->rule, &w->out);
    buf_append(&w->out, STR("  to "));
    for (uint32_t i = 0; i < pass->n_destinations; i++)
        prefixes_write(&w->out, pass->destinations[i], table_address, NULL);
    buf_printf(&w->out, "  (%.*s, line %u)\n", STR_ARG(name), line);
    w->is_next = true;
}

static int pass_write(void *context, const struct tailscale_pass *pass)
{
    struct node_writer *w = context;
    if (w->given->json)
        for (uint32_t i = 0; i < pass->n_services;)
            i += json_entry(w, pass, i);
    else
        table_entry(w, pass);
    return w->out.error;
}

static int output_flush(struct buf *out)
{
    if (out->error)
        return out->error;
    if (fwrite(out->ptr, 1, out->len, stdout) != out->len)
        return -EIO;
    buf_clear(out);
    return 0;
}

static int node_write(struct node_writer *w, struct tailscale_filter *filter, const struct tailscale_nodes *nodes, uint32_t node)
{
    struct str name = nodes->nodes[node].name;
    w->is_next = false;
    if (w->given->json) {
        buf_append(&w->out, node ? STR(",\n  ") : STR("  "));
        buf_append_json(&w->out, name);
        buf_append(&w->out, STR(": ["));
    } else {
        buf_printf(&w->out, "%.*s\n", STR_ARG(name));
    }
    int r = tailscale_filter_visit(filter, node, pass_write, w);
    if (w->given->json)
        buf_append(&w->out, STR("]"));
    else if (!w->is_next)
        buf_append(&w->out, STR("    nothing\n"));
    return r ? r : output_flush(&w->out);
}

static int filter_write(const struct read_arguments *given, const struct tailscale_policy *policy, struct tailscale_filter *filter,
                        const struct tailscale_nodes *nodes)
{
    struct node_writer w = { .given = given, .policy = policy };
    buf_init(&w.out, READ_NODE_OUTPUT_MAX);
    buf_append(&w.out, given->json ? STR("{\"nodes\": {\n") : STR(""));
    int r = 0;
    for (uint32_t i = 0; i < nodes->n_nodes && r == 0; i++)
        r = node_write(&w, filter, nodes, i);
    buf_append(&w.out, given->json ? STR("}}\n") : STR(""));
    if (r == 0)
        r = output_flush(&w.out);
    buf_deinit(&w.out);
    if (r == 0 && fflush(stdout) != 0)
        r = -errno;
    return r;
}

/* ---- the command ---- */

static int status_of(int result, const struct error *err)
{
    if (result == 0)
        return CLI_YES;
    fprintf(stderr, "postern read: %s\n", err->text[0] ? err->text : strerror(-result));
    return result == TAILSCALE_E_INVALID ? CLI_NO : CLI_UNKNOWN;
}

static int read_tailscale(const struct read_arguments *given, struct str policy_text, struct str nodes_text)
{
    struct error err = { "" };
    cleanup_tailscale_nodes struct tailscale_nodes nodes = { 0 };
    cleanup_tailscale_policy struct tailscale_policy *policy = NULL;
    cleanup_tailscale_filter struct tailscale_filter *filter = NULL;
    int r = tailscale_nodes_read(nodes_text, given->nodes, &nodes, &err);
    if (r) {
        (void)status_of(r, &err);
        return CLI_UNKNOWN; /* a wrong list of machines says nothing of the policy */
    }
    r = tailscale_policy_read(policy_text, given->policy, &policy, &err);
    if (r == 0)
        r = tailscale_filter_make(policy, &nodes, &filter, &err);
    if (r == 0)
        r = tailscale_filter_test(filter, &err);
    if (r == 0)
        r = filter_write(given, policy, filter, &nodes);
    return status_of(r, &err);
}

int cli_read(int argc, char **argv)
{
    struct read_arguments given = { 0 };
    int status = arguments_read(argc, argv, &given);
    if (status)
        return status - 1;
    cleanup_buf struct buf policy;
    cleanup_buf struct buf nodes;
    buf_init(&policy, READ_FILE_MAX);
    buf_init(&nodes, READ_FILE_MAX);
    if (!cli_file_read("read", given.policy, &policy) || !cli_file_read("read", given.nodes, &nodes))
        return CLI_UNKNOWN;
    return read_tailscale(&given, buf_str(&policy), buf_str(&nodes));
}
