/* The watcher's account over time: roles that come and go, totals that never go back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "roles/watcher_report.h"

static struct watcher_state watched;

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < WATCHER_PAGES_MAX; i++)
        if (watched.pages[i].page)
            munmap((void *)(uintptr_t)watched.pages[i].page, METRICS_PAGE_SIZE);
    memset(&watched, 0, sizeof watched);
    return 0;
}

static void tell(int pid, enum ipc_role_status status)
{
    struct ipc_role_state role = { .pid = pid, .role = IPC_ROLE_WORKER, .status = status, .surface_name = "main" };
    watcher_take_role(&watched, &role);
}

/* A worker's page as it sees it itself. */
static struct metrics_page *new_page(int64_t now_ms)
{
    int fd = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0 && ftruncate(fd, METRICS_PAGE_SIZE) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    struct metrics_page *page = mmap(NULL, METRICS_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(page, MAP_FAILED);
    struct ipc_metrics_page message = { .surface_name = "main" };
    assert_int_equal(watcher_take_page(&watched, &message, fd, now_ms), 0);
    close(fd);
    return page;
}

static struct metrics_page sum(int64_t now_ms)
{
    struct metrics_page result;
    watcher_sum_surface(&watched, &watched.surfaces[0], now_ms, &result);
    return result;
}

static void worker_that_ended_counts_on_and_holds_nothing_open(void **state)
{
    (void)state;
    tell(10, IPC_ROLE_RUNNING);
    struct metrics_page *page = new_page(1000);
    page->connections_accepted = 5;
    page->connections_open = page->requests_open = page->tunnels_open = 2;
    assert_int_equal(sum(1000).connections_open, 2);
    tell(0, IPC_ROLE_DOWN);
    assert_int_equal(sum(1001).connections_accepted, 5);
    assert_int_equal(sum(1001).connections_open + sum(1001).requests_open + sum(1001).tunnels_open, 0);
}

/* Its last counts may come late: the page is read for a while, then folded, and written to no more. */
static void page_is_folded_once_and_in_time(void **state)
{
    (void)state;
    tell(10, IPC_ROLE_RUNNING);
    struct metrics_page *page = new_page(1000);
    page->connections_accepted = 5;
    tell(0, IPC_ROLE_DOWN);
    assert_int_equal(sum(2000).connections_accepted, 5);
    page->connections_accepted = 6;
    assert_int_equal(sum(2001).connections_accepted, 6);
    assert_int_equal(sum(2002 + WATCHER_FOLD_MS).connections_accepted, 6);
    page->connections_accepted = 1000;
    for (int64_t now_ms = 2003 + WATCHER_FOLD_MS; now_ms < 5 * WATCHER_FOLD_MS; now_ms += 1000)
        assert_int_equal(sum(now_ms).connections_accepted, 6);
    assert_null(watched.pages[0].page);
}

/* The new worker's page may come before the news that it starts. */
static void page_that_comes_before_its_workers_state_costs_no_count(void **state)
{
    (void)state;
    tell(10, IPC_ROLE_RUNNING);
    new_page(1000)->connections_open = 3;
    struct metrics_page *second = new_page(1000);
    second->connections_open = 1;
    assert_int_equal(sum(1000).connections_open, 1);
    tell(10, IPC_ROLE_DRAINING);
    tell(11, IPC_ROLE_RUNNING);
    assert_int_equal(sum(1001).connections_open, 4);
}

static void a_place_has_one_entry_besides_those_that_drain(void **state)
{
    (void)state;
    for (int pid = 1; pid < 2000; pid++) {
        tell(pid, IPC_ROLE_STARTING);
        tell(pid, IPC_ROLE_RUNNING);
        tell(0, IPC_ROLE_DOWN);
    }
    assert_int_equal(watched.n_roles, 1);
    tell(3000, IPC_ROLE_RUNNING);
    tell(3000, IPC_ROLE_DRAINING);
    tell(3001, IPC_ROLE_STARTING);
    assert_int_equal(watched.n_roles, 2);
    tell(0, IPC_ROLE_GONE);
    assert_int_equal(watched.n_roles, 1);
    assert_int_equal(watched.roles[0].pid, 3001);
    tell(3001, IPC_ROLE_GONE);
    assert_int_equal(watched.n_roles, 0);
    tell(3001, IPC_ROLE_GONE);
    assert_int_equal(watched.n_roles, 0);
}

static void more_than_the_tables_hold_is_passed_over(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2 * WATCHER_ROLES_MAX; i++) {
        struct ipc_role_state role = { .pid = (int32_t)i + 1, .role = IPC_ROLE_WORKER, .worker = i, .surface_name = "main" };
        watcher_take_role(&watched, &role);
    }
    assert_int_equal(watched.n_roles, WATCHER_ROLES_MAX);
    for (uint32_t i = 0; i < 2 * WATCHER_CERTIFICATES_MAX; i++) {
        struct ipc_certificate_state certificate = { .surface = i, .name = "x" };
        watcher_take_certificate(&watched, &certificate);
    }
    assert_int_equal(watched.n_certificates, WATCHER_CERTIFICATES_MAX);
}

static void page_that_could_shrink_is_refused(void **state)
{
    (void)state;
    struct ipc_metrics_page message = { .surface_name = "main" };
    int fd = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, METRICS_PAGE_SIZE), 0);
    assert_true(watcher_take_page(&watched, &message, fd, 0) < 0);
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_true(watcher_take_page(&watched, &message, fd, 0) < 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(worker_that_ended_counts_on_and_holds_nothing_open, setup),
        cmocka_unit_test_setup(page_is_folded_once_and_in_time, setup),
        cmocka_unit_test_setup(page_that_comes_before_its_workers_state_costs_no_count, setup),
        cmocka_unit_test_setup(a_place_has_one_entry_besides_those_that_drain, setup),
        cmocka_unit_test_setup(more_than_the_tables_hold_is_passed_over, setup),
        cmocka_unit_test_setup(page_that_could_shrink_is_refused, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
