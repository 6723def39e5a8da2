/* Names where there are some, addresses where not, and never more than a line of either. */
#include "cli/judge_words.h"

enum { NAMES_MAX = 8 };

struct naming {
    struct buf *out;
    uint32_t n, n_left;
};

/* A comma where it belongs; false past what is shown. */
static bool next_name(struct naming *naming)
{
    if (naming->n >= NAMES_MAX) {
        naming->n_left++;
        return false;
    }
    if (naming->n++)
        buf_append(naming->out, STR(", "));
    return true;
}

static void end_names(struct naming *naming)
{
    if (naming->n_left)
        buf_printf(naming->out, " and %u more", naming->n_left);
}

static void write_range(struct buf *out, const struct relation_range *range)
{
    char first[ADDRESS_TEXT_SIZE], last[ADDRESS_TEXT_SIZE];
    if (address_equal(&range->first, &range->last))
        buf_printf(out, "%s", address_format(&range->first, first));
    else
        buf_printf(out, "%s-%s", address_format(&range->first, first), address_format(&range->last, last));
}

static bool overlaps(const struct relation_range *range, const struct address *first, const struct address *last)
{
    return address_compare(&range->first, last) <= 0 && address_compare(first, &range->last) <= 0;
}

static uint32_t first_at(const struct sources *sources, const struct address *address)
{
    uint32_t first = 0, end = sources->n;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (address_compare(&sources->items[middle].last, address) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

static bool ranges_overlap(const struct relation_range *ranges, uint32_t n, const struct source_range *range)
{
    for (uint32_t i = 0; i < n; i++)
        if (overlaps(&ranges[i], &range->first, &range->last))
            return true;
    return false;
}

static bool is_point_in(const struct relation_range *ranges, uint32_t n, const struct address *point)
{
    return relation_selector_contains((struct relation_selector){ ranges, n }, point);
}

/* Whether some of the range is nobody's. */
static bool has_strangers(const struct access *a, const struct relation_range *range)
{
    uint32_t i = first_at(&a->sources, &range->first);
    struct address at = range->first;
    for (; i < a->sources.n && address_compare(&a->sources.items[i].first, &at) <= 0; i++) {
        if (address_compare(&a->sources.items[i].last, &range->last) >= 0)
            return false;
        at = a->sources.items[i].last;
        address_advance(&at);
    }
    return true;
}

void words_write_sources(struct buf *out, const struct access *access, const struct relation_range *ranges, uint32_t n)
{
    struct naming naming = { .out = out };
    bool strangers = false;
    for (uint32_t s = 0; s < access->n_subjects; s++) {
        const struct access_subject *subject = &access->subjects[s];
        bool is_meant = subject->container != MODEL_NONE && is_point_in(ranges, n, &subject->point);
        for (uint32_t k = 0; k < subject->n_ranges && !is_meant; k++)
            is_meant = ranges_overlap(ranges, n, &access->sources.items[subject->ranges[k]]);
        if (is_meant && next_name(&naming))
            access_write_subject(out, access, s);
    }
    uint32_t container;
    for (uint32_t i = 0; i < n && !strangers; i++)
        strangers = !relation_is_container_point(&ranges[i].first, &container) && has_strangers(access, &ranges[i]);
    if (strangers && n == 1 && address_equal(&ranges[0].first, &ranges[0].last)) {
        if (next_name(&naming))
            write_range(out, &ranges[0]);
    } else if (strangers && next_name(&naming)) {
        buf_append(out, naming.n > 1 ? STR("anyone else") : STR("anyone who is not declared"));
    }
    end_names(&naming);
}

static bool is_lan_of(const struct model_host *host, const struct relation_range *range)
{
    for (uint32_t i = 0; i < host->lan.n; i++)
        if (address_prefix_contains(&host->lan.items[i], &range->first))
            return true;
    return false;
}

static void write_place(struct buf *out, const struct access *a, const struct relation_range *range)
{
    const struct model *m = a->model;
    const struct source_range *whose = sources_find(&a->sources, &range->first);
    uint32_t surface, service;
    if (relation_is_service_point(&range->first, &surface, &service) && surface < m->n_surfaces && service < m->n_services) {
        buf_printf(out, "%.*s over %.*s", STR_ARG(m->services[service].name.text), STR_ARG(m->surfaces[surface].name.text));
        return;
    }
    if (whose && whose->host != MODEL_NONE) {
        buf_append(out, m->hosts[whose->host].name.text);
        return;
    }
    for (uint32_t i = 0; i < m->n_hosts; i++)
        if (is_lan_of(&m->hosts[i], range)) {
            buf_printf(out, "%.*s by its LAN address ", STR_ARG(m->hosts[i].name.text));
            break;
        }
    write_range(out, range);
}

/* A range of points is each of its services. */
static void write_points(struct naming *naming, const struct access *a, const struct relation_range *range)
{
    uint32_t surface, first, end;
    if (!relation_is_service_point(&range->first, &surface, &first) || !relation_is_service_point(&range->last, &surface, &end))
        return;
    for (uint32_t i = first; i <= end && i < a->model->n_services; i++) {
        struct address point = relation_service_point(surface, i);
        if (next_name(naming))
            write_place(naming->out, a, &(struct relation_range){ point, point });
    }
}

void words_write_destinations(struct buf *out, const struct access *access, const struct relation_range *ranges, uint32_t n)
{
    struct naming naming = { .out = out };
    uint32_t surface, service, last_host = MODEL_NONE;
    for (uint32_t i = 0; i < n; i++) {
        const struct source_range *whose = sources_find(&access->sources, &ranges[i].first);
        uint32_t host = whose ? whose->host : MODEL_NONE;
        bool is_same = host != MODEL_NONE && host == last_host; /* another address of it */
        last_host = host;
        if (relation_is_service_point(&ranges[i].first, &surface, &service))
            write_points(&naming, access, &ranges[i]);
        else if (!is_same && next_name(&naming))
            write_place(out, access, &ranges[i]);
    }
    end_names(&naming);
}

void words_write_ports(struct buf *out, uint8_t protocol, uint16_t first, uint16_t last)
{
    const char *name = protocol == RELATION_UDP ? "UDP " : "";
    if (first == last)
        buf_printf(out, "%sport %u", name, first);
    else if (first <= 1 && last == RELATION_PORT_MAX)
        buf_printf(out, "every %sport", name);
    else
        buf_printf(out, "%sports %u-%u", name, first, last);
}

void words_write_layer(struct buf *out, const struct model *model, const struct verify_step *step)
{
    static const char *const names[] = {
        [VERIFY_MESH] = "the mesh", [VERIFY_FIREWALL] = "the firewall", [VERIFY_FIREWALL_LAN] = "the firewall towards the LAN",
        [VERIFY_GATEWAY] = "the gateway", [VERIFY_INSTANCE] = "the way to the instance",
    };
    buf_append(out, str_of(names[step->layer]));
    if (step->host != MODEL_NONE)
        buf_printf(out, " of %.*s", STR_ARG(model->hosts[step->host].name.text));
}

void words_write_reason(struct buf *out, const struct relation_reason *reason)
{
    buf_append(out, reason->file);
    if (reason->line)
        buf_printf(out, ":%u", reason->line);
    if (reason->text.len)
        buf_printf(out, reason->line ? " (%.*s)" : ", %.*s", STR_ARG(reason->text));
}
