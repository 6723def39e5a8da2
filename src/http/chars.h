/* Classes of characters in HTTP messages, one table look-up each. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum http_char_class {
    HTTP_CHAR_TOKEN = 1,       /* tchar (RFC 9110 section 5.6.2) without '_', which has a class of its own */
    HTTP_CHAR_UNDERSCORE = 2,
    HTTP_CHAR_TARGET = 4,      /* visible ASCII without '#': what a request target may hold */
    HTTP_CHAR_HOST = 8,        /* letters, digits, '-', '.', '_' */
    HTTP_CHAR_UPPER = 16,
    HTTP_CHAR_HEX = 32,
};

extern const uint8_t http_chars[256];

static inline bool http_char_is(char c, unsigned classes)
{
    return (http_chars[(uint8_t)c] & classes) != 0;
}

/* The first byte from p on that no field value may hold (RFC 9110 section 5.5: a control other than tab), or end. */
static inline const char *http_skip_value(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    for (;;) {
        while (end - p >= 8) {
            uint64_t word;
            memcpy(&word, p, 8);
            uint64_t del = word ^ (ones * 0x7f);
            if ((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & highs)
                break;
            p += 8;
        }
        const char *stop = end - p >= 8 ? p + 8 : end;
        for (; p < stop; p++)
            if (((uint8_t)*p < 0x20 && *p != '\t') || *p == 0x7f)
                return p;
        if (p == end)
            return end;
    }
}
