/* Finding what is declared by its name. */
#include "model/model.h"

uint32_t model_find_host(const struct model *model, struct str name)
{
    for (uint32_t i = 0; i < model->n_hosts; i++)
        if (str_equal(model->hosts[i].name.text, name))
            return i;
    return MODEL_NONE;
}

uint32_t model_find_segment(const struct model *model, struct str name)
{
    for (uint32_t i = 0; i < model->n_segments; i++)
        if (str_equal(model->segments[i].name.text, name))
            return i;
    return MODEL_NONE;
}

uint32_t model_find_surface(const struct model *model, struct str name)
{
    for (uint32_t i = 0; i < model->n_surfaces; i++)
        if (str_equal(model->surfaces[i].name.text, name))
            return i;
    return MODEL_NONE;
}

uint32_t model_find_service(const struct model *model, struct str name)
{
    for (uint32_t i = 0; i < model->n_services; i++)
        if (str_equal(model->services[i].name.text, name))
            return i;
    return MODEL_NONE;
}
