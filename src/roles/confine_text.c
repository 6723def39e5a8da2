/* What confines a role, in words; apart from the mechanisms, so that who only reports links none of them. */
#include <stdio.h>

#include "roles/confine.h"

const char *confine_format(uint32_t bits, char text[static CONFINE_TEXT_SIZE])
{
    static const char *const names[] = { "seccomp", "landlock", "capabilities", "uid", "rlimits", "no-new-privileges" };
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (bits >> i & 1)
            len += (size_t)snprintf(text + len, CONFINE_TEXT_SIZE - len, "%s%s", len ? ", " : "", names[i]);
    return len ? text : "nothing";
}
