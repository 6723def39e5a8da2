/* postern ca: the internal certificate authority, as clients are to trust it. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/macros.h"
#include "tls/pair.h"

#define STATE_DIRECTORY "/var/lib/postern"

enum { NAMES_MAX = 8, NAME_SIZE = 256 };

static const char usage[] =
    "usage: postern ca show [--json] [--state-directory DIR]\n"
    "       postern ca export [-o FILE] [--pem | --der] [--state-directory DIR]\n"
    "\n"
    "The internal certificate authority that a gateway makes at its first start, where the declaration says nothing else under tls:.\n"
    "It can speak for the declared domain only, so that trusting it trusts it for the home and for nothing else.\n"
    "\n"
    "  show              whose it is, its fingerprint, until when, and what it is constrained to\n"
    "  export            the certificate that clients are to trust (never a key)\n"
    "  -o, --output FILE where to (standard output)\n"
    "      --pem, --der  in which form (PEM; iOS takes either, Windows wants DER)\n"
    "      --json        for scripts\n"
    "      --state-directory DIR  the gateway's (" STATE_DIRECTORY ")\n"
    "\n"
    "To trust it:\n"
    "  Debian, Ubuntu  postern ca export -o /usr/local/share/ca-certificates/postern.crt, then update-ca-certificates\n"
    "  Fedora          postern ca export -o /etc/pki/ca-trust/source/anchors/postern.pem, then update-ca-trust\n"
    "  macOS           security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain postern.pem (as root)\n"
    "  iOS, iPadOS     send postern.pem to the device (AirDrop, mail), install it under Settings > General > VPN & Device Management,\n"
    "                  then switch it on under Settings > General > About > Certificate Trust Settings\n"
    "  Android         Settings > Security > Encryption & credentials > Install a certificate > CA certificate\n"
    "  Firefox         Settings > Privacy & Security > View Certificates > Authorities > Import (it keeps its own list)\n"
    "Compare the fingerprint that the device shows with that of postern ca show.\n"
    "\n"
    "Exit status: 0 done, 1 there is no authority there, 2 it could not be read or written.\n";

struct ca_options {
    bool is_export, json, der;
    const char *output, *state_directory;
};

struct ca_facts {
    char subject[256], fingerprint[TLS_FINGERPRINT_SIZE], serial[64], not_before[32], not_after[32];
    char permitted[NAMES_MAX][NAME_SIZE];
    size_t n_permitted;
    long path_length;
    bool excludes_addresses, is_valid;
};

/* 0: go on. Otherwise the exit status + 1. */
static int options_read(int argc, char **argv, struct ca_options *ret)
{
    static const struct option options[] = { { "json", no_argument, NULL, 'j' },   { "output", required_argument, NULL, 'o' },
                                             { "pem", no_argument, NULL, 'p' },    { "der", no_argument, NULL, 'd' },
                                             { "help", no_argument, NULL, 'h' },   { "state-directory", required_argument, NULL, 's' },
                                             { 0 } };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "o:h", options, NULL)) != -1) {
        switch (c) {
        case 'j': ret->json = true; break;
        case 'o': ret->output = optarg; break;
        case 'p': ret->der = false; break;
        case 'd': ret->der = true; break;
        case 's': ret->state_directory = optarg; break;
        default:
            fputs(usage, c == 'h' ? stdout : stderr);
            return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
        }
    }
    const char *verb = optind + 1 == argc ? argv[optind] : "";
    ret->is_export = strcmp(verb, "export") == 0;
    if (!ret->is_export && strcmp(verb, "show") != 0) {
        fputs(usage, stderr);
        return CLI_UNKNOWN + 1;
    }
    return 0;
}

/* The exit status; *ret_root is the caller's when it is CLI_YES. */
static int root_read(const char *state_directory, X509 **ret_root)
{
    char path[512];
    snprintf(path, sizeof path, "%s/ca/root.pem", state_directory);
    BIO *bio = BIO_new_file(path, "r");
    if (!bio) {
        int reason = errno;
        fprintf(stderr, "postern ca: %s: %s\n", path, strerror(reason));
        if (reason == ENOENT)
            fputs("A gateway makes its authority when it first runs; --state-directory names another gateway's directory.\n", stderr);
        return reason == ENOENT ? CLI_NO : CLI_UNKNOWN;
    }
    *ret_root = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (!*ret_root) {
        fprintf(stderr, "postern ca: %s: expected a certificate in PEM form\n", path);
        return CLI_UNKNOWN;
    }
    return CLI_YES;
}

static void format_time(const ASN1_TIME *when, char text[static 32])
{
    time_t seconds = (time_t)tls_time(when);
    struct tm parts;
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &parts));
}

static void read_constraints(X509 *root, struct ca_facts *facts)
{
    NAME_CONSTRAINTS *constraints = X509_get_ext_d2i(root, NID_name_constraints, NULL, NULL);
    if (!constraints)
        return;
    for (int i = 0; i < sk_GENERAL_SUBTREE_num(constraints->permittedSubtrees) && facts->n_permitted < NAMES_MAX; i++) {
        const GENERAL_NAME *name = sk_GENERAL_SUBTREE_value(constraints->permittedSubtrees, i)->base;
        if (name->type == GEN_DNS)
            str_copy(facts->permitted[facts->n_permitted++], NAME_SIZE,
                     str_make((const char *)ASN1_STRING_get0_data(name->d.dNSName), (size_t)ASN1_STRING_length(name->d.dNSName)));
    }
    for (int i = 0; i < sk_GENERAL_SUBTREE_num(constraints->excludedSubtrees); i++)
        facts->excludes_addresses |= sk_GENERAL_SUBTREE_value(constraints->excludedSubtrees, i)->base->type == GEN_IPADD;
    NAME_CONSTRAINTS_free(constraints);
}

