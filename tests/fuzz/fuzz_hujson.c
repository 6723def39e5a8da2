/* The HuJSON reader on any bytes: it answers with a whole tree, whose every value reads the same again from its own source, or with an error. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "observe/hujson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TREE_MAX = 64 << 20 };

static void check_same(const struct hujson *a, const struct hujson *b)
{
    assert(a->kind == b->kind && a->n == b->n && a->truth == b->truth && str_equal(a->text, b->text));
    const struct hujson *y = b->first;
    uint32_t n = 0;
    for (const struct hujson *x = a->first; x; x = x->next, y = y->next, n++) {
        assert(y && str_equal(x->key, y->key) && x->at.line > 0 && x->at.column > 0);
        assert(a->kind != HUJSON_OBJECT || hujson_find(a, x->key) == x);
        check_same(x, y);
    }
    assert(!y && n == a->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct hujson *value = NULL, *again = NULL;
    struct error err = { "" };
    if (size > 4096) /* finding each name again is quadratic */
        return 0;
    arena_init(&arena, TREE_MAX);
    int r = hujson_read(str_make((const char *)data, size), "fuzz", &arena, &value, &err);
    if (r == 0) {
        r = hujson_read(value->source, "fuzz", &arena, &again, &err);
        assert(r == 0);
        check_same(value, again);
    } else {
        assert(r == HUJSON_E_INVALID && strncmp(err.text, "fuzz:", 5) == 0);
    }
    arena_deinit(&arena);
    return 0;
}
