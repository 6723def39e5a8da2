/* Collected by the places of before, then the places of now. */
#include "enforce/gathering.h"

#include "enforce/putting.h"

enum { TEXT_MAX = 8 << 20 };

void gathering_init(struct gathering *gathering)
{
    *gathering = (struct gathering){ .has_read = false };
    seen_init(&gathering->seen);
}

void gathering_deinit(struct gathering *gathering)
{
    seen_deinit(&gathering->seen);
    seen_places_deinit(&gathering->places);
}

static int read_before(struct gathering *gathering, const struct state *state, struct error *err)
{
    cleanup_buf struct buf text;
    buf_init(&text, TEXT_MAX);
    int r = gathering->has_read ? STATE_E_NONE : state_read_text(state, "observed", &text, err);
    if (r < 0)
        return r;
    gathering->has_read = true;
    if (r == 0)
        seen_read(&gathering->seen, buf_str(&text));
    return 0;
}

static int write_now(const struct gathering *gathering, const struct state *state, struct error *err)
{
    cleanup_buf struct buf text;
    buf_init(&text, TEXT_MAX);
    seen_write(&gathering->seen, &text);
    return text.error ? text.error : state_write_text(state, "observed", buf_str(&text), err);
}

static int begin_anew(pid_t *ret_nft, struct error *err)
{
    static const char *const families[] = { "inet", "bridge" }, *const sets[] = { "denied4", "denied6", "seen4", "seen6" };
    cleanup_buf struct buf text;
    buf_init(&text, 1024);
    for (size_t i = 0; i < ARRAY_SIZE(families) * ARRAY_SIZE(sets); i++)
        buf_printf(&text, "flush set %s " CONTAINER_TABLE " %s\n", families[i / ARRAY_SIZE(sets)], sets[i % ARRAY_SIZE(sets)]);
    return text.error ? text.error : put_rules(buf_str(&text), ret_nft, err);
}

int gathering_collect(struct gathering *gathering, const struct state *state, const struct container_filter *filter, const struct model *model,
                      uint32_t host, pid_t *ret_nft, struct error *err)
{
    cleanup_container_counts struct container_counts counts;
    *ret_nft = 0;
    buf_init(&counts.items, OBSERVE_CONTAINERS_MAX);
    int r = read_before(gathering, state, err);
    if (r == 0)
        r = observe_containers(NULL, &counts, err);
    if (r != 0 || !counts.items.len)
        return r < 0 ? r : 0;
    seen_add(&gathering->seen, &counts, &gathering->places, filter, model, host);
    r = write_now(gathering, state, err);
    return r == 0 ? begin_anew(ret_nft, err) : r;
}

bool gathering_look(struct gathering *gathering, const struct docker_containers *containers, const struct docker_networks *networks,
                    bool is_collected)
{
    struct seen_places now;
    if (seen_places_init(&now, containers, networks) < 0)
        return false;
    size_t n_now = now.items.len;
    bool is_kept = is_collected || seen_places_keep(&now, &gathering->places);
    if (!is_kept) {
        seen_places_deinit(&now);
        return true;
    }
    gathering->has_gone = !is_collected && now.items.len > n_now;
    seen_places_deinit(&gathering->places);
    gathering->places = now;
    return false;
}