static void facts_read(X509 *root, struct ca_facts *facts)
{
    *facts = (struct ca_facts){ .path_length = X509_get_pathlen(root) };
    X509_NAME_get_text_by_NID(X509_get_subject_name(root), NID_commonName, facts->subject, sizeof facts->subject);
    tls_fingerprint(root, facts->fingerprint);
    BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(root), NULL);
    char *digits = serial ? BN_bn2hex(serial) : NULL;
    str_copy(facts->serial, sizeof facts->serial, str_of(digits));
    OPENSSL_free(digits);
    BN_free(serial);
    format_time(X509_get0_notBefore(root), facts->not_before);
    format_time(X509_get0_notAfter(root), facts->not_after);
    int64_t now = (int64_t)time(NULL);
    facts->is_valid = tls_time(X509_get0_notBefore(root)) <= now && now < tls_time(X509_get0_notAfter(root));
    read_constraints(root, facts);
}

static void show_json(const struct ca_facts *facts, struct buf *out)
{
    const struct {
        const char *name, *value;
    } texts[] = { { "subject", facts->subject }, { "sha256", facts->fingerprint }, { "serial", facts->serial }, { "not_before", facts->not_before },
                  { "not_after", facts->not_after } };
    buf_append(out, STR("{"));
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        buf_printf(out, "\"%s\": ", texts[i].name);
        buf_append_json(out, str_of(texts[i].value));
        buf_append(out, STR(", "));
    }
    buf_printf(out, "\"valid\": %s, \"path_length\": %ld, \"permitted_names\": [", facts->is_valid ? "true" : "false", facts->path_length);
    for (size_t i = 0; i < facts->n_permitted; i++) {
        buf_append(out, i ? STR(", ") : STR_NONE);
        buf_append_json(out, str_of(facts->permitted[i]));
    }
    buf_printf(out, "], \"addresses_excluded\": %s}\n", facts->excludes_addresses ? "true" : "false");
}

static void show_table(const struct ca_facts *facts, struct buf *out)
{
    buf_printf(out, "subject      %s\n", facts->subject);
    buf_printf(out, "SHA-256      %s\n", facts->fingerprint);
    buf_printf(out, "serial       %s\n", facts->serial);
    buf_printf(out, "valid        %s to %s%s\n", facts->not_before, facts->not_after, facts->is_valid ? "" : " (not now)");
    buf_append(out, STR("constraints  "));
    if (facts->n_permitted == 0)
        buf_append(out, STR("none"));
    for (size_t i = 0; i < facts->n_permitted; i++)
        buf_printf(out, "%s%s and names below it", i ? ", " : "", facts->permitted[i]);
    buf_printf(out, "%s; %ld level of authorities below it\n", facts->excludes_addresses ? ", no addresses" : "", facts->path_length);
    buf_append(out, STR("\n'postern ca export' writes what clients are to trust; 'postern ca --help' says how they come to.\n"));
}

static int show(X509 *root, const struct ca_options *given)
{
    static struct ca_facts facts;
    struct buf out;
    buf_init(&out, 65536);
    facts_read(root, &facts);
    if (given->json)
        show_json(&facts, &out);
    else
        show_table(&facts, &out);
    bool written = !out.error && fwrite(out.ptr, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    buf_deinit(&out);
    return written ? CLI_YES : CLI_UNKNOWN;
}

static bool write_root(X509 *root, bool der, FILE *to)
{
    return (der ? i2d_X509_fp(to, root) : PEM_write_X509(to, root)) && fflush(to) == 0;
}

/* What is there is replaced only when all of it could be written: the trust store may read at any time. */
static int replace_file(X509 *root, bool der, const char *path)
{
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary)
        return -ENAMETOOLONG;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    FILE *to = fdopen(fd, "w");
    bool written = to && write_root(root, der, to) && fsync(fd) == 0;
    int r = written ? 0 : errno ? -errno : -EIO;
    if (to)
        fclose(to);
    else
        close(fd);
    if (written && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(temporary);
    return r;
}

/* A device, a pipe or a terminal is written to, never replaced by a file. */
static int write_to_special(X509 *root, bool der, const char *path)
{
    FILE *to = fopen(path, "we");
    if (!to)
        return -errno;
    bool written = write_root(root, der, to);
    int r = written ? 0 : -EIO;
    fclose(to);
    return r;
}

static int export(X509 *root, const struct ca_options *given)
{
    struct stat there;
    int r;
    if (!given->output)
        r = write_root(root, given->der, stdout) ? 0 : -EIO;
    else if (stat(given->output, &there) == 0 && !S_ISREG(there.st_mode))
        r = write_to_special(root, given->der, given->output);
    else
        r = replace_file(root, given->der, given->output);
    if (r < 0)
        fprintf(stderr, "postern ca: %s: %s\n", given->output ? given->output : "standard output", strerror(-r));
    return r < 0 ? CLI_UNKNOWN : CLI_YES;
}

int cli_ca(int argc, char **argv)
{
    struct ca_options given = { .state_directory = STATE_DIRECTORY };
    X509 *root = NULL;
    int status = options_read(argc, argv, &given);
    if (status)
        return status - 1;
    status = root_read(given.state_directory, &root);
    if (status == CLI_YES)
        status = given.is_export ? export(root, &given) : show(root, &given);
    X509_free(root);
    return status;
}
