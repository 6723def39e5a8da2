/* One access record: checked as it comes from a worker, and written as a JSON line or for a person's eye. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/str.h"
#include "ipc/message.h"

/* The longest line either form takes, its newline included: every text at its longest, every byte of it escaped. */
enum { LOGGER_LINE_MAX = 2048 };

/* A record and where it came from, which the pipe tells and the record does not. */
struct logger_entry {
    struct ipc_record record;
    uint32_t surface, worker;
};

/* Whether the bytes are a record at all: texts end, enumerations are known, the id has its form, numbers
 * are such as readers of JSON take (below 2^63). Bytes that don't print become '?'
 * (a worker that was taken over must not move a reader's cursor). False: its sender is out of step or hostile, end it. */
bool logger_record_check(struct ipc_record *record) must_check;

/* "no-grant" of IPC_DENIED_NO_GRANT and so on; "" of IPC_DENIED_NOT. */
const char *logger_denied_name(enum ipc_record_denied denied);
/* The inverse; false for an unknown word. */
bool logger_denied_parse(struct str word, enum ipc_record_denied *ret) must_check;

/* Both write a line with its newline into line and return its length. */
size_t logger_record_json(const struct ipc_record *record, struct str surface, uint32_t worker, char line[static LOGGER_LINE_MAX]);
size_t logger_record_readable(const struct ipc_record *record, struct str surface, bool colour, char line[static LOGGER_LINE_MAX]);

/* What a reader of the log wants to see; empty fields match everything. */
struct logger_filter {
    char id[17];
    char from[64];       /* principal, segment or client address; '*' matches any run */
    char to[64];         /* service, instance or host asked for; likewise */
    char surface[64];
    bool denied;         /* only what was denied */
    uint16_t status_low, status_high; /* both 0: any */
};

/* Sets one field from KEY=VALUE words of the log socket's request and the command line: id, from, to, surface, denied=1, status=404 or 4xx.
 * False for an unknown key or a malformed value; nothing is changed then. */
bool logger_filter_set(struct logger_filter *filter, struct str key, struct str value) must_check;
bool logger_filter_match(const struct logger_filter *filter, const struct ipc_record *record, struct str surface);
