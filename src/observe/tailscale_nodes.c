/* The machines that a policy speaks of: a plain list, or what the mesh's own client reports. */
#include "observe/tailscale.h"

#include <errno.h>

#include "base/table.h"
#include "observe/hujson.h"
#include "observe/ranges.h"

enum { NODES_MEMORY_MAX = 1 << 29, NODE_RANGES_MAX = 1 << 16 };

struct nodes_reader {
    struct tailscale_nodes *nodes;
    const char *file;
    struct error *err;
    struct table users;   /* name, mail address or number to the user */
    int result;
};

static bool refuse(struct nodes_reader *r, struct hujson_place at, const char *what)
{
    if (!r->result)
        error_set(r->err, "%s:%u:%u: %s", r->file, at.line, at.column, what);
    r->result = r->result ? r->result : TAILSCALE_E_INVALID;
    return false;
}

static bool no_memory(struct nodes_reader *r, int error)
{
    r->result = r->result ? r->result : error;
    return false;
}

static bool text_of(struct nodes_reader *r, const struct hujson *value, struct str *ret)
{
    if (!value || value->kind == HUJSON_NULL)
        return true;
    if (value->kind != HUJSON_STRING)
        return refuse(r, value->at, "expected text");
    *ret = arena_copy(&r->nodes->arena, value->text);
    return ret->ptr || no_memory(r, -ENOMEM);
}

static bool list_of_texts(struct nodes_reader *r, const struct hujson *value, const struct str **ret, uint32_t *ret_n)
{
    if (!value || value->kind == HUJSON_NULL)
        return true;
    if (value->kind != HUJSON_ARRAY)
        return refuse(r, value->at, "expected a list of texts");
    struct str *items = arena_array(&r->nodes->arena, value->n, struct str);
    if (!items)
        return no_memory(r, -ENOMEM);
    uint32_t n = 0;
    for (const struct hujson *item = value->first; item; item = item->next)
        if (!text_of(r, item, &items[n++]))
            return false;
    *ret = items;
    *ret_n = n;
    return true;
}

static bool range_of(struct nodes_reader *r, const struct hujson *value, struct relation_range *ret)
{
    struct address_prefix prefix;
    if (value->kind != HUJSON_STRING || !address_prefix_parse(value->text, &prefix))
        return refuse(r, value->at, "expected an address or a prefix");
    *ret = relation_range_of_prefix(&prefix);
    return true;
}

static bool keep(struct nodes_reader *r, struct ranges *ranges, const struct relation_range **ret, uint32_t *ret_n)
{
    ranges_normalise(ranges);
    if (ranges->error)
        return no_memory(r, ranges->error == -E2BIG ? -E2BIG : -ENOMEM);
    struct relation_range *copy = arena_array(&r->nodes->arena, ranges->n, struct relation_range);
    if (ranges->n && !copy)
        return no_memory(r, -ENOMEM);
    if (ranges->n)
        memcpy(copy, ranges->items, ranges->n * sizeof *copy);
    *ret = copy;
    *ret_n = ranges->n;
    return true;
}

/* A list of prefixes, without default routes: those say "exit node", and no filter is written for what lies behind one. */
static bool routes_add(struct nodes_reader *r, const struct hujson *value, struct ranges *ret)
{
    if (!value || value->kind == HUJSON_NULL)
        return true;
    if (value->kind != HUJSON_ARRAY)
        return refuse(r, value->at, "expected a list of prefixes");
    for (const struct hujson *item = value->first; item; item = item->next) {
        struct relation_range range;
        if (!range_of(r, item, &range))
            return false;
        if (!str_ends_with(item->text, STR("/0")))
            ranges_add(ret, range);
    }
    return true;
}

/* ---- users ---- */

static bool user_name(struct nodes_reader *r, struct str name, uint32_t user)
{
    if (name.len && table_add(&r->users, name, user, NULL) < 0)
        return no_memory(r, -ENOMEM);
    return true;
}

static bool users_hold(struct nodes_reader *r, const struct hujson *list)
{
    r->nodes->users = arena_array(&r->nodes->arena, (size_t)list->n + 1, struct tailscale_user);
    return r->nodes->users || no_memory(r, -ENOMEM);
}

