/* Reading "nft -j list ruleset": tables, chains and sets first, then the rules, which refer to them. */
#include "observe/nftables.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>

#include "observe/nftables_reader.h"
#include "policy/container_filter.h"

/* ---- bounded memory: jansson takes some fifty times the text's size at worst ---- */

static size_t memory_held;
static bool memory_ran_out; /* jansson doesn't always say so */

static void *bounded_malloc(size_t size)
{
    void *p = memory_held + size > OBSERVE_NFTABLES_MEMORY_MAX ? NULL : malloc(size);
    memory_held += p ? malloc_usable_size(p) : 0;
    memory_ran_out |= !p;
    return p;
}

static void bounded_free(void *p)
{
    memory_held -= p ? malloc_usable_size(p) : 0;
    free(p);
}

/* ---- tables, chains, sets ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && strlen(text) <= 256 ? text : NULL;
}

static int complain(struct nft_reader *reader, const char *what, const char *name)
{
    error_set(reader->err, "%s '%.60s': not as nft lists it", what, name ? name : "");
    return -EINVAL;
}

/* Adds "family table [name]" to where its kind is found again. A name that is there twice is no listing of nft's. */
static int add_key(struct nft_reader *reader, struct table *to, const json_t *object, const char *name, uint32_t value)
{
    const char *family = text_of(object, "family"), *table = name ? text_of(object, "table") : text_of(object, "name");
    if (!family || !table)
        return complain(reader, name ? "chain or set" : "table", name ? name : table);
    struct str key = name ? arena_printf(&reader->arena, "%s %s %s", family, table, name) : arena_printf(&reader->arena, "%s %s", family, table);
    int r = key.ptr ? table_add(to, key, value, NULL) : -ENOMEM;
    return r == TABLE_E_EXISTS ? complain(reader, "listed twice:", name ? name : table) : r;
}

static int find_table(struct nft_reader *reader, const json_t *object, uint32_t *ret)
{
    const char *family = text_of(object, "family"), *table = text_of(object, "table");
    struct str key = family && table ? arena_printf(&reader->arena, "%s %s", family, table) : STR_NONE;
    if (!family || !table)
        return complain(reader, "no table in", text_of(object, "name"));
    if (!key.ptr)
        return -ENOMEM;
    return table_get(&reader->tables, key, ret) ? 0 : complain(reader, "not listed: table", table);
}

static int read_table(struct nft_reader *reader, const json_t *object)
{
    const char *family = text_of(object, "family"), *name = text_of(object, "name");
    if (!family || !name)
        return complain(reader, "table", name);
    uint8_t of = strcmp(family, "ip") == 0 ? PACKET_IPV4 : strcmp(family, "ip6") == 0 ? PACKET_IPV6 : PACKET_ANY_FAMILY;
    return add_key(reader, &reader->tables, object, NULL, packet_filter_add_table(reader->filter, of, str_of(name)));
}

/* A chain of the bridge or of a device sees only some packets, of which can't be told: it lets anything pass, perhaps. */
static void make_uncertain(struct nft_reader *reader, uint32_t chain)
{
    packet_filter_add_rule(reader->filter, chain, PACKET_ACCEPT, PACKET_NONE);
    packet_filter_add_simple(reader->filter, PACKET_OTHER, packet_number(0, UINT32_MAX), PACKET_ANY_FAMILY, false);
    packet_filter_set_comment(reader->filter, STR("a chain of a bridge or a device, which sees some packets only"));
}

/* What holds containers takes away from what they send, and speaks of nobody else: whoever asks what a host lets in isn't asking them. */
static bool is_of_containers(const json_t *object)
{
    const char *table = text_of(object, "table");
    return table && strcmp(table, CONTAINER_TABLE) == 0;
}

static int read_chain(struct nft_reader *reader, const json_t *object)
{
    static const char *const hooks[] = { "ingress", "prerouting", "input", "forward", "output", "postrouting" };
    const char *family = text_of(object, "family"), *name = text_of(object, "name"), *hook = text_of(object, "hook"), *policy = text_of(object, "policy");
    const json_t *priority = json_object_get(object, "prio");
    uint32_t table;
    int r = name ? find_table(reader, object, &table) : complain(reader, "chain", name);
    if (r < 0)
        return r;
    uint32_t chain = packet_filter_add_chain(reader->filter, table, str_of(name));
    r = add_key(reader, &reader->chains, object, name, chain);
    /* ARP isn't judged here, and nothing that leaves by a device's own chain has anything to do with what comes in. */
    if (r < 0 || !hook || strcmp(family, "arp") == 0 || strcmp(hook, "egress") == 0 || is_of_containers(object))
        return r;
    unsigned at = 0;
    while (at < ARRAY_SIZE(hooks) && strcmp(hooks[at], hook) != 0)
        at++;
    if (at == ARRAY_SIZE(hooks))
        return complain(reader, "hook of chain", name);
    json_int_t value = json_is_integer(priority) ? json_integer_value(priority) : 0;
    packet_filter_set_hook(reader->filter, chain, at, value < INT32_MIN ? INT32_MIN : value > INT32_MAX ? INT32_MAX : (int32_t)value,
                           policy && strcmp(policy, "drop") == 0 ? PACKET_DROP : PACKET_ACCEPT);
    if (strcmp(family, "bridge") == 0 || strcmp(family, "netdev") == 0 || at == PACKET_HOOK_INGRESS)
        make_uncertain(reader, chain);
    return 0;
}

