/* The top of a Tailscale policy file: what may be in it, and in which order it is understood. */
#include "observe/tailscale_parts.h"

#include <stdarg.h>
#include <stdio.h>

enum { POLICY_MEMORY_MAX = 1 << 29, POLICY_FIELDS_MAX = 32 };

bool policy_refuse(struct tailscale_policy *p, struct hujson_place at, const char *format, ...)
{
    char what[400];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (!p->result) {
        error_set(p->err, "%s:%u:%u: %s", p->file, at.line, at.column, what);
        p->result = TAILSCALE_E_INVALID;
    }
    return false;
}

bool policy_no_memory(struct tailscale_policy *p)
{
    p->result = p->result ? p->result : -ENOMEM;
    return false;
}

/* Names go to terminals: whatever is not plain printable text ends the quote. */
struct str policy_quote(struct str text)
{
    size_t n = 0;
    while (n < text.len && n < 80 && (unsigned char)text.ptr[n] >= 0x20 && (unsigned char)text.ptr[n] < 0x7f)
        n++;
    return str_first(text, n);
}

static size_t field_find(const struct policy_field *fields, size_t n_fields, struct str key)
{
    size_t i = 0;
    while (i < n_fields && !str_equal_nocase(key, str_of(fields[i].name)))
        i++;
    return i;
}

/* Tailscale takes "ACLs" for "acls"; two spellings in one object would be two values for one thing. */
bool policy_read_object(struct tailscale_policy *p, const struct hujson *value, const struct policy_field *fields, size_t n_fields,
                        void *object)
{
    const struct hujson *found[POLICY_FIELDS_MAX] = { NULL };
    if (!policy_expect(p, value, HUJSON_OBJECT, "an object"))
        return false;
    for (const struct hujson *member = value->first; member; member = member->next) {
        size_t field = field_find(fields, n_fields, member->key);
        if (field == n_fields)
            return policy_refuse(p, member->key_at, "there is no field \"%.*s\" here", STR_ARG(policy_quote(member->key)));
        if (found[field])
            return policy_refuse(p, member->key_at, "\"%s\" is here already, at line %u", fields[field].name, found[field]->key_at.line);
        found[field] = member;
    }
    for (size_t i = 0; i < n_fields; i++)
        if (found[i] && fields[i].read && !fields[i].read(p, found[i], object))
            return false;
    return true;
}

bool policy_expect(struct tailscale_policy *p, const struct hujson *value, enum hujson_kind kind, const char *what)
{
    if (value->kind == kind)
        return true;
    return policy_refuse(p, value->at, "expected %s, found %s", what, hujson_kind_name(value->kind));
}

bool policy_list(struct tailscale_policy *p, const struct hujson *value, enum hujson_kind kind, const char *what)
{
    if (value->kind == HUJSON_NULL)
        return true;
    if (!policy_expect(p, value, HUJSON_ARRAY, "a list"))
        return false;
    for (const struct hujson *item = value->first; item; item = item->next)
        if (!policy_expect(p, item, kind, what))
            return false;
    return true;
}

static bool read_bool(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    return policy_expect(p, value, HUJSON_BOOL, "true or false");
}

static bool read_object(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    return policy_expect(p, value, HUJSON_OBJECT, "an object");
}

/* SSH rules decide who may log in, not who may connect: that it is a list of objects is all that is asked. */
static bool read_objects(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    return policy_list(p, value, HUJSON_OBJECT, "an object");
}

/* Names before who uses them, whatever the order in the file. */
static const struct policy_field fields[] = {
    { "hosts", policy_read_hosts },
    { "groups", policy_read_groups },
    { "tagOwners", policy_read_tag_owners },
    { "ipsets", policy_read_ipsets },
    { "postures", policy_read_postures },
    { "defaultSrcPosture", policy_read_posture_names },
    { "autoApprovers", policy_read_auto_approvers },
    { "acls", policy_read_acls },
    { "grants", policy_read_grants },
    { "nodeAttrs", policy_read_node_attrs },
    { "tests", policy_read_tests },
    { "ssh", read_objects },
    { "sshTests", read_objects },
    { "attrConfig", read_object },
    { "derpMap", read_object },
    { "disableIPv4", read_bool },
    { "oneCGNATRoute", NULL },
    { "randomizeClientPort", read_bool },
};

/* A policy that says nothing of who may reach what allows everything: Tailscale denies by default only once there is a list. */
static bool allow_all(struct tailscale_policy *p)
{
    static const struct tailscale_service all = { { 6, 17, 1, 58 }, 4, 0, 65535 };
    struct rule *rule = arena_new(&p->arena, struct rule);
    struct selector *source = arena_new(&p->arena, struct selector);
    struct destination *destination = arena_new(&p->arena, struct destination);
    if (!rule || !source || !destination)
        return policy_no_memory(p);
    source->kind = SELECTOR_ANY;
    source->text = STR("*");
    destination->selector = *source;
    destination->services = &all;
    destination->n_services = 1;
    *rule = (struct rule){ .name = STR("neither acls nor grants"), .title = STR("neither acls nor grants"),
                           .sources = { source, 1 }, .destinations = destination,
                           .n_destinations = 1 };
    p->rules = rule;
    p->n_rules = 1;
    return true;
}

static bool list_is_there(const struct hujson *root, const char *name)
{
    const struct hujson *list = hujson_find_nocase(root, str_of(name));
    return list && list->kind != HUJSON_NULL;
}

static int policy_read(struct tailscale_policy *p, struct str text)
{
    struct hujson *root = NULL;
    int result = hujson_read(text, p->file, &p->arena, &root, p->err);
    if (result)
        return result;
    if (policy_read_object(p, root, fields, ARRAY_SIZE(fields), NULL) && !list_is_there(root, "acls") && !list_is_there(root, "grants"))
        (void)allow_all(p);
    return p->result;
}

int tailscale_policy_read(struct str text, const char *file, struct tailscale_policy **ret, struct error *err)
{
    struct tailscale_policy *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    arena_init(&p->arena, POLICY_MEMORY_MAX);
    p->file = file;
    p->text = text;
    p->err = err;
    int result = policy_read(p, text);
    p->err = NULL;
    if (result == 0)
        *ret = TAKE(p);
    tailscale_policy_free(p);
    return result;
}

struct tailscale_policy *tailscale_policy_free(struct tailscale_policy *policy)
{
    if (!policy)
        return NULL;
    struct table *tables[] = { &policy->tags, &policy->groups_by_name, &policy->hosts_by_name, &policy->ipsets_by_name, &policy->postures };
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        table_deinit(tables[i]);
    arena_deinit(&policy->arena);
    free(policy);
    return NULL;
}

void tailscale_policy_write_sources(const struct tailscale_policy *policy, uint32_t rule, struct buf *out)
{
    const struct selectors *sources = &policy->rules[rule].sources;
    for (uint32_t i = 0; i < sources->n; i++) {
        const struct selector *s = &sources->items[i];
        buf_printf(out, "%s%s%.*s", i ? ", " : "", s->kind == SELECTOR_USER_DOMAIN ? "user:*@" : "", STR_ARG(policy_quote(s->text)));
    }
}

uint32_t tailscale_policy_n_rules(const struct tailscale_policy *policy)
{
    return policy->n_rules;
}

struct str tailscale_policy_rule(const struct tailscale_policy *policy, uint32_t rule, uint32_t *ret_line)
{
    *ret_line = policy->rules[rule].at.line;
    return policy->rules[rule].name;
}
