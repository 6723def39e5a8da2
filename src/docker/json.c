/* Reading the engine's JSON: the memory that jansson may take, and typed access to what it made. */
#include "docker/json.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "docker/response.h"

/* ---- a cap on what the parser takes ---- */

/* jansson knows one allocator per process, and a dense answer grows to many times its size: the cap is on while a document is loaded. What
 * was made is given back with free, as ever. */
static size_t memory_held;
static bool memory_ran_out;

static void *bounded_malloc(size_t size)
{
    if (size > DOCKER_JSON_MEMORY_MAX - memory_held) {
        memory_ran_out = true;
        return NULL;
    }
    void *p = malloc(size);
    size_t taken = malloc_usable_size(p);
    memory_held = taken > DOCKER_JSON_MEMORY_MAX - memory_held ? DOCKER_JSON_MEMORY_MAX : memory_held + taken;
    return p;
}

static void bounded_free(void *p)
{
    size_t taken = malloc_usable_size(p);
    memory_held = taken > memory_held ? 0 : memory_held - taken;
    free(p);
}

int docker_json_load(struct str body, json_t **ret, struct error *err)
{
    json_malloc_t allocate;
    json_free_t release;
    json_error_t error;
    if (body.len > DOCKER_BODY_MAX) {
        error_set(err, "more than %d MB", DOCKER_BODY_MAX >> 20);
        return -E2BIG;
    }
    memory_held = 0;
    memory_ran_out = false;
    json_get_alloc_funcs(&allocate, &release);
    json_set_alloc_funcs(bounded_malloc, bounded_free);
    /* NUL is let in, for one image with a label of that kind must not hide all containers. */
    json_t *root = json_loadb(body.ptr ? body.ptr : "", body.len, JSON_ALLOW_NUL, &error);
    json_set_alloc_funcs(allocate, release);
    if (root) {
        *ret = root;
        return 0;
    }
    if (memory_ran_out)
        error_set(err, "it takes more than %d MB of memory to read", DOCKER_JSON_MEMORY_MAX >> 20);
    else
        error_set(err, "not JSON: byte %d: %s", error.position, error.text);
    return memory_ran_out ? -E2BIG : -EINVAL;
}

/* ---- what is in it ---- */

static bool is_one_line(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return false;
    return true;
}

struct str docker_json_value(struct docker_json *reader, const json_t *value, bool any)
{
    struct str text = STR("");
    if (json_is_string(value))
        text = str_make(json_string_value(value), json_string_length(value));
    if (text.len == 0 || text.len > DOCKER_TEXT_MAX || (any ? memchr(text.ptr, 0, text.len) != NULL : !is_one_line(text)))
        return STR("");
    struct str copy = arena_copy(reader->arena, text);
    if (!copy.ptr) {
        reader->error = -ENOMEM;
        return STR("");
    }
    return copy;
}

struct str docker_json_text(struct docker_json *reader, const json_t *object, const char *key)
{
    return docker_json_value(reader, json_object_get(object, key), false);
}

struct str docker_json_path(struct docker_json *reader, const json_t *object, const char *key)
{
    return docker_json_value(reader, json_object_get(object, key), true);
}

bool docker_json_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

uint64_t docker_json_number(const json_t *object, const char *key, uint64_t max)
{
    const json_t *value = json_object_get(object, key);
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : 0;
    return number > 0 && (uint64_t)number <= max ? (uint64_t)number : 0;
}

void *docker_json_room(struct docker_json *reader, size_t n, size_t size, size_t max)
{
    if (n == 0 || reader->error)
        return NULL;
    if (n > max) {
        reader->error = -E2BIG;
        return NULL;
    }
    void *room = arena_alloc(reader->arena, n, size);
    if (!room)
        reader->error = -ENOMEM;
    return room;
}

enum { ITEMS_MAX = 65536 };

const struct str *docker_json_texts(struct docker_json *reader, const json_t *array, uint32_t *ret_n)
{
    size_t n = json_array_size(array);
    struct str *texts = docker_json_room(reader, n, sizeof *texts, ITEMS_MAX);
    *ret_n = 0;
    for (size_t i = 0; texts && i < n; i++) {
        struct str text = docker_json_value(reader, json_array_get(array, i), false);
        if (text.len > 0)
            texts[(*ret_n)++] = text;
    }
    return texts;
}

static int compare_labels(const void *a, const void *b)
{
    return str_compare(((const struct docker_label *)a)->key, ((const struct docker_label *)b)->key);
}

const struct docker_label *docker_json_labels(struct docker_json *reader, const json_t *object, uint32_t *ret_n)
{
    size_t n = json_object_size(object);
    struct docker_label *labels = docker_json_room(reader, n, sizeof *labels, ITEMS_MAX);
    *ret_n = 0;
    if (!labels)
        return NULL;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        struct str name = str_of(key);
        if (!json_is_string(value) || name.len == 0 || name.len > DOCKER_TEXT_MAX || !is_one_line(name))
            continue;
        name = arena_copy(reader->arena, name);
        if (!name.ptr) {
            reader->error = -ENOMEM;
            break;
        }
        labels[(*ret_n)++] = (struct docker_label){ name, docker_json_value(reader, value, true) };
    }
    qsort(labels, *ret_n, sizeof *labels, compare_labels);
    return labels;
}

struct str docker_label_find(const struct docker_label *labels, uint32_t n, struct str key)
{
    uint32_t low = 0;
    while (low < n) {
        uint32_t middle = low + (n - low) / 2;
        int order = str_compare(labels[middle].key, key);
        if (order == 0)
            return labels[middle].value;
        if (order < 0)
            low = middle + 1;
        else
            n = middle;
    }
    return STR_NONE;
}
