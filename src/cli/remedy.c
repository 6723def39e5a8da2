/* Finding a change, reading the changed declaration with all its layers, and asking it the same question. */
#include "cli/remedy.h"

#include <errno.h>
#include <stdio.h>

#include "cli/text_diff.h"
#include "model/reader.h"

enum { DIFF_MAX = 1 << 20 };

static void printf_like(2, 3) refuse(struct remedy *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->why_not, sizeof r->why_not, format, args);
    va_end(args);
}

/* ---- what to ask for ---- */

static bool may_be_over(const struct model_service *s, uint32_t surface)
{
    for (uint32_t i = 0; i < s->surfaces.n; i++)
        if (s->surfaces.items[i] == surface)
            return true;
    return s->surfaces.n == 0;
}

/* The first surface on which who asks is a guest already, or the first. */
static uint32_t guest_surface(const struct model *m, const struct amend_want *want)
{
    uint32_t segment = want->host != MODEL_NONE ? m->hosts[want->host].segment : want->segment;
    for (uint32_t i = 0; i < m->n_grants; i++)
        for (uint32_t k = 0; m->grants[i].over.n && k < m->grants[i].n_from; k++) {
            const struct model_principal *p = &m->grants[i].from[k];
            if (want->asking != MODEL_NONE  ? p->service == want->asking :
                p->host != MODEL_NONE       ? p->host == want->host :
                                              segment != MODEL_NONE && p->segment == segment)
                return m->grants[i].over.items[0];
        }
    return 0;
}

static bool set_what(const struct model *m, const struct party_asked *asked, uint32_t over, uint32_t surface, struct amend_want *want, struct remedy *r)
{
    const struct model_service *s = asked->service != MODEL_NONE ? &m->services[asked->service] : NULL;
    want->service = asked->service;
    want->surface = MODEL_NONE;
    want->to_host = asked->host;
    want->transport = asked->protocol == RELATION_UDP ? MODEL_UDP : MODEL_TCP;
    want->port = asked->port;
    if (asked->is_internet || asked->container != MODEL_NONE) {
        want->what = asked->is_internet ? AMEND_INTERNET : AMEND_CONTAINER_PORT;
        return true;
    }
    if (want->asking != MODEL_NONE && !asked->is_web) {
        refuse(r, "outside its host a container has its host's address: it can be granted containers beside it, web services over a surface, and the internet");
        return false;
    }
    if (s && s->kind != MODEL_KIND_DIRECT) {
        want->surface = surface != MODEL_NONE ? surface : over != MODEL_NONE ? over : s->surfaces.n ? s->surfaces.items[0] : guest_surface(m, want);
        if (m->n_surfaces == 0)
            refuse(r, "no surface is declared that could serve it");
        else if (!may_be_over(s, want->surface))
            refuse(r, "%.*s says for itself over which surfaces it is served (%.*s:%u); grant it over one of those", STR_ARG(s->name.text),
                   STR_ARG(declared_file(m)), s->name.at.line);
    } else if (asked->host == MODEL_NONE) {
        refuse(r, "no declared host has that address: declare one, or ask for a host's mesh address");
    }
    return r->why_not[0] == '\0';
}

static bool set_who(const struct access *access, const struct parties *parties, struct amend_want *want, struct remedy *r)
{
    const struct model *m = access->model;
    const struct party_asker *first = &parties->askers[0];
    *want = (struct amend_want){ .host = MODEL_NONE, .segment = parties->segment, .asking = MODEL_NONE };
    if (parties->segment != MODEL_NONE)
        return true;
    if (parties->n_askers > 1) {
        refuse(r, "ask for one of them to see what would let it");
        return false;
    }
    if (first->n_addresses == 0) {
        refuse(r, "%.*s has no address: give it one with address: (%.*s:%u)", STR_ARG(first->text), STR_ARG(declared_file(m)),
               m->hosts[first->host].name.at.line);
        return false;
    }
    want->asking = first->container != MODEL_NONE ? access->containers.items[first->container].services[0] : MODEL_NONE;
    want->host = first->host;
    want->segment = first->host == MODEL_NONE ? first->segment : MODEL_NONE;
    want->address = first->addresses[0];
    return true;
}

/* ---- trying it ---- */

static bool is_yes(const struct layers *layers, const struct parties *parties, uint32_t over)
{
    bool is_any = false;
    for (uint32_t i = 0; i < parties->n_askers; i++)
        for (uint32_t k = 0; k < parties->n_asked; k++) {
            struct question_result result;
            question_ask(layers, &parties->askers[i], &parties->asked[k], over, &result);
            if (result.answer != QUESTION_YES && result.answer != QUESTION_UNKNOWN)
                return false;
            is_any |= result.answer == QUESTION_YES;
        }
    return is_any;
}

