/* Reading a Compose file, as "docker compose config" writes it: services with their networks, ports and modes; the rest is passed over. */
#include <errno.h>

#include "cli/compose_input.h"
#include "model/yaml.h"

enum { COMPOSE_MEMORY_MAX = 256 << 20 };

static const struct yaml_node *child(const struct yaml_node *mapping, const char *key)
{
    if (!mapping || mapping->kind != YAML_MAPPING)
        return NULL;
    for (const struct yaml_node *one = mapping->first; one; one = one->next)
        if (one->key && str_equal(one->key->text, str_of(key)))
            return one;
    return NULL;
}

static bool is_empty(const struct yaml_node *node)
{
    return !node || (node->kind == YAML_SCALAR ? yaml_text_is_null(node->text) && node->is_plain : node->n == 0);
}

/* The items of a list, or the keys of a mapping. */
static int names_read(const struct yaml_node *node, struct arena *arena, const struct str **ret, uint32_t *ret_n)
{
    uint32_t n = 0;
    struct str *items = arena_array(arena, node->n + 1, struct str);
    if (!items)
        return -ENOMEM;
    for (const struct yaml_node *one = node->first; one; one = one->next) {
        struct str text = node->kind == YAML_MAPPING ? one->key->text : one->kind == YAML_SCALAR ? one->text : STR("");
        if (!text.len)
            continue;
        items[n] = arena_copy(arena, text);
        if (!items[n++].ptr)
            return -ENOMEM;
    }
    *ret = items;
    *ret_n = n;
    return 0;
}

/* The first network's, as all of them get the same. */
static int aliases_read(const struct yaml_node *networks, struct arena *arena, struct compose_service *service)
{
    for (const struct yaml_node *one = networks->kind == YAML_MAPPING ? networks->first : NULL; one; one = one->next) {
        const struct yaml_node *aliases = child(one, "aliases");
        if (!is_empty(aliases) && aliases->kind == YAML_SEQUENCE)
            return names_read(aliases, arena, &service->aliases, &service->n_aliases);
    }
    return 0;
}

static int copies_of(const struct yaml_node *service)
{
    const struct yaml_node *count = child(child(service, "deploy"), "replicas");
    uint64_t n = 1;
    if (!count)
        count = child(service, "scale");
    return count && str_to_u64(count->text, 1000, &n) ? (int)n : 1;
}

static int service_read(const struct yaml_node *node, struct arena *arena, struct compose_service *ret)
{
    const struct yaml_node *networks = child(node, "networks"), *mode = child(node, "network_mode");
    static const struct str standard[] = { { "default", 7 } };
    struct compose_service service = {
        .name = arena_copy(arena, node->key->text), .mode_text = STR(""), .networks = standard, .n_networks = 1, .n_copies = (uint32_t)copies_of(node),
        .publishes = !is_empty(child(node, "ports")),
    };
    int r = service.name.ptr ? 0 : -ENOMEM;
    if (r == 0 && !is_empty(mode)) {
        service.mode_text = arena_copy(arena, mode->text);
        service.mode = str_equal(mode->text, STR("none")) ? COMPOSE_ON_NONE : str_equal(mode->text, STR("bridge")) ? COMPOSE_ON_NETWORKS : COMPOSE_LEFT;
        service.n_networks = 0;
        r = service.mode_text.ptr ? 0 : -ENOMEM;
    }
    if (r == 0 && !is_empty(networks) && networks->kind != YAML_SCALAR) {
        r = names_read(networks, arena, &service.networks, &service.n_networks);
        service.names_networks = true;
        if (r == 0)
            r = aliases_read(networks, arena, &service);
    }
    *ret = service;
    return r;
}

static int service_compare(const void *left, const void *right)
{
    const struct compose_service *a = left, *b = right;
    return str_compare(a->name, b->name);
}

static int tree_read(const struct yaml_node *root, const char *path, struct arena *arena, struct compose_file *ret, struct error *err)
{
    const struct yaml_node *services = child(root, "services");
    if (is_empty(services) || services->kind != YAML_MAPPING) {
        error_set(err, "%s: no services: are in it; it is to be a Compose file", path);
        return -EINVAL;
    }
    struct compose_service *items = arena_array(arena, services->n, struct compose_service);
    if (!items)
        return -ENOMEM;
    uint32_t n = 0;
    for (const struct yaml_node *one = services->first; one; one = one->next) {
        if (child(one, "extends")) {
            error_set(err, "%s:%u: service %.*s extends another; give what 'docker compose config' writes of this file", path, one->at.line,
                      STR_ARG(str_first(one->key->text, compose_text_is_plain(one->key->text) ? 80 : 0)));
            return -EINVAL;
        }
        int r = service_read(one, arena, &items[n++]);
        if (r < 0)
            return r;
    }
    qsort(items, n, sizeof *items, service_compare);
    *ret = (struct compose_file){ items, n };
    return 0;
}

int compose_file_read(struct str text, const char *path, struct arena *arena, struct compose_file *ret, struct error *err)
{
    struct diagnostics d;
    struct arena nodes, texts;
    struct yaml_node *root = NULL;
    arena_init(&nodes, COMPOSE_MEMORY_MAX);
    arena_init(&texts, COMPOSE_MEMORY_MAX);
    diagnose_init(&d);
    int r = yaml_read(text, &nodes, &texts, &d, &root);
    diagnose_sort(&d);
    r = r < 0 ? r : d.error;
    if (r == 0 && d.found.n_errors) {
        const struct model_finding *first = &d.found.items[0];
        error_set(err, "%s:%u:%u: %.*s; give what 'docker compose config' writes of this file", path, first->at.line, first->at.column,
                  STR_ARG(str_first(first->message, 200)));
        r = -EINVAL;
    }
    if (r == 0)
        r = tree_read(root, path, arena, ret, err);
    diagnose_deinit(&d);
    arena_deinit(&nodes);
    arena_deinit(&texts);
    return r;
}