static bool users_read(struct nodes_reader *r, const struct hujson *list)
{
    if (!list || list->kind != HUJSON_ARRAY)
        return refuse(r, list ? list->at : (struct hujson_place){ 1, 1 }, "expected a list, \"users\": [{name, email}]");
    if (!users_hold(r, list))
        return false;
    for (const struct hujson *item = list->first; item; item = item->next) {
        struct tailscale_user *user = &r->nodes->users[r->nodes->n_users];
        if (item->kind != HUJSON_OBJECT)
            return refuse(r, item->at, "expected a user, {name, email}");
        if (!text_of(r, hujson_find(item, STR("email")), &user->login) || !text_of(r, hujson_find(item, STR("name")), &user->name) ||
            !text_of(r, hujson_find(item, STR("role")), &user->role))
            return false;
        r->nodes->has_roles |= user->role.len > 0;
        if (!user_name(r, user->name, r->nodes->n_users) || !user_name(r, user->login, r->nodes->n_users))
            return false;
        r->nodes->n_users++;
    }
    return true;
}

/* ---- the plain list ---- */

static bool plain_addresses(struct nodes_reader *r, const struct hujson *value, struct tailscale_node *node)
{
    static const char *const keys[] = { "ipv4", "ipv6" };
    cleanup_ranges struct ranges own;
    ranges_init(&own, NODE_RANGES_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const struct hujson *address = hujson_find(value, str_of(keys[i]));
        struct relation_range range;
        if (!address || address->kind == HUJSON_NULL || (address->kind == HUJSON_STRING && address->text.len == 0))
            continue;
        if (!range_of(r, address, &range))
            return false;
        ranges_add(&own, range);
    }
    return keep(r, &own, &node->addresses, &node->n_addresses);
}

static bool plain_node(struct nodes_reader *r, const struct hujson *value)
{
    struct tailscale_node *node = &r->nodes->nodes[r->nodes->n_nodes];
    struct str user = STR_NONE;
    node->user = TAILSCALE_NONE;
    if (value->kind != HUJSON_OBJECT)
        return refuse(r, value->at, "expected a node, {ipv4, ipv6, tags, user, approved_routes}");
    node->name = arena_copy(&r->nodes->arena, value->key);
    cleanup_ranges struct ranges routes;
    ranges_init(&routes, NODE_RANGES_MAX);
    if (!node->name.ptr)
        return no_memory(r, -ENOMEM);
    if (!list_of_texts(r, hujson_find(value, STR("tags")), &node->tags, &node->n_tags) || !plain_addresses(r, value, node) ||
        !text_of(r, hujson_find(value, STR("user")), &user) || !routes_add(r, hujson_find(value, STR("approved_routes")), &routes) ||
        !keep(r, &routes, &node->routes, &node->n_routes))
        return false;
    if (user.len && node->n_tags == 0 && !table_get(&r->users, user, &node->user))
        return refuse(r, hujson_find(value, STR("user"))->at, "there is no such user in \"users\"");
    r->nodes->n_nodes++;
    return true;
}

static bool nodes_hold(struct nodes_reader *r, const struct hujson *object, uint32_t n_more)
{
    if (object->n > TAILSCALE_NODES_MAX)
        return refuse(r, object->at, "too many nodes");
    r->nodes->nodes = arena_array(&r->nodes->arena, (size_t)object->n + n_more, struct tailscale_node);
    return r->nodes->nodes || no_memory(r, -ENOMEM);
}

static bool plain_read(struct nodes_reader *r, const struct hujson *root, const struct hujson *nodes)
{
    if (nodes->kind != HUJSON_OBJECT)
        return refuse(r, nodes->at, "expected an object, \"nodes\": {NAME: {ipv4, ipv6, tags, user}}");
    if (!users_read(r, hujson_find(root, STR("users"))) || !nodes_hold(r, nodes, 1))
        return false;
    for (const struct hujson *value = nodes->first; value; value = value->next)
        if (!plain_node(r, value))
            return false;
    return true;
}

/* ---- tailscale status --json ---- */

static bool status_users(struct nodes_reader *r, const struct hujson *users)
{
    if (!users || users->kind != HUJSON_OBJECT)
        return refuse(r, users ? users->at : (struct hujson_place){ 1, 1 }, "expected an object \"User\"");
    if (!users_hold(r, users))
        return false;
    for (const struct hujson *item = users->first; item; item = item->next) {
        struct tailscale_user *user = &r->nodes->users[r->nodes->n_users];
        if (!text_of(r, hujson_find(item, STR("LoginName")), &user->login))
            return false;
        user->name = str_find_char(user->login, '@') < user->login.len ? STR_NONE : user->login;
        if (!user_name(r, item->key, r->nodes->n_users))
            return false;
        r->nodes->n_users++;
    }
    return true;
}

