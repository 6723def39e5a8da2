/* Events: cutting the stream into lines, and reading one. */
#include "docker/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "docker/json.h"

/* ---- one event ---- */

static enum docker_event_type type_of(struct str text)
{
    if (str_equal(text, STR("container")))
        return DOCKER_EVENT_CONTAINER;
    if (str_equal(text, STR("network")))
        return DOCKER_EVENT_NETWORK;
    return str_equal(text, STR("daemon")) ? DOCKER_EVENT_DAEMON : DOCKER_EVENT_OTHER;
}

static enum docker_event_action action_of(struct str text)
{
    static const struct {
        struct str text;
        enum docker_event_action action;
    } actions[] = {
        { STR("create"), DOCKER_ACTION_CREATE },   { STR("start"), DOCKER_ACTION_START },     { STR("restart"), DOCKER_ACTION_RESTART },
        { STR("pause"), DOCKER_ACTION_PAUSE },     { STR("unpause"), DOCKER_ACTION_UNPAUSE }, { STR("stop"), DOCKER_ACTION_STOP },
        { STR("die"), DOCKER_ACTION_DIE },         { STR("died"), DOCKER_ACTION_DIE },        { STR("destroy"), DOCKER_ACTION_DESTROY },
        { STR("remove"), DOCKER_ACTION_DESTROY },  { STR("rename"), DOCKER_ACTION_RENAME },   { STR("update"), DOCKER_ACTION_UPDATE },
        { STR("connect"), DOCKER_ACTION_CONNECT }, { STR("disconnect"), DOCKER_ACTION_DISCONNECT }, { STR("reload"), DOCKER_ACTION_RELOAD },
    };
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
        if (str_equal(actions[i].text, text))
            return actions[i].action;
    return DOCKER_ACTION_OTHER;
}

static int read_event(struct docker_json *reader, const json_t *root, struct docker_event *ret, struct error *err)
{
    const json_t *actor = json_object_get(root, "Actor"), *attributes = json_object_get(actor, "Attributes");
    const json_t *time = json_object_get(root, "timeNano");
    if (!json_is_object(root)) {
        error_set(err, "not an event");
        return -EINVAL;
    }
    struct docker_event event = {
        .type = type_of(docker_json_text(reader, root, "Type")),
        .action = action_of(docker_json_text(reader, root, "Action")),
        .id = docker_json_text(reader, actor, "ID"),
        .name = docker_json_text(reader, attributes, "name"),
        .project = docker_json_text(reader, attributes, "com.docker.compose.project"),
        .service = docker_json_text(reader, attributes, "com.docker.compose.service"),
        .container = docker_json_text(reader, attributes, "container"),
        .driver = docker_json_text(reader, attributes, "type"),
        .offered = docker_json_text(reader, attributes, "postern.service"),
        .time_ns = json_is_integer(time) && json_integer_value(time) > 0 ? (uint64_t)json_integer_value(time) : 0,
    };
    /* Of no use without: what it is about can only be learnt by listing all again. */
    bool is_about = event.type == DOCKER_EVENT_CONTAINER || event.type == DOCKER_EVENT_NETWORK;
    if (is_about && !reader->error && !docker_id_is_valid(event.id)) {
        error_set(err, "an event about an ID that is none");
        return -EINVAL;
    }
    if (!docker_id_is_valid(event.container))
        event.container = STR("");
    if (!reader->error)
        *ret = event;
    return reader->error;
}

int docker_event_parse(struct str line, struct arena *arena, struct docker_event *ret, struct error *err)
{
    struct docker_json reader = { .arena = arena };
    json_t *root;
    if (line.len > DOCKER_EVENT_LINE_MAX) {
        error_set(err, "an event of more than %d KB", DOCKER_EVENT_LINE_MAX >> 10);
        return -E2BIG;
    }
    int r = docker_json_load(line, &root, err);
    if (r < 0)
        return r;
    r = read_event(&reader, root, ret, err);
    json_decref(root);
    return r;
}

const char *docker_events_path(uint64_t since_ns, char text[static DOCKER_EVENTS_PATH_SIZE])
{
    /* {"type":["container","network","daemon"]} */
    static const char filters[] = "%7B%22type%22%3A%5B%22container%22%2C%22network%22%2C%22daemon%22%5D%7D";
    int n = snprintf(text, DOCKER_EVENTS_PATH_SIZE, "/events?filters=%s", filters);
    if (since_ns > 0)
        snprintf(text + n, DOCKER_EVENTS_PATH_SIZE - (size_t)n, "&since=%" PRIu64 ".%09" PRIu64, since_ns / 1000000000, since_ns % 1000000000);
    return text;
}

/* ---- lines ---- */

void docker_lines_init(struct docker_lines *lines)
{
    *lines = (struct docker_lines){ 0 };
    buf_init(&lines->rest, DOCKER_EVENT_LINE_MAX);
}

void docker_lines_deinit(struct docker_lines *lines)
{
    buf_deinit(&lines->rest);
}

static struct str without_return(struct str line)
{
    while (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

bool docker_lines_next(struct docker_lines *lines, struct str *piece, struct str *ret_line, int *ret_error)
{
    if (lines->is_taken)
        buf_clear(&lines->rest);
    lines->is_taken = false;
    while (piece->len > 0) {
        size_t end = str_find_char(*piece, '\n');
        bool is_whole = end < piece->len;
        struct str part = str_first(*piece, end);
        *piece = str_skip(*piece, is_whole ? end + 1 : end);
        if (!is_whole || lines->rest.len > 0) {
            buf_append(&lines->rest, part);
            if (lines->rest.error) {
                *ret_error = lines->rest.error;
                return false;
            }
            part = buf_str(&lines->rest);
        } else if (part.len > DOCKER_EVENT_LINE_MAX) {
            *ret_error = -E2BIG;
            return false;
        }
        if (!is_whole)
            continue;
        part = without_return(part);
        if (part.len > 0) {
            lines->is_taken = true;
            *ret_line = part;
            return true;
        }
        buf_clear(&lines->rest);
    }
    return false;
}
