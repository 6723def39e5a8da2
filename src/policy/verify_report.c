/* From differences between matrices to findings: cells with the same answer by the same rules become one, addresses instead of classes. */
#include <errno.h>

#include "policy/verify_proof.h"

enum { CELLS_MAX = 1 << 18, RULES_LOOKED_AT_MAX = 1 << 29, RANGES_BYTES_MAX = 1 << 26 };

/* A difference: what one source class gains or lacks. */
struct cell {
    uint32_t destination, first, last, source;
};

/* A finding in the making, over classes. */
struct draft {
    uint32_t first, last;
    struct proof_steps steps;
    const struct relation_reason *declared;
    struct buf sources;      /* uint32_t: classes */
};

struct reporting {
    const struct proof *p;
    struct verify_result *result;
    enum verify_kind kind;
    bool is_declared;        /* the cells are declared ones */
    struct buf cells, drafts, findings;
    struct buf from, to, rest; /* scratch: struct relation_range */
    uint64_t budget;
};

static void append_range(struct buf *out, const struct relation_range *range)
{
    buf_append(out, str_make((const char *)range, sizeof *range));
}

static struct relation_range *ranges_of(const struct buf *buf)
{
    return (struct relation_range *)(void *)buf->ptr;
}

static uint32_t count_ranges(const struct buf *buf)
{
    return (uint32_t)(buf->len / sizeof(struct relation_range));
}

static int make_selector(struct reporting *r, const struct buf *ranges, struct relation_selector *ret)
{
    uint32_t selector;
    int e = ranges->error ? ranges->error : relation_add_selector(&r->result->ranges, ranges_of(ranges), count_ranges(ranges), &selector);
    if (e == 0)
        *ret = relation_selector(&r->result->ranges, selector);
    return e;
}

/* ---- cells ---- */

static bool is_too_many(const struct reporting *r)
{
    return r->cells.len / sizeof(struct cell) >= CELLS_MAX;
}

static void take_interval(struct reporting *r, uint32_t source, const struct matrix_interval *interval)
{
    static const uint32_t spoken_of[] = { RELATION_TCP, RELATION_UDP };
    if (r->is_declared && (r->p->place_of[interval->destination] & PROOF_LAN_OPEN))
        return; /* nothing stops it, and nothing vouches for it: the host is listed as unproved */
    for (unsigned i = 0; i < ARRAY_SIZE(spoken_of); i++) {
        uint32_t first = spoken_of[i] << 16, last = first | 0xffff;
        struct cell cell = { interval->destination, interval->first > first ? interval->first : first,
                             interval->last < last ? interval->last : last, source };
        if (cell.first <= cell.last && !is_too_many(r))
            buf_append(&r->cells, str_make((const char *)&cell, sizeof cell));
    }
}

