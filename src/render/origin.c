/* Where a rendered text comes from. */
#include "render/origin.h"

struct str render_file_name(const struct model *model)
{
    struct str name = model->file;
    for (struct str rest = name; rest.len;) {
        struct str part = str_split(&rest, '/');
        if (part.len)
            name = part;
    }
    return str_first(name, 80);
}

/* It stands in comments of several languages: nothing in it may end one. */
static void append_plain(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || memchr("._:,@ ", c, 6);
        bool is_dash = c == '-' && (i == 0 || s.ptr[i - 1] != '-');
        buf_append_char(out, is_plain || is_dash ? c : '_');
    }
}

void render_origin_write(struct buf *out, const struct model *model, struct str revision)
{
    buf_append(out, STR("From "));
    append_plain(out, render_file_name(model));
    if (revision.len) {
        buf_append(out, STR(", revision "));
        append_plain(out, str_first(revision, 64));
    }
    buf_append(out, STR(", by postern render."));
}
