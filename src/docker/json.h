/* Reading the engine's JSON with jansson: bounded in memory, and a field of an unexpected kind is a missing one. */
#pragma once

#include <jansson.h>

#include "docker/container.h"

/* One answer while it is taken over into an arena. A failure sticks, so that fields can be read one after the other. */
struct docker_json {
    struct arena *arena;
    int error; /* 0, -ENOMEM, -E2BIG */
};

/* The document of at most DOCKER_BODY_MAX bytes. 0 (give *ret back with json_decref); -EINVAL, -E2BIG (memory), with a sentence in err. */
int docker_json_load(struct str body, json_t **ret, struct error *err) must_check;

/* A copy of the text of object[key]. "" where there is none, or it isn't one line of text of at most DOCKER_TEXT_MAX bytes. */
struct str docker_json_text(struct docker_json *reader, const json_t *object, const char *key);
/* The same for a value at hand; with `any`, whatever has no NUL in it is text. */
struct str docker_json_value(struct docker_json *reader, const json_t *value, bool any);
/* As given by somebody who may write anything but NUL: a path. */
struct str docker_json_path(struct docker_json *reader, const json_t *object, const char *key);
bool docker_json_true(const json_t *object, const char *key);
/* An integer from 0 to max, or 0. */
uint64_t docker_json_number(const json_t *object, const char *key, uint64_t max);
/* All texts of an array; *ret_n is 0 without. */
const struct str *docker_json_texts(struct docker_json *reader, const json_t *array, uint32_t *ret_n);
/* The members of an object that are texts, by key. */
const struct docker_label *docker_json_labels(struct docker_json *reader, const json_t *object, uint32_t *ret_n);
struct str docker_label_find(const struct docker_label *labels, uint32_t n, struct str key) pure_function;
/* Zeroed room for n items, of at most max. NULL when n is 0, or with the error set. */
void *docker_json_room(struct docker_json *reader, size_t n, size_t size, size_t max) must_check;
