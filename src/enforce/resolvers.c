/* resolv.conf, as far as it is asked about here. */
#include "enforce/resolvers.h"

#include <fcntl.h>

enum { FILE_MAX = 64 << 10 };

/* The first two words of a line. */
static struct str word_take(struct str *line)
{
    struct str rest = str_trim(*line);
    size_t n = 0;
    while (n < rest.len && rest.ptr[n] != ' ' && rest.ptr[n] != '\t')
        n++;
    *line = str_skip(rest, n);
    return str_first(rest, n);
}

uint32_t resolvers_read(const char *path, struct address ret[static RESOLVERS_MAX])
{
    char text[FILE_MAX];
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    struct str rest = str_make(text, n > 0 ? (size_t)n : 0);
    uint32_t found = 0;
    while (rest.len && found < RESOLVERS_MAX) {
        struct str line = str_split(&rest, '\n');
        struct address address;
        if (str_equal(word_take(&line), STR("nameserver")) && address_parse(word_take(&line), &address) && !address_is_loopback(&address))
            ret[found++] = address;
    }
    return found;
}
