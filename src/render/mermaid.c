/* Writing Mermaid: labels are quoted, and whatever could end one is written as its code. */
#include "render/mermaid.h"

#include "render/chart.h"
#include "render/origin.h"

static void indent(struct buf *out, unsigned depth)
{
    for (unsigned i = 0; i <= depth; i++)
        buf_append(out, STR("  "));
}

static void label_write(struct buf *out, struct str label)
{
    for (size_t i = 0; i < label.len; i++) {
        unsigned char c = (unsigned char)label.ptr[i];
        if (c == '\n')
            buf_append(out, STR("<br/>"));
        else if (c < 0x20 || memchr("\"#<>&`\\{}[]|", c, 12))
            buf_printf(out, "#%u;", c);
        else
            buf_append_char(out, (char)c);
    }
}

static void box_open(struct buf *out, unsigned depth, const char *kind, uint32_t number, struct str label)
{
    indent(out, depth);
    buf_printf(out, "subgraph %s%u[\"", kind, number);
    label_write(out, label);
    buf_append(out, STR("\"]\n"));
}

static void box_close(struct buf *out, unsigned depth)
{
    indent(out, depth);
    buf_append(out, STR("end\n"));
}

static void node_write(struct buf *out, unsigned depth, enum chart_node kind, uint32_t number, struct str label)
{
    static const char *const shapes[][2] = {
        [CHART_PARTY] = { "(\"", "\")" }, [CHART_PORT] = { "{{\"", "\"}}" }, [CHART_GROUP] = { "[\"", "\"]" }, [CHART_BUNDLE] = { "((\"", "\"))" },
    };
    indent(out, depth);
    chart_name_write(out, kind, number);
    buf_printf(out, "%s", shapes[kind][0]);
    label_write(out, label);
    buf_printf(out, "%s\n", shapes[kind][1]);
}

static void edge_write(struct buf *out, enum chart_node from_kind, uint32_t from, enum chart_node to_kind, uint32_t to, enum chart_edge kind)
{
    indent(out, 0);
    chart_name_write(out, from_kind, from);
    buf_printf(out, "%s", kind == CHART_DERIVED ? " -.-> " : kind == CHART_INSIDE ? " --- " : " --> ");
    chart_name_write(out, to_kind, to);
    buf_append_char(out, '\n');
}

int render_mermaid(const struct map *map, struct str revision, struct buf *out)
{
    static const struct chart_language mermaid = { box_open, box_close, node_write, edge_write };
    buf_append(out, STR("%% "));
    render_origin_write(out, map->model, revision);
    buf_append(out, STR(" What the declaration allows; dotted: a gateway to an instance.\nflowchart LR\n"));
    return chart_write(map, &mermaid, out);
}
