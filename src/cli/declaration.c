/* The declaration's file: found, read, and what to say when that fails. */
#include "cli/declaration.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define CLI_DECLARATION_LOCAL  "./postern.yml"
#define CLI_DECLARATION_SYSTEM "/etc/postern/postern.yml"

const char *cli_declaration_path(const char *given)
{
    if (given)
        return given;
    if (access(CLI_DECLARATION_LOCAL, F_OK) == 0)
        return CLI_DECLARATION_LOCAL;
    if (access(CLI_DECLARATION_SYSTEM, F_OK) == 0)
        return CLI_DECLARATION_SYSTEM;
    fputs("postern: there is no ./postern.yml and no " CLI_DECLARATION_SYSTEM "; name the declaration with -f FILE\n"
          "         (postern.yml(5) shows how to write one)\n", stderr);
    return NULL;
}

static const char *advice_for(int error)
{
    switch (error) {
    case ENOENT: return "; check the name, or leave it out to read ./postern.yml";
    case EACCES: return "; run it as a user who may read it, or with sudo";
    case EISDIR: return "; name the file in it";
    case EFBIG: return "; a declaration has at most 16 MB";
    default: return "";
    }
}

static int file_read(const char *path, struct buf *buf)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        return -EISDIR;
    for (;;) {
        char *room = buf_reserve(buf, 64 << 10);
        ssize_t n = room ? read(fd, room, 64 << 10) : -1;
        if (!room)
            return buf->error == -E2BIG ? -EFBIG : buf->error;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return 0;
        if (n > 0)
            buf->len += (size_t)n;
    }
}

bool cli_declaration_read(const char *given, struct cli_declaration *ret)
{
    struct cli_declaration read = { .path = cli_declaration_path(given) };
    if (!read.path)
        return false;
    buf_init(&read.source, MODEL_FILE_SIZE_MAX + (128 << 10));
    int r = file_read(read.path, &read.source);
    if (r == 0)
        r = model_read(buf_str(&read.source), str_of(read.path), &read.model, &read.findings);
    if (r < 0) {
        fprintf(stderr, "postern: can't read %s: %s%s\n", read.path, strerror(-r), advice_for(-r));
        cli_declaration_deinit(&read);
        return false;
    }
    *ret = read;
    return true;
}

void cli_findings_write(struct buf *out, const struct cli_declaration *declaration, bool colour)
{
    for (uint32_t i = 0; i < declaration->findings.n; i++)
        model_finding_write(out, &declaration->findings.items[i], str_of(declaration->path), buf_str(&declaration->source), colour);
}

bool cli_declaration_load(const char *given, struct cli_declaration *ret)
{
    cleanup_declaration struct cli_declaration read = { 0 };
    if (!cli_declaration_read(given, &read))
        return false;
    if (!read.model) {
        cleanup_buf struct buf out;
        buf_init(&out, CLI_OUTPUT_MAX);
        cli_findings_write(&out, &read, cli_colour(stderr));
        fwrite(out.ptr, 1, out.len, stderr);
        return false;
    }
    *ret = read;
    read = (struct cli_declaration){ 0 };
    return true;
}

void cli_declaration_deinit(struct cli_declaration *declaration)
{
    buf_deinit(&declaration->source);
    declaration->model = model_free(declaration->model);
    model_findings_deinit(&declaration->findings);
}
