/* Rendered rules go to a short-lived nft by its standard input. */
#include "lab/nft.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "render/nftables.h"

enum { RULES_MAX = 64 << 20, SAID_MAX = 4096 };

/* A memory file with the text, at its start. */
static int file_of(struct str text)
{
    cleanup_close int fd = memfd_create("rules", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (size_t done = 0; done < text.len;) {
        ssize_t n = write(fd, text.ptr + done, text.len - done);
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return lseek(fd, 0, SEEK_SET) < 0 ? -errno : TAKE_FD(fd);
}

static int nft_spawn(int rules, int said, pid_t *ret_pid)
{
    static const char *const places[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft" };
    char *const arguments[] = { (char *)(uintptr_t) "nft", (char *)(uintptr_t) "-f", (char *)(uintptr_t) "-", NULL };
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, rules, STDIN_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, said, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
    if (r == 0) {
        r = ENOENT;
        for (size_t i = 0; i < ARRAY_SIZE(places) && r == ENOENT; i++)
            r = posix_spawn(ret_pid, places[i], &actions, NULL, arguments, environ);
        if (r == ENOENT)
            r = posix_spawnp(ret_pid, "nft", &actions, NULL, arguments, environ);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static int nft_load(struct str rules, struct error *err)
{
    cleanup_close int in = file_of(rules);
    cleanup_close int said = file_of(STR_NONE);
    pid_t pid;
    int status;
    int r = in < 0 ? in : said < 0 ? said : nft_spawn(in, said, &pid);
    if (r < 0) {
        error_set(err, r == -ENOENT ? "there is no nft; install Debian's package nftables" : "can't start nft: %s", strerror(-r));
        return r;
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    char text[SAID_MAX];
    ssize_t n = pread(said, text, sizeof(text), 0);
    struct str line = str_make(text, n > 0 ? (size_t)n : 0);
    error_set(err, "nft refused the rules: %.*s", STR_ARG(str_first(line, str_find_char(line, '\n'))));
    return -EIO;
}

static int nft_apply(const struct model *model, uint32_t host, struct error *err)
{
    const struct render_nftables_options options = {
        .mesh_interface = STR(NFT_MESH_INTERFACE), .worker_uid_first = NFT_WORKER_UID_FIRST, .worker_uid_last = NFT_WORKER_UID_LAST,
    };
    cleanup_buf struct buf rules = { .max = RULES_MAX };
    int r = host == MODEL_NONE ? render_nftables_mesh(model, &options, &rules, err) : render_nftables_host(model, host, &options, &rules, err);
    return r < 0 ? r : nft_load(buf_str(&rules), err);
}

int nft_apply_mesh(const struct model *model, struct error *err)
{
    return nft_apply(model, MODEL_NONE, err);
}

int nft_apply_host(const struct model *model, uint32_t host, struct error *err)
{
    return nft_apply(model, host, err);
}
