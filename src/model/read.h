/* What the parts of the reader share: its state, mappings by table, values, names. Internal to src/model. */
#pragma once

#include <errno.h>

#include "base/table.h"
#include "model/diagnose.h"
#include "model/model.h"
#include "model/yaml.h"

/* In the order in which a bare name is looked for. */
enum read_kind { READ_HOST, READ_SEGMENT, READ_SERVICE, READ_SURFACE, READ_PROJECT, READ_KINDS };

struct reader {
    struct model *model;
    struct diagnostics d;
    struct arena nodes;              /* the tree; gone when the reader is done */
    struct table names[READ_KINDS];  /* a thing's name to its index in the model */
    uint32_t n_comparisons;          /* left for "did you mean", so that a file of typos stays cheap */
    uint64_t n_matches;              /* left for patterns against services */
    struct table addresses, ranges;  /* of hosts (16 bytes) and of segments (text), to the line where they stand */
    struct table bindings, machines; /* tags and users, and names on the mesh, to the line where they stand */
    uint64_t web_surfaces;           /* bits: surfaces that some web service may be on; what '*' can mean */
    int error;                       /* 0 or -ENOMEM; sticks */
};

/* ---- findings at a node ---- */

/* An error, or a warning, under the node. The node's own findings end there: nothing more is said of a broken one. */
#define read_error(r, node, hint, ...)   diagnose_add(&(r)->d, MODEL_ERROR, (node)->at, (node)->length, hint, __VA_ARGS__)
#define read_warning(r, node, hint, ...) diagnose_add(&(r)->d, MODEL_WARNING, (node)->at, (node)->length, hint, __VA_ARGS__)
#define read_error_at(r, text_, hint, ...)                                                                              \
    diagnose_add(&(r)->d, MODEL_ERROR, (text_).at, (text_).text.len, hint, __VA_ARGS__)
#define read_warning_at(r, text_, hint, ...)                                                                            \
    diagnose_add(&(r)->d, MODEL_WARNING, (text_).at, (text_).text.len, hint, __VA_ARGS__)
#define read_quote(r, s) diagnose_quote(&(r)->d, s)
#define read_hint(r, ...) diagnose_text(&(r)->d, __VA_ARGS__)

/* "expected WHAT, found ..." under the node. */
void read_expected(struct reader *r, const struct yaml_node *node, const char *what);

/* ---- mappings ---- */

struct read_field {
    const char *name;
    bool is_required;
    /* value->key is the key. object is what the mapping describes. */
    void (*read)(struct reader *r, const struct yaml_node *value, void *object);
};

struct read_shape {
    const char *what;     /* "a host" */
    const char *example;  /* "{ segment: prod, address: 100.64.0.1 }" */
    const struct read_field *fields;
    size_t n_fields;
};

/* Reads the fields in the order of the shape's table, whatever their order in the file, then reports keys it doesn't know and
 * fields that are missing. Returns the value nodes by the fields' positions, NULL where absent, or NULL when the node is no mapping.
 * The array lives as long as the tree. */
const struct yaml_node *const *read_mapping(struct reader *r, const struct yaml_node *node, const struct read_shape *shape,
                                            void *object);

/* A mapping from names to things, each starting with a struct model_text name. All names are known before the first thing is read.
 * Returns the array, in the file's order. */
struct read_collection {
    enum read_kind kind;
    const char *what;     /* "a host" */
    size_t size;          /* of one thing */
    uint32_t max;         /* how many; 0: no limit */
    void (*read)(struct reader *r, const struct yaml_node *value, void *thing);
    bool (*is_name)(struct str text); /* NULL: names are labels */
    const char *is_name_hint;
};
void *read_collection(struct reader *r, const struct yaml_node *node, const struct read_collection *collection, uint32_t *ret_n);

/* ---- values: false when a finding was made (or the node was broken); *ret is untouched then ---- */

bool read_text(struct reader *r, const struct yaml_node *node, const char *what, struct str *ret);
bool read_number(struct reader *r, const struct yaml_node *node, uint32_t min, uint32_t max, uint32_t *ret);
bool read_port(struct reader *r, const struct yaml_node *node, uint16_t *ret);
bool read_bool(struct reader *r, const struct yaml_node *node, bool *ret);
/* An absolute path of at most max bytes without "." and ".." in it. */
bool read_path(struct reader *r, const struct yaml_node *node, size_t max, struct str *ret);
enum { READ_PATH_MAX = 4095, READ_UNIX_PATH_MAX = 107 };
/* One of words; its position. */
bool read_word(struct reader *r, const struct yaml_node *node, const char *const *words, size_t n_words, uint32_t *ret);

/* A value, or a list of different values: read_items is the first of *ret_n nodes linked by next, NULL when there is a finding.
 * max 0: no limit. */
const struct yaml_node *read_items(struct reader *r, const struct yaml_node *node, const char *what, uint32_t max, uint32_t *ret_n);
/* A list only. */
const struct yaml_node *read_list(struct reader *r, const struct yaml_node *node, const char *what, uint32_t *ret_n);
/* Whole numeric addresses, or prefixes. check, where there is one, says (and reports) what else must hold of each. */
enum read_address { READ_ADDRESS_WHOLE, READ_ADDRESS_PREFIX };
typedef bool (*read_address_check)(struct reader *r, const struct yaml_node *node, const struct address_prefix *prefix);
void read_addresses(struct reader *r, const struct yaml_node *node, enum read_address form, uint32_t max, read_address_check check,
                    struct model_prefixes *ret);
