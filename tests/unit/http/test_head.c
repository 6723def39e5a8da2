/* Field names and violations: every known name is known in any case, and near misses are not. */
#include "parse.h"

static const struct {
    const char *name;
    enum http_field_id id;
} known[] = {
    { "host", HTTP_HOST }, { "content-length", HTTP_CONTENT_LENGTH }, { "transfer-encoding", HTTP_TRANSFER_ENCODING },
    { "connection", HTTP_CONNECTION }, { "keep-alive", HTTP_KEEP_ALIVE }, { "proxy-connection", HTTP_PROXY_CONNECTION }, { "te", HTTP_TE },
    { "trailer", HTTP_TRAILER }, { "upgrade", HTTP_UPGRADE }, { "expect", HTTP_EXPECT }, { "http2-settings", HTTP_HTTP2_SETTINGS },
    { "proxy-authenticate", HTTP_PROXY_AUTHENTICATE }, { "proxy-authorization", HTTP_PROXY_AUTHORIZATION }, { "alt-svc", HTTP_ALT_SVC },
    { "date", HTTP_DATE }, { "server", HTTP_SERVER }, { "content-type", HTTP_CONTENT_TYPE }, { "cookie", HTTP_COOKIE },
    { "forwarded", HTTP_FORWARDED }, { "x-forwarded-for", HTTP_FORWARDED }, { "x-forwarded-proto", HTTP_FORWARDED },
    { "x-forwarded-anything", HTTP_FORWARDED }, { "x-real-ip", HTTP_FORWARDED }, { "postern-host", HTTP_IDENTITY },
    { "postern-segment", HTTP_IDENTITY }, { "tailscale-user-login", HTTP_IDENTITY }, { "postern-request-id", HTTP_REQUEST_ID },
    { "sec-websocket-key", HTTP_SEC_WEBSOCKET }, { "sec-websocket-protocol", HTTP_SEC_WEBSOCKET },
};

static void test_known_names_are_known_in_any_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        char upper[64];
        size_t len = str_copy(upper, sizeof upper, str_of(known[i].name));
        assert_int_equal(http_field_id(str_of(known[i].name)), known[i].id);
        for (size_t c = 0; c < len; c++)
            if (upper[c] >= 'a' && upper[c] <= 'z')
                upper[c] = (char)(upper[c] - 0x20);
        assert_int_equal(http_field_id(str_make(upper, len)), known[i].id);
    }
}

static void test_near_misses_are_other_names(void **state)
{
    (void)state;
    static const char *const others[] = { "", "h", "hos", "hosts", "content-lengt", "content-length2", "x-real-i", "x-forwarded",
                                          "postern", "tailscale", "sec-websocket", "tea", "x", "zz", "content-encoding" };
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_int_equal(http_field_id(str_of(others[i])), HTTP_OTHER);
}

static void test_every_violation_has_a_text_and_a_client_error(void **state)
{
    (void)state;
    for (unsigned i = HTTP_FINE + 1; i < HTTP_VIOLATION_COUNT; i++) {
        assert_non_null(http_violation_text((enum http_violation)i));
        unsigned status = http_violation_status((enum http_violation)i);
        assert_true(status == 400 || status == 405 || status == 417 || status == 431 || status == 505);
    }
}

static void test_every_status_has_a_phrase(void **state)
{
    (void)state;
    assert_string_equal(http_reason(200), "OK");
    assert_string_equal(http_reason(404), "Not Found");
    for (unsigned status = 100; status <= 599; status++)
        assert_true(strlen(http_reason(status)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_known_names_are_known_in_any_case),
        TEST(test_near_misses_are_other_names),
        TEST(test_every_status_has_a_phrase),
        TEST(test_every_violation_has_a_text_and_a_client_error),
    };
    return cmocka_run_group_tests_name("http head", tests, NULL, NULL);
}
