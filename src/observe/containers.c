/* nft's JSON of the container tables: names of sets say what their elements mean. */
#include "observe/containers.h"

#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>

#include "base/program.h"

enum { PARTS_MAX = 5, NFT_TIMEOUT_MS = 20000 };

struct reader {
    struct container_filter *filter;
    struct container_counts *counts;
    struct error *err;
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static int complain(const struct reader *reader, const char *set)
{
    error_set(reader->err, "set %.40s: not as nft lists it", set);
    return -EINVAL;
}

/* ---- one part of a key ---- */

static bool name_read(const json_t *value, char ret[static CONTAINER_NAME_SIZE])
{
    struct str text = str_make(json_string_value(value), json_string_length(value));
    if (!json_is_string(value) || !container_is_interface(text))
        return false;
    str_copy(ret, CONTAINER_NAME_SIZE, text);
    return true;
}

static bool address_read(const json_t *value, struct address *ret)
{
    return json_is_string(value) && address_parse(str_make(json_string_value(value), json_string_length(value)), ret);
}

/* "10.0.0.1", or {"prefix": {"addr", "len"}}. */
static bool prefix_read(const json_t *value, struct container_element *ret)
{
    const json_t *prefix = json_object_get(value, "prefix"), *len = json_object_get(prefix, "len");
    struct address address;
    if (!address_read(prefix ? json_object_get(prefix, "addr") : value, &address))
        return false;
    json_int_t most = address_is_v4(&address) ? 32 : 128, bits = prefix ? (json_is_integer(len) ? json_integer_value(len) : -1) : most;
    if (bits < 0 || bits > most)
        return false;
    ret->to = address;
    ret->to_bits = (uint8_t)(128 - most + bits);
    return true;
}

static bool protocol_read(const json_t *value, uint8_t *ret)
{
    const char *text = json_string_value(value);
    if (text && (strcmp(text, "tcp") == 0 || strcmp(text, "udp") == 0))
        *ret = strcmp(text, "tcp") == 0 ? IPPROTO_TCP : IPPROTO_UDP;
    else
        return false;
    return true;
}

static bool port_read(const json_t *value, uint16_t *ret)
{
    json_int_t port = json_is_integer(value) ? json_integer_value(value) : -1;
    if (port < 0 || port > UINT16_MAX)
        return false;
    *ret = (uint16_t)port;
    return true;
}

/* ---- a key ---- */

static bool key_read(const json_t *value, uint8_t key, struct container_element *ret)
{
    const json_t *concat = json_object_get(value, "concat"), *parts[PARTS_MAX] = { value };
    size_t n = concat ? json_array_size(concat) : 1, at = 0;
    char again[CONTAINER_NAME_SIZE];
    if (n > PARTS_MAX)
        return false;
    for (size_t i = 0; concat && i < n; i++)
        parts[i] = json_array_get(concat, i);
    bool is_good = (!(key & CONTAINER_KEY_NAME) || (at < n && name_read(parts[at++], ret->name))) &&
                   (!(key & CONTAINER_KEY_NAME_AGAIN) || (at < n && name_read(parts[at++], again))) &&
                   (!(key & CONTAINER_KEY_FROM) || (at < n && address_read(parts[at++], &ret->from))) &&
                   (!(key & CONTAINER_KEY_TO) || (at < n && address_read(parts[at++], &ret->to))) &&
                   (!(key & CONTAINER_KEY_PREFIX) || (at < n && prefix_read(parts[at++], ret)));
    if (is_good && key & CONTAINER_KEY_PORT) {
        is_good = at + 1 < n && protocol_read(parts[at], &ret->protocol) && port_read(parts[at + 1], &ret->port);
        at += 2;
    }
    return is_good && at == n;
}

/* ---- sets ---- */

static enum container_class class_read(const json_t *verdict)
{
    const char *target = text_of(json_object_get(verdict, "goto"), "target");
    if (strcmp(target, "from_enforced") == 0 || strcmp(target, "enforced") == 0)
        return CONTAINER_ENFORCED;
    return *target ? CONTAINER_OBSERVED : CONTAINER_LEFT;
}

static int element_read(struct reader *reader, enum container_set set, const json_t *item)
{
    const struct container_shape *shape = &container_shapes[set];
    struct container_element element = { .to_bits = 0 };
    const json_t *key = shape->has_class ? json_array_get(item, 0) : item, *full = json_object_get(key, "elem");
    if (!key_read(full ? json_object_get(full, "val") : key, shape->key, &element))
        return complain(reader, shape->name);
    if (shape->has_class)
        element.class = (uint8_t)class_read(json_array_get(item, 1));
    element.comment = str_of(text_of(full, "comment"));
    container_filter_add(reader->filter, shape->is_v6 ? set - 1 : set, &element); /* the address says which of both */
    return reader->filter->error;
}

static int count_read(struct reader *reader, bool is_bridge, bool is_denied, const json_t *item)
{
    const json_t *full = json_object_get(item, "elem"), *packets = json_object_get(json_object_get(full, "counter"), "packets");
    struct container_count count = { .n_packets = json_is_integer(packets) ? (uint64_t)json_integer_value(packets) : 0, .is_denied = is_denied };
    const json_t *value = json_object_get(full, "val"), *concat = json_object_get(value, "concat");
    uint8_t key = (uint8_t)(CONTAINER_KEY_FROM | CONTAINER_KEY_TO | CONTAINER_KEY_PORT | (is_bridge ? 0 : CONTAINER_KEY_NAME));
    /* A name that is none of postern's own is somebody's bridge all the same: it isn't read. */
    if (!concat || !key_read(value, key, &count.what))
        return 0;
    buf_append(&reader->counts->items, str_make((const char *)&count, sizeof count));
    return reader->counts->items.error;
}

static bool is_counting(const char *name, bool *ret_is_denied)
{
    *ret_is_denied = strncmp(name, "denied", 6) == 0;
    return *ret_is_denied || strncmp(name, "seen", 4) == 0;
}

static int set_read(struct reader *reader, const json_t *object)
{
    bool is_bridge = strcmp(text_of(object, "family"), "bridge") == 0, is_denied;
    const char *name = text_of(object, "name");
    const json_t *items = json_object_get(object, "elem");
    unsigned set = 0;
    int r = 0;
    if (strcmp(text_of(object, "table"), CONTAINER_TABLE) != 0)
        return 0;
    while (set < CONTAINER_N_SETS && (container_shapes[set].is_of_bridge != is_bridge || strcmp(container_shapes[set].name, name) != 0))
        set++;
    for (size_t i = 0; r == 0 && i < json_array_size(items); i++) {
        if (set < CONTAINER_N_SETS && reader->filter)
            r = element_read(reader, set, json_array_get(items, i));
        else if (set == CONTAINER_N_SETS && reader->counts && is_counting(name, &is_denied))
            r = count_read(reader, is_bridge, is_denied, json_array_get(items, i));
    }
    return r;
}

int observe_containers_read(struct str text, struct container_filter *filter, struct container_counts *counts, struct error *err)
{
    struct reader reader = { filter, counts, err };
    json_error_t error;
    if (text.len > OBSERVE_CONTAINERS_MAX)
        return -E2BIG;
    json_t *root = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &error);
    const json_t *all = json_object_get(root, "nftables"), *inner;
    int r = json_is_array(all) ? 0 : -EINVAL;
    if (r < 0)
        error_set(err, "no output of 'nft -j list table': an object with \"nftables\" was expected");
    for (size_t i = 0; r == 0 && i < json_array_size(all); i++)
        if ((inner = json_object_get(json_array_get(all, i), "set")) || (inner = json_object_get(json_array_get(all, i), "map")))
            r = set_read(&reader, inner);
    json_decref(root);
    return r;
}

/* ---- asking ---- */

static int list(const char *family, struct buf *out, struct error *err)
{
    const char *const arguments[] = { "-j", "list", "table", family, CONTAINER_TABLE, NULL };
    const struct program nft = { "nft", "Debian's package nftables", arguments, NFT_TIMEOUT_MS };
    int r = program_run(&nft, STR_NONE, out, NULL, err);
    return r == -EIO && strstr(err->text, "No such file or directory") ? OBSERVE_CONTAINERS_NONE : r;
}

int observe_containers(struct container_filter *filter, struct container_counts *counts, struct error *err)
{
    static const char *const families[] = { "inet", "bridge" };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(families); i++) {
        cleanup_buf struct buf text;
        buf_init(&text, OBSERVE_CONTAINERS_MAX);
        r = list(families[i], &text, err);
        if (r == 0)
            r = observe_containers_read(buf_str(&text), filter, counts, err);
    }
    return r;
}
