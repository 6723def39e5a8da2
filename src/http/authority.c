/* The authority of a request, host[:port] (RFC 3986 section 3.2 without userinfo), as strictly as names are declared. */
#include "base/address.h"
#include "http/chars.h"
#include "http/head.h"

enum { NAME_MAX_LENGTH = 253, LABEL_MAX_LENGTH = 63 }; /* RFC 1035 section 2.3.4, as text without the last dot */

static bool port_is_valid(struct str text)
{
    uint64_t port;
    return text.len <= 5 && str_to_u64(text, 65535, &port) && port > 0;
}

/* The length of the name before the port; 0 when it isn't a host name. */
static size_t name_length(struct str authority)
{
    size_t label = 0;
    size_t i = 0;
    for (; i < authority.len && authority.ptr[i] != ':'; i++) {
        if (!http_char_is(authority.ptr[i], HTTP_CHAR_HOST))
            return 0;
        if (authority.ptr[i] != '.') {
            label++;
        } else if (label == 0 || label > LABEL_MAX_LENGTH) {
            return 0;
        } else {
            label = 0;
        }
    }
    bool has_last_dot = i > 0 && authority.ptr[i - 1] == '.';
    return label > LABEL_MAX_LENGTH || i - has_last_dot > NAME_MAX_LENGTH ? 0 : i;
}

/* The length of "[IPv6]"; 0 when it isn't one. */
static size_t literal_length(struct str authority)
{
    size_t end = str_find_char(authority, ']');
    struct str inner = str_first(str_skip(authority, 1), end - 1);
    struct address address;
    bool is_v6 = end < authority.len && str_find_char(inner, ':') < inner.len && address_parse(inner, &address);
    return is_v6 ? end + 1 : 0;
}

static size_t host_length(struct str authority)
{
    if (authority.len == 0)
        return 0;
    size_t n = authority.ptr[0] == '[' ? literal_length(authority) : name_length(authority);
    if (n == 0 || n == authority.len)
        return n;
    return authority.ptr[n] == ':' && port_is_valid(str_skip(authority, n + 1)) ? n : 0;
}

bool http_authority_is_valid(struct str authority)
{
    return host_length(authority) > 0;
}

bool http_authority_host(struct str authority, char host[static 256], struct str *ret_host)
{
    size_t n = host_length(authority);
    if (n == 0)
        return false;
    if (authority.ptr[n - 1] == '.')
        n--;
    for (size_t i = 0; i < n; i++)
        host[i] = str_lower_char(authority.ptr[i]);
    host[n] = 0;
    *ret_host = str_make(host, n);
    return true;
}
