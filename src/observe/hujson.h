/* Reads HuJSON: JSON (RFC 8259) with comments and trailing commas, as Tailscale's policy files are written, every value with its place.
 *
 * The text is not trusted: size, depth and the number of values are limited, text must be UTF-8, and a name said twice in an object is an
 * error, since readers differ in which one they take. */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

enum hujson_kind { HUJSON_NULL, HUJSON_BOOL, HUJSON_NUMBER, HUJSON_STRING, HUJSON_ARRAY, HUJSON_OBJECT };

struct hujson_place {
    uint32_t line, column; /* from 1; a column is a byte */
};

struct hujson {
    enum hujson_kind kind;
    bool truth;                   /* BOOL */
    struct str text;              /* STRING: without escapes; NUMBER: as written */
    struct str key;               /* in an object: the value's name */
    struct hujson_place at, key_at;
    struct str source;            /* the value as written, from its first byte to its last */
    struct hujson *first, *next;  /* ARRAY, OBJECT: what is in it; the next value of what this one is in */
    uint32_t n;                   /* how many are in it */
};

enum {
    HUJSON_SIZE_MAX = 16 << 20,
    HUJSON_DEPTH_MAX = 64,
    HUJSON_VALUES_MAX = 1 << 20,
    HUJSON_NUMBER_MAX = 64,       /* characters */
};

enum { HUJSON_E_INVALID = 1 };

/* Everything is in the arena, but for text and source, which may point into the text given. file is what errors name.
 * 0; HUJSON_E_INVALID with "file:line:column: what" in err; -ENOMEM. */
int hujson_read(struct str text, const char *file, struct arena *arena, struct hujson **ret, struct error *err) must_check;

/* The member of that name, or NULL; exactly, or without regard to case. */
struct hujson *hujson_find(const struct hujson *object, struct str key);
struct hujson *hujson_find_nocase(const struct hujson *object, struct str key);
/* "a list", "text", … for messages. */
const char *hujson_kind_name(enum hujson_kind kind);
