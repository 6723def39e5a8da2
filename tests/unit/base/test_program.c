/* A program of the system's as a child: its output, its failure, its time and its size. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/program.h"

enum { SOON_MS = 20000 };

static int run(const char *name, const char *const *arguments, const char *input, int timeout_ms, size_t max, struct buf *out, struct error *err)
{
    struct program program = { name, "a package", arguments, timeout_ms };
    buf_init(out, max);
    return program_run(&program, str_of(input), out, NULL, err);
}

static void test_what_it_reads_comes_back(void **state)
{
    (void)state;
    static const char *const arguments[] = { "a", "z", NULL };
    cleanup_buf struct buf out;
    struct error err = { 0 };
    pid_t pid = 0;
    struct program program = { "tr", "coreutils", arguments, SOON_MS };
    buf_init(&out, 1 << 20);
    assert_int_equal(program_run(&program, STR("banana"), &out, &pid, &err), 0);
    assert_true(str_equal(buf_str(&out), STR("bznznz")));
    assert_true(pid > 0);
}

static void test_a_failure_is_told_with_its_first_line(void **state)
{
    (void)state;
    static const char *const arguments[] = { "/nowhere/at/all", NULL };
    cleanup_buf struct buf out;
    struct error err = { 0 };
    assert_int_equal(run("cat", arguments, "", SOON_MS, 4096, &out, &err), -EIO);
    assert_string_equal(err.text, "cat: cat: /nowhere/at/all: No such file or directory");
}

static void test_who_lacks_it_is_told_the_package(void **state)
{
    (void)state;
    static const char *const arguments[] = { NULL };
    cleanup_buf struct buf out;
    struct error err = { 0 };
    assert_int_equal(run("no-such-program", arguments, "", SOON_MS, 4096, &out, &err), -ENOENT);
    assert_string_equal(err.text, "there is no no-such-program; install a package");
}

static void test_one_that_never_ends_is_killed(void **state)
{
    (void)state;
    static const char *const arguments[] = { "600", NULL };
    cleanup_buf struct buf out;
    struct error err = { 0 };
    assert_int_equal(run("sleep", arguments, "", 50, 4096, &out, &err), -ETIMEDOUT);
}

static void test_one_that_writes_without_end_is_killed(void **state)
{
    (void)state;
    static const char *const arguments[] = { NULL };
    cleanup_buf struct buf out;
    struct error err = { 0 };
    assert_int_equal(run("yes", arguments, "", SOON_MS, 1 << 20, &out, &err), -E2BIG);
}

static void test_a_name_is_not_looked_for_in_PATH(void **state)
{
    (void)state;
    static const char *const arguments[] = { NULL };
    char directory[] = "/tmp/postern-program-XXXXXX", path[64], *before = getenv("PATH") ? strdup(getenv("PATH")) : NULL;
    cleanup_buf struct buf out;
    struct error err = { 0 };
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/no-such-program", directory);
    assert_int_equal(symlink("/bin/true", path), 0);
    assert_int_equal(setenv("PATH", directory, 1), 0);
    int r = run("no-such-program", arguments, "", SOON_MS, 4096, &out, &err);
    if (before)
        setenv("PATH", before, 1);
    free(before);
    unlink(path);
    rmdir(directory);
    assert_int_equal(r, -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_reads_comes_back),
        cmocka_unit_test(test_a_failure_is_told_with_its_first_line),
        cmocka_unit_test(test_who_lacks_it_is_told_the_package),
        cmocka_unit_test(test_one_that_never_ends_is_killed),
        cmocka_unit_test(test_one_that_writes_without_end_is_killed),
        cmocka_unit_test(test_a_name_is_not_looked_for_in_PATH),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
