/* Hosts and segments out of what the mesh says; names that are free. */
#include "cli/init_plan.h"

#include <errno.h>
#include <string.h>

#include "base/table.h"
#include "model/yaml.h"

enum { TRIES_MAX = 10000 };

/* ---- names ---- */

/* Lower case, digits and '-' inside; a text that YAML readers would take for something else gets a letter in front. */
static size_t label_make(struct str text, char ret[static INIT_LABEL_SIZE])
{
    size_t n = 0;
    for (size_t i = 0; i < text.len && n < INIT_LABEL_SIZE - 12; i++) {
        char c = str_lower_char(text.ptr[i]);
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            ret[n++] = c;
        else if (n && ret[n - 1] != '-')
            ret[n++] = '-';
    }
    while (n && ret[n - 1] == '-')
        n--;
    if (n == 0 || yaml_text_is_typed(str_make(ret, n)) || (ret[0] >= '0' && ret[0] <= '9')) {
        memmove(ret + 2, ret, n);
        ret[0] = 'x';
        ret[1] = '-';
        n = n ? n + 2 : 1;
    }
    ret[n] = '\0';
    return n;
}

static bool is_taken(const struct table *names, struct str name)
{
    uint32_t unused;
    return table_get(names, name, &unused);
}

struct str init_name_take(struct arena *arena, struct table *names, struct str text, struct str host, int *ret_error)
{
    char label[INIT_LABEL_SIZE];
    size_t n = label_make(text, label);
    for (unsigned i = 1; i < TRIES_MAX; i++) {
        struct str name = i == 1 ? arena_copy(arena, str_make(label, n)) : arena_printf(arena, "%s-%u", label, i);
        /* A service has its instance's name, too: NAME-HOST. */
        struct str instance = host.len ? arena_printf(arena, "%.*s-%.*s", STR_ARG(name), STR_ARG(host)) : name;
        if (!name.ptr || !instance.ptr)
            break;
        if (is_taken(names, name) || is_taken(names, instance))
            continue;
        if (table_add(names, name, 0, NULL) < 0 || (host.len && table_add(names, instance, 0, NULL) < 0))
            break;
        return name;
    }
    *ret_error = -ENOMEM;
    return STR("");
}

/* ---- segments ---- */

/* What puts a machine into a segment: its first tag, or whose it is; neither for this machine's own and for one of nobody's. */
struct key {
    struct str tag, user;
};

struct making {
    struct init_plan *plan;
    struct key *keys;             /* by segment */
    struct table names;
    int error;
};

static uint32_t segment_add(struct making *making, struct str name, struct key key, bool is_guests)
{
    struct init_segment *segment = &making->plan->segments[making->plan->n_segments];
    *segment = (struct init_segment){ .tag = STR(""), .user = STR(""), .is_guests = is_guests };
    segment->name = init_name_take(making->plan->arena, &making->names, name, STR(""), &making->error);
    making->keys[making->plan->n_segments] = key;
    return making->plan->n_segments++;
}

static uint32_t n_users(const struct observe_mesh *mesh)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < mesh->n_nodes; i++) {
        bool is_new = !mesh->nodes[i].is_self && mesh->nodes[i].user.len > 0;
        for (uint32_t k = 0; k < i && is_new; k++)
            is_new = mesh->nodes[k].is_self || !str_equal(mesh->nodes[k].user, mesh->nodes[i].user);
        n += is_new;
    }
    return n;
}

/* Tagged machines by their first tag, people's devices by whose they are; with one person only: "clients". The gateway is nobody's client,
 * whoever logged it in. */
static uint32_t segment_of(struct making *making, const struct observe_mesh *mesh, const struct observe_mesh_node *node)
{
    struct key key = { node->n_tags ? node->tags[0] : STR(""), node->n_tags ? STR("") : node->user };
    if (node->is_self && !key.tag.len)
        return segment_add(making, STR("prod"), (struct key){ STR_NONE, STR_NONE }, false);
    for (uint32_t i = 0; i < making->plan->n_segments; i++)
        if (making->keys[i].tag.ptr && str_equal(making->keys[i].tag, key.tag) && str_equal(making->keys[i].user, key.user))
            return i;
    if (key.tag.len)
        return segment_add(making, str_starts_with(key.tag, STR("tag:")) ? str_skip(key.tag, 4) : key.tag, key, false);
    return segment_add(making, n_users(mesh) > 1 ? str_first(key.user, str_find_char(key.user, '@')) : STR("clients"), key, true);
}

/* ---- hosts ---- */

static struct init_host *host_add(struct making *making, struct str name, uint32_t segment)
{
    struct init_host *host = &making->plan->hosts[making->plan->n_hosts++];
    *host = (struct init_host){ .segment = segment, .mesh_name = STR(""), .remark = STR("") };
    host->name = init_name_take(making->plan->arena, &making->names, name, STR(""), &making->error);
    if (name.len && !str_equal(host->name, name))
        host->mesh_name = name;
    return host;
}

static void address_add(struct making *making, struct str *items, uint32_t *n, const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    if (*n == INIT_ADDRESSES_MAX)
        return;
    items[*n] = arena_copy(making->plan->arena, str_of(address_format(address, text)));
    if (!items[*n].ptr)
        making->error = -ENOMEM;
    else
        ++*n;
}

static void addresses_add(struct making *making, const struct observe_interfaces *interfaces, enum observe_side side, struct str *items, uint32_t *n)
{
    for (uint32_t i = 0; interfaces && i < interfaces->n; i++)
        if (interfaces->items[i].side == side)
            address_add(making, items, n, &interfaces->items[i].address);
}

