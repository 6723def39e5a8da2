/* The keeper itself, as its parent and its workers see it: a real process, asked what it should and what it must not answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/message.h"
#include "material.h"
#include "tls/chains.h"
#include "world.h"

static const char *keeper_program;

struct bed {
    char directory[64];
    pid_t pid;
    int parent;              /* our end of the keeper's channel to its parent */
    struct compile_output blocks;
};

struct worker {
    int channel;
    uint32_t n_chains;
    uint64_t certificate;    /* the default's identity */
    char pem[16384];         /* the default's chain */
    struct ipc_ticket_keys tickets;
    bool has_tickets;
};

static int wait_readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, 10000) == 1 ? 0 : -ETIMEDOUT;
}

/* The next message, or -EPIPE at the end. */
static int next(int channel, struct ipc_buffer *buffer, int fds[static IPC_FDS_MAX], size_t *n_fds)
{
    *n_fds = 0;
    if (wait_readable(channel) < 0)
        fail_msg("nothing came within ten seconds");
    return ipc_receive(channel, buffer, sizeof *buffer, fds, n_fds);
}

static int seal_block(struct compile_block block)
{
    int fd = memfd_create("block", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(fd, block.data, block.size), block.size);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK), 0);
    return fd;
}

static void bed_run(struct bed *bed)
{
    int pair[2];
    assert_int_equal(ipc_pair(&pair[0], &pair[1]), 0);
    bed->pid = fork();
    if (bed->pid == 0) {
        int fd = pair[1] == IPC_PARENT_FD ? dup(pair[1]) : pair[1];
        dup2(fd, IPC_PARENT_FD);
        execl(keeper_program, keeper_program, NULL);
        _exit(127);
    }
    close(pair[1]);
    bed->parent = pair[0];
    struct ipc_start start = { .header = IPC_HEADER(IPC_PARENT_START, start), .role = IPC_ROLE_KEEPER, .generation = 1, .block_size = bed->blocks.keys.size };
    if (geteuid() == 0)
        start.uid = start.gid = 61901, start.acme_uid = start.acme_gid = 61906;
    str_copy(start.state_directory, sizeof start.state_directory, str_of(bed->directory));
    int block = seal_block(bed->blocks.keys);
    assert_int_equal(ipc_send(bed->parent, &start, &block, 1), 0);
    close(block);
}

static void bed_init(struct bed *bed)
{
    struct world world;
    world_homelab(&world);
    world_compile(&world, "roc", &bed->blocks);
    world_deinit(&world);
    str_copy(bed->directory, sizeof bed->directory, STR("/tmp/postern-keeper-XXXXXX"));
    assert_non_null(mkdtemp(bed->directory));
    chmod(bed->directory, 0755);
    bed_run(bed);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st, (void)type, (void)where;
    return remove(path);
}

static int bed_wait(struct bed *bed)
{
    int status = 0;
    waitpid(bed->pid, &status, 0);
    return status;
}

