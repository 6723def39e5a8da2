/* What a client may send to the watcher's sockets: each input ends in an answer, a wait for more, or the end; never in a second answer. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "roles/watcher_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct server server;
static struct watcher_state watched;

static int parent = -1;

/* Before anything else takes the descriptor that the watcher knows its parent by: what it asks of the parent must not land elsewhere. */
__attribute__((constructor)) static void be_the_parent(void)
{
    int ends[2];
    if (ipc_pair(&ends[0], &ends[1]))
        abort();
    parent = fcntl(ends[0], F_DUPFD_CLOEXEC, IPC_PARENT_FD + 1);
    if (ends[1] != IPC_PARENT_FD && dup2(ends[1], IPC_PARENT_FD) < 0)
        abort();
    for (int i = 0; i < 2; i++)
        if (ends[i] != IPC_PARENT_FD)
            close(ends[i]);
}

static void hear_as_parent(void)
{
    struct ipc_buffer message;
    int fds[IPC_FDS_MAX];
    size_t n_fds;
    int r = ipc_receive_from(parent, IPC_ROLE_WATCHER, IPC_ROLE_PARENT, &message, fds, &n_fds);
    assert(r == -EAGAIN || (r == 0 && n_fds == 0));
}

/* The first byte's low bit says which socket; the rest comes in two pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 2 * SERVER_REQUEST_MAX)
        return 0;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends))
        abort();
    enum server_kind kind = data[0] & 1 ? SERVER_METRICS : SERVER_CONTROL;
    server_init(&server, &watched);
    unsigned index = server_accept(&server, kind, ends[0], 0);
    size_t first = data[1] < size - 2 ? data[1] : size - 2;
    for (unsigned piece = 0; piece < 2; piece++) {
        const uint8_t *at = data + 2 + (piece ? first : 0);
        size_t n = piece ? size - 2 - first : first;
        if (n > 0 && server.connections[kind][index].fd >= 0 && send(ends[1], at, n, MSG_NOSIGNAL) < 0)
            break;
        server_ready(&server, kind, index, 0);
    }
    hear_as_parent();
    char answer[64] = "";
    ssize_t got = read(ends[1], answer, sizeof answer - 1);
    if (got > 0 && kind == SERVER_METRICS)
        assert(memcmp(answer, "HTTP/1.1 ", 9) == 0);
    else if (got > 0)
        assert(answer[0] == '{' || memcmp(answer, "# HELP", 6) == 0);
    close(ends[1]);
    (void)server_turn(&server, 1000000000);
    (void)server_turn(&server, 2000000000);
    assert(server.connections[kind][index].fd < 0);
    return 0;
}
