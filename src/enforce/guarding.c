/* A change that awaits its confirmation, and the process that undoes it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "enforce/putting.h"

enum { RETRY_S = 1, RETRIES = 60 };

void put_token_make(char ret[static STATE_TOKEN_SIZE])
{
    unsigned char bytes[(STATE_TOKEN_SIZE - 1) / 2];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        abort();
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(ret + i * 2, 3, "%02x", bytes[i]);
}

/* ---- undoing ---- */

static int load_again(const struct state_declaration *before, struct error *err)
{
    struct put_declaration declaration;
    struct put_result result;
    int r = put_declaration_read(before, &declaration, err);
    if (r < 0)
        return r;
    r = put_work_out(&declaration, &result, err);
    if (r == 0) {
        r = put_load(&declaration, &result, err);
        put_result_deinit(&result);
    }
    model_free(declaration.model);
    return r;
}

int put_undo(const struct state *state, struct error *err)
{
    struct error why = { "" };
    cleanup_state_declaration struct state_declaration before = { .deadline_ms = 0 };
    int r = state_read(state, "before", &before, err);
    if (r != 0)
        return r == STATE_E_NONE ? 0 : r;
    before.deadline_ms = 0;
    r = before.is_nothing ? state_remove(state, "in-force", err) : state_write(state, "in-force", &before, err);
    /* Whoever is locked out comes first: without Docker's word nothing is held, until somebody who keeps it in force has it again. */
    if (r == 0 && (before.is_nothing || load_again(&before, &why) < 0))
        r = put_away(NULL, err);
    return r == 0 ? state_remove(state, "before", err) : r;
}

/* ---- the guard ---- */

static bool is_still_ours(const struct state *state, const char *token)
{
    struct error err;
    cleanup_state_declaration struct state_declaration before = { .deadline_ms = 0 };
    return state_read(state, "before", &before, &err) == 0 && strcmp(before.token, token) == 0;
}

static void wait_until(uint64_t deadline_ms)
{
    const struct timespec until = { .tv_sec = (time_t)(deadline_ms / 1000), .tv_nsec = (long)(deadline_ms % 1000) * 1000000 };
    while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

static int undo_once(const char *state_directory, const char *token)
{
    struct error err;
    cleanup_state struct state state = { .directory = -1, .lock = -1 };
    int r = state_open(state_directory, &state, &err);
    if (r == 0)
        r = state_lock(&state, &err);
    return r == 0 && is_still_ours(&state, token) ? put_undo(&state, &err) : r;
}

static _Noreturn void guard(const char *state_directory, const struct state_declaration *before)
{
    wait_until(before->deadline_ms);
    for (unsigned i = 0; i < RETRIES && undo_once(state_directory, before->token) < 0; i++)
        wait_until(state_now_ms() + RETRY_S * 1000);
    _exit(0);
}

/* Of a session of its own, without a terminal: nothing that ends the one in which it was started reaches it. Its parent's lock isn't its own. */
static void leave_everything(void)
{
    static const int ignored[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        (void)signal(ignored[i], SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        (void)dup2(null, fd);
    (void)close_range(3, ~0U, 0);
    (void)!chdir("/");
    umask(077);
    (void)prctl(PR_SET_NAME, "postern-undo");
}

int put_guard_start(const char *state_directory, const struct state_declaration *before, struct error *err)
{
    char *directory = realpath(state_directory, NULL);
    pid_t middle = directory ? fork() : -1;
    int status = 0;
    if (middle == 0) {
        (void)setsid();
        pid_t child = fork();
        if (child != 0)
            _exit(child < 0);
        leave_everything();
        guard(directory, before);
    }
    int r = middle < 0 ? -errno : 0;
    free(directory);
    while (r == 0 && waitpid(middle, &status, 0) < 0)
        r = errno == EINTR ? 0 : -errno;
    if (r == 0 && status != 0)
        r = -EAGAIN;
    if (r < 0)
        error_set(err, "can't start what would undo it: %s", strerror(-r));
    return r;
}