static void bed_deinit(struct bed *bed)
{
    close(bed->parent); /* a role ends with its parent */
    int status = bed_wait(bed);
    assert_true(WIFEXITED(status));
    compile_output_deinit(&bed->blocks);
    nftw(bed->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void take_push(struct worker *w, const struct ipc_buffer *buffer, const int *fds)
{
    static struct tls_chain chains[TLS_CHAINS_MAX];
    if (buffer->header.type == IPC_KEEPER_TICKET_KEYS) {
        memcpy(&w->tickets, buffer, sizeof w->tickets);
        w->has_tickets = true;
        return;
    }
    const struct ipc_certificates *message = (const struct ipc_certificates *)(const void *)buffer;
    assert_int_equal(buffer->header.type, IPC_KEEPER_CERTIFICATES);
    int seals = fcntl(fds[0], F_GET_SEALS);
    assert_true((seals & F_SEAL_WRITE) && (seals & F_SEAL_SHRINK) && (seals & F_SEAL_GROW));
    void *block = mmap(NULL, message->size, PROT_READ, MAP_SHARED, fds[0], 0);
    assert_true(block != MAP_FAILED);
    assert_int_equal(tls_chains_decode(block, message->size, message->n, chains), 0);
    w->n_chains = message->n;
    for (uint32_t i = 0; i < message->n; i++) {
        assert_null(memmem(chains[i].pem.ptr, chains[i].pem.len, "PRIVATE", 7));
        if (chains[i].name.len == 0) {
            w->certificate = chains[i].certificate;
            str_copy(w->pem, sizeof w->pem, chains[i].pem);
        }
    }
    munmap(block, message->size);
    close(fds[0]);
}

static void worker_init(struct worker *w, struct bed *bed, const char *surface, uint32_t number)
{
    int pair[2], fds[IPC_FDS_MAX];
    struct ipc_channel message = { .header = IPC_HEADER(IPC_PARENT_CHANNEL, message), .peer = IPC_ROLE_WORKER, .worker = number };
    struct ipc_buffer buffer;
    size_t n_fds;
    *w = (struct worker){ 0 };
    str_copy(message.surface_name, sizeof message.surface_name, str_of(surface));
    assert_int_equal(ipc_pair(&pair[0], &pair[1]), 0);
    assert_int_equal(ipc_send(bed->parent, &message, &pair[1], 1), 0);
    close(pair[1]);
    w->channel = pair[0];
    while (!w->has_tickets || w->n_chains == 0) {
        assert_int_equal(next(w->channel, &buffer, fds, &n_fds), 0);
        take_push(w, &buffer, fds);
    }
}

static size_t good_input(uint8_t input[static IPC_SIGN_INPUT_MAX])
{
    memset(input, 0x20, 64);
    memcpy(input + 64, "TLS 1.3, server CertificateVerify", 34);
    memset(input + 98, 0xab, 32);
    return 130;
}

static void ask(struct worker *w, uint64_t id, uint64_t certificate, uint32_t scheme, const uint8_t *input, size_t length)
{
    struct ipc_sign question = { .header = IPC_HEADER(IPC_KEEPER_SIGN, question), .id = id, .certificate = certificate, .scheme = scheme,
                                 .length = (uint32_t)length };
    memcpy(question.input, input, length);
    assert_int_equal(ipc_send_plain(w->channel, &question), 0);
}

/* The answer, or -EPIPE when the keeper ended the channel. */
static int answer(struct worker *w, struct ipc_sign_answer *ret)
{
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n_fds;
    for (;;) {
        int r = next(w->channel, &buffer, fds, &n_fds);
        if (r < 0)
            return r;
        if (buffer.header.type == IPC_KEEPER_SIGN_ANSWER) {
            memcpy(ret, &buffer, sizeof *ret);
            return 0;
        }
        take_push(w, &buffer, fds);
    }
}

static bool verifies(const struct worker *w, const uint8_t *input, size_t length, const struct ipc_sign_answer *got)
{
    BIO *bio = BIO_new_mem_buf(w->pem, -1);
    X509 *leaf = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool valid = EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, X509_get0_pubkey(leaf)) == 1 &&
                 EVP_DigestVerify(md, got->signature, got->length, input, length) == 1;
    EVP_MD_CTX_free(md);
    X509_free(leaf);
    BIO_free(bio);
    return valid;
}

static void test_a_handshake_is_signed_with_the_surfaces_key(void **state)
{
    (void)state;
    struct bed bed;
    struct worker w;
    struct ipc_sign_answer got;
    uint8_t input[IPC_SIGN_INPUT_MAX];
    size_t length = good_input(input);
    bed_init(&bed);
    worker_init(&w, &bed, "main", 0);
    ask(&w, 77, w.certificate, IPC_SIGN_ECDSA_SHA256, input, length);
    assert_int_equal(answer(&w, &got), 0);
    assert_true(got.id == 77 && got.status == 0);
    assert_true(verifies(&w, input, length, &got));
    close(w.channel);
    bed_deinit(&bed);
}

static void test_another_surfaces_certificate_is_not_there(void **state)
{
    (void)state;
    struct bed bed;
    struct worker agents, main_worker;
    struct ipc_sign_answer got;
    uint8_t input[IPC_SIGN_INPUT_MAX];
    size_t length = good_input(input);
    bed_init(&bed);
    worker_init(&main_worker, &bed, "main", 0);
    worker_init(&agents, &bed, "agents", 0);
    assert_true(agents.certificate != main_worker.certificate);
    assert_memory_not_equal(agents.tickets.keys, main_worker.tickets.keys, sizeof agents.tickets.keys[0]);
    ask(&agents, 1, main_worker.certificate, IPC_SIGN_ECDSA_SHA256, input, length);
    assert_int_equal(answer(&agents, &got), 0);
    assert_int_equal(got.status, -ENOENT);
    assert_int_equal(got.length, 0);
    /* one that never was looks the same */
    ask(&agents, 2, main_worker.certificate ^ 1, IPC_SIGN_ECDSA_SHA256, input, length);
    assert_int_equal(answer(&agents, &got), 0);
    assert_int_equal(got.status, -ENOENT);
    close(agents.channel);
    close(main_worker.channel);
    bed_deinit(&bed);
}

static void test_workers_of_one_surface_share_its_ticket_keys(void **state)
{
    (void)state;
    struct bed bed;
    struct worker a, b;
    bed_init(&bed);
    worker_init(&a, &bed, "main", 0);
    worker_init(&b, &bed, "main", 1);
    assert_memory_equal(&a.tickets.keys, &b.tickets.keys, sizeof a.tickets.keys);
    assert_true(a.certificate == b.certificate);
    close(a.channel);
    close(b.channel);
    bed_deinit(&bed);
}

static void test_what_is_no_handshake_ends_its_channel_and_no_other(void **state)
{
    (void)state;
    struct bed bed;
    struct worker honest, hostile;
    struct ipc_sign_answer got;
    uint8_t input[IPC_SIGN_INPUT_MAX];
    size_t length = good_input(input);
    bed_init(&bed);
    worker_init(&honest, &bed, "main", 0);
    for (int attempt = 0; attempt < 4; attempt++) {
        uint8_t bad[IPC_SIGN_INPUT_MAX] = { 0x30, 0x82 };
        size_t bad_length = 200; /* a certificate, perhaps */
        if (attempt == 1) {
            bad_length = good_input(bad);
            memcpy(bad + 64, "TLS 1.3, client CertificateVerify", 34);
        } else if (attempt == 2) {
            bad_length = 32; /* a digest */
        } else if (attempt == 3) {
            bad_length = 0;
        }
        worker_init(&hostile, &bed, "main", 9);
        ask(&hostile, 1, hostile.certificate, IPC_SIGN_ECDSA_SHA256, bad, bad_length);
        assert_int_equal(answer(&hostile, &got), -EPIPE);
        close(hostile.channel);
    }
    ask(&honest, 1, honest.certificate, IPC_SIGN_ECDSA_SHA256, input, length);
    assert_int_equal(answer(&honest, &got), 0);
    assert_int_equal(got.status, 0);
    close(honest.channel);
    bed_deinit(&bed);
}

static void test_a_message_that_a_worker_may_not_send_ends_its_channel(void **state)
{
    (void)state;
    struct bed bed;
    struct worker w;
    struct ipc_sign_answer got;
    struct ipc_dial dial = { .header = IPC_HEADER(IPC_BROKER_DIAL, dial) };
    struct ipc_sign cut = { .header = IPC_HEADER(IPC_KEEPER_SIGN, cut) };
    bed_init(&bed);
    worker_init(&w, &bed, "main", 0);
    assert_int_equal(ipc_send_plain(w.channel, &dial), 0);
    assert_int_equal(answer(&w, &got), -EPIPE);
    close(w.channel);
    worker_init(&w, &bed, "main", 0);
    assert_int_equal(write(w.channel, &cut, sizeof cut - 1), sizeof cut - 1);
    assert_int_equal(answer(&w, &got), -EPIPE);
    close(w.channel);
    bed_deinit(&bed);
}

static void test_a_flood_of_asks_is_answered_in_turn_with_others(void **state)
{
    (void)state;
    struct bed bed;
    struct worker honest, flooder;
    struct ipc_sign_answer got;
    uint8_t input[IPC_SIGN_INPUT_MAX];
    size_t length = good_input(input);
    bed_init(&bed);
    worker_init(&honest, &bed, "main", 0);
    worker_init(&flooder, &bed, "agents", 0);
    struct ipc_sign question = { .header = IPC_HEADER(IPC_KEEPER_SIGN, question), .certificate = flooder.certificate, .length = (uint32_t)length };
    memcpy(question.input, input, length);
    int sent = 0;
    while (ipc_send_plain(flooder.channel, &question) == 0 && sent < 10000)
        sent++;
    ask(&honest, 5, honest.certificate, IPC_SIGN_ECDSA_SHA256, input, length);
    assert_int_equal(answer(&honest, &got), 0);
    assert_int_equal(got.status, 0);
    close(flooder.channel);
    close(honest.channel);
    bed_deinit(&bed);
}

static void test_the_same_certificate_after_a_kill_so_that_asks_can_be_sent_again(void **state)
{
    (void)state;
    struct bed bed;
    struct worker before, after;
    struct ipc_sign_answer got;
    uint8_t input[IPC_SIGN_INPUT_MAX];
    size_t length = good_input(input);
    bed_init(&bed);
    worker_init(&before, &bed, "main", 0);
    kill(bed.pid, SIGKILL);
    bed_wait(&bed);
    close(bed.parent);
    bed_run(&bed);
    worker_init(&after, &bed, "main", 0);
    assert_true(before.certificate == after.certificate);
    ask(&after, 1, before.certificate, IPC_SIGN_ECDSA_SHA256, input, length);
    assert_int_equal(answer(&after, &got), 0);
    assert_true(verifies(&before, input, length, &got));
    close(before.channel);
    close(after.channel);
    bed_deinit(&bed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_handshake_is_signed_with_the_surfaces_key),
        cmocka_unit_test(test_another_surfaces_certificate_is_not_there),
        cmocka_unit_test(test_workers_of_one_surface_share_its_ticket_keys),
        cmocka_unit_test(test_what_is_no_handshake_ends_its_channel_and_no_other),
        cmocka_unit_test(test_a_message_that_a_worker_may_not_send_ends_its_channel),
        cmocka_unit_test(test_a_flood_of_asks_is_answered_in_turn_with_others),
        cmocka_unit_test(test_the_same_certificate_after_a_kill_so_that_asks_can_be_sent_again),
    };
    if (argc != 2)
        return 2;
    keeper_program = argv[1];
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
