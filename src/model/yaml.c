/* From libfyaml's events to a tree, without recursion and within fixed limits. */
#include "model/yaml.h"

#include <errno.h>
#include <libfyaml.h>

#include "base/table.h"

struct frame {
    struct yaml_node *node;
    struct yaml_node **tail;
    struct yaml_node *key; /* a mapping's key that waits for its value */
};

struct builder {
    struct str source;
    struct arena *nodes, *texts;
    struct diagnostics *d;
    struct yaml_node *root;
    struct frame stack[YAML_DEPTH_MAX];
    unsigned depth;
    uint32_t n_nodes;
    unsigned n_documents;
    /* Where the last event started; events come in the order of the text, so that places cost one walk over it. */
    size_t position;
    struct model_place at;
};

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static void walk_to(struct builder *b, size_t position)
{
    if (position > b->source.len)
        position = b->source.len;
    for (; b->position < position; b->position++) {
        char c = b->source.ptr[b->position];
        bool is_break = c == '\n' || (c == '\r' && (b->position + 1 == b->source.len || b->source.ptr[b->position + 1] != '\n'));
        if (is_break) {
            b->at.line++;
            b->at.column = 1;
        } else if (!is_continuation(c)) {
            b->at.column++;
        }
    }
}

/* Moves to where the token starts; returns how many of its bytes stand on that line. */
static uint32_t walk_to_token(struct builder *b, struct fy_token *token)
{
    const struct fy_mark *start = token ? fy_token_start_mark(token) : NULL, *end = token ? fy_token_end_mark(token) : NULL;
    if (!start)
        return 1;
    walk_to(b, start->input_pos);
    size_t limit = end && end->input_pos > b->position ? end->input_pos : b->position + 1;
    if (limit > b->source.len)
        limit = b->source.len;
    size_t at = b->position;
    while (at < limit && b->source.ptr[at] != '\n' && b->source.ptr[at] != '\r')
        at++;
    return at > b->position ? (uint32_t)(at - b->position) : 1;
}

static int invalid(struct builder *b, size_t length, struct str hint, const char *message)
{
    diagnose_add(b->d, MODEL_ERROR, b->at, length, hint, "%s", message);
    return YAML_E_INVALID;
}

static struct yaml_node *node_new(struct builder *b, enum yaml_kind kind, uint32_t length)
{
    struct yaml_node *node = arena_new(b->nodes, struct yaml_node);
    if (node)
        *node = (struct yaml_node){ .kind = kind, .at = b->at, .length = length };
    return node;
}

static int key_accept(struct builder *b, struct frame *frame, struct yaml_node *key)
{
    if (key->kind != YAML_SCALAR)
        return invalid(b, key->length, STR("a list or mapping can't be a key; if text with brackets is meant, quote it"),
                       "expected a name as the key");
    if (key->is_plain && str_equal(key->text, STR("<<"))) {
        diagnose_add(b->d, MODEL_ERROR, key->at, key->length, STR("write the keys out"), "merge keys are not read");
        key->is_broken = true;
    }
    frame->key = key;
    return 0;
}

/* Hands a new node to the collection being read, or makes it the root. */
static int node_place(struct builder *b, struct yaml_node *node)
{
    if (b->depth == 0) {
        b->root = node;
        return 0;
    }
    struct frame *frame = &b->stack[b->depth - 1];
    if (frame->node->kind == YAML_MAPPING) {
        if (!frame->key)
            return key_accept(b, frame, node);
        node->key = TAKE(frame->key);
        if (node->key->is_broken)
            return 0; /* read, but in no tree */
    }
    *frame->tail = node;
    frame->tail = &node->next;
    frame->node->n++;
    return 0;
}

static void duplicate_report(struct builder *b, struct yaml_node **link, struct yaml_node *mapping, const struct yaml_node *first)
{
    struct yaml_node *again = *link;
    diagnose_add(b->d, MODEL_ERROR, again->key->at, again->key->length, STR("keep one of the two"),
                 "%s is there already, at line %u", diagnose_quote(b->d, again->key->text), first->key->at.line);
    *link = again->next;
    mapping->n--;
}