static void node_host(struct making *making, const struct observe_mesh *mesh, const struct observe_mesh_node *node)
{
    uint32_t segment = segment_of(making, mesh, node);
    struct init_host *host = host_add(making, node->name, segment);
    for (uint32_t i = 0; i < node->n_addresses; i++) {
        struct address address;
        if (address_parse(node->addresses[i], &address))
            address_add(making, host->addresses, &host->n_addresses, &address);
    }
    host->is_mac = str_equal_nocase(node->os, STR("macOS"));
    host->is_elsewhere = !host->is_mac && !node->is_self;
    if (str_equal_nocase(node->os, STR("linux")) && !node->is_self && making->plan->segments[segment].is_guests)
        host->remark = STR("Linux: a server? then it belongs into a segment of its own");
}

/* This machine, where the mesh says nothing of it. */
static void own_host(struct making *making, const struct observe_interfaces *interfaces, struct str name)
{
    struct init_host *host = host_add(making, name, segment_add(making, STR("prod"), (struct key){ STR_NONE, STR_NONE }, false));
    host->mesh_name = STR("");
    addresses_add(making, interfaces, OBSERVE_MESH, host->addresses, &host->n_addresses);
    making->plan->is_lan = host->n_addresses == 0;
    if (!host->n_addresses)
        addresses_add(making, interfaces, OBSERVE_LAN, host->addresses, &host->n_addresses);
    if (!host->n_addresses)
        addresses_add(making, interfaces, OBSERVE_INTERNET, host->addresses, &host->n_addresses);
    if (!host->n_addresses) {
        host->addresses[host->n_addresses++] = STR("100.64.0.1");
        making->plan->has_placeholder = true;
    }
}

static bool has_address(const struct init_host *host, struct str address)
{
    for (uint32_t i = 0; i < host->n_addresses; i++)
        if (str_equal(host->addresses[i], address))
            return true;
    return false;
}

/* The gateway's LAN addresses, but for one that it is known by on what stands for the mesh. */
static void lan_add(struct making *making, const struct observe_interfaces *interfaces)
{
    struct init_host *gateway = &making->plan->hosts[0];
    uint32_t n = 0;
    addresses_add(making, interfaces, OBSERVE_LAN, gateway->lan, &gateway->n_lan);
    for (uint32_t i = 0; i < gateway->n_lan; i++)
        if (!has_address(gateway, gateway->lan[i]))
            gateway->lan[n++] = gateway->lan[i];
    gateway->n_lan = n;
}

static bool has_tag(const struct observe_mesh_node *node, struct str tag)
{
    for (uint32_t i = 0; i < node->n_tags; i++)
        if (str_equal(node->tags[i], tag))
            return true;
    return false;
}

/* A tag or a user speaks for a segment only where all that have it are in it, and nobody else. first: the host of the mesh's first node. */
static void bindings_make(struct making *making, const struct observe_mesh *mesh, uint32_t first)
{
    for (uint32_t s = 0; s < making->plan->n_segments; s++) {
        const struct key *key = &making->keys[s];
        bool speaks = key->tag.len || key->user.len;
        for (uint32_t i = 0; i < mesh->n_nodes && speaks; i++) {
            const struct observe_mesh_node *node = &mesh->nodes[i];
            bool has = key->tag.len ? has_tag(node, key->tag) : node->n_tags == 0 && str_equal(node->user, key->user);
            speaks = has == (making->plan->hosts[first + i].segment == s);
        }
        if (speaks) {
            making->plan->segments[s].tag = key->tag;
            making->plan->segments[s].user = key->user;
        }
    }
}

static bool has_self(const struct observe_mesh *mesh)
{
    return mesh && mesh->n_nodes > 0 && mesh->nodes[0].is_self;
}

static int hosts_make(struct making *making, const struct observe_interfaces *interfaces, const struct observe_mesh *mesh, struct str name)
{
    struct init_plan *plan = making->plan;
    size_t n = (mesh ? mesh->n_nodes : 0) + 3;
    bool has_guests = false;
    plan->hosts = arena_array(plan->arena, n, struct init_host);
    plan->segments = arena_array(plan->arena, n, struct init_segment);
    making->keys = arena_array(plan->arena, n, struct key);
    if (!plan->hosts || !plan->segments || !making->keys)
        return -ENOMEM;
    if (!has_self(mesh))
        own_host(making, interfaces, name);
    uint32_t first = plan->n_hosts;
    for (uint32_t i = 0; mesh && i < mesh->n_nodes && making->error == 0; i++)
        node_host(making, mesh, &mesh->nodes[i]);
    if (mesh && making->error == 0)
        bindings_make(making, mesh, first);
    plan->hosts[0].is_gateway = true;
    lan_add(making, interfaces);
    for (uint32_t i = 0; i < plan->n_segments; i++)
        has_guests |= plan->segments[i].is_guests;
    if (!has_guests)
        (void)segment_add(making, STR("clients"), (struct key){ STR_NONE, STR_NONE }, true);
    return making->error;
}

int init_plan_make(const struct observe_engine *engine, const struct observe_interfaces *interfaces, const struct observe_mesh *mesh, struct str host,
                   struct str domain, struct arena *arena, struct init_plan *ret)
{
    struct init_plan plan = {
        .arena = arena, .domain = domain, .has_engine = engine, .has_mesh = mesh, .holder443 = STR(""), .holder80 = STR(""),
    };
    struct making making = { .plan = &plan };
    int r = hosts_make(&making, interfaces, mesh, host);
    if (r == 0 && engine)
        r = init_services_make(engine, &making.names, &plan);
    table_deinit(&making.names);
    if (r == 0)
        *ret = plan;
    return r;
}
