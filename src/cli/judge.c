/* Working out what is to be said of a declaration, and the words for it. */
#include "cli/judge.h"

#include <errno.h>
#include <stdio.h>

#include "cli/judge_words.h"
#include "cli/question.h"
#include "policy/change.h"
#include "policy/lint.h"

enum { FINDING_TEXT_MAX = 2000 };

/* ---- expectations ---- */

static void write_who(struct buf *out, const struct judgement *j, const struct expect_failure *f)
{
    if (f->is_all || f->n_subjects == 0) {
        buf_append(out, f->principal->text.text);
        return;
    }
    for (uint32_t i = 0; i < f->n_subjects && i < 6; i++) {
        buf_append(out, i ? STR(", ") : STR(""));
        access_write_subject(out, &j->access, f->subjects[i]);
    }
    if (f->n_subjects > 6)
        buf_printf(out, " and %u more", f->n_subjects - 6);
    buf_printf(out, " of %.*s", STR_ARG(f->principal->text.text));
}

static void write_what(struct buf *out, const struct model *m, const struct expect_failure *f)
{
    const struct model_service *s = f->service != MODEL_NONE ? &m->services[f->service] : NULL;
    buf_append(out, s ? s->name.text : f->target->text.text);
    if (f->surface != MODEL_NONE)
        buf_printf(out, " over %.*s", STR_ARG(m->surfaces[f->surface].name.text));
    else if (s && f->host != MODEL_NONE && s->hosts.n > 1)
        buf_printf(out, " on %.*s", STR_ARG(m->hosts[f->host].name.text));
}

/* What closes the way of the first who can't: the layers are asked, as "postern why" does. */
static void write_closing(struct buf *out, const struct judgement *j, const struct expect_failure *f)
{
    const struct access *a = &j->access;
    const struct access_subject *s = f->n_subjects ? &a->subjects[f->subjects[0]] : NULL;
    struct party_asker asker = {
        .host = s ? s->host : MODEL_NONE, .segment = s ? s->segment : MODEL_NONE, .container = s ? s->container : MODEL_NONE, .n_addresses = 1,
    };
    struct party_asked asked = { .is_web = f->kind == ACCESS_WEB, .service = f->service, .host = f->host, .container = MODEL_NONE };
    struct question_result result = { 0 };
    if (!s || !j->is_proof_known) {
        buf_append(out, s ? STR("nothing grants it") : STR("it has no address to come from: give it one with address:"));
        return;
    }
    struct address point;
    if (f->kind == ACCESS_CONTAINER_PORT || f->kind == ACCESS_INTERNET) {
        asked.container = f->kind == ACCESS_CONTAINER_PORT ? f->container : MODEL_NONE;
        asked.is_internet = f->kind == ACCESS_INTERNET;
        point = f->kind == ACCESS_INTERNET ? relation_internet_point() : relation_container_point(f->container);
        asked.to = &point;
        asked.n_to = 1;
        asked.protocol = f->protocol;
        asked.port = f->port;
    }
    asker.addresses = s->container != MODEL_NONE ? &s->point : &a->sources.items[s->ranges[0]].first;
    if (!asked.is_web && !asked.n_to) {
        const struct model_prefixes *to = &a->model->hosts[f->host].addresses;
        const struct model_service *service = f->service != MODEL_NONE ? &a->model->services[f->service] : NULL;
        asked.to = to->n ? &to->items[0].address : NULL;
        asked.n_to = to->n ? 1 : 0;
        bool is_udp = service ? service->kind == MODEL_KIND_DIRECT && service->transport == MODEL_UDP : f->target->transport == MODEL_UDP;
        asked.protocol = is_udp ? RELATION_UDP : RELATION_TCP;
        asked.port = service ? service->port : f->target->port;
    }
    question_ask(&j->layers, &asker, &asked, f->surface, &result);
    const struct explain_hop *hop = explain_closed(&result.path);
    if (!hop) {
        buf_append(out, STR("no grant lets it"));
        return;
    }
    buf_printf(out, "%s: ", question_layer_name(hop->layer));
    question_write_hop(out, &j->layers, &result, hop);
}

