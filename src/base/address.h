/* IPv4 and IPv6 addresses as one 16-byte value; IPv4 is held IPv4-mapped (RFC 4291 section 2.5.5.2), so that both forms of one peer are equal. */
#pragma once

#include <endian.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/macros.h"
#include "base/str.h"

struct address {
    uint8_t bytes[16];
};

/* A prefix; bits counts in the 16-byte form (a /24 of IPv4 is 120). Host bits are zero. */
struct address_prefix {
    struct address address;
    uint8_t bits;
};

enum { ADDRESS_TEXT_SIZE = 46, ADDRESS_PREFIX_TEXT_SIZE = 50 };

/* These are asked for in the millions: by a proof for every range of every rule. */
static inline bool address_equal(const struct address *a, const struct address *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static inline uint64_t address_half(const struct address *address, unsigned half)
{
    uint64_t number;
    memcpy(&number, address->bytes + 8 * half, sizeof number);
    return be64toh(number);
}

static inline int address_compare(const struct address *a, const struct address *b)
{
    uint64_t x = address_half(a, 0), y = address_half(b, 0);
    if (x == y) {
        x = address_half(a, 1);
        y = address_half(b, 1);
    }
    return (x > y) - (x < y);
}

static inline bool address_is_v4(const struct address *address)
{
    return address_half(address, 0) == 0 && address_half(address, 1) >> 32 == 0xffff;
}

/* Numeric forms only; no zone, no name. False and *ret untouched otherwise. */
bool address_parse(struct str text, struct address *ret) must_check;
/* "A/bits" or a bare address (a whole one). False when malformed or when host bits are set. */
bool address_prefix_parse(struct str text, struct address_prefix *ret) must_check;
bool address_is_loopback(const struct address *address);
/* Of one family: ::/0 holds no address of IPv4. */
bool address_prefix_contains(const struct address_prefix *prefix, const struct address *address);
struct address address_mask(const struct address *address, unsigned bits);
/* To the next address of the axis, or to the one before. At its end they wrap round and say false. */
bool address_advance(struct address *address);
bool address_retreat(struct address *address);
/* The longest prefix that starts the range; *first becomes what is left of it. False when that was the last. A range is of one family. */
bool address_take_prefix(struct address *first, const struct address *last, struct address_prefix *ret);
/* Writes the usual text form with its NUL into text; returns text. */
const char *address_format(const struct address *address, char text[static ADDRESS_TEXT_SIZE]);
const char *address_prefix_format(const struct address_prefix *prefix, char text[static ADDRESS_PREFIX_TEXT_SIZE]);
/* The address of an AF_INET or AF_INET6 socket address. False for other families. */
bool address_from_sockaddr(const struct sockaddr *sa, struct address *ret) must_check;
/* The port of one of these two families. */
uint16_t address_sockaddr_port(const struct sockaddr *sa);
/* A socket address of the right family; returns its length. port in host order. */
socklen_t address_to_sockaddr(const struct address *address, uint16_t port, struct sockaddr_storage *ret);
uint64_t address_hash(const struct address *address);
