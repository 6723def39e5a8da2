/* Sections of a policy that let nobody in: postures, approvers of routes, attributes of nodes. They are held to their form. */
#include "observe/tailscale_parts.h"

/* ---- postures ---- */

bool policy_read_postures(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    if (value->kind == HUJSON_NULL)
        return true;
    if (!policy_expect(p, value, HUJSON_OBJECT, "an object of lists of conditions"))
        return false;
    for (const struct hujson *member = value->first; member; member = member->next) {
        if (!str_starts_with(member->key, STR("posture:")) || member->key.len == 8)
            return policy_refuse(p, member->key_at, "a posture's name starts with \"posture:\"");
        if (!policy_list(p, member, HUJSON_STRING, "a condition as text"))
            return false;
        if (table_add(&p->postures, member->key, 0, NULL) < 0)
            return policy_no_memory(p);
    }
    return true;
}

/* srcPosture narrows who a rule is for by the state of the machine, which nobody tells: it counts as met. A condition may also stand
 * there itself. */
bool policy_read_posture_names(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    if (!policy_list(p, value, HUJSON_STRING, "a posture's name"))
        return false;
    for (const struct hujson *item = value->first; item; item = item->next)
        if (str_starts_with(item->text, STR("posture:")) && !table_get(&p->postures, item->text, NULL))
            return policy_refuse(p, item->at, "posture not found: \"%.*s\"", STR_ARG(policy_quote(item->text)));
    return true;
}

/* ---- autoApprovers ---- */

static bool approvers_read(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct selectors who;
    (void)object;
    return policy_read_selectors(p, value, SIDE_OWNER, &who);
}

static bool approver_routes(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    if (value->kind == HUJSON_NULL)
        return true;
    if (!policy_expect(p, value, HUJSON_OBJECT, "an object of lists"))
        return false;
    for (const struct hujson *member = value->first; member; member = member->next) {
        struct relation_range range;
        if (!policy_parse_prefix(member->key, &range))
            return policy_refuse(p, member->key_at, "\"%.*s\" is no prefix", STR_ARG(policy_quote(member->key)));
        if (!approvers_read(p, member, object))
            return false;
    }
    return true;
}

static bool approver_services(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    if (value->kind == HUJSON_NULL)
        return true;
    if (!policy_expect(p, value, HUJSON_OBJECT, "an object of lists"))
        return false;
    for (const struct hujson *member = value->first; member; member = member->next) {
        bool is_named = str_starts_with(member->key, STR("svc:")) || str_starts_with(member->key, STR("tag:"));
        if (!is_named)
            return policy_refuse(p, member->key_at, "expected \"svc:NAME\" or \"tag:NAME\"");
        if (!approvers_read(p, member, object))
            return false;
    }
    return true;
}

bool policy_read_auto_approvers(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    static const struct policy_field fields[] = {
        { "routes", approver_routes }, { "exitNode", approvers_read }, { "services", approver_services }
    };
    return value->kind == HUJSON_NULL || policy_read_object(p, value, fields, ARRAY_SIZE(fields), object);
}

/* ---- nodeAttrs ---- */

static bool attr_target(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    struct selectors targets;
    (void)object;
    return policy_read_selectors(p, value, SIDE_TARGET, &targets);
}

static bool attr_names(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    return policy_list(p, value, HUJSON_STRING, "an attribute's name");
}

static bool attr_app(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    (void)object;
    return value->kind == HUJSON_NULL || policy_expect(p, value, HUJSON_OBJECT, "an object of capabilities");
}

/* Addresses are handed out of the mesh's own range, and not of what Tailscale keeps for itself. */
static bool attr_ip_pool(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    static const char *const reserved[] = { "100.100.0.0/24", "100.100.100.0/24", "100.115.92.0/23" };
    struct relation_range all, pool, range;
    (void)object;
    if (!policy_list(p, value, HUJSON_STRING, "a prefix"))
        return false;
    bool is_parsed = policy_parse_prefix(STR("100.64.0.0/10"), &all);
    for (const struct hujson *item = value->first; item && is_parsed; item = item->next) {
        if (!policy_parse_prefix(item->text, &pool))
            return policy_refuse(p, item->at, "\"%.*s\" is no prefix", STR_ARG(policy_quote(item->text)));
        if (address_compare(&pool.first, &all.first) < 0 || address_compare(&pool.last, &all.last) > 0)
            return policy_refuse(p, item->at, "IPPool(%.*s): not in 100.64.0.0/10", STR_ARG(policy_quote(item->text)));
        for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
            if (policy_parse_prefix(str_of(reserved[i]), &range) && ranges_overlap(&range, &pool))
                return policy_refuse(p, item->at, "IPPool(%.*s): network within reserved range", STR_ARG(policy_quote(item->text)));
    }
    return is_parsed;
}

bool policy_read_node_attrs(struct tailscale_policy *p, const struct hujson *value, void *object)
{
    static const struct policy_field fields[] = {
        { "target", attr_target }, { "attr", attr_names }, { "app", attr_app }, { "ipPool", attr_ip_pool }
    };
    if (!policy_list(p, value, HUJSON_OBJECT, "an object with \"target\" and \"attr\""))
        return false;
    for (const struct hujson *item = value->first; item; item = item->next)
        if (!policy_read_object(p, item, fields, ARRAY_SIZE(fields), object))
            return false;
    return true;
}