static void report_failure(struct judgement *j, const struct expect_failure *f)
{
    const struct model *m = j->access.model;
    cleanup_buf struct buf text, hint;
    buf_init(&text, FINDING_TEXT_MAX);
    buf_init(&hint, FINDING_TEXT_MAX);
    write_who(&text, j, f);
    buf_append(&text, f->is_can ? STR(" can't reach ") : STR(" can reach "));
    write_what(&text, m, f);
    buf_append(&text, f->is_can ? STR(", and this line says it can") : STR(", and this line says it can't"));
    if (f->rule != UINT32_MAX) {
        const struct relation_reason *reason = relation_reason(&j->access.relation, relation_rule(&j->access.relation, f->rule)->reason);
        buf_append(&hint, STR("opened by "));
        words_write_reason(&hint, reason);
    } else {
        write_closing(&hint, j, f);
        buf_printf(&hint, "; see 'postern why %.*s %.*s'", STR_ARG(f->principal->text.text), STR_ARG(f->target->text.text));
    }
    diagnose_add(&j->failures, MODEL_ERROR, f->target->text.at, f->target->text.text.len,
                 diagnose_text(&j->failures, "%.*s", (int)hint.len, hint.ptr ? hint.ptr : ""), "%.*s", (int)text.len, text.ptr ? text.ptr : "");
}

/* ---- the proof ---- */

static void write_finding(struct buf *out, const struct judgement *j, const struct verify_finding *f)
{
    static const char *const verbs[] = {
        [VERIFY_MISSING] = " can't reach ", [VERIFY_EXTRA] = " can reach ", [VERIFY_UNPROVED] = " may or may not reach ",
    };
    words_write_sources(out, &j->access, f->sources, f->n_sources);
    buf_append(out, str_of(verbs[f->kind]));
    if (!f->is_web) {
        words_write_ports(out, f->protocol, f->port_first, f->port_last);
        buf_append(out, STR(" of "));
    }
    words_write_destinations(out, &j->access, f->destinations, f->n_destinations);
    buf_append(out, f->kind == VERIFY_MISSING ? STR(", which is granted") : f->kind == VERIFY_EXTRA ? STR(", which nothing grants") :
                                                                                                      STR(": it depends on what can't be told"));
}

static void write_steps(struct buf *out, const struct judgement *j, const struct verify_finding *f)
{
    static const char *const verbs[] = { [VERIFY_NO] = " stops it", [VERIFY_YES] = " lets it", [VERIFY_UNKNOWN] = " can't tell" };
    if (f->n_steps == 0)
        buf_append(out, STR("no gateway serves that surface"));
    for (uint32_t i = 0; i < f->n_steps; i++) {
        const struct verify_step *step = &f->steps[i];
        buf_append(out, i ? STR("; ") : STR(""));
        words_write_layer(out, j->access.model, step);
        buf_append(out, str_of(verbs[step->answer]));
        if (step->rule) {
            buf_append(out, STR(" by "));
            words_write_reason(out, step->rule);
        }
    }
}

static void report_difference(struct judgement *j, const struct verify_finding *f)
{
    cleanup_buf struct buf text, hint;
    buf_init(&text, FINDING_TEXT_MAX);
    buf_init(&hint, FINDING_TEXT_MAX);
    write_finding(&text, j, f);
    write_steps(&hint, j, f);
    struct model_place at = { 0, 0 };
    for (uint32_t i = j->access.model->n_grants; f->declared && i-- > 0;)
        if (j->access.model->grants[i].at.line == f->declared->line)
            at = j->access.model->grants[i].at;
    diagnose_add(&j->failures, MODEL_ERROR, at, 1, diagnose_text(&j->failures, "%.*s", (int)hint.len, hint.ptr ? hint.ptr : ""), "%.*s", (int)text.len,
                 text.ptr ? text.ptr : "");
}

/* ---- containers ---- */

