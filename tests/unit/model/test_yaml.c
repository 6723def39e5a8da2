/* Which plain scalars need quotes, checked against what YAML 1.1 and 1.2 readers make of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/yaml.h"

static void test_what_turns_into_something_else(void **state)
{
    static const char *const typed[] = {
        "", "~", "null", "Null", "NULL", "y", "N", "yes", "No", "on", "OFF", "true", "False", "=", ".inf", "-.Inf", ".nan", /* words */
        "0", "1", "-1", "+1", "22", "0o17", "017", "0x1f", "0b101", "1_000", "1e3", "1E+3", "1.5", "1.", ".5", "-.5", "1.5e3", /* numbers */
        "22:22", "10:22", "1:2:3:4:5:6:7:8", "190:20:30", "-1:30", "20:30.15", "1:99", /* base sixty, and close to it */
        "2026-01-31", "2026-1-1", "2026-01-31T10:00:00Z", "2026-01-31 10:00", /* dates */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(typed); i++)
        if (!yaml_text_is_typed(str_of(typed[i])))
            fail_msg("'%s' was taken for text", typed[i]);
}

static void test_what_is_text_to_everybody(void **state)
{
    static const char *const texts[] = {
        "roc", "grafana", "mcp-*", "100.64.0.1", "100.64.0.0/10", "192.168.1.10", "fd7a:115c:a1e0::1", "::1", "2001:db8::1", "tcp/22", "udp/30000",
        "/run/x.sock", "home.example", "3dprinter", "1password", "yes-man", "nullius", "0xyz", "1e", "e3", "1.2.3", "1-2", "2026-01", "2026-01-31x",
        "22:", ":22", "a:22", "-", "--", ".", "..", "+", "0b", "0x", "1:a", "~x", "sha256/AA=", "https://x",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (yaml_text_is_typed(str_of(texts[i])))
            fail_msg("'%s' was not taken for text", texts[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_turns_into_something_else),
        cmocka_unit_test(test_what_is_text_to_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
