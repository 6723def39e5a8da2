/* Where the lines go: a file that is followed when it is moved away, or standard output; what can't be written is counted and said once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"

enum { LOGGER_FILE_BUFFER = 256 * 1024, LOGGER_FILE_LOOK_MS = 1000 };

struct logger_file {
    int fd;
    const char *path;           /* borrowed; NULL: standard output */
    bool readable;              /* a terminal: lines for a person's eye */
    bool torn;                  /* the last write ended within a line */
    dev_t dev;
    ino_t ino;
    int64_t looked_ms;          /* when the path was last compared with what is open */
    bool reopen_failed;         /* said already */
    uint64_t n_lost;
    int64_t said_ms;
    size_t len, n_lines;        /* in the buffer */
    char *buffer;               /* LOGGER_FILE_BUFFER */
};

/* Opens; before confinement, with the rights to make the file and its directory, which are then given to uid and gid (0: left).
 * path "" is standard output. 0, or negative errno with err. */
int logger_file_init(struct logger_file *file, const char *path, uint32_t uid, uint32_t gid, struct error *err) must_check;

/* Room for one more line of at most LOGGER_LINE_MAX, after writing what is buffered where there is none; always succeeds. */
char *logger_file_reserve(struct logger_file *file, int64_t now_ms);
void logger_file_commit(struct logger_file *file, size_t len);
/* Writes what is buffered, to a newly opened file if the old one was moved or removed (looked for once a second). */
void logger_file_flush(struct logger_file *file, int64_t now_ms);
