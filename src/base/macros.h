/* Attributes and the two ownership idioms: cleanup on scope exit, and taking a value out of its variable. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define must_check        __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
#define pure_function     __attribute__((pure))
#define cleanup(f)        __attribute__((cleanup(f)))

#define cleanup_free  cleanup(base_free_pointer)
#define cleanup_close cleanup(base_close_descriptor)

/* The value of a pointer variable, which becomes NULL: ownership moves to the caller of the expression. */
#define TAKE(p)                                                                                                        \
    __extension__({                                                                                                    \
        __typeof__(p) *take_from_ = &(p);                                                                              \
        __typeof__(p) taken_ = *take_from_;                                                                            \
        *take_from_ = NULL;                                                                                            \
        taken_;                                                                                                        \
    })

/* The same for a descriptor variable, which becomes -1. */
#define TAKE_FD(fd)                                                                                                    \
    __extension__({                                                                                                    \
        int *take_from_ = &(fd);                                                                                       \
        int taken_ = *take_from_;                                                                                      \
        *take_from_ = -1;                                                                                              \
        taken_;                                                                                                        \
    })

#define ARRAY_SIZE(a)              (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, field) ((type *)(void *)((char *)(p) - offsetof(type, field)))
#define likely(x)                  __builtin_expect(!!(x), 1)
#define unlikely(x)                __builtin_expect(!!(x), 0)

/* Built with AddressSanitizer, for tests. gcc and clang say so in different ways. */
#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

static inline void base_free_pointer(void *p)
{
    free(*(void **)p);
}

static inline void base_close_descriptor(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
