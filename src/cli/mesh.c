/* Mesh policies and the declaration: hosts as machines, text as a layer. */
#include "cli/mesh.h"

#include <errno.h>
#include <stdlib.h>

#include "base/table.h"

enum { MESH_MEMORY_MAX = 1 << 29, MESH_TEXT_MAX = 1 << 29 };

/* ---- hosts as machines ---- */

static const struct model_binding *segment_binding(const struct model *model, const struct model_host *host)
{
    static const struct model_binding none = { { STR_NONE, { 0, 0 } }, { STR_NONE, { 0, 0 } } };
    return host->segment == MODEL_NONE ? &none : &model->segments[host->segment].binding;
}

static int user_of(struct tailscale_nodes *nodes, struct table *users, struct str login, uint32_t *ret)
{
    int added = table_add(users, login, nodes->n_users, ret);
    if (added < 0 || added == TABLE_E_EXISTS)
        return added < 0 ? added : 0;
    *ret = nodes->n_users;
    struct tailscale_user *user = &nodes->users[nodes->n_users++];
    if (str_ends_with(login, STR("@")))
        user->name = str_first(login, login.len - 1); /* one of Headscale's own */
    else
        user->login = login;
    return 0;
}

static int range_compare(const void *a, const void *b)
{
    return address_compare(&((const struct relation_range *)a)->first, &((const struct relation_range *)b)->first);
}

static int node_make(struct tailscale_nodes *nodes, struct table *users, const struct model *model, const struct model_host *host)
{
    const struct model_binding *bindings[] = { &host->binding, segment_binding(model, host) };
    struct tailscale_node *node = &nodes->nodes[nodes->n_nodes++];
    struct str *tags = arena_array(&nodes->arena, ARRAY_SIZE(bindings), struct str);
    struct relation_range *addresses = arena_array(&nodes->arena, (size_t)host->addresses.n + 1, struct relation_range);
    struct str user = STR("");
    if (!tags || !addresses)
        return -E2BIG;
    node->name = host->tailscale.text.len ? host->tailscale.text : host->name.text;
    node->tags = tags;
    for (size_t i = 0; i < ARRAY_SIZE(bindings); i++) {
        if (bindings[i]->tag.text.len)
            tags[node->n_tags++] = bindings[i]->tag.text;
        if (user.len == 0)
            user = bindings[i]->user.text;
    }
    for (uint32_t i = 0; i < host->addresses.n; i++)
        addresses[i] = relation_range_of_prefix(&host->addresses.items[i]);
    qsort(addresses, host->addresses.n, sizeof *addresses, range_compare);
    node->addresses = addresses;
    node->n_addresses = host->addresses.n;
    node->user = TAILSCALE_NONE;
    return node->n_tags ? 0 : user_of(nodes, users, user, &node->user);
}

int cli_mesh_nodes(const struct model *model, struct tailscale_nodes *ret)
{
    struct tailscale_nodes nodes = { 0 };
    cleanup_table struct table users = { 0 };
    arena_init(&nodes.arena, MESH_MEMORY_MAX);
    nodes.nodes = arena_array(&nodes.arena, (size_t)model->n_hosts + 1, struct tailscale_node);
    nodes.users = arena_array(&nodes.arena, (size_t)model->n_hosts + 1, struct tailscale_user);
    int r = nodes.nodes && nodes.users ? 0 : -E2BIG;
    for (uint32_t i = 0; i < model->n_hosts && r == 0; i++)
        r = node_make(&nodes, &users, model, &model->hosts[i]);
    if (r == 0)
        *ret = nodes;
    else
        arena_deinit(&nodes.arena);
    return r;
}

/* ---- text as a layer ---- */

/* Takes the nodes over. */
static int relation_among(struct tailscale_nodes *nodes, struct str text, const char *file, struct relation *relation, struct error *err)
{
    struct tailscale_policy *policy = NULL;
    struct tailscale_filter *filter = NULL;
    int r = tailscale_policy_read(text, file, &policy, err);
    if (r == 0)
        r = tailscale_filter_make(policy, nodes, &filter, err);
    if (r == 0)
        r = tailscale_filter_relation(filter, file, relation);
    tailscale_filter_free(filter);
    tailscale_policy_free(policy);
    tailscale_nodes_deinit(nodes);
    return r;
}

int cli_mesh_test(const struct model *model, struct str text, const char *file, struct error *err)
{
    cleanup_tailscale_nodes struct tailscale_nodes nodes = { 0 };
    cleanup_tailscale_policy struct tailscale_policy *policy = NULL;
    cleanup_tailscale_filter struct tailscale_filter *filter = NULL;
    int r = cli_mesh_nodes(model, &nodes);
    if (r == 0)
        r = tailscale_policy_read(text, file, &policy, err);
    if (r == 0)
        r = tailscale_filter_make(policy, &nodes, &filter, err);
    return r ? r : tailscale_filter_test(filter, err);
}

int cli_mesh_relation(const struct model *model, struct str text, const char *file, struct relation *relation, struct error *err)
{
    struct tailscale_nodes nodes;
    int r = cli_mesh_nodes(model, &nodes);
    return r ? r : relation_among(&nodes, text, file, relation, err);
}

int cli_mesh_relation_of_nodes(struct str nodes_text, const char *nodes_file, struct str text, const char *file, struct relation *relation,
                               struct error *err)
{
    struct tailscale_nodes nodes;
    int r = tailscale_nodes_read(nodes_text, nodes_file, &nodes, err);
    return r ? r : relation_among(&nodes, text, file, relation, err);
}

int cli_mesh_rendered_relation(const struct model *model, struct relation *relation, struct error *err)
{
    cleanup_buf struct buf text;
    buf_init(&text, MESH_TEXT_MAX);
    /* Headscale's has whatever users there are; the grants are the same. */
    int r = render_mesh_policy(model, &(struct render_mesh_options){ .dialect = RENDER_HEADSCALE, .without_tests = true }, &text, err);
    return r ? r : cli_mesh_relation(model, buf_str(&text), "tailscale.hujson", relation, err);
}
