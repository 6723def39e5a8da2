/* Judging offers one by one: each that is taken becomes a service, and its names are then held, too. */
#include "policy/offers.h"

#include <errno.h>
#include <stdio.h>

#include "base/table.h"
#include "policy/declared.h"

enum { LABEL_MAX = 63, REFERENCE_MAX = 257 };

struct judging {
    struct offers *out;
    const struct model *model;
    uint32_t host;
    struct table labels;      /* what stands before the domain, to whom it belongs: a service's index in out->model */
    struct table internals;   /* containers of internal services on the host */
};

static bool is_label(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_alphanumeric = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!is_alphanumeric && (c != '-' || i == 0 || i + 1 == text.len))
            return false;
    }
    return text.len > 0 && text.len <= LABEL_MAX;
}

/* What dockerd and Compose take for names; a slash only between the two. */
static bool is_reference(struct str text)
{
    size_t slash = str_find_char(text, '/');
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i], lower = str_lower_char(c);
        bool is_alphanumeric = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
        bool is_first = i == 0 || i == slash + 1;
        if (!is_alphanumeric && i != slash && (is_first || !strchr("_.-", c)))
            return false;
    }
    return text.len > 0 && text.len <= REFERENCE_MAX && slash != 0 && slash + 1 != text.len;
}

static int refuse(struct judging *j, uint32_t offer, const char *format, ...) printf_like(3, 4);
static int refuse(struct judging *j, uint32_t offer, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    j->out->verdicts[offer].why = arena_copy(&j->out->arena, str_of(text));
    return j->out->verdicts[offer].why.ptr ? 0 : -ENOMEM;
}

/* ---- names that are held ---- */

static int hold(struct judging *j, struct str label, uint32_t service)
{
    int r = label.ptr ? table_add(&j->labels, label, service, NULL) : -ENOMEM;
    return r < 0 ? r : 0;
}

static struct str instance_label(struct judging *j, struct str name, uint32_t host)
{
    return arena_printf(&j->out->arena, "%.*s-%.*s", STR_ARG(name), STR_ARG(j->model->hosts[host].name.text));
}

static int hold_extra_names(struct judging *j, uint32_t service)
{
    const struct model_texts *names = &j->model->services[service].names;
    struct str domain = j->model->domain.text;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < names->n; i++) {
        struct str rest = names->items[i].text, label = str_split(&rest, '.');
        if (str_equal(rest, domain))
            r = hold(j, label, service);
    }
    return r;
}

/* Names of services that no gateway serves are held, too: who declared them knows them by that. */
static int hold_declared(struct judging *j)
{
    const struct model *m = j->model;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < m->n_services; i++)
        r = hold(j, m->services[i].name.text, i);
    for (uint32_t i = 0; r == 0 && i < m->n_services; i++) {
        for (uint32_t k = 0; r == 0 && k < m->services[i].hosts.n; k++)
            r = hold(j, instance_label(j, m->services[i].name.text, m->services[i].hosts.items[k]), i);
        if (r == 0)
            r = hold_extra_names(j, i);
        if (r == 0 && m->services[i].kind == MODEL_KIND_INTERNAL && m->services[i].where == MODEL_WHERE_CONTAINER &&
            model_runs_on(&m->services[i].hosts, j->host))
            r = table_add(&j->internals, m->services[i].place.text, i, NULL);
        r = r < 0 ? r : 0;
    }
    return r;
}

/* ---- one offer ---- */

static bool is_granted(const struct model *m, struct str name)
{
    for (uint32_t i = 0; i < m->n_grants; i++)
        for (uint32_t t = 0; m->grants[i].labelled && t < m->grants[i].n_to; t++)
            if (m->grants[i].to[t].kind == MODEL_TARGET_PATTERN && str_match_wildcard(m->grants[i].to[t].pattern, name))
                return true;
    return false;
}

static int refuse_held(struct judging *j, uint32_t offer, struct str label, uint32_t holder)
{
    const struct model_service *s = &j->out->model.services[holder];
    if (s->is_offered)
        return refuse(j, offer, "container %.*s offers the name %.*s already", STR_ARG(s->place.text), STR_ARG(label));
    return refuse(j, offer, "the name %.*s is that of service %.*s (%.*s:%u)", STR_ARG(label), STR_ARG(s->name.text),
                  STR_ARG(declared_file(j->model)), s->name.at.line);
}

