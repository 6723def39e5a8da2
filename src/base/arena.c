/* Arena: chunks grow with what was used, so that a large lifetime costs few heap calls; large ones are made of huge pages where the system
 * has some, since what fills hundreds of megabytes is otherwise a quarter of the time in page faults. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

enum { ARENA_ALIGN = 16, ARENA_CHUNK_MIN = 4096, ARENA_CHUNK_MAX = 1 << 24, HUGE_PAGE = 2 << 20 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size, used;
    _Alignas(ARENA_ALIGN) char data[];
};

/* 0: the chunk is the heap's. */
static size_t mapped_size(size_t size)
{
    size_t whole = sizeof(struct arena_chunk) + size;
    return whole < HUGE_PAGE ? 0 : (whole + HUGE_PAGE - 1) & ~((size_t)HUGE_PAGE - 1);
}

/* Huge pages lie at multiples of their size: what is mapped before and behind them goes back. */
static struct arena_chunk *chunk_map(size_t whole)
{
    char *mapped = mmap(NULL, whole + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return NULL;
    size_t before = (HUGE_PAGE - (uintptr_t)mapped % HUGE_PAGE) % HUGE_PAGE;
    if (before)
        munmap(mapped, before);
    munmap(mapped + before + whole, HUGE_PAGE - before);
    madvise(mapped + before, whole, MADV_HUGEPAGE);
    return (struct arena_chunk *)(void *)(mapped + before);
}

static void chunk_free(struct arena_chunk *c)
{
    if (mapped_size(c->size))
        munmap(c, mapped_size(c->size));
    else
        free(c);
}

void arena_init(struct arena *arena, size_t max)
{
    *arena = (struct arena){ .max = max };
}

void arena_deinit(struct arena *arena)
{
    for (struct arena_chunk *next, *c = arena->chunks; c; c = next) {
        next = c->next;
        chunk_free(c);
    }
    *arena = (struct arena){ .max = arena->max };
}

static size_t chunk_size_for(const struct arena *arena, size_t need)
{
    size_t size = arena->held;
    if (size < ARENA_CHUNK_MIN)
        size = ARENA_CHUNK_MIN;
    if (size > ARENA_CHUNK_MAX)
        size = ARENA_CHUNK_MAX;
    if (arena->max && arena->held < arena->max && size > arena->max - arena->held)
        size = arena->max - arena->held;
    return size < need ? need : size;
}

static struct arena_chunk *chunk_add(struct arena *arena, size_t need)
{
    size_t size = chunk_size_for(arena, need);
    if (arena->max && (size > arena->max || arena->held > arena->max - size))
        return NULL;
    if (size > SIZE_MAX / 2)
        return NULL;
    struct arena_chunk *c = mapped_size(size) ? chunk_map(mapped_size(size)) : calloc(1, sizeof *c + size);
    if (!c)
        return NULL;
    c->size = size;
    c->next = arena->chunks;
    arena->chunks = c;
    arena->held += size;
    return c;
}

void *arena_alloc(struct arena *arena, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (bytes == 0)
        bytes = ARENA_ALIGN;
    struct arena_chunk *c = arena->chunks;
    if (!c || c->size - c->used < bytes)
        c = chunk_add(arena, bytes);
    if (!c)
        return NULL;
    void *p = c->data + c->used;
    c->used += bytes;
    arena->used += bytes;
    return p;
}

struct str arena_copy(struct arena *arena, struct str s)
{
    char *p = arena_alloc(arena, s.len + 1, 1);
    if (!p)
        return STR_NONE;
    if (s.len)
        memcpy(p, s.ptr, s.len);
    return str_make(p, s.len);
}

struct str arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *p = n < 0 ? NULL : arena_alloc(arena, (size_t)n + 1, 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p ? str_make(p, (size_t)n) : STR_NONE;
}
