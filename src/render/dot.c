/* Writing Graphviz' language: clusters for segments and hosts, quoted labels. */
#include "render/dot.h"

#include "render/chart.h"
#include "render/origin.h"

static void indent(struct buf *out, unsigned depth)
{
    for (unsigned i = 0; i <= depth; i++)
        buf_append_char(out, '\t');
}

/* Inside quotes '"' ends and '\' begins something; a line break is the two characters \n. */
static void label_write(struct buf *out, struct str label)
{
    buf_append_char(out, '"');
    for (size_t i = 0; i < label.len; i++) {
        char c = label.ptr[i];
        if (c == '\n')
            buf_append(out, STR("\\n"));
        else if ((unsigned char)c < 0x20)
            buf_append_char(out, '_');
        else {
            if (c == '"' || c == '\\')
                buf_append_char(out, '\\');
            buf_append_char(out, c);
        }
    }
    buf_append_char(out, '"');
}

static void box_open(struct buf *out, unsigned depth, const char *kind, uint32_t number, struct str label)
{
    indent(out, depth);
    buf_printf(out, "subgraph cluster_%s%u {\n", kind, number);
    indent(out, depth + 1);
    buf_append(out, STR("label="));
    label_write(out, label);
    buf_printf(out, " style=\"rounded,filled\" color=\"#8c959f\" fillcolor=\"%s\"\n", kind[0] == 's' ? "#f6f8fa" : "#ffffff");
}

static void box_close(struct buf *out, unsigned depth)
{
    indent(out, depth);
    buf_append(out, STR("}\n"));
}

static void node_write(struct buf *out, unsigned depth, enum chart_node kind, uint32_t number, struct str label)
{
    static const char *const looks[] = {
        [CHART_PARTY] = "shape=box style=\"rounded,filled\" fillcolor=\"#ddf4ff\"", [CHART_PORT] = "shape=cds style=filled fillcolor=\"#fff8c5\"",
        [CHART_GROUP] = "shape=box style=filled fillcolor=\"#f6f8fa\"", [CHART_BUNDLE] = "shape=circle style=filled fillcolor=\"#ffffff\"",
    };
    indent(out, depth);
    chart_name_write(out, kind, number);
    buf_append(out, STR(" [label="));
    label_write(out, label);
    buf_printf(out, " %s]\n", looks[kind]);
}

static void edge_write(struct buf *out, enum chart_node from_kind, uint32_t from, enum chart_node to_kind, uint32_t to, enum chart_edge kind)
{
    indent(out, 0);
    chart_name_write(out, from_kind, from);
    buf_append(out, STR(" -> "));
    chart_name_write(out, to_kind, to);
    buf_printf(out, "%s\n", kind == CHART_DERIVED ? " [style=dashed]" : kind == CHART_INSIDE ? " [arrowhead=none]" : "");
}

int render_dot(const struct map *map, struct str revision, struct buf *out)
{
    static const struct chart_language dot = { box_open, box_close, node_write, edge_write };
    buf_append(out, STR("// "));
    render_origin_write(out, map->model, revision);
    buf_append(out, STR(" What the declaration allows; dashed: a gateway to an instance.\n"
                        "digraph postern {\n\trankdir=LR\n\tnode [fontname=\"sans-serif\" fontsize=11]\n\tgraph [fontname=\"sans-serif\" fontsize=12]\n"));
    int r = chart_write(map, &dot, out);
    buf_append(out, STR("}\n"));
    return r < 0 ? r : out->error;
}
