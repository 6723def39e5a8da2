/* Borrowed bytes with their length, passed by value; nothing here depends on a terminating NUL. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/macros.h"

struct str {
    const char *ptr;
    size_t len;
};

#define STR(literal)  ((struct str){ "" literal, sizeof(literal) - 1 })
#define STR_NONE      ((struct str){ NULL, 0 })
#define STR_ARG(s)    (int)(s).len, (s).ptr /* for "%.*s" */

static inline struct str str_of(const char *nul_terminated)
{
    return (struct str){ nul_terminated, nul_terminated ? strlen(nul_terminated) : 0 };
}

static inline struct str str_make(const char *ptr, size_t len)
{
    return (struct str){ ptr, len };
}

static inline bool str_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline char str_lower_char(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Equal without regard to the case of ASCII letters. */
bool str_equal_nocase(struct str a, struct str b);
bool str_starts_with(struct str s, struct str prefix);
bool str_ends_with(struct str s, struct str suffix);
int str_compare(struct str a, struct str b);
/* The position of c, or s.len. */
size_t str_find_char(struct str s, char c);
/* Without leading and trailing spaces and tabs. */
struct str str_trim(struct str s);
/* From position n on (empty past the end). */
struct str str_skip(struct str s, size_t n);
struct str str_first(struct str s, size_t n);
/* Splits at the first c: returns what is before it and leaves what is after it in *rest; without c, all of it and an empty rest. */
struct str str_split(struct str *rest, char c);
/* Decimal digits only, no sign, no space, at most max. Returns false and leaves *ret_value when it is anything else. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *ret_value) must_check;
/* Copies as a C string into dst[size], cut where it doesn't fit; returns the length copied. size > 0. */
size_t str_copy(char *dst, size_t size, struct str s);
/* '*' matches any run of bytes, everything else itself. Linear in pattern times text. */
bool str_match_wildcard(struct str pattern, struct str text);
/* Damerau-Levenshtein (adjacent) distance, or limit + 1 when it is larger; for "did you mean". Strings past 64 bytes never match. */
unsigned str_distance(struct str a, struct str b, unsigned limit);
/* 64-bit hash for tables built from trusted or bounded input (FNV-1a, finalised). */
uint64_t str_hash(struct str s);