/* Keys of a mapping are few (a service's) or a great many (all services): compared one by one, or by way of a table. */
static int duplicates_check(struct builder *b, struct yaml_node *mapping)
{
    enum { FEW = 12 };
    cleanup_table struct table seen = { 0 };
    uint32_t n = mapping->n;
    struct yaml_node **by_index = n > FEW ? calloc(n, sizeof *by_index) : NULL;
    int r = n > FEW && !by_index ? -ENOMEM : 0;
    uint32_t i = 0;
    for (struct yaml_node **link = &mapping->first; r >= 0 && *link;) {
        struct yaml_node *value = *link, *same = NULL;
        uint32_t other;
        if (by_index) {
            r = table_add(&seen, value->key->text, i, &other);
            same = r == TABLE_E_EXISTS ? by_index[other] : NULL;
        } else {
            for (same = mapping->first; same != value && !str_equal(same->key->text, value->key->text);)
                same = same->next;
            same = same == value ? NULL : same;
        }
        if (same) {
            duplicate_report(b, link, mapping, same);
        } else {
            if (by_index)
                by_index[i++] = value;
            link = &value->next;
        }
    }
    free(by_index);
    return r < 0 ? r : 0;
}

static int collection_start(struct builder *b, enum yaml_kind kind, struct fy_token *token)
{
    uint32_t length = walk_to_token(b, token);
    struct yaml_node *node = node_new(b, kind, length);
    if (!node)
        return -ENOMEM;
    int r = node_place(b, node);
    if (r)
        return r;
    if (b->depth == YAML_DEPTH_MAX)
        return invalid(b, 1, STR_NONE, "nested too deeply");
    b->stack[b->depth++] = (struct frame){ .node = node, .tail = &node->first };
    return 0;
}

static int collection_end(struct builder *b)
{
    struct yaml_node *node = b->stack[--b->depth].node;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): set when it was pushed */
    return node->kind == YAML_MAPPING ? duplicates_check(b, node) : 0;
}

static int scalar_add(struct builder *b, const struct fy_event *event)
{
    struct fy_token *token = event->scalar.value;
    uint32_t length = walk_to_token(b, token);
    struct yaml_node *node = node_new(b, YAML_SCALAR, length);
    if (!node)
        return -ENOMEM;
    size_t len = 0;
    const char *text = token ? fy_token_get_text(token, &len) : "";
    if (!text)
        return -ENOMEM;
    node->is_plain = !token || fy_token_scalar_style(token) == FYSS_PLAIN;
    node->text = str_make(text, len);
    bool is_literal = text >= b->source.ptr && text + len <= b->source.ptr + b->source.len;
    if (!is_literal)
        node->text = arena_copy(b->texts, node->text);
    return node->text.ptr ? node_place(b, node) : -ENOMEM;
}

static int alias_add(struct builder *b, const struct fy_event *event)
{
    uint32_t length = walk_to_token(b, event->alias.anchor);
    struct yaml_node *node = node_new(b, YAML_SCALAR, length);
    if (!node)
        return -ENOMEM;
    node->is_broken = true;
    diagnose_add(b->d, MODEL_ERROR, b->at, length, STR("write the value out; a pattern that starts with a star needs quotes"),
                 "aliases are not read");
    return node_place(b, node);
}

static void decoration_report(struct builder *b, struct fy_token *anchor, struct fy_token *tag)
{
    if (anchor) {
        uint32_t length = walk_to_token(b, anchor);
        diagnose_add(b->d, MODEL_ERROR, b->at, length, STR("write the value out wherever it is meant"), "anchors are not read");
    }
    if (tag) {
        uint32_t length = walk_to_token(b, tag);
        diagnose_add(b->d, MODEL_ERROR, b->at, length, STR("leave it out; quotes make a text of a value"), "tags are not read");
    }
}

static int document_start(struct builder *b, const struct fy_event *event)
{
    walk_to_token(b, event->document_start.document_start);
    if (++b->n_documents > 1)
        return invalid(b, 3, STR("keep one and remove the '---' between them"), "a second document starts here");
    struct fy_document_state *state = event->document_start.document_state;
    if (state && fy_document_state_tags_explicit(state))
        diagnose_add(b->d, MODEL_ERROR, b->at, 1, STR("remove the %TAG line"), "tags are not read");
    const struct fy_version *version = state && fy_document_state_version_explicit(state) ? fy_document_state_version(state) : NULL;
    if (version && (version->major != 1 || version->minor != 2))
        diagnose_add(b->d, MODEL_ERROR, b->at, 1, STR("remove the %YAML line"), "this file is read as YAML 1.2");
    return 0;
}

