/* A change that awaits its confirmation: by Enter where it was made, or by postern apply --confirmed anywhere. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "cli/apply.h"

enum { LOOK_MS = 200, GRACE_MS = 20000 };

enum waiting { WAITING, CONFIRMED, UNDONE };

/* Whether that change is still there to be confirmed; what became of it is told by what is in force. */
static enum waiting look(const struct state *state, const struct state_declaration *before, uint64_t version)
{
    cleanup_state_declaration struct state_declaration now = { .deadline_ms = 0 };
    struct error err;
    int r = state_read(state, "before", &now, &err);
    if (r == 0 && strcmp(now.token, before->token) == 0)
        return WAITING;
    return r >= 0 && state_version(state, "in-force") == version ? CONFIRMED : UNDONE;
}

static int confirm(struct state *state, struct error *err)
{
    cleanup_state_declaration struct state_declaration before = { .deadline_ms = 0 };
    int r = state_lock(state, err);
    if (r == 0)
        r = state_read(state, "before", &before, err);
    if (r == 0 && state_now_ms() >= before.deadline_ms)
        r = STATE_E_NONE;
    else if (r == 0)
        r = state_remove(state, "before", err);
    state_unlock(state);
    return r;
}

int apply_confirm(const struct apply_arguments *arguments, struct state *state)
{
    struct error err = { "" };
    int r = confirm(state, &err);
    if (r < 0) {
        fprintf(stderr, "postern apply: %s\n", err.text[0] ? err.text : strerror(-r));
        return CLI_UNKNOWN;
    }
    if (arguments->json)
        printf("{\"result\": \"%s\"}\n", r == 0 ? "confirmed" : "nothing awaits its confirmation");
    else
        puts(r == 0 ? "confirmed: it stays in force" : "nothing awaits its confirmation: it was confirmed or undone before");
    return r == 0 ? CLI_YES : CLI_NO;
}

/* An Enter on a terminal; the end of a file that isn't one says nothing. */
static bool is_entered(bool *is_listening)
{
    struct pollfd in = { .fd = *is_listening ? STDIN_FILENO : -1, .events = POLLIN };
    char text[256];
    if (poll(&in, 1, LOOK_MS) <= 0)
        return false;
    ssize_t n = read(STDIN_FILENO, text, sizeof text);
    *is_listening = n > 0;
    return n > 0 && memchr(text, '\n', (size_t)n);
}

int apply_await(const struct apply_arguments *arguments, struct state *state, const struct state_declaration *before)
{
    bool is_listening = isatty(STDIN_FILENO);
    uint64_t version = state_version(state, "in-force");
    struct error err;
    printf("in force for %u seconds; %s'postern apply --confirmed' keeps it, otherwise it is undone\n", arguments->confirm_s,
           is_listening ? "Enter or " : "");
    fflush(stdout);
    enum waiting waiting = WAITING;
    while (waiting == WAITING && state_now_ms() < before->deadline_ms + GRACE_MS) {
        if (is_entered(&is_listening) && state_now_ms() < before->deadline_ms && confirm(state, &err) == 0)
            waiting = CONFIRMED;
        else
            waiting = look(state, before, version);
    }
    puts(waiting == CONFIRMED ? "confirmed: it stays in force" : waiting == UNDONE ? "undone: nobody confirmed it" : "not confirmed, and not undone yet");
    return waiting == CONFIRMED ? CLI_YES : waiting == UNDONE ? CLI_NO : CLI_UNKNOWN;
}
