/* The command's end of the control socket. */
#include "cli/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"

enum { ANSWER_SIZE_MAX = 16 << 20, READ_SIZE = 64 * 1024 };

static int connect_control(const char *run_directory, struct error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int n = snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", run_directory);
    if (n < 0 || (size_t)n >= sizeof address.sun_path) {
        error_set(err, "%s/control.sock: the path is too long for a socket", run_directory);
        return -ENAMETOOLONG;
    }
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_set(err, "%s", strerror(errno));
        return -errno;
    }
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int r = -errno;
        if (r == -ENOENT || r == -ECONNREFUSED)
            error_set(err, "no postern runs here (%s); 'postern run' starts one, --run-directory names another's", address.sun_path);
        else
            error_set(err, "%s: %s", address.sun_path, r == -EACCES ? "only the user that runs postern may ask it" : strerror(-r));
        return r;
    }
    return TAKE_FD(fd);
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int read_line(int fd, struct buf *line)
{
    for (;;) {
        char *room = buf_reserve(line, READ_SIZE);
        if (!room)
            return line->error;
        ssize_t n = read(fd, room, READ_SIZE);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EPIPE;
        if (n > 0) {
            line->len += (size_t)n;
            if (memchr(room, '\n', (size_t)n))
                return 0;
        }
    }
}

int control_ask(const char *run_directory, const char *what, json_t **ret, struct error *err)
{
    cleanup_close int fd = connect_control(run_directory, err);
    if (fd < 0)
        return fd;
    struct buf line;
    buf_init(&line, ANSWER_SIZE_MAX);
    buf_printf(&line, "{\"ask\":");
    buf_append_json(&line, str_of(what));
    buf_printf(&line, "}\n");
    int r = line.error ? line.error : write_all(fd, line.ptr, line.len);
    buf_clear(&line);
    if (r == 0)
        r = read_line(fd, &line);
    json_t *answer = NULL;
    if (r == 0) {
        const char *end = memchr(line.ptr, '\n', line.len);
        answer = json_loadb(line.ptr, (size_t)(end - line.ptr), 0, NULL);
        r = json_is_object(answer) ? 0 : -EBADMSG;
    }
    buf_deinit(&line);
    if (r < 0) {
        json_decref(answer);
        error_set(err, "asking the running postern: %s", r == -EPIPE ? "it ended without an answer" : strerror(-r));
        return r;
    }
    *ret = answer;
    return 0;
}