static int compare_numbers(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int compare_cells(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    int order = compare_numbers(x->destination, y->destination);
    if (order == 0)
        order = compare_numbers(x->first, y->first);
    if (order == 0)
        order = compare_numbers(x->last, y->last);
    return order ? order : compare_numbers(x->source, y->source);
}

static int take_cells(struct reporting *r, const struct matrix *matrix)
{
    buf_clear(&r->cells);
    for (uint32_t k = 0; k < space_n_classes(r->p->space, SPACE_SOURCE); k++) {
        const struct matrix_row *row = matrix_row(matrix, k);
        for (uint32_t i = 0; i < row->n; i++)
            take_interval(r, k, &row->items[i]);
    }
    r->result->is_cut |= is_too_many(r);
    if (r->cells.len)
        qsort(r->cells.ptr, r->cells.len / sizeof(struct cell), sizeof(struct cell), compare_cells);
    return r->cells.error;
}

/* ---- drafts: sources with the same answer together ---- */

static bool is_same_answer(const struct draft *draft, uint32_t first, uint32_t last, const struct proof_steps *steps,
                           const struct relation_reason *declared)
{
    if (draft->first != first || draft->last != last || draft->declared != declared || draft->steps.n != steps->n)
        return false;
    for (uint32_t i = 0; i < steps->n; i++) {
        const struct verify_step *x = &draft->steps.items[i], *y = &steps->items[i];
        if (x->layer != y->layer || x->answer != y->answer || x->host != y->host || x->rule != y->rule)
            return false;
    }
    return true;
}

static void add_to_draft(struct reporting *r, uint32_t source, uint32_t first, uint32_t last, const struct proof_steps *steps,
                         const struct relation_reason *declared)
{
    struct draft *drafts = (struct draft *)(void *)r->drafts.ptr, *found = NULL;
    for (size_t i = 0; i < r->drafts.len / sizeof *drafts && !found; i++)
        if (is_same_answer(&drafts[i], first, last, steps, declared))
            found = &drafts[i];
    if (!found) {
        struct draft draft = { first, last, *steps, declared, { 0 } };
        buf_init(&draft.sources, RANGES_BYTES_MAX);
        buf_append(&r->drafts, str_make((const char *)&draft, sizeof draft));
        if (r->drafts.error)
            return;
        found = (struct draft *)(void *)(r->drafts.ptr + r->drafts.len) - 1;
    }
    buf_append(&found->sources, str_make((const char *)&source, sizeof source));
    if (found->sources.error)
        r->drafts.error = found->sources.error;
}

static void clear_drafts(struct reporting *r)
{
    struct draft *drafts = (struct draft *)(void *)r->drafts.ptr;
    for (size_t i = 0; i < r->drafts.len / sizeof *drafts; i++)
        buf_deinit(&drafts[i].sources);
    buf_clear(&r->drafts);
}

static struct proof_question question_of(struct reporting *r, const struct cell *cell)
{
    struct proof_question q = {
        .proof = r->p, .kind = r->kind, .source = cell->source, .destination = cell->destination, .budget = &r->budget,
    };
    struct relation_range range = { 0 };
    if (space_class_range(r->p->space, SPACE_SOURCE, cell->source, 0, &range))
        q.from = range.first;
    if (space_class_range(r->p->space, SPACE_DESTINATION, cell->destination, 0, &range))
        q.to = range.first;
    return q;
}

/* A cell in pieces, each by one set of rules. */
static void draft_flow(struct reporting *r, const struct cell *cell)
{
    const struct proof_question q = question_of(r, cell);
    for (uint64_t at = cell->first; at <= cell->last && r->budget && !r->drafts.error;) {
        struct proof_steps steps;
        const struct relation_reason *declared = NULL;
        proof_explain_flow(&q, (uint32_t)at, cell->last, &steps);
        if (r->is_declared)
            declared = proof_find_reason(&q, r->p->layers->declared, (uint32_t)at, &steps.limit);
        add_to_draft(r, cell->source, (uint32_t)at, steps.limit, &steps, declared);
        at = (uint64_t)steps.limit + 1;
    }
}

static void draft_web(struct reporting *r, const struct cell *cell, const struct address *point)
{
    struct proof_question q = question_of(r, cell);
    struct proof_steps steps;
    uint32_t surface = 0, service = 0;
    q.to = *point;
    if (!relation_is_service_point(point, &surface, &service))
        return;
    proof_explain_web(&q, surface, service, &steps);
    const struct relation_reason *declared = r->is_declared ? proof_find_reason(&q, r->p->layers->declared, cell->first, &steps.limit) : NULL;
    add_to_draft(r, cell->source, cell->first, cell->last, &steps, declared);
}

/* ---- findings ---- */

static void add_finding(struct reporting *r, const struct draft *draft, bool is_web, struct relation_selector from, struct relation_selector to)
{
    struct verify_finding finding = {
        .kind = r->kind, .is_web = is_web, .sources = from.items, .n_sources = from.n, .destinations = to.items, .n_destinations = to.n,
        .protocol = (uint8_t)(draft->first >> 16), .port_first = (uint16_t)draft->first, .port_last = (uint16_t)draft->last,
        .declared = draft->declared, .n_steps = draft->steps.n,
    };
    memcpy(finding.steps, draft->steps.items, sizeof finding.steps);
    if (from.n == 0 || to.n == 0)
        return;
    if (r->findings.len / sizeof finding >= VERIFY_FINDINGS_MAX)
        r->result->is_cut = true;
    else
        buf_append(&r->findings, str_make((const char *)&finding, sizeof finding));
}

static int collect_sources(struct reporting *r, const struct draft *draft, struct relation_selector *ret)
{
    const uint32_t *classes = (const uint32_t *)(const void *)draft->sources.ptr;
    struct relation_range range;
    buf_clear(&r->from);
    for (size_t i = 0; i < draft->sources.len / sizeof *classes && !r->from.error; i++)
        for (uint32_t k = 0; space_class_range(r->p->space, SPACE_SOURCE, classes[i], k, &range); k++)
            append_range(&r->from, &range);
    return make_selector(r, &r->from, ret);
}

static bool step_by(struct address *address, bool up)
{
    for (unsigned i = sizeof address->bytes; i-- > 0;) {
        address->bytes[i] = (uint8_t)(address->bytes[i] + (up ? 1 : -1));
        if (address->bytes[i] != (up ? 0 : 0xff))
            return true;
    }
    return false;
}

/* Appends what of a range lies outside another one. */
static void append_outside(struct buf *out, const struct relation_range *range, const struct relation_range *hole)
{
    struct relation_range before = { range->first, hole->first }, after = { hole->last, range->last };
    if (address_compare(&hole->last, &range->first) < 0 || address_compare(&range->last, &hole->first) < 0) {
        append_range(out, range);
        return;
    }
    if (address_compare(&range->first, &hole->first) < 0 && step_by(&before.last, false))
        append_range(out, &before);
    if (address_compare(&hole->last, &range->last) < 0 && step_by(&after.first, true))
        append_range(out, &after);
}

static bool has_address_of(struct relation_selector selector, const struct model_host *host)
{
    for (uint32_t i = 0; i < host->addresses.n + host->lan.n; i++) {
        const struct address_prefix *own = i < host->addresses.n ? &host->addresses.items[i] : &host->lan.items[i - host->addresses.n];
        struct relation_range range = relation_range_of_prefix(own);
        if (relation_selector_contains(selector, &range.first) || relation_selector_contains(selector, &range.last))
            return true;
        for (uint32_t k = 0; own->bits < 128 && k < selector.n; k++)
            if (address_compare(&range.first, &selector.items[k].first) <= 0 && address_compare(&selector.items[k].first, &range.last) <= 0)
                return true;
    }
    return false;
}

/* The sources but for a host's own addresses. */
static int select_others(struct reporting *r, struct relation_selector from, const struct model_host *host, struct relation_selector *ret)
{
    buf_clear(&r->from);
    for (uint32_t i = 0; i < from.n; i++)
        append_range(&r->from, &from.items[i]);
    for (uint32_t k = 0; k < host->addresses.n + host->lan.n; k++) {
        struct relation_range own = relation_range_of_prefix(k < host->addresses.n ? &host->addresses.items[k] : &host->lan.items[k - host->addresses.n]);
        buf_clear(&r->rest);
        for (uint32_t i = 0; i < count_ranges(&r->from); i++)
            append_outside(&r->rest, &ranges_of(&r->from)[i], &own);
        struct buf swap = r->from;
        r->from = r->rest;
        r->rest = swap;
    }
    return make_selector(r, &r->from, ret);
}

/* The addresses of one host among a destination class: what they send themselves is no flow. */
static int report_host(struct reporting *r, const struct draft *draft, struct relation_selector from, uint32_t host, const struct relation_range *to)
{
    struct relation_selector others, destination;
    if (!has_address_of(from, &r->p->layers->model->hosts[host])) {
        append_range(&r->to, to);
        return 0;
    }
    int e = select_others(r, from, &r->p->layers->model->hosts[host], &others);
    buf_clear(&r->rest);
    append_range(&r->rest, to);
    if (e == 0)
        e = make_selector(r, &r->rest, &destination);
    if (e == 0)
        add_finding(r, draft, false, others, destination);
    return e;
}

/* A range of destinations by the hosts in it. */
static int report_range(struct reporting *r, const struct draft *draft, struct relation_selector from, struct relation_range to)
{
    const struct sources *sources = r->p->layers->sources;
    int e = 0;
    uint32_t host = proof_host_of(r->p, &to.first);
    if (host != MODEL_NONE && !proof_is_of_host(&r->p->layers->model->hosts[host], &to.first))
        host = MODEL_NONE; /* an address that it only listens on, perhaps with others */
    if (host != MODEL_NONE && (address_equal(&to.first, &to.last) || proof_host_of(r->p, &to.last) == host))
        return report_host(r, draft, from, host, &to);
    for (uint32_t i = 0; e == 0 && i < sources->n && !address_equal(&to.first, &to.last); i++) {
        const struct source_range *item = &sources->items[i];
        struct relation_range piece = { item->first, item->last };
        if (item->host == MODEL_NONE || address_compare(&item->last, &to.first) < 0 || address_compare(&to.last, &item->first) < 0)
            continue;
        if (address_compare(&piece.first, &to.first) > 0) {
            struct relation_range before = { to.first, piece.first };
            if (step_by(&before.last, false))
                append_range(&r->to, &before);
        } else {
            piece.first = to.first;
        }
        if (address_compare(&piece.last, &to.last) > 0)
            piece.last = to.last;
        e = report_host(r, draft, from, item->host, &piece);
        to.first = piece.last;
        if (address_equal(&piece.last, &to.last) || !step_by(&to.first, true))
            return e;
    }
    append_range(&r->to, &to);
    return e;
}

static int report_flow(struct reporting *r, const struct draft *draft, uint32_t destination)
{
    struct relation_selector from, to;
    struct relation_range range;
    int e = collect_sources(r, draft, &from);
    buf_clear(&r->to);
    for (uint32_t k = 0; e == 0 && space_class_range(r->p->space, SPACE_DESTINATION, destination, k, &range); k++)
        e = report_range(r, draft, from, range);
    if (e == 0)
        e = make_selector(r, &r->to, &to);
    if (e == 0)
        add_finding(r, draft, false, from, to);
    return e;
}

static int report_drafts(struct reporting *r, uint32_t destination, const struct address *point)
{
    const struct draft *drafts = (const struct draft *)(const void *)r->drafts.ptr;
    int e = r->drafts.error;
    for (size_t i = 0; e == 0 && i < r->drafts.len / sizeof *drafts && !r->result->is_cut; i++) {
        struct relation_selector from, to;
        if (!point) {
            e = report_flow(r, &drafts[i], destination);
            continue;
        }
        buf_clear(&r->to);
        append_range(&r->to, &(struct relation_range){ *point, *point });
        e = collect_sources(r, &drafts[i], &from);
        if (e == 0)
            e = make_selector(r, &r->to, &to);
        if (e == 0)
            add_finding(r, &drafts[i], true, from, to);
    }
    clear_drafts(r);
    return e;
}

/* Cells of one destination and one range of ports. */
static int report_group(struct reporting *r, const struct cell *cells, size_t n)
{
    struct relation_range range;
    int e = 0;
    if (r->p->is_network[cells->destination]) {
        for (size_t i = 0; i < n; i++)
            draft_flow(r, &cells[i]);
        return report_drafts(r, cells->destination, NULL);
    }
    for (uint32_t k = 0; e == 0 && space_class_range(r->p->space, SPACE_DESTINATION, cells->destination, k, &range); k++)
        for (struct address point = range.first;;) {
            for (size_t i = 0; i < n && r->budget; i++)
                draft_web(r, &cells[i], &point);
            e = report_drafts(r, cells->destination, &point);
            if (e < 0 || address_equal(&point, &range.last) || r->result->is_cut || !step_by(&point, true))
                break;
        }
    return e;
}

static int report_matrix(struct reporting *r, const struct matrix *matrix, enum verify_kind kind, bool is_declared)
{
    r->kind = kind;
    r->is_declared = is_declared;
    int e = matrix->rows ? take_cells(r, matrix) : 0;
    const struct cell *cells = (const struct cell *)(const void *)r->cells.ptr;
    size_t n = matrix->rows ? r->cells.len / sizeof *cells : 0;
    for (size_t first = 0, end; e == 0 && first < n && !r->result->is_cut; first = end) {
        for (end = first + 1; end < n && cells[end].destination == cells[first].destination && cells[end].first == cells[first].first &&
                              cells[end].last == cells[first].last;)
            end++;
        e = report_group(r, &cells[first], end - first);
        r->result->is_cut |= r->budget == 0;
    }
    return e;
}

int proof_report(const struct proof *proof, struct verify_result *result)
{
    struct reporting r = { .p = proof, .result = result, .budget = RULES_LOOKED_AT_MAX };
    struct buf *const scratch[] = { &r.from, &r.to, &r.rest };
    buf_init(&r.cells, (size_t)CELLS_MAX * sizeof(struct cell) * 2);
    buf_init(&r.drafts, RANGES_BYTES_MAX);
    buf_init(&r.findings, (size_t)VERIFY_FINDINGS_MAX * sizeof(struct verify_finding));
    for (unsigned i = 0; i < ARRAY_SIZE(scratch); i++)
        buf_init(scratch[i], RELATION_MEMORY_MAX);
    int e = report_matrix(&r, &proof->extra, VERIFY_EXTRA, false);
    if (e == 0)
        e = report_matrix(&r, &proof->missing, VERIFY_MISSING, true);
    if (e == 0)
        e = report_matrix(&r, &proof->unproved_missing, VERIFY_UNPROVED, true);
    if (e == 0)
        e = report_matrix(&r, &proof->unproved_extra, VERIFY_UNPROVED, false);
    if (e == 0 && r.findings.len) {
        result->n_findings = (uint32_t)(r.findings.len / sizeof *result->findings);
        result->findings = arena_array(&result->arena, result->n_findings, struct verify_finding);
        e = result->findings ? 0 : -ENOMEM;
        if (e == 0)
            memcpy(result->findings, r.findings.ptr, r.findings.len);
    }
    clear_drafts(&r);
    buf_deinit(&r.cells);
    buf_deinit(&r.drafts);
    buf_deinit(&r.findings);
    for (unsigned i = 0; i < ARRAY_SIZE(scratch); i++)
        buf_deinit(scratch[i]);
    return e;
}
