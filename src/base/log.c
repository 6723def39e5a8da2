/* Process messages: one write per line, so that lines of several processes don't mix. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *log_name = "postern";
static enum log_level log_max = LOG_INFO;

void log_init(const char *name, enum log_level max_level)
{
    log_name = name;
    log_max = max_level;
}

void log_write(enum log_level level, const char *format, ...)
{
    static const char *const prefix[] = { "error: ", "warning: ", "", "debug: " };
    if (level > log_max)
        return;
    int saved_errno = errno;
    char line[1024];
    int n = snprintf(line, sizeof line, "%s: %s", log_name, prefix[level]);
    va_list args;
    va_start(args, format);
    int m = vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    size_t len = m < 0 ? (size_t)n : (size_t)n + (size_t)m;
    if (len > sizeof line - 2)
        len = sizeof line - 2;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20)
            line[i] = ' ';
    line[len++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written;
    errno = saved_errno;
}
