/* Findings as text and as JSON: the caret stands under what is meant, whatever the line is made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "model/reader.h"

static struct buf out;

static const char *written(struct model_finding finding, const char *source, bool colour)
{
    buf_deinit(&out);
    buf_init(&out, 1 << 20);
    finding.message = finding.message.ptr ? finding.message : STR("wrong");
    model_finding_write(&out, &finding, STR("p.yml"), str_of(source), colour);
    buf_append_char(&out, '\0');
    return out.ptr;
}

static struct model_finding at(uint32_t line, uint32_t column, uint32_t length)
{
    return (struct model_finding){ .severity = MODEL_ERROR, .at = { line, column }, .length = length };
}

static void test_caret_and_hint(void **state)
{
    (void)state;
    struct model_finding finding = at(2, 3, 4);
    finding.hint = STR("do this");
    assert_string_equal(written(finding, "one\nab cdef\nthree\n", false),
                        "p.yml:2:3: error: wrong\n     2 | ab cdef\n       |   ^~~~\n       = do this\n");
    finding.severity = MODEL_WARNING;
    finding.hint = STR_NONE;
    assert_string_equal(written(finding, "one\r\nab cdef\r\nthree", false),
                        "p.yml:2:3: warning: wrong\n     2 | ab cdef\n       |   ^~~~\n");
}

static void test_characters_are_one_column_each(void **state)
{
    (void)state;
    assert_string_equal(written(at(1, 5, 6), "\xc3\xa4\xc3\xb6: \xe2\x82\xac" "uro", false),
                        "p.yml:1:5: error: wrong\n     1 | \xc3\xa4\xc3\xb6: \xe2\x82\xac" "uro\n       |     ^~~~\n");
    assert_string_equal(written(at(1, 2, 1), "\tx", false), "p.yml:1:2: error: wrong\n     1 |  x\n       |  ^\n");
    assert_string_equal(written(at(1, 1, 1), "\xef\xbb\xbf" "ab", false), "p.yml:1:1: error: wrong\n     1 | ab\n       | ^\n");
}

static void test_places_past_the_text_are_shown_at_its_end(void **state)
{
    (void)state;
    assert_string_equal(written(at(1, 9, 9), "ab", false), "p.yml:1:9: error: wrong\n     1 | ab\n       |   ^\n");
    assert_string_equal(written(at(7, 1, 1), "ab\n", false), "p.yml:7:1: error: wrong\n     7 | \n       | ^\n");
    assert_string_equal(written(at(1, 1, 5), "", false), "p.yml:1:1: error: wrong\n     1 | \n       | ^\n");
    assert_string_equal(written(at(0, 0, 1), "ab", false), "p.yml: error: wrong\n");
}

static void test_long_lines_are_shown_around_the_caret(void **state)
{
    (void)state;
    char line[5001];
    memset(line, '.', 5000);
    line[5000] = '\0';
    memcpy(line + 3000, "HERE", 4);
    const char *text = written(at(1, 3001, 4), line, false);
    const char *shown = strstr(text, " | ") + 3, *caret = strchr(strchr(shown, '\n') + 1, '^');
    assert_int_equal(strchr(shown, '\n') - shown, 140);
    assert_memory_equal(shown + (caret - strchr(shown, '\n') - 1 - 9), "HERE", 4);
    assert_int_equal(strspn(caret, "^~"), 4);
}

/* A file must not be able to speak to the terminal of who checks it. */
static void test_control_characters_of_the_file_are_not_shown(void **state)
{
    (void)state;
    const char *text = written(at(1, 1, 1), "a\x1b[2J\x7f\xc2\x9b" "b", false);
    assert_null(strpbrk(text, "\x1b\x7f\x9b"));
}

static void test_colour_is_only_where_asked_for(void **state)
{
    (void)state;
    const char *text = written(at(1, 1, 2), "ab", true);
    assert_non_null(strstr(text, "\033[1;31merror:\033[0m wrong"));
    assert_non_null(strstr(text, "\033[1;32m^~\033[0m\n"));
    assert_null(strchr(written(at(1, 1, 2), "ab", false), '\033'));
}

static void test_json(void **state)
{
    (void)state;
    struct model_finding items[] = { at(1, 2, 3), at(4, 5, 6) };
    items[0].message = STR("a \"name\"");
    items[1].message = STR("b");
    items[1].hint = STR("c");
    items[1].severity = MODEL_WARNING;
    struct model_findings findings = { .items = items, .n = 2, .n_errors = 1 };
    buf_deinit(&out);
    buf_init(&out, 1 << 20);
    model_findings_write_json(&out, &findings, STR("p.yml"));
    buf_append_char(&out, '\0');
    assert_string_equal(out.ptr, "[\n"
        "  {\"severity\": \"error\", \"file\": \"p.yml\", \"line\": 1, \"column\": 2, \"length\": 3, \"message\": \"a \\\"name\\\"\", \"hint\": \"\"},\n"
        "  {\"severity\": \"warning\", \"file\": \"p.yml\", \"line\": 4, \"column\": 5, \"length\": 6, \"message\": \"b\", \"hint\": \"c\"}\n]");
    findings.n = 0;
    buf_clear(&out);
    model_findings_write_json(&out, &findings, STR("p.yml"));
    assert_true(str_equal(buf_str(&out), STR("[]")));
}

static int release(void **state)
{
    (void)state;
    buf_deinit(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_caret_and_hint),
        cmocka_unit_test(test_characters_are_one_column_each),
        cmocka_unit_test(test_places_past_the_text_are_shown_at_its_end),
        cmocka_unit_test(test_long_lines_are_shown_around_the_caret),
        cmocka_unit_test(test_control_characters_of_the_file_are_not_shown),
        cmocka_unit_test(test_colour_is_only_where_asked_for),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, release);
}