static void write_container_difference(struct buf *out, const struct judgement *j, const struct container_difference *d)
{
    static const struct address none;
    const struct containers *c = &j->access.containers;
    access_write_container(out, c, d->from);
    buf_append(out, d->kind == CONTAINER_MISSING ? STR(" can't reach ") : STR(" can reach "));
    if (d->to == MODEL_NONE && address_equal(&d->address, &none)) {
        buf_append(out, STR("the internet"));
    } else {
        words_write_ports(out, d->protocol, d->port ? d->port : 1, d->port ? d->port : RELATION_PORT_MAX);
        buf_append(out, STR(" of "));
        if (d->to != MODEL_NONE)
            access_write_container(out, c, d->to);
        else
            words_write_destinations(out, &j->access, &(struct relation_range){ d->address, d->address }, 1);
    }
    buf_append(out, d->kind == CONTAINER_MISSING ? STR(", which is granted") : STR(", which nothing grants"));
}

static void write_container_steps(struct buf *out, const struct judgement *j, const struct container_difference *d)
{
    const struct container *c = &j->access.containers.items[d->from];
    buf_printf(out, "the container tables of %.*s %s", STR_ARG(j->access.model->hosts[c->host].name.text), d->kind == CONTAINER_MISSING ? "stop it" : "let it");
    if (d->rule.len)
        buf_printf(out, " by '%.*s'", STR_ARG(d->rule));
}

static void report_container_difference(struct judgement *j, const struct container_difference *d)
{
    const struct model *m = j->access.model;
    cleanup_buf struct buf text, hint;
    buf_init(&text, FINDING_TEXT_MAX);
    buf_init(&hint, FINDING_TEXT_MAX);
    write_container_difference(&text, j, d);
    write_container_steps(&hint, j, d);
    struct model_place at = { 0, 0 };
    for (uint32_t i = m->n_grants; d->line && i-- > 0;)
        if (m->grants[i].at.line == d->line)
            at = m->grants[i].at;
    diagnose_add(&j->failures, MODEL_ERROR, at, 1, diagnose_text(&j->failures, "%.*s", (int)hint.len, hint.ptr ? hint.ptr : ""), "%.*s", (int)text.len,
                 text.ptr ? text.ptr : "");
}

/* Projects by name, each once, and how many containers are in none. */
void judgement_write_unheld(struct buf *out, const struct judgement *judgement)
{
    enum { SHOWN = 4 };
    const struct container_proof *proof = &judgement->containers;
    const struct container *items = judgement->access.containers.items;
    struct str shown[SHOWN];
    uint32_t n_shown = 0, n_projects = 0, n_alone = 0;
    cleanup_table struct table seen = { 0 };
    for (uint32_t i = 0; i < proof->n_unheld; i++) {
        struct str project = items[proof->unheld[i]].project;
        n_alone += project.len == 0;
        if (project.len == 0 || table_add(&seen, project, i, NULL) != 0)
            continue;
        if (n_shown < SHOWN)
            shown[n_shown++] = project;
        n_projects++;
    }
    if (proof->n_unheld == 0)
        return;
    buf_append(out, STR("nothing holds "));
    for (uint32_t i = 0; i < n_shown; i++)
        buf_printf(out, "%s%.*s", i ? ", " : n_projects == 1 ? "the containers of project " : "the containers of projects ", STR_ARG(shown[i]));
    if (n_projects > n_shown)
        buf_printf(out, " and %u more", n_projects - n_shown);
    if (n_alone)
        buf_printf(out, n_projects ? ", and %u of no project" : n_alone == 1 ? "%u container of no project" : "%u containers of no project", n_alone);
    buf_append(out, STR(": Docker's networks alone decide what they reach"));
}

/* ---- who would be cut off by a change ---- */

