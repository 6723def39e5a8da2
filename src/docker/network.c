/* Networks out of list and inspect answers. */
#include "docker/network.h"

#include <errno.h>
#include <stdlib.h>

#include "docker/json.h"

enum { SUBNETS_MAX = 256 };

static struct str option(const struct docker_network *network, const char *key, const char *without)
{
    struct str value = docker_label_find(network->options, network->n_options, str_of(key));
    return value.ptr && value.len > 0 ? value : str_of(without);
}

/* As strconv.ParseBool, by which the engine reads them; anything else is what holds without the option. */
static bool option_is_true(const struct docker_network *network, const char *key, bool without)
{
    static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" }, *const no[] = { "0", "f", "F", "false", "FALSE", "False" };
    struct str value = option(network, key, "");
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        if (str_equal(value, str_of(yes[i])))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(no); i++)
        if (str_equal(value, str_of(no[i])))
            return false;
    return without;
}

/* A subnet may be given with host bits set ("172.20.0.1/16"). */
static bool parse_prefix(struct str text, struct address_prefix *ret)
{
    struct str bits_text = text, address_text = str_split(&bits_text, '/');
    struct address address;
    uint64_t bits;
    if (!address_parse(address_text, &address))
        return false;
    bool is_v4 = address_is_v4(&address);
    if (!str_to_u64(bits_text, is_v4 ? 32 : 128, &bits))
        return false;
    ret->bits = (uint8_t)(bits + (is_v4 ? 96 : 0));
    ret->address = address_mask(&address, ret->bits);
    return true;
}

static void read_subnets(struct docker_json *reader, const json_t *configs, struct docker_network *ret)
{
    size_t n = json_array_size(configs);
    struct docker_subnet *subnets = docker_json_room(reader, n, sizeof *subnets, SUBNETS_MAX);
    if (!subnets)
        return;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(configs, i);
        const char *prefix = json_string_value(json_object_get(one, "Subnet")), *gateway = json_string_value(json_object_get(one, "Gateway"));
        struct docker_subnet *subnet = &subnets[ret->n_subnets];
        if (!prefix || !parse_prefix(str_of(prefix), &subnet->prefix))
            continue;
        /* With a prefix length in the answers of some engines. */
        struct str rest = str_of(gateway), address = str_split(&rest, '/');
        subnet->has_gateway = address_parse(address, &subnet->gateway);
        ret->n_subnets++;
    }
    ret->subnets = subnets;
}

static void read_bridge_options(struct docker_json *reader, struct docker_network *ret)
{
    struct str named = option(ret, "com.docker.network.bridge.name", "");
    ret->bridge = STR("");
    if (str_equal(ret->driver, STR("bridge"))) {
        ret->bridge = named.len > 0 && str_find_char(named, '/') == named.len ? named : arena_printf(reader->arena, "br-%.12s", ret->id.ptr);
        if (!ret->bridge.ptr)
            reader->error = -ENOMEM;
    }
    ret->icc = option_is_true(ret, "com.docker.network.bridge.enable_icc", true);
    ret->masquerade = option_is_true(ret, "com.docker.network.bridge.enable_ip_masquerade", true);
    ret->gateway_mode_v4 = option(ret, "com.docker.network.bridge.gateway_mode_ipv4", "nat");
    ret->gateway_mode_v6 = option(ret, "com.docker.network.bridge.gateway_mode_ipv6", "nat");
    ret->host_binding_v4 = option(ret, "com.docker.network.bridge.host_binding_ipv4", "");
    ret->trusted_interfaces = option(ret, "com.docker.network.bridge.trusted_host_interfaces", "");
    ret->parent = option(ret, "parent", "");
}

static int read_network(struct docker_json *reader, const json_t *object, struct docker_network *ret, struct error *err)
{
    ret->id = docker_json_text(reader, object, "Id");
    if (!reader->error && !docker_id_is_valid(ret->id)) {
        error_set(err, "a network without an ID of %d hexadecimal digits", DOCKER_ID_LEN);
        return -EINVAL;
    }
    ret->name = docker_json_text(reader, object, "Name");
    ret->driver = docker_json_text(reader, object, "Driver");
    ret->scope = docker_json_text(reader, object, "Scope");
    ret->is_internal = docker_json_true(object, "Internal");
    ret->is_attachable = docker_json_true(object, "Attachable");
    ret->is_ingress = docker_json_true(object, "Ingress");
    ret->has_ipv6 = docker_json_true(object, "EnableIPv6");
    ret->labels = docker_json_labels(reader, json_object_get(object, "Labels"), &ret->n_labels);
    ret->options = docker_json_labels(reader, json_object_get(object, "Options"), &ret->n_options);
    struct str project = docker_label_find(ret->labels, ret->n_labels, STR("com.docker.compose.project"));
    struct str key = docker_label_find(ret->labels, ret->n_labels, STR("com.docker.compose.network"));
    ret->project = project.ptr ? project : STR("");
    ret->key = key.ptr ? key : STR("");
    read_bridge_options(reader, ret);
    read_subnets(reader, json_object_get(json_object_get(object, "IPAM"), "Config"), ret);
    return reader->error;
}

static int compare_networks(const void *left, const void *right)
{
    const struct docker_network *a = left, *b = right;
    int order = str_compare(a->name, b->name);
    return order ? order : str_compare(a->id, b->id);
}

static int read_list(struct docker_json *reader, const json_t *root, struct docker_networks *ret, struct error *err)
{
    struct docker_networks list = { 0 };
    size_t n = json_array_size(root);
    if (!json_is_array(root)) {
        error_set(err, "not a list of networks");
        return -EINVAL;
    }
    list.items = docker_json_room(reader, n, sizeof *list.items, DOCKER_NETWORKS_MAX);
    if (reader->error == -E2BIG)
        error_set(err, "%zu networks, more than %d", n, DOCKER_NETWORKS_MAX);
    for (size_t i = 0; list.items && i < n; i++) {
        int r = read_network(reader, json_array_get(root, i), &list.items[list.n++], err);
        if (r < 0)
            return r;
    }
    if (reader->error)
        return reader->error;
    if (list.n > 1)
        qsort(list.items, list.n, sizeof *list.items, compare_networks);
    *ret = list;
    return 0;
}

int docker_networks_parse(struct str body, struct arena *arena, struct docker_networks *ret, struct error *err)
{
    struct docker_json reader = { .arena = arena };
    json_t *root;
    int r = docker_json_load(body, &root, err);
    if (r < 0)
        return r;
    r = read_list(&reader, root, ret, err);
    json_decref(root);
    return r;
}

int docker_network_parse(struct str body, struct arena *arena, struct docker_network *ret, struct error *err)
{
    struct docker_json reader = { .arena = arena };
    struct docker_network network = { 0 };
    json_t *root;
    int r = docker_json_load(body, &root, err);
    if (r < 0)
        return r;
    r = read_network(&reader, root, &network, err);
    json_decref(root);
    if (r == 0)
        *ret = network;
    return r;
}

const struct docker_network *docker_network_find(const struct docker_networks *networks, struct str id)
{
    for (uint32_t i = 0; i < networks->n; i++)
        if (str_equal(networks->items[i].id, id))
            return &networks->items[i];
    return NULL;
}