static int take(struct judging *j, uint32_t index, const struct offer *offer, struct str instance)
{
    struct model *m = &j->out->model;
    uint32_t *host = arena_new(&j->out->arena, uint32_t), service = m->n_services;
    struct str name = arena_copy(&j->out->arena, offer->name), reference = arena_copy(&j->out->arena, offer->reference);
    if (!host || !name.ptr || !reference.ptr)
        return -ENOMEM;
    *host = j->host;
    m->services[m->n_services++] = (struct model_service){
        .name = { .text = name }, .hosts = { host, 1 }, .kind = MODEL_KIND_WEB, .where = MODEL_WHERE_CONTAINER, .place = { .text = reference },
        .project = MODEL_NONE, .port = offer->port, .protocol = offer->protocol, .is_offered = true,
    };
    for (uint32_t i = 0; i < m->n_projects; i++)
        if (str_equal(m->projects[i].name.text, model_service_project(&m->services[service])))
            m->services[service].project = i;
    j->out->verdicts[index].is_taken = true;
    j->out->n_taken++;
    int r = hold(j, name, service);
    return r == 0 ? hold(j, instance, service) : r;
}

static int judge(struct judging *j, uint32_t index, const struct offer *offer)
{
    uint32_t holder;
    if (index >= OFFERS_MAX)
        return refuse(j, index, "there are more than %d offers", OFFERS_MAX);
    if (!is_label(offer->name) || str_equal(offer->name, STR("internet")))
        return refuse(j, index, "its name can be no service's: a-z, 0-9 and '-' inside, at most %d", LABEL_MAX);
    if (!is_reference(offer->reference))
        return refuse(j, index, "its container's name is none that a declaration could have");
    if (offer->port == 0)
        return refuse(j, index, "it says no port");
    if (table_get(&j->internals, offer->reference, &holder))
        return refuse(j, index, "its container is that of service %.*s, which is internal (%.*s:%u)", STR_ARG(j->model->services[holder].name.text),
                      STR_ARG(declared_file(j->model)), j->model->services[holder].name.at.line);
    struct str instance = instance_label(j, offer->name, j->host);
    if (!instance.ptr)
        return -ENOMEM;
    if (table_get(&j->labels, offer->name, &holder)) {
        const struct model_service *s = &j->out->model.services[holder];
        bool is_again = s->is_offered && str_equal(s->name.text, offer->name) && str_equal(s->place.text, offer->reference);
        if (!is_again || s->port != offer->port || s->protocol != offer->protocol)
            return refuse_held(j, index, offer->name, holder);
        j->out->verdicts[index].is_taken = true;
        return 0;
    }
    if (table_get(&j->labels, instance, &holder))
        return refuse_held(j, index, instance, holder);
    if (instance.len > LABEL_MAX)
        return refuse(j, index, "its instance would be called %.*s, and a name has at most %d letters", STR_ARG(instance), LABEL_MAX);
    if (!is_granted(j->model, offer->name))
        return refuse(j, index, "no grant with 'labelled: true' names it");
    return take(j, index, offer, instance);
}

/* ---- the whole ---- */

static int prepare(struct judging *j, uint32_t n)
{
    struct offers *out = j->out;
    uint32_t n_declared = j->model->n_services;
    out->verdicts = arena_array(&out->arena, n, struct offer_verdict);
    out->model.services = arena_array(&out->arena, (size_t)n_declared + n, struct model_service);
    if (!out->verdicts || !out->model.services)
        return -ENOMEM;
    if (n_declared)
        memcpy(out->model.services, j->model->services, n_declared * sizeof *out->model.services);
    return hold_declared(j);
}

int offers_init(struct offers *ret, const struct model *model, uint32_t host, const struct offer *offers, uint32_t n)
{
    struct offers out = { .model = *model };
    struct judging j = { .out = &out, .model = model, .host = host };
    arena_init(&out.arena, 0);
    int r = prepare(&j, n);
    for (uint32_t i = 0; r == 0 && i < n; i++)
        r = judge(&j, i, &offers[i]);
    table_deinit(&j.labels);
    table_deinit(&j.internals);
    if (r < 0)
        arena_deinit(&out.arena);
    else
        *ret = out;
    return r;
}

void offers_deinit(struct offers *offers)
{
    arena_deinit(&offers->arena);
}