static void report_cut(struct judgement *j, const struct change *c, const struct change_entry *e)
{
    const struct access *side = change_side(c, e);
    const struct access_object *o = &side->objects[e->object];
    cleanup_buf struct buf who;
    buf_init(&who, FINDING_TEXT_MAX);
    if (e->is_gain || o->kind == ACCESS_WEB || o->protocol != RELATION_TCP || o->port != 22)
        return;
    access_write_subject(&who, side, e->subject);
    diagnose_add(&j->advice, MODEL_WARNING, (struct model_place){ 0, 0 }, 1, STR("keep the grant until another way in is tried"),
                 "%.*s loses ssh to %.*s: if Ansible or its administrator comes from there, this change is the last one that arrives", (int)who.len,
                 who.ptr ? who.ptr : "", STR_ARG(side->model->hosts[o->host].name.text));
}

static int judge_change(struct judgement *j, const struct model *before)
{
    cleanup_change struct change change = { 0 };
    int r = change_init(&change, before, j->access.model);
    for (uint32_t i = 0; r == 0 && i < change.n; i++)
        report_cut(j, &change, &change.items[i]);
    return r;
}

/* ---- the whole ---- */

static int judge_declared(struct judgement *j)
{
    const struct relation *const relations[] = { &j->access.relation };
    int r = space_init(&j->space, relations, 1);
    if (r == 0)
        r = matrix_of(j->space, &j->access.relation, &j->matrix);
    if (r == 0)
        r = expect_check(&j->access, &j->matrix, &j->expectations);
    return r == 0 ? lint_check(&j->access, &j->advice) : r;
}

/* That the layers can't be judged is an answer, too. */
static int judge_layers(struct judgement *j)
{
    struct error err = { "they are too much to work out" };
    int r = layers_init(&j->layers, &j->access, NULL, &err);
    if (r == 0)
        r = verify(&j->layers.all, &j->proof);
    if (r == 0 && (r = container_layer_prove(&j->layers.containers, &j->containers)) < 0)
        verify_result_deinit(&j->proof);
    j->is_proof_known = r == 0;
    if (r < 0 && r != -ENOMEM)
        snprintf(j->why_unproved, sizeof j->why_unproved, "%s", err.text);
    return r == -ENOMEM ? r : 0;
}

int judge(const struct model *model, const struct model *before, struct judgement *ret)
{
    struct judgement *j = ret;
    *j = (struct judgement){ 0 };
    diagnose_init(&j->advice);
    diagnose_init(&j->failures);
    int r = access_init(&j->access, model, NULL);
    if (r == 0)
        r = judge_declared(j);
    if (r == 0)
        r = judge_layers(j);
    if (r == 0 && before)
        r = judge_change(j, before);
    for (uint32_t i = 0; r == 0 && i < j->expectations.n; i++)
        report_failure(j, &j->expectations.items[i]);
    for (uint32_t i = 0; r == 0 && i < j->proof.n_findings; i++)
        report_difference(j, &j->proof.findings[i]);
    for (uint32_t i = 0; r == 0 && i < j->containers.n; i++)
        report_container_difference(j, &j->containers.items[i]);
    diagnose_sort(&j->advice);
    diagnose_sort(&j->failures);
    if (r == 0)
        r = j->advice.error ? j->advice.error : j->failures.error;
    if (r < 0)
        judgement_deinit(j);
    return r;
}

void judgement_deinit(struct judgement *judgement)
{
    if (judgement->is_proof_known) {
        verify_result_deinit(&judgement->proof);
        container_proof_deinit(&judgement->containers);
    }
    layers_deinit(&judgement->layers);
    expect_result_deinit(&judgement->expectations);
    matrix_deinit(&judgement->matrix);
    judgement->space = space_free(judgement->space);
    access_deinit(&judgement->access);
    diagnose_deinit(&judgement->advice);
    diagnose_deinit(&judgement->failures);
    *judgement = (struct judgement){ 0 };
}

/* ---- words ---- */

