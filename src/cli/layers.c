/* Rendering every layer of a declaration and reading it back. */
#include "cli/layers.h"

#include <errno.h>

#include "cli/mesh.h"
#include "render/nftables.h"
#include "render/pf.h"

/* ---- gateways: compiled for each, and the image read back ---- */

static int read_gateway(struct layers *l, uint32_t host, struct error *err)
{
    const struct compile_input input = {
        .model = l->access->model, .gateway = host, .generation = 1, .revision = STR("0"), .container_directory = STR("/run/postern/containers"),
    };
    struct compile_output *image = &l->images[l->n_gateways];
    int r = compile_model(&input, image, err);
    if (r == 0)
        r = gateway_layer_init(&l->gateways[l->n_gateways], l->access->model, host, image, err);
    if (r == 0)
        l->n_gateways++;
    else
        compile_output_deinit(image);
    return r;
}

static bool serves_any(const struct model *m, uint32_t host)
{
    for (uint32_t i = 0; i < m->n_surfaces; i++)
        for (uint32_t k = 0; k < m->surfaces[i].hosts.n; k++)
            if (m->surfaces[i].hosts.items[k] == host)
                return true;
    return false;
}

static int read_gateways(struct layers *l, struct error *err)
{
    const struct model *m = l->access->model;
    uint32_t n = 0;
    int r = 0;
    for (uint32_t i = 0; i < m->n_hosts; i++)
        n += m->hosts[i].gateway && serves_any(m, i);
    l->images = arena_array(&l->arena, n, struct compile_output);
    l->gateways = arena_array(&l->arena, n, struct gateway_layer);
    if (!l->images || !l->gateways)
        return -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < m->n_hosts; i++)
        if (m->hosts[i].gateway && serves_any(m, i))
            r = read_gateway(l, i, err);
    return r;
}

/* ---- the mesh ---- */

/* The mesh has no say about addresses that are none of its machines': what is declared for those is left to the other layers. */
static int add_off_mesh(struct layers *l)
{
    const struct relation *declared = &l->access->relation;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < relation_n_rules(declared); i++) {
        const struct address *to = &relation_selector(declared, relation_rule(declared, i)->destination).items[0].first;
        const struct source_range *at = sources_find(&l->access->sources, to);
        if (to->bytes[0] != 0xff && (!at || at->host == MODEL_NONE))
            r = relation_append_rule(&l->mesh, declared, i);
    }
    return r;
}

static int read_mesh(struct layers *l, struct error *err)
{
    int r = cli_mesh_rendered_relation(l->access->model, &l->mesh, err);
    if (r > 0 || r == -ENOTSUP)
        return -EINVAL;
    return r ? r : add_off_mesh(l);
}

/* ---- firewalls ---- */

static bool has_firewall(const struct model_host *host)
{
    return host->firewall == MODEL_FIREWALL_NFTABLES || host->firewall == MODEL_FIREWALL_PF;
}

/* The mesh's own transport is left closed here: its port on the LAN is the mesh's, and no way to anything declared. */
static int read_firewall(struct layers *l, uint32_t host, struct error *err)
{
    const struct model *m = l->access->model;
    const struct render_nftables_options options = { .mesh_interface = STR(LAYERS_MESH_INTERFACE) };
    const struct packet_arrival mesh = { .interface = STR(LAYERS_MESH_INTERFACE) }, lan = { .interface = STR("") };
    cleanup_packet_filter struct packet_filter filter = { 0 };
    cleanup_buf struct buf own;
    struct relation *in = &l->firewalls[l->n_firewalls], *in_lan = &l->firewalls_lan[l->n_firewalls];
    relation_init(in);
    relation_init(in_lan);
    l->n_firewalls++;
    buf_init(&own, RELATION_MEMORY_MAX);
    render_nftables_own(m, host, &own);
    const struct relation_range *to = (const struct relation_range *)(const void *)own.ptr;
    uint32_t n_to = (uint32_t)(own.len / sizeof *to);
    if (own.error || n_to == 0)
        return own.error;
    int r = m->hosts[host].firewall == MODEL_FIREWALL_PF ? render_pf_filter(m, host, &options, &filter, err) :
                                                           render_nftables_filter(m, host, &options, &filter, err);
    if (r == 0)
        r = packet_filter_relation(&filter, PACKET_TO_HOST, &mesh, to, n_to, in, NULL);
    if (r == 0)
        r = packet_filter_relation(&filter, PACKET_TO_HOST, &lan, to, n_to, in_lan, NULL);
    l->firewall_of[host] = in;
    l->firewall_lan_of[host] = in_lan;
    return r;
}

static int read_firewalls(struct layers *l, const bool *wanted, struct error *err)
{
    const struct model *m = l->access->model;
    uint32_t n = 0;
    int r = 0;
    for (uint32_t i = 0; i < m->n_hosts; i++)
        n += has_firewall(&m->hosts[i]) && (!wanted || wanted[i]);
    if ((uint64_t)n * l->access->sources.n > LAYERS_WORK_MAX) {
        error_set(err, "%u firewalls for %u sources are too many to judge here", n, l->access->sources.n);
        return -E2BIG;
    }
    l->firewalls = arena_array(&l->arena, n, struct relation);
    l->firewalls_lan = arena_array(&l->arena, n, struct relation);
    l->firewall_of = arena_array(&l->arena, m->n_hosts, const struct relation *);
    l->firewall_lan_of = arena_array(&l->arena, m->n_hosts, const struct relation *);
    if (!l->firewalls || !l->firewalls_lan || !l->firewall_of || !l->firewall_lan_of)
        return -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < m->n_hosts; i++)
        if (has_firewall(&m->hosts[i]) && (!wanted || wanted[i]))
            r = read_firewall(l, i, err);
    return r;
}

/* ---- the whole ---- */

static int read_layers(struct layers *l, const bool *wanted, struct error *err)
{
    int r = read_mesh(l, err);
    if (r == 0)
        r = read_firewalls(l, wanted, err);
    if (r == 0)
        r = read_gateways(l, err);
    return r == 0 ? container_layer_init(&l->containers, l->access, err) : r;
}

int layers_init(struct layers *ret, const struct access *access, const bool *wanted, struct error *err)
{
    struct layers l = { .access = access };
    arena_init(&l.arena, 0);
    relation_init(&l.mesh);
    int r = read_layers(&l, wanted, err);
    if (r < 0) {
        if (r == -ENOMEM)
            error_set(err, "out of memory");
        layers_deinit(&l);
        return r;
    }
    *ret = l;
    ret->all = (struct verify_layers){
        .model = access->model, .sources = &access->sources, .declared = &access->relation, .mesh = &ret->mesh, .firewalls = l.firewall_of,
        .firewalls_lan = l.firewall_lan_of, .gateways = l.gateways, .n_gateways = l.n_gateways, .containers = &access->containers,
    };
    return 0;
}

void layers_deinit(struct layers *layers)
{
    for (uint32_t i = 0; i < layers->n_gateways; i++) {
        gateway_layer_deinit(&layers->gateways[i]);
        compile_output_deinit(&layers->images[i]);
    }
    for (uint32_t i = 0; i < layers->n_firewalls; i++) {
        relation_deinit(&layers->firewalls[i]);
        relation_deinit(&layers->firewalls_lan[i]);
    }
    container_layer_deinit(&layers->containers);
    relation_deinit(&layers->mesh);
    arena_deinit(&layers->arena);
}
