/* Docker's stream of events from anywhere, and cut anywhere: the lines are the same, and each reads or is refused. */
#include <errno.h>
#include <stdlib.h>

#include "docker/events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How many lines and bytes of lines there are when the stream comes in pieces of `step` bytes. */
static size_t count(struct str stream, size_t step, bool parse, size_t *ret_n)
{
    struct docker_lines lines;
    struct arena arena;
    size_t bytes = 0;
    int error = 0;
    *ret_n = 0;
    docker_lines_init(&lines);
    arena_init(&arena, 4 << 20);
    while (stream.len > 0 && error == 0) {
        struct str piece = str_first(stream, step), line;
        stream = str_skip(stream, piece.len);
        while (docker_lines_next(&lines, &piece, &line, &error)) {
            struct docker_event event;
            struct error err = { "" };
            if (line.len == 0)
                abort();
            bytes += line.len;
            ++*ret_n;
            int r = parse ? docker_event_parse(line, &arena, &event, &err) : -1;
            if (r == 0 && (event.type == DOCKER_EVENT_CONTAINER || event.type == DOCKER_EVENT_NETWORK) && !docker_id_is_valid(event.id))
                abort();
        }
    }
    docker_lines_deinit(&lines);
    arena_deinit(&arena);
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n_whole, n_cut;
    if (size == 0)
        return 0;
    struct str stream = str_make((const char *)data + 1, size - 1);
    size_t whole = count(stream, SIZE_MAX, true, &n_whole), cut = count(stream, data[0] % 61 + 1, false, &n_cut);
    if (whole != cut || n_whole != n_cut)
        abort();
    return 0;
}
