/* Containers' names, Compose projects, and where the Docker Engines are. */
#include "model/read.h"

enum { CONTAINER_NAME_MAX = 128, PROJECT_NAME_MAX = 128, PROJECT_HOSTS_MAX = 64 };

/* ---- names ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool read_is_container_name(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i], lower = str_lower_char(c);
        bool is_alphanumeric = (lower >= 'a' && lower <= 'z') || is_digit(c);
        if (!is_alphanumeric && (i == 0 || !strchr("_.-", c)))
            return false;
    }
    return text.len > 0 && text.len <= CONTAINER_NAME_MAX;
}

/* What Compose makes of a project's name, and takes for one. */
static bool is_project_name(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_alphanumeric = (c >= 'a' && c <= 'z') || is_digit(c);
        if (!is_alphanumeric && (i == 0 || (c != '_' && c != '-')))
            return false;
    }
    return text.len > 0 && text.len <= PROJECT_NAME_MAX;
}

bool read_is_container_place(struct str text)
{
    size_t slash = str_find_char(text, '/');
    if (slash == text.len)
        return read_is_container_name(text);
    return is_project_name(str_first(text, slash)) && read_is_container_name(str_skip(text, slash + 1));
}

/* ---- projects ---- */

static void read_project_host(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_project *project = object;
    read_references(r, value, READ_HOST, PROJECT_HOSTS_MAX, &project->hosts);
}

static void read_project_mode(struct reader *r, const struct yaml_node *value, void *object)
{
    static const char *const words[] = { [MODEL_MODE_OBSERVE] = "observe", [MODEL_MODE_ENFORCE] = "enforce" };
    struct model_project *project = object;
    uint32_t mode;
    if (read_word(r, value, words, ARRAY_SIZE(words), &mode))
        project->mode = (enum model_mode)mode;
}

static void read_project_inside(struct reader *r, const struct yaml_node *value, void *object)
{
    static const char *const words[] = { [MODEL_INSIDE_OPEN] = "open", [MODEL_INSIDE_DECLARED] = "declared" };
    struct model_project *project = object;
    uint32_t inside;
    if (read_word(r, value, words, ARRAY_SIZE(words), &inside))
        project->inside = (enum model_inside)inside;
}

static void read_project(struct reader *r, const struct yaml_node *value, void *thing)
{
    static const struct read_field fields[] = {
        { "host", true, read_project_host },
        { "mode", false, read_project_mode },
        { "inside", false, read_project_inside },
    };
    static const struct read_shape shape = { "a project", "{ host: roc, mode: enforce }", fields, ARRAY_SIZE(fields) };
    (void)read_mapping(r, value, &shape, thing);
}

void read_projects(struct reader *r, const struct yaml_node *value, void *object)
{
    static const struct read_collection collection = {
        READ_PROJECT, "a project", sizeof(struct model_project), 0, read_project, is_project_name,
        "it is a Compose project's name: a-z, 0-9, and '_' and '-' inside",
    };
    (void)object;
    r->model->projects = read_collection(r, value, &collection, &r->model->n_projects);
    for (uint32_t i = 0; i < r->model->n_services; i++) {
        struct model_service *service = &r->model->services[i];
        struct str project = model_service_project(service);
        if (project.len)
            (void)!table_get(&r->names[READ_PROJECT], project, &service->project);
    }
}

void fill_docker(struct reader *r)
{
    struct model *model = r->model;
    for (uint32_t i = 0; i < model->n_services; i++) {
        const struct model_service *service = &model->services[i];
        for (uint32_t k = 0; service->where == MODEL_WHERE_CONTAINER && k < service->hosts.n; k++) {
            struct model_text *socket = &model->hosts[service->hosts.items[k]].docker;
            if (socket->at.line == 0)
                socket->text = STR(MODEL_DOCKER_SOCKET);
        }
    }
}
