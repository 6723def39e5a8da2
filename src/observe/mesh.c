/* Reading what the mesh's client says of its machines. */
#include "observe/mesh.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "base/address.h"
#include "base/program.h"

enum { MESH_TIMEOUT_MS = 10000, MESH_MEMORY_MAX = 64 << 20 };

static struct str text_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) ? str_make(json_string_value(value), json_string_length(value)) : STR("");
}

/* The machine's own part of its DNS name, else what it calls itself. */
static struct str name_of(const json_t *node)
{
    struct str dns = text_of(node, "DNSName"), name = str_split(&dns, '.');
    return name.len ? name : text_of(node, "HostName");
}

static bool is_foreign(const json_t *node)
{
    size_t i;
    const json_t *tag;
    if (json_is_true(json_object_get(node, "ShareeNode")) || str_equal(text_of(node, "HostName"), STR("funnel-ingress-node")))
        return true;
    json_array_foreach(json_object_get(node, "Tags"), i, tag) {
        if (str_equal(str_of(json_string_value(tag)), STR("tag:mullvad-exit-node")))
            return true;
    }
    return false;
}

/* The login of the user with that number; the client lists users by number as text. */
static struct str user_of(const json_t *users, const json_t *node)
{
    char key[24];
    const json_t *id = json_object_get(node, "UserID");
    if (!json_is_integer(id))
        return STR("");
    snprintf(key, sizeof key, "%lld", (long long)json_integer_value(id));
    return text_of(json_object_get(users, key), "LoginName");
}

static int texts_copy(const json_t *list, struct arena *arena, bool are_addresses, struct str *items, uint32_t max, uint32_t *ret_n)
{
    size_t i;
    const json_t *one;
    uint32_t n = 0;
    json_array_foreach(list, i, one) {
        struct address address;
        struct str text = str_of(json_string_value(one));
        if (!text.ptr || n == max || (are_addresses && !address_parse(text, &address)))
            continue;
        items[n] = arena_copy(arena, text);
        if (!items[n++].ptr)
            return -ENOMEM;
    }
    *ret_n = n;
    return 0;
}

/* 0 also where it is left out: foreign, or without an address. */
static int node_add(struct observe_mesh *mesh, const json_t *users, const json_t *json, bool is_self)
{
    struct observe_mesh_node node = { .is_self = is_self, .user = STR("") };
    if (!json_is_object(json) || is_foreign(json))
        return 0;
    int r = texts_copy(json_object_get(json, "TailscaleIPs"), &mesh->arena, true, node.addresses, OBSERVE_MESH_ADDRESSES_MAX, &node.n_addresses);
    if (r == 0)
        r = texts_copy(json_object_get(json, "Tags"), &mesh->arena, false, node.tags, OBSERVE_MESH_TAGS_MAX, &node.n_tags);
    if (r < 0 || node.n_addresses == 0)
        return r;
    node.name = arena_copy(&mesh->arena, name_of(json));
    node.os = arena_copy(&mesh->arena, text_of(json, "OS"));
    if (node.n_tags == 0)
        node.user = arena_copy(&mesh->arena, user_of(users, json));
    if (!node.name.ptr || !node.os.ptr || !node.user.ptr)
        return -ENOMEM;
    mesh->nodes[mesh->n_nodes++] = node;
    return 0;
}

static int node_compare(const void *left, const void *right)
{
    const struct observe_mesh_node *a = left, *b = right;
    if (a->is_self != b->is_self)
        return a->is_self ? -1 : 1;
    int order = str_compare(a->name, b->name);
    return order ? order : str_compare(a->addresses[0], b->addresses[0]);
}

static int status_read(const json_t *status, struct observe_mesh *mesh)
{
    const json_t *self = json_object_get(status, "Self"), *peers = json_object_get(status, "Peer"), *users = json_object_get(status, "User"), *peer;
    const char *key;
    size_t n = json_object_size(peers) + 1;
    if (n > OBSERVE_MESH_NODES_MAX)
        return -E2BIG;
    mesh->nodes = arena_array(&mesh->arena, n, struct observe_mesh_node);
    if (!mesh->nodes)
        return -ENOMEM;
    int r = node_add(mesh, users, self, true);
    json_object_foreach((json_t *)(uintptr_t)peers, key, peer) {
        if (r == 0)
            r = node_add(mesh, users, peer, false);
    }
    qsort(mesh->nodes, mesh->n_nodes, sizeof *mesh->nodes, node_compare);
    return r;
}

int observe_mesh_read(struct str text, struct observe_mesh *ret, struct error *err)
{
    json_error_t why;
    *ret = (struct observe_mesh){ 0 };
    arena_init(&ret->arena, MESH_MEMORY_MAX);
    json_t *status = json_loadb(text.ptr ? text.ptr : "", text.len, 0, &why);
    int r = status ? 0 : -EINVAL;
    if (!status)
        error_set(err, "not the JSON of tailscale status: line %d: %s", why.line, why.text);
    else if (!json_object_get(status, "Self")) {
        error_set(err, "not what 'tailscale status --json' writes: there is no \"Self\"");
        r = -EINVAL;
    }
    if (r == 0)
        r = status_read(status, ret);
    json_decref(status);
    return r;
}

void observe_mesh_deinit(struct observe_mesh *mesh)
{
    arena_deinit(&mesh->arena);
    *mesh = (struct observe_mesh){ 0 };
}

int observe_mesh_ask(struct buf *out, struct error *err)
{
    static const char *const arguments[] = { "status", "--json", NULL };
    static const struct program tailscale = { "tailscale", "Tailscale", arguments, MESH_TIMEOUT_MS };
    return program_run(&tailscale, STR_NONE, out, NULL, err);
}