void judgement_write_unproved(struct buf *out, const struct judgement *judgement)
{
    const struct model *m = judgement->access.model;
    const struct verify_result *proof = &judgement->proof;
    bool has_lan = false;
    for (uint32_t i = 0; i < proof->n_unproved; i++) {
        const struct model_host *host = &m->hosts[proof->unproved[i].host];
        buf_printf(out, "%s%.*s", i == 0 ? "" : i + 1 == proof->n_unproved ? " and " : ", ", STR_ARG(host->name.text));
        has_lan |= proof->unproved[i].has_lan;
    }
    if (proof->n_unproved == 0)
        return;
    buf_printf(out, proof->n_unproved == 1 ? " has no firewall that counts: the mesh alone keeps others off its ports%s" :
                                             " have no firewall that counts: the mesh alone keeps others off their ports%s",
               has_lan ? ", and nothing does on the LAN" : "");
}

static void json_list(struct buf *out, const struct judgement *j, enum verify_kind kind)
{
    uint32_t n = 0;
    buf_append_char(out, '[');
    for (uint32_t i = 0; i < j->proof.n_findings; i++) {
        const struct verify_finding *f = &j->proof.findings[i];
        cleanup_buf struct buf text, steps;
        buf_init(&text, FINDING_TEXT_MAX);
        buf_init(&steps, FINDING_TEXT_MAX);
        if (f->kind != kind)
            continue;
        write_finding(&text, j, f);
        write_steps(&steps, j, f);
        buf_append(out, n++ ? STR(",\n    {\"text\": ") : STR("\n    {\"text\": "));
        buf_append_json(out, buf_str(&text));
        buf_append(out, STR(", \"layers\": "));
        buf_append_json(out, buf_str(&steps));
        buf_printf(out, ", \"line\": %u}", f->declared ? f->declared->line : 0);
    }
    for (uint32_t i = 0; i < j->containers.n; i++) {
        const struct container_difference *d = &j->containers.items[i];
        cleanup_buf struct buf text, steps;
        buf_init(&text, FINDING_TEXT_MAX);
        buf_init(&steps, FINDING_TEXT_MAX);
        if ((d->kind == CONTAINER_MISSING ? VERIFY_MISSING : VERIFY_EXTRA) != kind)
            continue;
        write_container_difference(&text, j, d);
        write_container_steps(&steps, j, d);
        buf_append(out, n++ ? STR(",\n    {\"text\": ") : STR("\n    {\"text\": "));
        buf_append_json(out, buf_str(&text));
        buf_append(out, STR(", \"layers\": "));
        buf_append_json(out, buf_str(&steps));
        buf_printf(out, ", \"line\": %u}", d->line);
    }
    buf_append_char(out, ']');
}

void judgement_write_proof_json(struct buf *out, const struct judgement *judgement)
{
    buf_printf(out, "{\"holds\": %s, \"why\": ", judgement->is_proof_known ? judgement_is_proved(judgement) ? "true" : "false" : "null");
    buf_append_json(out, str_of(judgement->why_unproved));
    buf_append(out, STR(", \"extra\": "));
    json_list(out, judgement, VERIFY_EXTRA);
    buf_append(out, STR(", \"missing\": "));
    json_list(out, judgement, VERIFY_MISSING);
    buf_append(out, STR(", \"unproved\": "));
    json_list(out, judgement, VERIFY_UNPROVED);
    buf_append(out, STR(", \"unproved_hosts\": ["));
    for (uint32_t i = 0; i < judgement->proof.n_unproved; i++) {
        buf_append(out, i ? STR(", ") : STR(""));
        buf_append_json(out, judgement->access.model->hosts[judgement->proof.unproved[i].host].name.text);
    }
    buf_append(out, STR("], \"unproved_containers\": ["));
    for (uint32_t i = 0; i < judgement->containers.n_unheld; i++) {
        const struct container *c = &judgement->access.containers.items[judgement->containers.unheld[i]];
        cleanup_buf struct buf text;
        buf_init(&text, FINDING_TEXT_MAX);
        buf_printf(&text, "%.*s on %.*s", STR_ARG(c->reference), STR_ARG(judgement->access.model->hosts[c->host].name.text));
        buf_append(out, i ? STR(", ") : STR(""));
        buf_append_json(out, buf_str(&text));
    }
    buf_append(out, STR("]}"));
}
