/* postern-acme: runs lego for the keeper, alone with the DNS provider's token, under a user of its own. */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"
#include "roles/acme_order.h"

enum { ACME_VARIABLES_MAX = 64, ACME_ENVIRONMENT_MAX = 16 * 1024 };

/* The provider's environment file, as lego gets it. */
struct acme_environment {
    char *text;                            /* owned; the variables point into it */
    char *variables[ACME_VARIABLES_MAX];   /* "KEY=VALUE" */
    uint32_t n_variables;
    const char *resolvers;                 /* POSTERN_ACME_RESOLVERS, for lego itself: "HOST:PORT,..."; NULL: the system's */
    bool skip_propagation_check;           /* POSTERN_ACME_PROPAGATION_CHECK=no */
};

/* KEY=VALUE lines as systemd's EnvironmentFile has them: "#" and ";" comments, blank lines, one pair of quotes around a value.
 * 0; -EINVAL or another negative errno with err, which never holds a value. */
int acme_environment_read(const char *path, struct acme_environment *ret, struct error *err) must_check;
/* The text may hold anything; it is taken over (and wiped by deinit) when 0 is returned. */
int acme_environment_parse(char *text, struct acme_environment *ret, struct error *err) must_check;
/* Wipes. */
void acme_environment_deinit(struct acme_environment *environment);
/* Replaces every value of the environment that is 4 characters or longer by dots, also within base64 (HTTP's Basic authentication): what is
 * said may go to a log, the token may not. */
void acme_environment_redact(const struct acme_environment *environment, char *text);

/* Runs lego on the order, in the directory (where its account is kept); fills in the answer but for its id. */
void acme_lego_run(const char *directory, const struct acme_order *order, struct acme_answer *answer);