static int event_handle(struct builder *b, const struct fy_event *event)
{
    if (b->n_nodes++ > YAML_NODES_MAX)
        return invalid(b, 1, STR_NONE, "more than two million values");
    switch (event->type) {
    case FYET_DOCUMENT_START:
        return document_start(b, event);
    case FYET_SCALAR:
        decoration_report(b, event->scalar.anchor, event->scalar.tag);
        return scalar_add(b, event);
    case FYET_ALIAS:
        return alias_add(b, event);
    case FYET_SEQUENCE_START:
        decoration_report(b, event->sequence_start.anchor, event->sequence_start.tag);
        return collection_start(b, YAML_SEQUENCE, event->sequence_start.sequence_start);
    case FYET_MAPPING_START:
        decoration_report(b, event->mapping_start.anchor, event->mapping_start.tag);
        return collection_start(b, YAML_MAPPING, event->mapping_start.mapping_start);
    case FYET_SEQUENCE_END:
    case FYET_MAPPING_END:
        return collection_end(b);
    default:
        return 0;
    }
}

/* What libfyaml says, by a part of it, and what the user most likely meant. */
static struct str syntax_hint(const char *message)
{
    static const struct {
        const char *part, *hint;
    } hints[] = {
        { "invalid alias", "a pattern that starts with a star needs quotes: \"*\"" },
        { "tab character", "indent with spaces" },
        { "missing comma", "before this a comma or a closing bracket is missing; an address that ends in '::' needs quotes" },
        { "double-quoted scalar", "the closing quote is missing" },
        { "single-quoted scalar", "the closing quote is missing" },
        { "expected ':'", "write KEY: VALUE, with a space after the colon" },
        { "invalid indentation", "the keys of one mapping start in the same column" },
        { "nested block mapping", "KEY: VALUE on a line of its own, or in { }, or the value in quotes" },
        { "plain scalar cannot start", "put it in quotes" },
        { "expected '-'", "the keys of one item start in the same column; is the indentation right?" },
        { "expected key", "a list and a mapping can't mix here; is the indentation right?" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
        if (strstr(message, hints[i].part))
            return str_of(hints[i].hint);
    return STR_NONE;
}

static int syntax_report(struct builder *b, struct fy_diag *diag)
{
    void *iterator = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(diag, &iterator);
    struct model_place at = b->at;
    if (error && error->line > 0)
        at = (struct model_place){ (uint32_t)error->line, error->column > 0 ? (uint32_t)error->column : 1 };
    const char *message = error && error->msg ? error->msg : "the text ends too early";
    diagnose_add(b->d, MODEL_ERROR, at, 1, syntax_hint(message), "not YAML: %s", message);
    return YAML_E_INVALID;
}

static int events_read(struct builder *b, struct fy_parser *parser, struct fy_diag *diag)
{
    struct fy_event *event;
    int r = 0;
    while (r == 0 && (event = fy_parser_parse(parser))) {
        r = event_handle(b, event);
        fy_parser_event_free(parser, event);
    }
    if (r == 0 && fy_parser_get_stream_error(parser))
        r = syntax_report(b, diag);
    if (r == 0 && !b->root)
        r = invalid(b, 1, STR("start with 'postern: 1'; postern.yml(5) has an example"), "the file says nothing");
    return r;
}

int yaml_read(struct str source, struct arena *nodes, struct arena *texts, struct diagnostics *d, struct yaml_node **ret_root)
{
    struct builder b = { .source = source, .nodes = nodes, .texts = texts, .d = d, .at = { 1, 1 } };
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    if (!diag)
        return -ENOMEM;
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = { .flags = FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE | FYPCF_QUIET, .diag = diag };
    struct fy_parser *parser = fy_parser_create(&cfg);
    int r = parser && fy_parser_set_string(parser, source.ptr, source.len) == 0 ? 0 : -ENOMEM;
    if (r == 0)
        r = events_read(&b, parser, diag);
    if (parser)
        fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    if (r == 0)
        *ret_root = b.root;
    return r;
}
