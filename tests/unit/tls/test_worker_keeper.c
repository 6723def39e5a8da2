/* The worker's side of a signature, with a keeper that answers late, wrongly, or dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "roles/worker_keeper.h"

/* What the keeper at the other end does with the question that it gets. */
enum act { ACT_ANSWER, ACT_STALE_FIRST, ACT_PUSH_FIRST, ACT_DIE, ACT_REFUSE, ACT_EMPTY, ACT_TOO_LONG, ACT_WRONG_TYPE, ACT_SILENT };

struct bed {
    struct worker_keeper keeper;
    int channels[2];   /* of the first keeper and of its successor */
    pid_t pids[2];
    unsigned n_renewed, n_pushed;
    int renew_with;    /* 0: the second channel; else that error */
};

static void answer_with(int fd, const struct ipc_sign *question, uint64_t id, int status, uint32_t length)
{
    struct ipc_sign_answer answer = { .header = IPC_HEADER(IPC_KEEPER_SIGN_ANSWER, answer), .id = id, .status = status, .length = length };
    memset(answer.signature, question->input[0], sizeof answer.signature);
    (void)!ipc_send_plain(fd, &answer);
}

static _Noreturn void be_keeper(int fd, enum act act)
{
    struct ipc_sign question;
    struct ipc_ticket_keys tickets = { .header = IPC_HEADER(IPC_KEEPER_TICKET_KEYS, tickets), .n = 1 };
    if (read(fd, &question, sizeof question) != (ssize_t)sizeof question)
        _exit(1);
    switch (act) {
    case ACT_STALE_FIRST:
        answer_with(fd, &question, question.id - 1, 0, 8);
        answer_with(fd, &question, question.id, 0, 16);
        break;
    case ACT_PUSH_FIRST:
        (void)!ipc_send_plain(fd, &tickets);
        answer_with(fd, &question, question.id, 0, 16);
        break;
    case ACT_ANSWER: answer_with(fd, &question, question.id, 0, 16); break;
    case ACT_REFUSE: answer_with(fd, &question, question.id, -ENOENT, 0); break;
    case ACT_EMPTY: answer_with(fd, &question, question.id, 0, 0); break;
    case ACT_TOO_LONG: answer_with(fd, &question, question.id, 0, IPC_SIGNATURE_MAX); break;
    case ACT_WRONG_TYPE: (void)!ipc_send_plain(fd, &question); break;
    case ACT_SILENT: pause(); break;
    case ACT_DIE: break;
    }
    if (act != ACT_DIE)
        (void)!read(fd, &question, sizeof question); /* stay until the worker leaves */
    _exit(0);
}

static int renew(void *context, int timeout_ms)
{
    struct bed *bed = context;
    assert_in_range(timeout_ms, 1, WORKER_KEEPER_TIMEOUT_MS);
    bed->n_renewed++;
    return bed->renew_with ? bed->renew_with : bed->channels[1];
}

static void pushed(void *context, const struct ipc_header *message, int fds[], size_t n_fds)
{
    struct bed *bed = context;
    (void)fds;
    assert_int_equal(n_fds, 0);
    assert_int_equal(message->type, IPC_KEEPER_TICKET_KEYS);
    bed->n_pushed++;
}

static void bed_init(struct bed *bed, enum act first, enum act second)
{
    const enum act acts[] = { first, second };
    struct worker_keeper_hooks hooks = { .renew = renew, .pushed = pushed, .context = bed };
    *bed = (struct bed){ 0 };
    for (size_t i = 0; i < 2; i++) {
        int pair[2];
        assert_int_equal(ipc_pair(&pair[0], &pair[1]), 0);
        if ((bed->pids[i] = fork()) == 0) {
            for (size_t j = 0; j < i; j++)
                close(bed->channels[j]); /* the end of a sibling's channel is not ours to hold open */
            close(pair[0]);
            fcntl(pair[1], F_SETFL, O_RDWR); /* the worker's end alone is non-blocking */
            be_keeper(pair[1], acts[i]);
        }
        close(pair[1]);
        bed->channels[i] = pair[0];
    }
    worker_keeper_init(&bed->keeper, bed->channels[0], &hooks);
}

static void bed_deinit(struct bed *bed)
{
    for (size_t i = 0; i < 2; i++) {
        close(bed->channels[i]);
        kill(bed->pids[i], SIGKILL);
        waitpid(bed->pids[i], NULL, 0);
    }
}

