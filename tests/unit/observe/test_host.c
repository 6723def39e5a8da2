/* What listens, from the kernel's tables; which side an address is on; what an image's name says. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <netinet/in.h>

#include "observe/engine.h"

static const char tcp[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n"
    "   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0 100 0 0 10 0\n"
    "   2: 0A4DA8C0:0016 144DA8C0:D431 01 00000000:00000000 00:00000000 00000000     0        0 33 1 0 100 0 0 10 0\n";
static const char tcp6[] =
    "   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 44 1\n"
    "   1: 00000000000000000000000001000000:0019 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 55 1\n";
static const char udp[] =
    "  12: 00000000:7530 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 66 2 0 0\n"
    "  13: 0100007F:8000 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 77 2 0 0\n";

static struct address address_of(const char *text)
{
    struct address address;
    assert_true(address_parse(str_of(text), &address));
    return address;
}

static void assert_listens(const struct observe_listener *one, const char *address, uint16_t port, uint64_t inode)
{
    struct address wanted = address_of(address);
    assert_true(address_equal(&one->address, &wanted));
    assert_int_equal(one->port, port);
    assert_int_equal(one->inode, inode);
}

static void test_listeners_of_the_kernel_s_tables(void **state)
{
    struct observe_listener items[8];
    (void)state;
    assert_int_equal(observe_listeners_parse(str_of(tcp), IPPROTO_TCP, items, 8), 2);
    assert_listens(&items[0], "127.0.0.1", 3306, 11);
    assert_listens(&items[1], "0.0.0.0", 22, 22);
    assert_true(observe_address_is_any(&items[1].address));
    assert_int_equal(observe_listeners_parse(str_of(tcp6), IPPROTO_TCP, items, 8), 2);
    assert_listens(&items[0], "::", 8080, 44);
    assert_true(observe_address_is_any(&items[0].address));
    assert_listens(&items[1], "::1", 25, 55);
    assert_int_equal(observe_listeners_parse(str_of(udp), IPPROTO_UDP, items, 8), 1);
    assert_listens(&items[0], "0.0.0.0", 30000, 66);
}

static void test_lines_that_are_none_are_passed_over_and_max_is_kept(void **state)
{
    struct observe_listener items[1];
    (void)state;
    assert_int_equal(observe_listeners_parse(STR("\n:\n0: zz:00 0:0 0A\n0: 00000000:10000 00000000:0000 0A 0 0 0 0 0 1\n0: 00000000:"),
                                             IPPROTO_TCP, items, 1), 0);
    assert_int_equal(observe_listeners_parse(str_of(tcp), IPPROTO_TCP, items, 1), 1);
}

static void test_this_process_s_own_listener_is_found_and_named(void **state)
{
    struct arena arena;
    struct observe_listeners found;
    struct sockaddr_in bound = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof bound;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_named = false;
    (void)state;
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&bound, sizeof bound) == 0 && listen(fd, 1) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&bound, &len), 0);
    arena_init(&arena, 0);
    assert_int_equal(observe_listeners_read(0, &arena, &found), 0);
    assert_int_equal(observe_listeners_name((struct observe_listener *)(uintptr_t)found.items, found.n, &arena), 0);
    for (uint32_t i = 0; i < found.n; i++)
        is_named |= found.items[i].port == ntohs(bound.sin_port) && str_equal(found.items[i].program, STR("test_observe_ho"));
    assert_true(is_named);
    assert_int_equal(observe_listeners_read(0x3fffffff, &arena, &found), -ENOENT);
    arena_deinit(&arena);
    close(fd);
}

static void test_the_side_of_an_address(void **state)
{
    static const struct {
        const char *interface, *address;
        enum observe_side side;
    } cases[] = {
        { "lo", "127.0.0.1", OBSERVE_LOOPBACK }, { "eth0", "192.168.1.10", OBSERVE_LAN }, { "eth0", "fd12::1", OBSERVE_LAN },
        { "eth0", "203.0.113.7", OBSERVE_INTERNET }, { "eth0", "2001:db8::1", OBSERVE_INTERNET }, { "tailscale0", "100.64.0.1", OBSERVE_MESH },
        { "eth0", "100.100.0.1", OBSERVE_MESH }, { "utun3", "fd7a:115c:a1e0::1", OBSERVE_MESH }, { "wg0", "10.8.0.1", OBSERVE_MESH },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct address address = address_of(cases[i].address);
        assert_int_equal(observe_side_of(str_of(cases[i].interface), &address), cases[i].side);
    }
}

static void test_what_an_image_s_name_says(void **state)
{
    (void)state;
    assert_string_equal(observe_image_find(STR("postgres"))->title, "PostgreSQL");
    assert_string_equal(observe_image_find(STR("docker.io/library/postgres:16-alpine"))->title, "PostgreSQL");
    assert_string_equal(observe_image_find(STR("registry.example:5000/mirror/Redis@sha256:00"))->title, "Redis");
    assert_null(observe_image_find(STR("ghcr.io/me/postgres-backup:1")));
    assert_null(observe_image_find(STR("")));
    assert_null(observe_image_find(STR("sha256:0123")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listeners_of_the_kernel_s_tables), cmocka_unit_test(test_lines_that_are_none_are_passed_over_and_max_is_kept),
        cmocka_unit_test(test_this_process_s_own_listener_is_found_and_named), cmocka_unit_test(test_the_side_of_an_address),
        cmocka_unit_test(test_what_an_image_s_name_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