static bool has_flag(const json_t *object, const char *flag)
{
    const json_t *flags = json_object_get(object, "flags"), *one;
    for (size_t i = 0; i < json_array_size(flags); i++)
        if ((one = json_array_get(flags, i)) && json_is_string(one) && strcmp(json_string_value(one), flag) == 0)
            return true;
    return json_is_string(flags) && strcmp(json_string_value(flags), flag) == 0;
}

static int read_set(struct nft_reader *reader, const json_t *object)
{
    const char *name = text_of(object, "name");
    struct nft_set set = { .object = object, .is_changing = has_flag(object, "timeout") || has_flag(object, "dynamic") };
    int r = name ? find_table(reader, object, &set.table) : complain(reader, "set", name);
    if (r == 0)
        r = add_key(reader, &reader->sets, object, name, (uint32_t)(reader->listed.len / sizeof set));
    buf_append(&reader->listed, str_make((const char *)&set, sizeof set));
    return r < 0 ? r : reader->listed.error;
}

static int read_object(struct nft_reader *reader, const json_t *object)
{
    const json_t *inner;
    if ((inner = json_object_get(object, "table")))
        return read_table(reader, inner);
    if ((inner = json_object_get(object, "chain")))
        return read_chain(reader, inner);
    if ((inner = json_object_get(object, "set")) || (inner = json_object_get(object, "map")))
        return read_set(reader, inner);
    return 0;
}

/* ---- rules ---- */

static int read_rule(struct nft_reader *reader, const json_t *object)
{
    const char *family = text_of(object, "family"), *table = text_of(object, "table"), *chain = text_of(object, "chain");
    struct str key = family && table && chain ? arena_printf(&reader->arena, "%s %s %s", family, table, chain) : STR_NONE;
    uint32_t number;
    if (!family || !table || !chain)
        return complain(reader, "a rule without table and chain", "");
    if (!key.ptr)
        return -ENOMEM;
    if (!table_get(&reader->chains, key, &number))
        return complain(reader, "a rule of a chain that isn't listed:", chain);
    return nft_read_rule(reader, object, number);
}

static int read_all(struct nft_reader *reader, const json_t *root)
{
    const json_t *all = json_object_get(root, "nftables"), *inner;
    size_t i;
    json_t *object;
    int r = 0;
    if (!json_is_array(all)) {
        error_set(reader->err, "no output of 'nft -j list ruleset': an object with \"nftables\" was expected");
        return -EINVAL;
    }
    json_array_foreach(all, i, object)
        if ((r = read_object(reader, object)) < 0)
            return r;
    json_array_foreach(all, i, object)
        if ((inner = json_object_get(object, "rule")) && (r = read_rule(reader, inner)) < 0)
            return r;
    return r;
}

/* ---- the whole ---- */

static int read_filter(const json_t *root, struct packet_filter *filter, struct error *err)
{
    struct nft_reader reader = { .filter = filter, .err = err };
    arena_init(&reader.arena, OBSERVE_NFTABLES_MEMORY_MAX);
    buf_init(&reader.listed, OBSERVE_NFTABLES_MEMORY_MAX);
    int r = read_all(&reader, root);
    if (r == 0)
        r = packet_filter_seal(filter, err);
    table_deinit(&reader.tables);
    table_deinit(&reader.chains);
    table_deinit(&reader.sets);
    table_deinit(&reader.made);
    buf_deinit(&reader.listed);
    arena_deinit(&reader.arena);
    return r;
}

static int parse(struct str text, struct str name, struct packet_filter *ret, struct error *err)
{
    cleanup_packet_filter struct packet_filter filter = { 0 };
    json_error_t error;
    json_t *root = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        if (memory_ran_out)
            error_set(err, "it takes more memory than %d MB to read", OBSERVE_NFTABLES_MEMORY_MAX >> 20);
        else
            error_set(err, "line %d: %s", error.line, error.text);
        return memory_ran_out ? -E2BIG : -EINVAL;
    }
    int r = packet_filter_init(&filter, name);
    if (r == 0)
        r = read_filter(root, &filter, err);
    json_decref(root);
    if (r == 0) {
        *ret = filter;
        filter = (struct packet_filter){ 0 };
    }
    return r;
}

int observe_nftables_read(struct str text, struct str name, struct packet_filter *ret, struct error *err)
{
    json_malloc_t allocate;
    json_free_t release;
    if (text.len > OBSERVE_NFTABLES_MAX) {
        error_set(err, "more than %d MB of rules", OBSERVE_NFTABLES_MAX >> 20);
        return -E2BIG;
    }
    json_get_alloc_funcs(&allocate, &release);
    json_set_alloc_funcs(bounded_malloc, bounded_free);
    memory_held = 0;
    memory_ran_out = false;
    int r = parse(text, name, ret, err);
    json_set_alloc_funcs(allocate, release);
    return r;
}