static int sign(struct bed *bed, size_t size, size_t *ret_length)
{
    uint8_t signature[IPC_SIGNATURE_MAX] = { 0 };
    int r = worker_keeper_sign(&bed->keeper, 7, TLS_SCHEME_ECDSA_SHA256, (const uint8_t *)"Zhandshake", 10, signature, size, ret_length);
    if (r == 0)
        assert_int_equal(signature[*ret_length - 1], 'Z');
    return r;
}

static void outcome(enum act first, enum act second, int wanted, unsigned n_renewed, unsigned n_pushed)
{
    struct bed bed;
    size_t length = 0;
    bed_init(&bed, first, second);
    assert_int_equal(sign(&bed, 64, &length), wanted);
    assert_int_equal(length, wanted == 0 ? 16 : 0);
    assert_int_equal(bed.n_renewed, n_renewed);
    assert_int_equal(bed.n_pushed, n_pushed);
    bed_deinit(&bed);
}

static void test_an_answer(void **state) { (void)state; outcome(ACT_ANSWER, ACT_SILENT, 0, 0, 0); }
static void test_a_late_answer_to_an_earlier_ask_is_passed_over(void **state) { (void)state; outcome(ACT_STALE_FIRST, ACT_SILENT, 0, 0, 0); }
static void test_a_push_in_between_is_taken(void **state) { (void)state; outcome(ACT_PUSH_FIRST, ACT_SILENT, 0, 0, 1); }
static void test_a_keeper_that_dies_is_asked_again_as_its_successor(void **state) { (void)state; outcome(ACT_DIE, ACT_ANSWER, 0, 1, 0); }
static void test_a_refusal_is_passed_on(void **state) { (void)state; outcome(ACT_REFUSE, ACT_SILENT, -ENOENT, 0, 0); }
static void test_a_signature_of_nothing_is_none(void **state) { (void)state; outcome(ACT_EMPTY, ACT_SILENT, -EBADMSG, 0, 0); }
static void test_a_signature_that_overflows_its_buffer_is_refused(void **state) { (void)state; outcome(ACT_TOO_LONG, ACT_SILENT, -EBADMSG, 0, 0); }
static void test_a_message_that_no_keeper_sends_is_refused(void **state) { (void)state; outcome(ACT_WRONG_TYPE, ACT_SILENT, -EBADMSG, 0, 0); }
static void test_a_silent_keeper_holds_the_worker_for_two_seconds_at_most(void **state) { (void)state; outcome(ACT_SILENT, ACT_SILENT, -ETIMEDOUT, 0, 0); }

static void test_without_a_successor_the_reason_is_passed_on(void **state)
{
    (void)state;
    struct bed bed;
    size_t length = 0;
    bed_init(&bed, ACT_DIE, ACT_SILENT);
    bed.renew_with = -EPIPE;
    assert_int_equal(sign(&bed, 64, &length), -EPIPE);
    bed_deinit(&bed);
}

static void test_what_is_larger_than_any_handshake_is_not_even_asked(void **state)
{
    (void)state;
    struct bed bed;
    static const uint8_t large[IPC_SIGN_INPUT_MAX + 1];
    uint8_t signature[64];
    size_t length = 0;
    bed_init(&bed, ACT_ANSWER, ACT_SILENT);
    assert_int_equal(worker_keeper_sign(&bed.keeper, 7, TLS_SCHEME_ECDSA_SHA256, large, sizeof large, signature, sizeof signature, &length), -EMSGSIZE);
    bed_deinit(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer),
        cmocka_unit_test(test_a_late_answer_to_an_earlier_ask_is_passed_over),
        cmocka_unit_test(test_a_push_in_between_is_taken),
        cmocka_unit_test(test_a_keeper_that_dies_is_asked_again_as_its_successor),
        cmocka_unit_test(test_a_refusal_is_passed_on),
        cmocka_unit_test(test_a_signature_of_nothing_is_none),
        cmocka_unit_test(test_a_signature_that_overflows_its_buffer_is_refused),
        cmocka_unit_test(test_a_message_that_no_keeper_sends_is_refused),
        cmocka_unit_test(test_a_silent_keeper_holds_the_worker_for_two_seconds_at_most),
        cmocka_unit_test(test_without_a_successor_the_reason_is_passed_on),
        cmocka_unit_test(test_what_is_larger_than_any_handshake_is_not_even_asked),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
