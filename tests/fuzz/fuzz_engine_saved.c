/* A saved engine from anywhere: it reads or is refused with a sentence, and what reads can be searched for findings. */
#include <errno.h>
#include <stdlib.h>

#include "observe/findings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct observe_engine engine;
    struct findings findings = { 0 };
    struct error err = { "" };
    int r = observe_engine_read(str_make((const char *)data, size), &engine, &err);
    if (r == -EINVAL && !err.text[0])
        abort();
    if (r == 0 && findings_find(&engine, STR("roc"), &findings) == 0)
        for (uint32_t i = 1; i < findings_n(&findings); i++)
            if (findings_at(&findings, i - 1)->severity > findings_at(&findings, i)->severity)
                abort();
    findings_deinit(&findings);
    observe_engine_deinit(&engine);
    return 0;
}
