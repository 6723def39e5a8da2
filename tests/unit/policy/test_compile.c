/* What each role is told: views, the dial block, the plan and the certificates of compiled declarations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "world.h"

enum { MAIN, AGENTS };

static uint32_t who(struct image view, const char *address)
{
    struct address parsed;
    assert_true(address_parse(str_of(address), &parsed));
    return image_find_principal(view, &parsed);
}

/* The rule that lets the address reach the name; "404" when it may not, "404" too when there is no such name, "nobody" for strangers. */
static const char *ask(struct image view, const char *address, const char *name)
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

static bool mentions(const struct compile_block *block, const char *text)
{
    return memmem(block->data, block->size, text, strlen(text)) != NULL;
}

static void assert_text(struct image image, struct image_text text, const char *expected)
{
    struct str s = image_str(image, text);
    char copy[256];
    str_copy(copy, sizeof copy, s);
    assert_string_equal(copy, expected);
}

/* ---- views ---- */

static void test_homelab_verdicts(void **state)
{
    (void)state;
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    world_compile(&w, "roc", &out);
    struct image main_view = world_attach(out.views[MAIN], IMAGE_VIEW), agents = world_attach(out.views[AGENTS], IMAGE_VIEW);
    assert_string_equal(ask(main_view, "100.64.0.13", "grafana.home.example"), "postern.yml:40");
    assert_string_equal(ask(main_view, "fd7a:115c:a1e0::13", "whisper.home.example"), "postern.yml:40");
    assert_string_equal(ask(main_view, "::ffff:100.64.0.12", "backrest-bluejay.home.example"), "postern.yml:40");
    assert_string_equal(ask(main_view, "100.64.0.3", "grafana.home.example"), "nobody");
    assert_string_equal(ask(main_view, "100.64.0.13", "notes-db.home.example"), "404");
    assert_string_equal(ask(main_view, "100.64.0.13", "luanti.home.example"), "404");
    assert_string_equal(ask(main_view, "100.64.0.13", "home.example"), "404");
    assert_string_equal(ask(agents, "100.64.0.3", "registry.home.example"), "postern.yml:41");
    assert_string_equal(ask(agents, "100.64.0.3", "mcp-git-roc.home.example"), "postern.yml:41");
    assert_string_equal(ask(agents, "100.64.0.3", "grafana.home.example"), "404");
    assert_string_equal(ask(agents, "100.64.0.13", "registry.home.example"), "nobody");
    assert_string_equal(ask(agents, "100.64.0.99", "registry.home.example"), "nobody");
    assert_int_equal(image_surface(agents, 0)->port, 8443);
    assert_int_equal(image_surface(agents, 0)->index, AGENTS);
    assert_int_equal(agents.header->generation, 7);
    assert_string_equal(agents.header->revision, "0123abcd");
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_a_hijacked_agents_worker_finds_no_other_name_in_its_view(void **state)
{
    (void)state;
    static const char *const secrets[] = { "grafana", "backrest", "whisper", "luanti", "notes-db", "clients", "macbook", "postern.yml:40", "main" };
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    world_compile(&w, "roc", &out);
    assert_true(mentions(&out.views[AGENTS], "registry"));
    for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
        assert_false(mentions(&out.views[AGENTS], secrets[i]));
    for (size_t i = 0; i < 6; i++)
        assert_true(mentions(&out.views[MAIN], secrets[i]) == (i < 3 || i == 5));
    compile_output_deinit(&out);
    world_deinit(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_homelab_verdicts),
    cmocka_unit_test(test_a_hijacked_agents_worker_finds_no_other_name_in_its_view),
};

int main(void)
{
    (void)assert_text;
    return cmocka_run_group_tests_name("compile", tests, NULL, NULL);
}
