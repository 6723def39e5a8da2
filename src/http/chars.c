/* The table behind the character classes. */
#include "http/chars.h"

#define TOKEN  (HTTP_CHAR_TOKEN | HTTP_CHAR_TARGET)
#define LETTER (TOKEN | HTTP_CHAR_HOST)

const uint8_t http_chars[256] = {
    ['!'] = TOKEN,
    ['"'] = HTTP_CHAR_TARGET,
    ['#'] = HTTP_CHAR_TOKEN,
    ['$' ... '\''] = TOKEN,
    ['(' ... ')'] = HTTP_CHAR_TARGET,
    ['*' ... '+'] = TOKEN,
    [','] = HTTP_CHAR_TARGET,
    ['-' ... '.'] = LETTER,
    ['/'] = HTTP_CHAR_TARGET,
    ['0' ... '9'] = LETTER | HTTP_CHAR_HEX,
    [':' ... '@'] = HTTP_CHAR_TARGET,
    ['A' ... 'F'] = LETTER | HTTP_CHAR_UPPER | HTTP_CHAR_HEX,
    ['G' ... 'Z'] = LETTER | HTTP_CHAR_UPPER,
    ['[' ... ']'] = HTTP_CHAR_TARGET,
    ['^'] = TOKEN,
    ['_'] = HTTP_CHAR_UNDERSCORE | HTTP_CHAR_TARGET | HTTP_CHAR_HOST,
    ['`'] = TOKEN,
    ['a' ... 'f'] = LETTER | HTTP_CHAR_HEX,
    ['g' ... 'z'] = LETTER,
    ['{'] = HTTP_CHAR_TARGET,
    ['|'] = TOKEN,
    ['}'] = HTTP_CHAR_TARGET,
    ['~'] = TOKEN,
};
