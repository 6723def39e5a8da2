/* The state directory: declarations come back as they were, a lock is one holder's, and what isn't postern's is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "enforce/state.h"

static char root[64], directory[128];

static void state_make(struct state *ret)
{
    struct error err = { "" };
    snprintf(root, sizeof root, "/tmp/postern-state-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(directory, sizeof directory, "%s/below/it", root);
    assert_int_equal(state_open(directory, ret, &err), 0);
}

static void state_end(struct state *state)
{
    static const char *const names[] = { "in-force", "before", "lock" };
    struct error err;
    char below[128];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_int_equal(state_remove(state, names[i], &err), 0);
    state_close(state);
    assert_int_equal(rmdir(directory), 0);
    snprintf(below, sizeof below, "%s/below", root);
    assert_int_equal(rmdir(below) | rmdir(root), 0);
}

static void test_a_declaration_comes_back_as_it_was_and_its_deadline_is_over_after_a_reboot(void **state_)
{
    (void)state_;
    struct state state;
    struct stat status;
    struct error err = { "" };
    struct state_declaration written = { .host = "roc", .path = "/etc/postern/postern.yml", .deadline_ms = 12345, .token = "0123" }, got;
    state_make(&state);
    assert_true(stat(directory, &status) == 0 && (status.st_mode & 0777) == 0700);
    assert_int_equal(state_read(&state, "before", &got, &err), STATE_E_NONE);
    assert_int_equal(state_version(&state, "before"), 0);
    buf_init(&written.source, 1000);
    buf_append(&written.source, STR("postern: 1\n\nhosts: {}\n"));
    assert_int_equal(state_write(&state, "before", &written, &err), 0);
    assert_true(state_version(&state, "before") != 0);
    assert_int_equal(state_read(&state, "before", &got, &err), 0);
    assert_string_equal(got.host, "roc");
    assert_string_equal(got.path, written.path);
    assert_string_equal(got.token, "0123");
    assert_true(got.deadline_ms == 12345 && !got.is_nothing && str_equal(buf_str(&got.source), buf_str(&written.source)));
    state_declaration_deinit(&got);
    assert_int_equal(state_write_text(&state, "before", STR("host roc\npath x\ndeadline 12345\nboot another\ntoken 0\n\npostern: 1\n"), &err), 0);
    assert_int_equal(state_read(&state, "before", &got, &err), 0);
    assert_int_equal(got.deadline_ms, 0);
    state_declaration_deinit(&got);
    buf_deinit(&written.source);
    state_end(&state);
}

static void test_what_is_none_of_posterns_is_refused(void **state_)
{
    (void)state_;
    static const struct str texts[] = { STR(""), STR("host roc"), STR("path x\n\npostern: 1\n"), STR("\n\n"), STR("host roc\ndeadline x\n\n") };
    struct state state;
    struct error err = { "" };
    state_make(&state);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct state_declaration got;
        assert_int_equal(state_write_text(&state, "in-force", texts[i], &err), 0);
        assert_int_equal(state_read(&state, "in-force", &got, &err), -EINVAL);
    }
    state_end(&state);
}

static void test_a_lock_is_one_holders_and_goes_with_the_process(void **state_)
{
    (void)state_;
    struct state state, other;
    struct error err = { "" };
    int ends[2];
    char c;
    state_make(&state);
    assert_int_equal(state_open(directory, &other, &err), 0);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct state own;
        if (state_open(directory, &own, &err) < 0 || state_lock(&own, &err) < 0 || write(ends[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    assert_int_equal(read(ends[0], &c, 1), 1);
    pid_t waiter = fork();
    if (waiter == 0)
        _exit(state_lock(&other, &err) == 0 ? 0 : 1);
    int status;
    assert_int_equal(waitpid(waiter, &status, WNOHANG), 0); /* it waits */
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(waitpid(waiter, &status, 0), waiter);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(state_lock(&state, &err), 0);
    state_unlock(&state);
    state_close(&other);
    close(ends[0]);
    close(ends[1]);
    state_end(&state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_declaration_comes_back_as_it_was_and_its_deadline_is_over_after_a_reboot),
        cmocka_unit_test(test_what_is_none_of_posterns_is_refused),
        cmocka_unit_test(test_a_lock_is_one_holders_and_goes_with_the_process),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
