/* Questions to compiled blocks, in the words of tests. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "world.h"

enum { MAIN, AGENTS };

static inline uint32_t who(struct image view, const char *address)
{
    struct address parsed;
    assert_true(address_parse(str_of(address), &parsed));
    return image_find_principal(view, &parsed);
}

/* The rule that lets the address reach the name; "404" when it may not, "404" too when there is no such name, "nobody" for strangers. */
static inline const char *ask(struct image view, const char *address, const char *name)
{
    static char text[64];
    uint32_t principal = who(view, address);
    if (principal == IMAGE_NONE)
        return "nobody";
    const struct image_name_slot *slot = image_find_name(view, str_of(name));
    uint32_t rule = slot ? image_verdict(view, principal, slot->service) : IMAGE_NONE;
    if (rule == IMAGE_NONE)
        return "404";
    str_copy(text, sizeof text, image_str(view, image_rule(view, rule)->place));
    return text;
}

static inline bool mentions(const struct compile_block *block, const char *text)
{
    return memmem(block->data, block->size, text, strlen(text)) != NULL;
}

static inline void assert_text(struct image image, struct image_text text, const char *expected)
{
    struct str s = image_str(image, text);
    char copy[256];
    str_copy(copy, sizeof copy, s);
    assert_string_equal(copy, expected);
}

static inline const struct image_target *target_of(struct image dial, const char *name)
{
    for (uint32_t i = 0; i < image_count(dial, IMAGE_TARGETS); i++)
        if (str_equal(image_str(dial, image_target(dial, i)->name), str_of(name)))
            return image_target(dial, i);
    fail_msg("no target %s", name);
    return NULL;
}