static int try_it(const struct model *before, const char *from, const char *to, uint32_t over, struct remedy *r)
{
    struct model_findings findings = { 0 };
    struct error err = { "" };
    cleanup_access struct access access = { 0 };
    cleanup_layers struct layers layers = { 0 };
    cleanup_parties struct parties parties = { 0 };
    int e = model_read(buf_str(&r->amend.source), before->file, &r->model, &findings);
    bool is_right = e == 0;
    model_findings_deinit(&findings);
    if (e < 0 || !is_right)
        return e < 0 ? e : 0;
    e = access_init(&access, r->model, NULL);
    if (e == 0)
        e = parties_read(&access, from, to, &parties, &err);
    if (e == 0)
        e = question_layers_init(&layers, &access, &parties, &err);
    if (e == 0 && is_yes(&layers, &parties, over))
        e = change_init(&r->change, before, r->model);
    else
        return e == -EINVAL ? 0 : e;
    r->is_found = e == 0;
    return e;
}

static int find(const struct layers *layers, const struct parties *parties, const char *from, const char *to, uint32_t over, uint32_t surface,
                struct remedy *r)
{
    const struct model *m = layers->access->model;
    const struct text_diff_options options = { .indent = "    " };
    struct amend_want want;
    if (!set_who(layers->access, parties, &want, r) || !set_what(m, &parties->asked[0], over, surface, &want, r))
        return 0;
    int e = amend_find(m, &want, &r->amend);
    if (e == 0)
        e = try_it(m, from, to, over, r);
    if (e < 0)
        return e;
    if (r->is_found)
        text_diff_write(&r->diff, m->source, buf_str(&r->amend.source), &options);
    else
        refuse(r, "no single grant would do it");
    return 0;
}

int remedy_find(const struct layers *layers, const struct parties *parties, const char *from, const char *to, uint32_t over, uint32_t surface,
                struct remedy *ret)
{
    struct remedy remedy = { 0 };
    buf_init(&remedy.diff, DIFF_MAX);
    int e = find(layers, parties, from, to, over, surface, &remedy);
    if (e < 0)
        remedy_deinit(&remedy);
    else
        *ret = remedy;
    return e;
}

void remedy_deinit(struct remedy *remedy)
{
    change_deinit(&remedy->change);
    model_free(remedy->model);
    amend_deinit(&remedy->amend);
    buf_deinit(&remedy->diff);
}

static bool is_same_container(const struct access *a, uint32_t x, const struct access *b, uint32_t y)
{
    const struct container *c = &a->containers.items[x], *d = &b->containers.items[y];
    return str_equal(c->reference, d->reference) && str_equal(a->model->hosts[c->host].name.text, b->model->hosts[d->host].name.text);
}

static bool is_asker(const struct parties *parties, const struct access *access, const struct access *side, const struct access_subject *subject)
{
    for (uint32_t i = 0; i < parties->n_askers; i++) {
        const struct party_asker *asker = &parties->askers[i];
        bool is_new = asker->host == MODEL_NONE && asker->segment == MODEL_NONE;
        if (subject->container != MODEL_NONE || asker->container != MODEL_NONE) {
            if (subject->container != MODEL_NONE && asker->container != MODEL_NONE && is_same_container(access, asker->container, side, subject->container))
                return true;
            continue;
        }
        if (subject->host == MODEL_NONE ? asker->host == MODEL_NONE && !is_new &&
                str_equal(access->model->segments[asker->segment].name.text, side->model->segments[subject->segment].name.text) :
                is_new || (asker->host != MODEL_NONE &&
                           str_equal(access->model->hosts[asker->host].name.text, side->model->hosts[subject->host].name.text)))
            return true;
    }
    return false;
}

bool remedy_is_aside(const struct remedy *remedy, const struct change_entry *entry, const struct parties *parties, const struct access *access)
{
    const struct access *side = change_side(&remedy->change, entry);
    const struct access_object *o = &side->objects[entry->object];
    const struct party_asked *asked = &parties->asked[0];
    if (entry->is_derived || !entry->is_gain)
        return false;
    if (!is_asker(parties, access, side, &side->subjects[entry->subject]))
        return true;
    if (asked->service != MODEL_NONE)
        return o->service == MODEL_NONE || !str_equal(side->model->services[o->service].name.text, access->model->services[asked->service].name.text);
    if (asked->is_internet)
        return o->kind != ACCESS_INTERNET;
    return o->kind == ACCESS_WEB || o->host == MODEL_NONE || o->port != asked->port || o->protocol != asked->protocol ||
           !str_equal(side->model->hosts[o->host].name.text, access->model->hosts[asked->host].name.text);
}
