/* Keeps the numbers of surfaces over a change of the declaration: by name, new ones after the old. */
#include "roles/compiler_numbers.h"

#include <errno.h>

enum { FREE = UINT32_MAX };

/* places[number] is the index of the model's surface that gets it, or FREE. */
struct numbering {
    uint32_t places[IMAGE_SURFACES_MAX];
    uint32_t n;
    uint32_t of[IMAGE_SURFACES_MAX]; /* the number of each of the model's surfaces */
};

static uint32_t find_surface(const struct model *model, struct str name)
{
    for (uint32_t i = 0; i < model->n_surfaces; i++)
        if (str_equal(model->surfaces[i].name.text, name))
            return i;
    return FREE;
}

static void place(struct numbering *numbering, uint32_t number, uint32_t surface)
{
    numbering->places[number] = surface;
    numbering->of[surface] = number;
}

/* A new surface comes after all others, or, when there are too many, takes the place of one that is gone. */
static void place_new(struct numbering *numbering, uint32_t surface)
{
    uint32_t number = numbering->n;
    if (number < IMAGE_SURFACES_MAX) {
        numbering->n++;
    } else {
        number = 0;
        while (numbering->places[number] != FREE)
            number++;
    }
    place(numbering, number, surface);
}

static void number_all(struct numbering *numbering, const struct model *model, struct image plan)
{
    for (uint32_t i = 0; i < model->n_surfaces; i++)
        numbering->of[i] = FREE;
    numbering->n = image_count(plan, IMAGE_SURFACES);
    for (uint32_t number = 0; number < numbering->n; number++) {
        numbering->places[number] = FREE;
        uint32_t surface = find_surface(model, image_str(plan, image_surface(plan, number)->name));
        if (surface != FREE)
            place(numbering, number, surface);
    }
    for (uint32_t i = 0; i < model->n_surfaces; i++)
        if (numbering->of[i] == FREE)
            place_new(numbering, i);
}

static void renumber(const struct numbering *numbering, struct model_indexes *surfaces)
{
    for (uint32_t i = 0; i < surfaces->n; i++)
        surfaces->items[i] = numbering->of[surfaces->items[i]];
}

int numbers_keep(struct model *model, struct image plan)
{
    struct numbering numbering;
    if (model->n_surfaces > IMAGE_SURFACES_MAX)
        return 0; /* compiling refuses it */
    number_all(&numbering, model, plan);
    struct model_surface *surfaces = arena_array(&model->arena, numbering.n, struct model_surface);
    if (!surfaces)
        return -ENOMEM;
    for (uint32_t number = 0; number < numbering.n; number++) {
        if (numbering.places[number] != FREE) {
            surfaces[number] = model->surfaces[numbering.places[number]];
            continue;
        }
        const struct image_surface *gone = image_surface(plan, number);
        surfaces[number].name.text = arena_copy(&model->arena, image_str(plan, gone->name));
        surfaces[number].port = gone->port;
        if (!surfaces[number].name.text.ptr)
            return -ENOMEM;
    }
    model->surfaces = surfaces;
    model->n_surfaces = numbering.n;
    for (uint32_t i = 0; i < model->n_services; i++)
        renumber(&numbering, &model->services[i].surfaces);
    for (uint32_t i = 0; i < model->n_grants; i++)
        renumber(&numbering, &model->grants[i].over);
    for (uint32_t i = 0; i < model->n_expectations; i++)
        renumber(&numbering, &model->expectations[i].over);
    return 0;
}
