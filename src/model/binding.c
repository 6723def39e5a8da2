/* What the mesh calls segments and hosts: tags, users, machine names. */
#include "model/read.h"

enum { BINDING_TAG_MAX = 67, BINDING_USER_MAX = 254 };

static bool is_letter(char c)
{
    return str_lower_char(c) >= 'a' && str_lower_char(c) <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool tag_is_well_formed(struct str text)
{
    struct str name = str_skip(text, 4);
    if (!str_starts_with(text, STR("tag:")) || text.len > BINDING_TAG_MAX || name.len == 0 || !is_letter(name.ptr[0]))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_letter(name.ptr[i]) && !is_digit(name.ptr[i]) && name.ptr[i] != '-')
            return false;
    return true;
}

static bool user_is_well_formed(struct str text)
{
    size_t at = str_find_char(text, '@');
    if (at == 0 || at == text.len || text.len > BINDING_USER_MAX || text.ptr[0] == '-')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        bool is_plain = is_letter(text.ptr[i]) || is_digit(text.ptr[i]) || (i == at) || text.ptr[i] == '.' || text.ptr[i] == '-' ||
                        (i < at && (text.ptr[i] == '_' || text.ptr[i] == '+' || text.ptr[i] == '%'));
        if (!is_plain)
            return false;
    }
    return true;
}

/* A tag or a user speaks for one segment or one host: what is granted to it would else be granted to the other one, too. */
static bool binding_is_free(struct reader *r, const struct yaml_node *node)
{
    return read_once(r, node, &r->bindings, node->text, "it speaks for one host or for one segment");
}

void read_binding_tag(struct reader *r, const struct yaml_node *value, struct model_binding *binding)
{
    struct str text;
    if (!read_text(r, value, "a tag", &text))
        return;
    if (!tag_is_well_formed(text))
        read_error(r, value, STR("'tag:' and a name of letters, digits and '-' that starts with a letter, such as tag:prod"),
                   "%s is no tag", read_quote(r, text));
    else if (binding_is_free(r, value))
        binding->tag = (struct model_text){ text, value->at };
}

void read_binding_user(struct reader *r, const struct yaml_node *value, struct model_binding *binding)
{
    struct str text;
    if (!read_text(r, value, "a user", &text))
        return;
    if (!user_is_well_formed(text)) {
        read_error(r, value, STR("as the mesh's policy says it: alice@example.org, alice@github, or alice@ for a user of Headscale's own"),
                   "%s is no user", read_quote(r, text));
        return;
    }
    if (binding->tag.text.len)
        read_error(r, value, STR("a tagged machine belongs to its tag and to no user; keep one"), "'tag:' is said already");
    else if (binding_is_free(r, value))
        binding->user = (struct model_text){ text, value->at };
}

void read_host_tailscale(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_host *host = object;
    struct str text;
    if (!read_text(r, value, "the machine's name on the mesh", &text))
        return;
    if (!read_is_label(text))
        read_error(r, value, STR("the first part of its MagicDNS name, in lower case: roc, for roc.tail1234.ts.net"),
                   "%s is no machine's name", read_quote(r, text));
    else if (read_once(r, value, &r->machines, text, "every machine is one host"))
        host->tailscale = (struct model_text){ text, value->at };
}

static void machine_default(struct reader *r, struct model_host *host)
{
    uint32_t line = 0;
    if (host->tailscale.text.len)
        return;
    if (table_get(&r->machines, host->name.text, &line))
        read_error_at(r, host->name, STR("say 'tailscale:' for both of them"), "the machine %s is there already, at line %u",
                      read_quote(r, host->name.text), line);
    host->tailscale.text = host->name.text;
}

/* A machine is tagged or a user's, never both, and has one user. */
static void host_against_segment(struct reader *r, const struct model_host *host)
{
    const struct model_segment *segment = host->segment == MODEL_NONE ? NULL : &r->model->segments[host->segment];
    if (!segment)
        return;
    const struct model_binding *own = &host->binding, *theirs = &segment->binding;
    const struct model_text *mine = own->tag.text.len ? &own->tag : &own->user;
    if (theirs->user.text.len && mine->text.len)
        read_error_at(r, *mine, STR("bind the host or the segment, not both"),
                      "segment %s is bound to a user, and a machine of that user has no tag and no other user",
                      read_quote(r, segment->name.text));
    else if (theirs->tag.text.len && own->user.text.len)
        read_error_at(r, own->user, STR("a host with a tag of its own can be in such a segment; a user's can't"),
                      "segment %s is bound to a tag, and a tagged machine belongs to no user", read_quote(r, segment->name.text));
}

void check_bindings(struct reader *r)
{
    for (uint32_t i = 0; i < r->model->n_hosts; i++) {
        machine_default(r, &r->model->hosts[i]);
        host_against_segment(r, &r->model->hosts[i]);
    }
}
