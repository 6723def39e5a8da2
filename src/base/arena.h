/* One lifetime's memory: allocated piece by piece, released whole, never past its cap. */
#pragma once

#include <stddef.h>

#include "base/macros.h"
#include "base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    size_t used;  /* bytes handed out */
    size_t held;  /* bytes taken from the heap */
    size_t max;   /* cap on held; 0: none */
};

void arena_init(struct arena *arena, size_t max);
/* Releases everything; the arena can be used again. */
void arena_deinit(struct arena *arena);
/* Zeroed, aligned for any type. NULL when n * size overflows, the cap would be passed, or the heap is empty; nothing is changed then. */
void *arena_alloc(struct arena *arena, size_t n, size_t size) must_check;
/* A copy with a terminating NUL after len. ptr is NULL on failure. */
struct str arena_copy(struct arena *arena, struct str s);
struct str arena_printf(struct arena *arena, const char *format, ...) printf_like(2, 3);

#define arena_new(arena, type)      ((type *)arena_alloc((arena), 1, sizeof(type)))
#define arena_array(arena, n, type) ((type *)arena_alloc((arena), (n), sizeof(type)))
