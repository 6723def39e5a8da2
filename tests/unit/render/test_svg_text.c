/* Text for pictures: nothing in it may become markup, or make the file no XML. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "render/svg_text.h"

static void assert_written(const char *text, size_t len, const char *expected)
{
    struct buf out;
    buf_init(&out, 4096);
    svg_text_write(&out, str_make(text, len));
    buf_append_char(&out, '\0');
    assert_int_equal(out.error, 0);
    assert_string_equal(out.ptr, expected);
    buf_deinit(&out);
}
#define ASSERT_WRITTEN(text, expected) assert_written(text, sizeof(text) - 1, expected)
#define BAD "\xef\xbf\xbd"

static void test_text_never_ends_an_element_or_an_attribute(void **state)
{
    (void)state;
    ASSERT_WRITTEN("</text><script>\"&amp;]]>", "&lt;/text&gt;&lt;script&gt;&quot;&amp;amp;]]&gt;");
    ASSERT_WRITTEN("grafana", "grafana");
    ASSERT_WRITTEN("two\nlines", "two\nlines");
    ASSERT_WRITTEN("\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\x9c", "\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\x9c");
}

static void test_what_xml_cannot_hold_is_replaced(void **state)
{
    (void)state;
    ASSERT_WRITTEN("a\0b", "a" BAD "b");
    ASSERT_WRITTEN("\x1b[31m\x7f", BAD "[31m" BAD);
    ASSERT_WRITTEN("\xff\xfe", BAD BAD);
    ASSERT_WRITTEN("\xc0\xbc", BAD BAD);                 /* an overlong '<' */
    ASSERT_WRITTEN("\xe0\x80\xbc", BAD BAD BAD);
    ASSERT_WRITTEN("\xf0\x80\x80\xbc", BAD BAD BAD BAD);
    ASSERT_WRITTEN("\xed\xa0\x80", BAD BAD BAD);         /* a surrogate */
    ASSERT_WRITTEN("\xef\xbf\xbf", BAD BAD BAD);         /* no character */
    ASSERT_WRITTEN("\xf4\x90\x80\x80", BAD BAD BAD BAD); /* past the last */
    ASSERT_WRITTEN("cut \xe2\x82", "cut " BAD BAD);
    ASSERT_WRITTEN("<\xe2<", "&lt;" BAD "&lt;");
}

static void test_width_grows_with_text_size_and_weight(void **state)
{
    (void)state;
    assert_int_equal(svg_text_width(STR(""), 12, false), 0);
    assert_true(svg_text_width(STR("WWWW"), 12, false) > svg_text_width(STR("iiii"), 12, false));
    assert_true(svg_text_width(STR("grafana"), 18, false) > svg_text_width(STR("grafana"), 12, false));
    assert_true(svg_text_width(STR("grafana"), 12, true) > svg_text_width(STR("grafana"), 12, false));
    assert_true(svg_text_width(STR("\xe2\x82\xac"), 12, false) >= 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_never_ends_an_element_or_an_attribute),
        cmocka_unit_test(test_what_xml_cannot_hold_is_replaced),
        cmocka_unit_test(test_width_grows_with_text_size_and_weight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
