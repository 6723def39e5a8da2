/* The DNS provider's environment file: variables stay inside it, nothing of the loader's is let through, and no value survives redaction. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "roles/acme.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct acme_environment environment;
    struct error err = { "" };
    if (size >= ACME_ENVIRONMENT_MAX)
        return 0;
    char *text = calloc(1, ACME_ENVIRONMENT_MAX);
    if (!text)
        return 0;
    memcpy(text, data, size);
    if (acme_environment_parse(text, &environment, &err) < 0) {
        free(text);
        return 0;
    }
    for (uint32_t i = 0; i < environment.n_variables; i++) {
        const char *variable = environment.variables[i], *value = strchr(variable, '=');
        if (variable < text || !value || value + strlen(value) >= text + ACME_ENVIRONMENT_MAX || strncmp(variable, "LD_", 3) == 0)
            abort();
        char said[64] = "";
        if (strlen(value + 1) >= 4 && strlen(value + 1) < 32 && !strchr(value + 1, '.')) {
            snprintf(said, sizeof said, "lego: %s", value + 1);
            acme_environment_redact(&environment, said);
            if (strstr(said + 6, value + 1))
                abort();
        }
    }
    acme_environment_deinit(&environment);
    return 0;
}
