/* A bridge is unsettled from when it is first seen until Docker says that it is its own, or until its time is over. */
#include "enforce/unsettled.h"

#include <limits.h>

#include "enforce/holding.h"

static void on_time(struct io_timer *timer)
{
    struct unsettled *unsettled = container_of(timer, struct unsettled, timer);
    unsettled->settled(unsettled);
}

void unsettled_init(struct unsettled *unsettled, struct io_loop *loop)
{
    *unsettled = (struct unsettled){ .loop = loop, .timer.fire = on_time };
}

void unsettled_deinit(struct unsettled *unsettled)
{
    io_timer_clear(unsettled->loop, &unsettled->timer);
}

static bool is_docker(const struct docker_networks *networks, struct str name)
{
    for (uint32_t i = 0; networks && i < networks->n; i++)
        if (str_equal(networks->items[i].bridge, name))
            return true;
    return false;
}

/* Those that are still there and whose time isn't over, or that came since the last look. */
static void add(struct unsettled *now, const struct unsettled *before, const struct link *link, bool has_word)
{
    uint64_t until_ms = 0;
    for (uint32_t i = 0; i < before->n; i++)
        if (before->indexes[i] == link->index)
            until_ms = before->until_ms[i];
    if (link->index > before->newest || !has_word)
        until_ms = now->loop->now_ms + UNSETTLED_MS;
    if (until_ms <= now->loop->now_ms || now->n == UNSETTLED_MAX)
        return;
    str_copy(now->names[now->n], sizeof now->names[0], str_of(link->name));
    now->indexes[now->n] = link->index;
    now->until_ms[now->n++] = until_ms;
}

void unsettled_look(struct unsettled *unsettled, const struct links *links, const struct docker_networks *networks)
{
    struct unsettled before = *unsettled;
    uint64_t next_ms = 0;
    if (networks && !before.had_word) {
        before.n = 0;
        before.newest = INT_MAX;
    }
    unsettled->had_word |= networks != NULL;
    unsettled->n = 0;
    for (uint32_t i = 0; i < links_count(links); i++) {
        const struct link *link = links_at(links, i);
        if (link->is_bridge && holding_is_docker_name(str_of(link->name)) && !is_docker(networks, str_of(link->name)))
            add(unsettled, &before, link, networks != NULL);
        if (link->index > unsettled->newest)
            unsettled->newest = link->index;
    }
    for (uint32_t i = 0; i < unsettled->n; i++)
        next_ms = !next_ms || unsettled->until_ms[i] < next_ms ? unsettled->until_ms[i] : next_ms;
    if (next_ms)
        io_timer_set(unsettled->loop, &unsettled->timer, next_ms - unsettled->loop->now_ms + 1);
    else
        io_timer_clear(unsettled->loop, &unsettled->timer);
}
