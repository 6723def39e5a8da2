/* Addresses and prefixes: text, sockaddr, masks. */
#include "base/address.h"

#include <arpa/inet.h>
#include <stdio.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

bool address_parse(struct str text, struct address *ret)
{
    char copy[ADDRESS_TEXT_SIZE];
    struct address parsed;
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, '\0', text.len))
        return false;
    str_copy(copy, sizeof copy, text);
    if (inet_pton(AF_INET6, copy, parsed.bytes) != 1) {
        memcpy(parsed.bytes, mapped, sizeof mapped);
        if (inet_pton(AF_INET, copy, parsed.bytes + 12) != 1)
            return false;
    }
    *ret = parsed;
    return true;
}

bool address_prefix_parse(struct str text, struct address_prefix *ret)
{
    struct str rest = text, head = str_split(&rest, '/');
    struct address_prefix parsed;
    uint64_t bits = 0;
    if (!address_parse(head, &parsed.address))
        return false;
    bool v4 = str_find_char(head, ':') == head.len;
    if (head.len == text.len)
        bits = 128;
    else if (!str_to_u64(rest, v4 ? 32 : 128, &bits) || (rest.len > 1 && rest.ptr[0] == '0'))
        return false;
    else if (v4)
        bits += 96;
    parsed.bits = (uint8_t)bits;
    struct address masked = address_mask(&parsed.address, parsed.bits);
    if (!address_equal(&masked, &parsed.address))
        return false;
    *ret = parsed;
    return true;
}

bool address_is_loopback(const struct address *address)
{
    static const uint8_t one[16] = { [15] = 1 };
    return address_is_v4(address) ? address->bytes[12] == 127 : memcmp(address->bytes, one, sizeof one) == 0;
}

struct address address_mask(const struct address *address, unsigned bits)
{
    struct address masked = { { 0 } };
    unsigned whole = bits / 8, rest = bits % 8;
    memcpy(masked.bytes, address->bytes, whole);
    if (rest && whole < sizeof masked.bytes)
        masked.bytes[whole] = (uint8_t)(address->bytes[whole] & (0xff00u >> rest));
    return masked;
}

bool address_prefix_contains(const struct address_prefix *prefix, const struct address *address)
{
    struct address masked = address_mask(address, prefix->bits);
    return address_equal(&masked, &prefix->address) && (prefix->bits >= 96 || !address_is_v4(address));
}

/* By hand: it is asked for with every request, and libc's goes through printf. */
static void format_v4(const uint8_t *bytes, char *text)
{
    for (int i = 0; i < 4; i++) {
        unsigned n = bytes[i];
        if (i)
            *text++ = '.';
        if (n >= 100)
            *text++ = (char)('0' + n / 100);
        if (n >= 10)
            *text++ = (char)('0' + n / 10 % 10);
        *text++ = (char)('0' + n % 10);
    }
    *text = '\0';
}

const char *address_format(const struct address *address, char text[static ADDRESS_TEXT_SIZE])
{
    if (address_is_v4(address))
        format_v4(address->bytes + 12, text);
    else
        inet_ntop(AF_INET6, address->bytes, text, ADDRESS_TEXT_SIZE);
    return text;
}

const char *address_prefix_format(const struct address_prefix *prefix, char text[static ADDRESS_PREFIX_TEXT_SIZE])
{
    char address[ADDRESS_TEXT_SIZE];
    bool v4 = address_is_v4(&prefix->address) && prefix->bits >= 96;
    address_format(&prefix->address, address);
    if (prefix->bits == 128)
        snprintf(text, ADDRESS_PREFIX_TEXT_SIZE, "%s", address);
    else
        snprintf(text, ADDRESS_PREFIX_TEXT_SIZE, "%s/%d", address, v4 ? prefix->bits - 96 : prefix->bits);
    return text;
}

bool address_from_sockaddr(const struct sockaddr *sa, struct address *ret)
{
    if (sa->sa_family == AF_INET) {
        memcpy(ret->bytes, mapped, sizeof mapped);
        memcpy(ret->bytes + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        memcpy(ret->bytes, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
        return true;
    }
    return false;
}

uint16_t address_sockaddr_port(const struct sockaddr *sa)
{
    return ntohs(sa->sa_family == AF_INET ? ((const struct sockaddr_in *)(const void *)sa)->sin_port
                                          : ((const struct sockaddr_in6 *)(const void *)sa)->sin6_port);
}

socklen_t address_to_sockaddr(const struct address *address, uint16_t port, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof *ret);
    if (address_is_v4(address)) {
        struct sockaddr_in *in = (void *)ret;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, address->bytes + 12, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (void *)ret;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    memcpy(&in6->sin6_addr, address->bytes, 16);
    return sizeof *in6;
}

uint64_t address_hash(const struct address *address)
{
    return str_hash(str_make((const char *)address->bytes, sizeof address->bytes));
}

/* The last address of a prefix. */
static struct address prefix_last(struct address address, unsigned bits)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned kept = bits > i * 8 ? bits - i * 8 : 0;
        if (kept < 8)
            address.bytes[i] |= (uint8_t)(0xff >> kept);
    }
    return address;
}

bool address_advance(struct address *address)
{
    for (unsigned i = sizeof address->bytes; i-- > 0;)
        if (++address->bytes[i])
            return true;
    return false;
}

bool address_retreat(struct address *address)
{
    for (unsigned i = sizeof address->bytes; i-- > 0;)
        if (address->bytes[i]--)
            return true;
    return false;
}

bool address_take_prefix(struct address *first, const struct address *last, struct address_prefix *ret)
{
    unsigned bits = 128, least = address_is_v4(first) ? 96 : 0;
    while (bits > least) {
        struct address masked = address_mask(first, bits - 1), end = prefix_last(*first, bits - 1);
        if (!address_equal(&masked, first) || address_compare(&end, last) > 0)
            break;
        bits--;
    }
    struct address end = prefix_last(*first, bits);
    *ret = (struct address_prefix){ *first, (uint8_t)bits };
    if (address_compare(&end, last) >= 0)
        return false;
    address_advance(&end);
    *first = end;
    return true;
}
