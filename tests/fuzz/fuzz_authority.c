/* Authorities: what is accepted comes out as one lower-case name that means itself. */
#include "h1_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str authority = str_make((const char *)data, size);
    char host[256], again[256];
    struct str name = STR_NONE, same = STR_NONE;
    bool ok = http_authority_host(authority, host, &name);
    CHECK(ok == http_authority_is_valid(authority));
    if (!ok)
        return 0;
    CHECK(name.ptr == host && name.len > 0 && name.len <= 253 && host[name.len] == 0 && strlen(host) == name.len);
    CHECK(name.ptr[name.len - 1] != '.');
    for (size_t i = 0; i < name.len; i++)
        CHECK(host[i] > 0x20 && host[i] < 0x7f && str_lower_char(host[i]) == host[i] && host[i] != '@' && host[i] != '/' && host[i] != '%');
    CHECK(http_authority_host(name, again, &same) && str_equal(name, same));
    return 0;
}
