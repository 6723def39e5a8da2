/* The DNS provider's token: read for one run, given to lego alone, kept out of every message. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "roles/acme.h"

void acme_environment_deinit(struct acme_environment *environment)
{
    if (environment->text)
        explicit_bzero(environment->text, ACME_ENVIRONMENT_MAX);
    free(environment->text);
    *environment = (struct acme_environment){ 0 };
}

static bool is_key(const char *key, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!((key[i] >= 'A' && key[i] <= 'Z') || (key[i] >= 'a' && key[i] <= 'z') || key[i] == '_' || (i > 0 && key[i] >= '0' && key[i] <= '9')))
            return false;
    /* Nothing that changes what the loader loads. */
    return length > 0 && strncmp(key, "LD_", 3) != 0;
}

static char *strip(char *s)
{
    s += strspn(s, " \t\r");
    for (size_t n = strlen(s); n > 0 && strchr(" \t\r", s[n - 1]); n--)
        s[n - 1] = '\0';
    return s;
}

/* Takes the quotes off in place. */
static void unquote(char *value)
{
    size_t n = strlen(value);
    if (n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n - 1] == value[0]) {
        memmove(value, value + 1, n - 2);
        value[n - 2] = '\0';
    }
}

static int add_line(struct acme_environment *environment, char *line, unsigned number, struct error *err)
{
    line = strip(line);
    if (!line[0] || line[0] == '#' || line[0] == ';')
        return 0;
    if (strncmp(line, "export ", 7) == 0)
        line = strip(line + 7);
    char *equals = strchr(line, '=');
    if (!equals || !is_key(line, (size_t)(equals - line))) {
        error_set(err, "line %u: expected KEY=VALUE", number);
        return -EINVAL;
    }
    unquote(equals + 1);
    if (strncmp(line, "POSTERN_ACME_RESOLVERS=", 23) == 0)
        environment->resolvers = equals + 1;
    else if (strncmp(line, "POSTERN_ACME_PROPAGATION_CHECK=", 31) == 0)
        environment->skip_propagation_check = strcmp(equals + 1, "no") == 0;
    else if (environment->n_variables == ACME_VARIABLES_MAX)
        return error_set(err, "line %u: more than %d variables", number, ACME_VARIABLES_MAX), -EINVAL;
    else
        environment->variables[environment->n_variables++] = line;
    return 0;
}

int acme_environment_parse(char *text, struct acme_environment *ret, struct error *err)
{
    struct acme_environment environment = { .text = text };
    unsigned number = 0;
    for (char *next = text; next;) {
        char *line = next;
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        int r = add_line(&environment, line, ++number, err);
        if (r < 0)
            return r;
    }
    *ret = environment;
    return 0;
}

int acme_environment_read(const char *path, struct acme_environment *ret, struct error *err)
{
    struct stat st;
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    char *text = NULL;

    if (r == 0 && (!S_ISREG(st.st_mode) || st.st_size >= ACME_ENVIRONMENT_MAX)) {
        error_set(err, "%s: expected a file of KEY=VALUE lines, less than %d KB", path, ACME_ENVIRONMENT_MAX / 1024);
        return -EINVAL;
    }
    if (r == 0 && !(text = calloc(1, ACME_ENVIRONMENT_MAX)))
        r = -ENOMEM;
    size_t length = 0;
    for (ssize_t n = 1; r == 0 && n != 0 && length < ACME_ENVIRONMENT_MAX - 1;) {
        n = read(fd, text + length, ACME_ENVIRONMENT_MAX - 1 - length);
        if (n < 0)
            r = -errno;
        else
            length += (size_t)n;
    }
    if (r < 0)
        error_set(err, "%s: %s; environment-file: under tls: acme: must name the file with the DNS provider's token", path, strerror(-r));
    else if ((r = acme_environment_parse(text, ret, err)) < 0)
        error_wrap(err, "%s", path);
    if (r < 0 && text) {
        explicit_bzero(text, ACME_ENVIRONMENT_MAX);
        free(text);
    }
    return r;
}

static void blot_out(char *text, const char *secret, size_t length)
{
    for (char *found = text; (found = memmem(found, strlen(found), secret, length)); found += length)
        memset(found, '.', length);
}

/* The characters that value, skip bytes after a multiple of three into a base64 text, has to itself there; their number. */
static size_t encode_core(const char *value, size_t length, size_t skip, char *core)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0, n_bits = 0;
    uint32_t bits = 0;
    /* From the first character that is of the value alone: byte boundaries and those of six bits meet every three bytes. */
    for (size_t i = skip ? 3 - skip : 0; i < length; i++) {
        bits = bits << 8 | (uint8_t)value[i];
        for (n_bits += 8; n_bits >= 6; n_bits -= 6)
            core[n++] = alphabet[bits >> (n_bits - 6) & 63];
    }
    return n;
}

void acme_environment_redact(const struct acme_environment *environment, char *text)
{
    enum { SHORTEST = 4, LONGEST = 1024 };
    char core[LONGEST * 4 / 3 + 4];
    for (uint32_t i = 0; i < environment->n_variables; i++) {
        const char *value = strchr(environment->variables[i], '=') + 1;
        size_t length = strlen(value);
        if (length < SHORTEST)
            continue;
        blot_out(text, value, length);
        /* "Basic dXNlcjp0b2tlbg==", wherever in it the value begins. */
        for (size_t skip = 0; skip < 3 && length <= LONGEST; skip++) {
            size_t n = encode_core(value, length, skip, core);
            if (n >= SHORTEST)
                blot_out(text, core, n);
        }
    }
    explicit_bzero(core, sizeof core);
}
