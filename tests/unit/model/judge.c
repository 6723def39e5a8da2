/* The reader for tests that judge thousands of declarations: on standard input a length and a newline, then as many bytes, again and
 * again; on standard output the findings of each as JSON, each ended by a line with a dot. */
#include <stdio.h>
#include <stdlib.h>

#include "model/reader.h"

enum { JUDGE_TEXT_MAX = 1 << 20 };

static int judge(struct str text)
{
    struct model *model = NULL;
    struct model_findings findings = { 0 };
    if (model_read(text, STR("postern.yml"), &model, &findings) < 0)
        return -1;
    struct buf out;
    buf_init(&out, 16 << 20);
    model_findings_write_json(&out, &findings, STR("postern.yml"));
    buf_append(&out, STR("\n.\n"));
    bool is_written = !out.error && fwrite(out.ptr, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    buf_deinit(&out);
    model_free(model);
    model_findings_deinit(&findings);
    return is_written ? 0 : -1;
}

int main(void)
{
    char line[32], *text = malloc(JUDGE_TEXT_MAX);
    int r = text ? 0 : -1;
    while (r == 0 && fgets(line, sizeof line, stdin)) {
        uint64_t size;
        struct str digits = str_of(line);
        digits.len -= digits.len > 0;
        bool is_read = str_to_u64(digits, JUDGE_TEXT_MAX, &size) && fread(text, 1, size, stdin) == size;
        r = is_read ? judge(str_make(text, size)) : -1;
    }
    free(text);
    return r ? 1 : 0;
}