static bool status_addresses(struct nodes_reader *r, const struct hujson *value, struct tailscale_node *node)
{
    const struct hujson *addresses = hujson_find(value, STR("TailscaleIPs"));
    cleanup_ranges struct ranges own, routes;
    ranges_init(&own, NODE_RANGES_MAX);
    ranges_init(&routes, NODE_RANGES_MAX);
    if (addresses && addresses->kind == HUJSON_ARRAY)
        for (const struct hujson *item = addresses->first; item; item = item->next) {
            struct relation_range range;
            if (!range_of(r, item, &range))
                return false;
            ranges_add(&own, range);
        }
    if (!routes_add(r, hujson_find(value, STR("AllowedIPs")), &routes) || !routes_add(r, hujson_find(value, STR("PrimaryRoutes")), &routes))
        return false;
    ranges_normalise(&routes);
    ranges_normalise(&own);
    ranges_subtract(&routes, own.items, own.n);
    return keep(r, &own, &node->addresses, &node->n_addresses) && keep(r, &routes, &node->routes, &node->n_routes);
}

static bool status_node(struct nodes_reader *r, const struct hujson *value)
{
    struct tailscale_node *node = &r->nodes->nodes[r->nodes->n_nodes];
    const struct hujson *user = hujson_find(value, STR("UserID"));
    struct str name = STR_NONE;
    node->user = TAILSCALE_NONE;
    if (value->kind != HUJSON_OBJECT)
        return refuse(r, value->at, "expected a machine");
    if (!text_of(r, hujson_find(value, STR("DNSName")), &name) || !list_of_texts(r, hujson_find(value, STR("Tags")), &node->tags, &node->n_tags) ||
        !status_addresses(r, value, node))
        return false;
    node->name = str_first(name, str_find_char(name, '.'));
    if (node->name.len == 0 && !text_of(r, hujson_find(value, STR("HostName")), &node->name))
        return false;
    if (user && user->kind == HUJSON_NUMBER && node->n_tags == 0 && !table_get(&r->users, user->text, &node->user))
        node->user = TAILSCALE_NONE; /* a user that "User" doesn't list: nobody that a policy could name */
    r->nodes->n_nodes++;
    return true;
}

static bool status_read(struct nodes_reader *r, const struct hujson *root, const struct hujson *self)
{
    const struct hujson *peers = hujson_find(root, STR("Peer"));
    bool has_peers = peers && peers->kind == HUJSON_OBJECT;
    if (!status_users(r, hujson_find(root, STR("User"))) || !nodes_hold(r, has_peers ? peers : self, 2) || !status_node(r, self))
        return false;
    for (const struct hujson *value = has_peers ? peers->first : NULL; value; value = value->next)
        if (!status_node(r, value))
            return false;
    return true;
}

static int nodes_read(struct nodes_reader *r, const struct hujson *root)
{
    const struct hujson *nodes = hujson_find(root, STR("nodes")), *self = hujson_find(root, STR("Self"));
    if (nodes)
        (void)plain_read(r, root, nodes);
    else if (self && self->kind == HUJSON_OBJECT)
        (void)status_read(r, root, self);
    else
        (void)refuse(r, root->at, "expected {\"users\": [...], \"nodes\": {...}}, or the output of 'tailscale status --json'");
    return r->result;
}

int tailscale_nodes_read(struct str text, const char *file, struct tailscale_nodes *ret, struct error *err)
{
    struct tailscale_nodes nodes = { 0 };
    struct nodes_reader r = { .nodes = &nodes, .file = file, .err = err };
    struct arena tree;
    struct hujson *root = NULL;
    arena_init(&nodes.arena, NODES_MEMORY_MAX);
    arena_init(&tree, NODES_MEMORY_MAX);
    int result = hujson_read(text, file, &tree, &root, err);
    if (result == 0)
        result = nodes_read(&r, root);
    table_deinit(&r.users);
    arena_deinit(&tree);
    if (result == 0)
        *ret = nodes;
    else
        arena_deinit(&nodes.arena);
    return result;
}

void tailscale_nodes_deinit(struct tailscale_nodes *nodes)
{
    arena_deinit(&nodes->arena);
}
