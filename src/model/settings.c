/* What is said once per file: domain, certificates, log, metrics. */
#include "model/read.h"

/* Any service's label and its dot must fit before it. */
enum { DOMAIN_MAX = READ_HOST_NAME_MAX - READ_LABEL_MAX - 1 };

void read_domain(struct reader *r, const struct yaml_node *value, void *object)
{
    (void)object;
    if (read_host_name(r, value, DOMAIN_MAX, &r->model->domain))
        r->model->domain.at = value->at;
}

/* ---- tls ---- */

static void read_cert(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_tls *tls = object;
    tls->source = MODEL_TLS_FILES;
    (void)!read_path(r, value, READ_PATH_MAX, &tls->certificate_file);
}

static void read_key(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_tls *tls = object;
    (void)!read_path(r, value, READ_PATH_MAX, &tls->key_file);
}

static void read_email(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_tls *tls = object;
    struct str text;
    if (!read_text(r, value, "a mail address", &text))
        return;
    size_t at = str_find_char(text, '@');
    bool is_plain = text.len <= 254 && text.ptr[0] != '-' && at > 0 && at + 1 < text.len;
    for (size_t i = 0; i < text.len && is_plain; i++)
        is_plain = text.ptr[i] > ' ' && text.ptr[i] < 0x7f && (text.ptr[i] != '@' || i == at);
    if (!is_plain)
        read_error(r, value, STR("the certificate authority writes to it before a certificate ends"),
                   "expected a mail address, found %s",
                   read_quote(r, text));
    else
        tls->acme_email = text;
}

/* The provider becomes an argument of lego: nothing but the letters of its provider codes. */
static void read_provider(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_tls *tls = object;
    struct str text;
    if (!read_text(r, value, "lego's code of a DNS provider", &text))
        return;
    bool is_code = text.len <= READ_LABEL_MAX && read_is_label(text);
    if (!is_code)
        read_error(r, value, STR("'lego dnshelp' lists them: cloudflare, hetzner, rfc2136, ..."), "%s is no code of a DNS provider",
                   read_quote(r, text));
    else
        tls->acme_provider = text;
}

static void read_environment_file(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_tls *tls = object;
    (void)!read_path(r, value, READ_PATH_MAX, &tls->acme_environment_file);
}

static void read_directory(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_tls *tls = object;
    struct str text;
    if (!read_text(r, value, "an https:// address", &text))
        return;
    bool is_url = str_starts_with(text, STR("https://")) && text.len > 8 && text.len <= 1024;
    for (size_t i = 0; i < text.len && is_url; i++)
        is_url = text.ptr[i] > ' ' && text.ptr[i] < 0x7f;
    if (!is_url)
        read_error(r, value, STR("the directory of an ACME server, as its manual names it"),
                   "expected an https:// address, found %s",
                   read_quote(r, text));
    else
        tls->acme_directory = text;
}

static void read_acme_ca(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_tls *tls = object;
    (void)!read_path(r, value, READ_PATH_MAX, &tls->acme_ca_file);
}

static void read_acme(struct reader *r, const struct yaml_node *value, void *object)
{
    static const struct read_field fields[] = {
        { "email", true, read_email },
        { "provider", true, read_provider },
        { "environment-file", false, read_environment_file },
        { "directory", false, read_directory },
        { "ca", false, read_acme_ca },
    };
    static const struct read_shape shape = { "acme", "{ email: me@home.example, provider: hetzner }", fields, ARRAY_SIZE(fields) };
    struct model_tls *tls = object;
    tls->source = MODEL_TLS_ACME;
    tls->acme_directory = STR("https://acme-v02.api.letsencrypt.org/directory");
    (void)read_mapping(r, value, &shape, tls);
}

void read_tls(struct reader *r, const struct yaml_node *value, void *object)
{
    static const struct read_field fields[] = {
        { "cert", false, read_cert },
        { "key", false, read_key },
        { "acme", false, read_acme },
    };
    static const struct read_shape shape = {
        "tls", "{ cert: /etc/postern/cert.pem, key: /etc/postern/key.pem }", fields, ARRAY_SIZE(fields)
    };
    (void)object;
    struct model_tls *tls = &r->model->tls;
    tls->at = value->at;
    if (value->kind != YAML_MAPPING) {
        if (value->kind != YAML_SCALAR || !str_equal(value->text, STR("internal")))
            read_expected(r, value, "internal, { cert: FILE, key: FILE } or { acme: ... }");
        return;
    }
    const struct yaml_node *const *given = read_mapping(r, value, &shape, tls);
    if (!given)
        return;
    bool has_files = given[0] || given[1];
    if (given[2] && has_files)
        read_error(r, value->key, STR("keep the files, or acme:"), "tls has certificate files and acme");
    else if (!given[2] && !(given[0] && given[1]))
        read_error(r, value->key, STR("for example { cert: /etc/postern/cert.pem, key: /etc/postern/key.pem }"),
                   has_files ? "tls needs cert: and key:" : "tls says nothing");
}

/* ---- log and metrics ---- */

static void read_log_to(struct reader *r, const struct yaml_node *value, void *object)
{
    (void)object;
    struct model *model = r->model;
    if (value->kind == YAML_SCALAR && str_equal(value->text, STR("stdout")))
        model->log_to = MODEL_LOG_STDOUT;
    else if (value->kind != YAML_SCALAR || value->text.len == 0 || value->text.ptr[0] != '/')
        read_expected(r, value, "stdout or an absolute path");
    else if (read_path(r, value, READ_PATH_MAX, &model->log_file))
        model->log_to = MODEL_LOG_FILE;
}

void read_log(struct reader *r, const struct yaml_node *value, void *object)
{
    static const struct read_field fields[] = { { "to", true, read_log_to } };
    static const struct read_shape shape = { "log", "{ to: /var/log/postern.log }", fields, ARRAY_SIZE(fields) };
    (void)read_mapping(r, value, &shape, object);
}

static void read_metrics_unix(struct reader *r, const struct yaml_node *value, void *object)
{
    (void)object;
    (void)!read_path(r, value, READ_UNIX_PATH_MAX, &r->model->metrics_unix);
}

static void read_metrics_address(struct reader *r, const struct yaml_node *value, void *object)
{
    (void)object;
    if (value->kind != YAML_SCALAR)
        read_expected(r, value, "one address");
    else
        read_addresses(r, value, READ_ADDRESS_WHOLE, 1, NULL, &r->model->metrics_address);
}

static void read_metrics_port(struct reader *r, const struct yaml_node *value, void *object)
{
    (void)object;
    (void)!read_port(r, value, &r->model->metrics_port);
}

void read_metrics(struct reader *r, const struct yaml_node *value, void *object)
{
    static const struct read_field fields[] = {
        { "unix", false, read_metrics_unix },
        { "address", false, read_metrics_address },
        { "port", false, read_metrics_port },
    };
    static const struct read_shape shape = { "metrics", "{ address: 127.0.0.1, port: 9100 }", fields, ARRAY_SIZE(fields) };
    const struct yaml_node *const *given = read_mapping(r, value, &shape, object);
    if (!given)
        return;
    if (!given[1] != !given[2])
        read_error(r, value->key, STR("for example { address: 127.0.0.1, port: 9100 }"),
                   "metrics has address: or port:, and needs both");
    else if (!given[0] && !given[1])
        read_error(r, value->key, STR("leave it out, or say unix: or address: and port:"), "metrics says nothing");
}
