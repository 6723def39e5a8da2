/* The declaration's reader on any bytes: it answers with a whole model or with findings, and both can be printed. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "model/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7.12 loses 2 KB with some syntax errors (the token of a collected diagnostic): once per file read, by a process that ends. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so";
}

static void check_indexes(const struct model_indexes *indexes, uint32_t limit)
{
    for (uint32_t i = 0; i < indexes->n; i++)
        assert(indexes->items[i] < limit);
}

static void check_targets(const struct model *model, const struct model_target *targets, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        assert(targets[i].kind != MODEL_TARGET_SERVICE || targets[i].service < model->n_services);
        assert(targets[i].kind != MODEL_TARGET_HOST_PORT || (targets[i].host < model->n_hosts && targets[i].port > 0));
        assert(targets[i].kind != MODEL_TARGET_SERVICE_PORT || (targets[i].service < model->n_services && targets[i].port > 0 &&
                                                                 model->services[targets[i].service].where == MODEL_WHERE_CONTAINER));
        assert(targets[i].kind != MODEL_TARGET_PATTERN || targets[i].pattern.len > 0);
    }
}

static void check_principals(const struct model *model, const struct model_principal *from, uint32_t n)
{
    assert(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        assert((from[i].host != MODEL_NONE) + (from[i].segment != MODEL_NONE) + (from[i].service != MODEL_NONE) == 1);
        assert(from[i].host == MODEL_NONE || from[i].host < model->n_hosts);
        assert(from[i].segment == MODEL_NONE || from[i].segment < model->n_segments);
        assert(from[i].service == MODEL_NONE ||
               (from[i].service < model->n_services && model->services[from[i].service].where == MODEL_WHERE_CONTAINER));
    }
}

/* What model.h promises to every later layer. */
static void check_model(const struct model *model)
{
    assert(model->domain.text.len > 0);
    for (uint32_t i = 0; i < model->n_hosts; i++)
        assert(model->hosts[i].segment < model->n_segments && model->hosts[i].addresses.n > 0);
    for (uint32_t i = 0; i < model->n_surfaces; i++) {
        assert(model->surfaces[i].port > 0 && model->surfaces[i].hosts.n > 0);
        check_indexes(&model->surfaces[i].hosts, model->n_hosts);
    }
    for (uint32_t i = 0; i < model->n_services; i++) {
        const struct model_service *service = &model->services[i];
        assert(service->hosts.n > 0 && service->name.text.len > 0 && service->name.text.len <= 63);
        assert((service->port == 0) == (service->where == MODEL_WHERE_UNIX));
        assert((service->place.text.len == 0) == (service->where == MODEL_WHERE_HOST));
        check_indexes(&service->hosts, model->n_hosts);
        check_indexes(&service->surfaces, model->n_surfaces);
        assert(service->project == MODEL_NONE || (service->project < model->n_projects && service->where == MODEL_WHERE_CONTAINER));
    }
    for (uint32_t i = 0; i < model->n_projects; i++) {
        assert(model->projects[i].hosts.n > 0 && model->projects[i].name.text.len > 0);
        check_indexes(&model->projects[i].hosts, model->n_hosts);
    }
    for (uint32_t i = 0; i < model->n_grants; i++) {
        check_principals(model, model->grants[i].from, model->grants[i].n_from);
        check_targets(model, model->grants[i].to, model->grants[i].n_to);
        check_indexes(&model->grants[i].over, model->n_surfaces);
    }
    for (uint32_t i = 0; i < model->n_expectations; i++) {
        const struct model_expectation *expectation = &model->expectations[i];
        check_principals(model, expectation->from, expectation->n_from);
        check_targets(model, expectation->can, expectation->n_can);
        check_targets(model, expectation->cannot, expectation->n_cannot);
        assert(expectation->n_can + expectation->n_cannot > 0);
    }
}

static void check_findings(const struct model_findings *findings, struct str source)
{
    cleanup_buf struct buf out;
    buf_init(&out, 64 << 20);
    for (uint32_t i = 0; i < findings->n; i++) {
        assert(findings->items[i].length > 0 && findings->items[i].message.len > 0);
        assert(i == 0 || findings->items[i].at.line == 0 || findings->items[i - 1].at.line <= findings->items[i].at.line);
        model_finding_write(&out, &findings->items[i], STR("postern.yml"), source, i % 2);
    }
    model_findings_write_json(&out, findings, STR("postern.yml"));
    assert(out.error == 0);
    /* Nothing of the file reaches a terminal as a control sequence: the only escapes are our colours. */
    for (size_t i = 0; i < out.len; i++)
        assert(out.ptr[i] != '\033' || (i + 1 < out.len && out.ptr[i + 1] == '['));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = { (const char *)data, size };
    struct model *model = NULL;
    struct model_findings findings = { 0 };
    int r = model_read(text, STR("postern.yml"), &model, &findings);
    if (r < 0)
        return 0;
    assert((r == 0) == (model != NULL) && (r == MODEL_E_INVALID) == (findings.n_errors > 0));
    if (model)
        check_model(model);
    check_findings(&findings, text);
    model_free(model);
    model_findings_deinit(&findings);
    return 0;
}