/* False, and a finding, for what can't be a host's: 0.0.0.0, a multicast group. */
bool read_reachable_check(struct reader *r, const struct yaml_node *node, const struct address_prefix *prefix);
/* False, and a finding with the hint, when key (borrowed) was seen before; the node's text is what is named. */
bool read_once(struct reader *r, const struct yaml_node *node, struct table *seen, struct str key, const char *hint);

/* ---- names ---- */

enum { READ_LABEL_MAX = 63, READ_HOST_NAME_MAX = 253 };
/* A DNS label in lower case (RFC 1123 section 2.1). */
bool read_is_label(struct str text) pure_function;
/* Labels with dots between them, lower case, the last not numeric, at most max bytes. */
bool read_is_host_name(struct str text, size_t max) pure_function;
/* A host name that may be written in upper case; *ret is in lower case. */
bool read_host_name(struct reader *r, const struct yaml_node *node, size_t max, struct model_text *ret);

/* The index of the named thing of that kind, or MODEL_NONE and a finding with a suggestion. */
uint32_t read_reference(struct reader *r, const struct yaml_node *node, enum read_kind kind);
/* The same for a name or a list of at most max names; max 0: no limit. */
void read_references(struct reader *r, const struct yaml_node *node, enum read_kind kind, uint32_t max, struct model_indexes *ret);
enum { READ_SURFACES_MAX = 64 }; /* image.h: IMAGE_SURFACES_MAX; sets of surfaces are 64 bits */
/* "did you mean 'x'?" with the nearest name of the kinds (bits, 1 << kind), or STR_NONE. */
struct str read_suggestion(struct reader *r, struct str name, unsigned kinds);
const char *read_kind_name(enum read_kind kind);
struct model_text *read_name_of(struct reader *r, enum read_kind kind, uint32_t index);

/* ---- the parts of the file, one file each; object is unused ---- */

void read_segments(struct reader *r, const struct yaml_node *value, void *object);
void read_hosts(struct reader *r, const struct yaml_node *value, void *object);
void read_surfaces(struct reader *r, const struct yaml_node *value, void *object);
void read_services(struct reader *r, const struct yaml_node *value, void *object);
void read_projects(struct reader *r, const struct yaml_node *value, void *object);
void read_grants(struct reader *r, const struct yaml_node *value, void *object);
void read_expectations(struct reader *r, const struct yaml_node *value, void *object);
void read_domain(struct reader *r, const struct yaml_node *value, void *object);
void read_tls(struct reader *r, const struct yaml_node *value, void *object);
void read_log(struct reader *r, const struct yaml_node *value, void *object);
void read_metrics(struct reader *r, const struct yaml_node *value, void *object);

/* Of a segment or a host; a host's machine name. */
void read_binding_tag(struct reader *r, const struct yaml_node *value, struct model_binding *binding);
void read_binding_user(struct reader *r, const struct yaml_node *value, struct model_binding *binding);
void read_host_tailscale(struct reader *r, const struct yaml_node *value, void *object);
/* Once all hosts are read: machine names not said, and bindings that contradict their segment's. */
void check_bindings(struct reader *r);

/* What dockerd takes for a name; what a container's place may be: NAME, or PROJECT/SERVICE as Compose labels it. */
bool read_is_container_name(struct str text) pure_function;
bool read_is_container_place(struct str text) pure_function;
/* The Docker Engine's usual socket for hosts that have services in containers and name none. */
void fill_docker(struct reader *r);
/* Whether each of from can be granted, or asked about, each of to; both are as read. over: the surfaces of web services. */
enum read_asking { READ_FOR_GRANT, READ_FOR_EXPECTATION };
void check_askers(struct reader *r, const struct model_principal *from, uint32_t n_from, const struct model_target *to, uint32_t n_to,
                  const struct model_indexes *over, enum read_asking asking);

/* What only the whole file shows: names that collide, ports taken twice, services nobody reaches. */
void check_whole(struct reader *r);
/* Warnings about who reaches what, in a file without errors. */
void check_reach(struct reader *r);

/* Surfaces as bits; of a service: all those it may be served on. */
static inline uint64_t read_surfaces_mask(const struct model_indexes *surfaces)
{
    uint64_t mask = 0;
    for (uint32_t i = 0; i < surfaces->n; i++)
        mask |= UINT64_C(1) << surfaces->items[i];
    return mask;
}

static inline uint64_t read_service_surfaces(const struct model_service *service)
{
    return service->surfaces.n ? read_surfaces_mask(&service->surfaces) : UINT64_MAX;
}

static inline void *read_alloc(struct reader *r, size_t n, size_t size)
{
    void *p = arena_alloc(&r->model->arena, n, size);
    if (!p)
        r->error = -ENOMEM;
    return p;
}

/* Whether the bytes can be a declaration at all: small enough, UTF-8, nothing that a terminal or an editor shows as something else. */
bool source_check(struct diagnostics *d, struct str source);
