/* Reading this host's rules, or a listing of them, for one way in at a time: a rule that opens the LAN must not hide behind the mesh's. */
#include "cli/audit_nftables.h"

#include <errno.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/here.h"
#include "observe/nftables.h"

enum { INTERFACES_MAX = 256, NAME_SIZE = 16 };

static int listing_read(const struct audit_given *given, struct buf *listing, struct error *err)
{
    if (strcmp(given->path, "kernel") == 0)
        return observe_nftables_list(listing, err);
    return cli_file_read("audit", given->path, listing) ? 0 : CLI_UNKNOWN;
}

/* ---- by which interfaces ---- */

struct interfaces {
    char names[INTERFACES_MAX][NAME_SIZE];
    uint32_t n;
};

static void interface_add(struct interfaces *interfaces, struct str name)
{
    for (uint32_t i = 0; i < interfaces->n && i < INTERFACES_MAX; i++)
        if (str_equal(str_of(interfaces->names[i]), name))
            return;
    if (interfaces->n < INTERFACES_MAX)
        str_copy(interfaces->names[interfaces->n], NAME_SIZE, name);
    interfaces->n += interfaces->n <= INTERFACES_MAX;
}

/* The name itself; for "eth*" also one that begins so and that no other rule is about, since one may be about "eth". */
static void interfaces_add(struct interfaces *interfaces, const struct relation_range *range, struct str mesh)
{
    const char *first = (const char *)range->first.bytes;
    char longer[NAME_SIZE] = "";
    struct str name = str_make(first, strnlen(first, NAME_SIZE - 1));
    if (!str_equal(name, mesh) && !str_equal(name, STR("lo")))
        interface_add(interfaces, name);
    if (address_equal(&range->first, &range->last) || name.len + 1 >= NAME_SIZE)
        return;
    str_copy(longer, sizeof longer, name);
    longer[name.len] = '\x01';
    interface_add(interfaces, str_make(longer, name.len + 1));
}

/* Every name that some rule tells from the others, but for the mesh's and the loopback; the empty one stands for all that none names. False:
 * they are more than INTERFACES_MAX. */
static bool interfaces_find(const struct packet_filter *filter, struct str mesh, struct interfaces *ret)
{
    ret->n = 0;
    interface_add(ret, STR(""));
    for (uint32_t s = 0; s < packet_filter_n_sets(filter); s++) {
        const struct packet_set *set = packet_filter_set(filter, s);
        for (unsigned f = 0; f < set->n_fields; f++)
            for (uint32_t k = 0; set->fields[f] == PACKET_INTERFACE && k < set->n_elements; k++)
                interfaces_add(ret, &packet_filter_values(filter, set, k)[f], mesh);
    }
    return ret->n <= INTERFACES_MAX;
}

/* Adds what the filter lets in by the mesh, or by everything else. */
static int relation_add(const struct packet_filter *filter, struct str mesh, bool by_lan, const struct buf *own, struct relation *open,
                        struct relation *unknown)
{
    struct interfaces interfaces = { .n = 0 };
    const struct relation_range *to = (const struct relation_range *)(const void *)own->ptr;
    uint32_t n_to = (uint32_t)(own->len / sizeof *to);
    struct packet_arrival arrival = { .interface = mesh };
    if (n_to == 0)
        return 0;
    if (!by_lan)
        return packet_filter_relation(filter, PACKET_TO_HOST, &arrival, to, n_to, open, unknown);
    if (!interfaces_find(filter, mesh, &interfaces))
        return -E2BIG;
    for (uint32_t i = 0; i < interfaces.n; i++) {
        arrival.interface = str_of(interfaces.names[i]);
        int r = packet_filter_relation(filter, PACKET_TO_HOST, &arrival, to, n_to, open, unknown);
        if (r < 0)
            return r;
    }
    return 0;
}

static int relations_read(const struct audit_given *given, bool by_lan, struct relation *expected, struct relation *actual, struct relation *unknown,
                          struct error *err)
{
    cleanup_packet_filter struct packet_filter rendered = { 0 }, held = { 0 };
    cleanup_buf struct buf listing;
    cleanup_buf struct buf own;
    char name[96] = "nftables on ";
    uint32_t host;
    buf_init(&listing, OBSERVE_NFTABLES_MAX);
    buf_init(&own, RELATION_MEMORY_MAX);
    host = cli_host_here("audit", given->model, given->host);
    if (host == MODEL_NONE)
        return CLI_UNKNOWN;
    str_copy(name + strlen(name), sizeof name - strlen(name), given->model->hosts[host].name.text);
    int r = render_nftables_filter(given->model, host, &given->nftables, &rendered, err);
    if (r == 0)
        r = listing_read(given, &listing, err);
    if (r == 0) {
        r = observe_nftables_read(buf_str(&listing), str_of(name), &held, err);
        if (r < 0)
            error_wrap(err, "%s", given->path);
    }
    render_nftables_own(given->model, host, &own);
    if (r == 0)
        r = own.error;
    if (r == 0)
        r = relation_add(&rendered, given->nftables.mesh_interface, by_lan, &own, expected, NULL);
    if (r == 0)
        r = relation_add(&held, given->nftables.mesh_interface, by_lan, &own, actual, unknown);
    if (r == -E2BIG && !err->text[0])
        error_set(err, "%s: too many rules to be judged exactly", given->path);
    return r;
}

int cli_audit_nftables_mesh(const struct audit_given *given, struct relation *expected, struct relation *actual, struct relation *unknown, struct error *err)
{
    return relations_read(given, false, expected, actual, unknown, err);
}

int cli_audit_nftables_lan(const struct audit_given *given, struct relation *expected, struct relation *actual, struct relation *unknown, struct error *err)
{
    return relations_read(given, true, expected, actual, unknown, err);
}
