/* Models made by hand, for tests of what is derived from them: a line for each thing, names resolved, everything in one arena. */
#pragma once

#include "model/model.h"
#include "policy/compile.h"

enum { WORLD_MAX = 256, WORLD_LIST_MAX = 64 };

struct world {
    struct model model;
};

/* Room for WORLD_MAX of each kind; domain home.example; file "postern.yml". Running out of it ends the test. */
void world_init(struct world *w);
void world_deinit(struct world *w);

/* Lists are comma-separated; names must exist by then. Addresses may be prefixes for segments. Each returns the index. */
uint32_t world_segment(struct world *w, const char *name, const char *prefixes);
uint32_t world_host(struct world *w, const char *name, const char *segment, const char *addresses);
uint32_t world_gateway(struct world *w, const char *name, const char *segment, const char *addresses);
/* Served by every gateway declared so far. */
uint32_t world_surface(struct world *w, const char *name, uint16_t port);
/* A web service at a port of its hosts; the caller changes what differs. */
struct model_service *world_service(struct world *w, const char *name, const char *hosts, uint16_t port);
/* The same in a container, "PROJECT/SERVICE" or NAME. */
struct model_service *world_container(struct world *w, const char *name, const char *hosts, const char *reference, uint16_t port);
/* Before the services that are in it. */
uint32_t world_project(struct world *w, const char *name, const char *hosts, enum model_mode mode, enum model_inside inside);
/* from: hosts, segments and services; to: services, patterns, "HOST:PORT", "SERVICE:PORT", internet; over: surfaces. */
void world_grant(struct world *w, uint32_t line, const char *from, const char *to, const char *over);

struct str world_text(struct world *w, const char *text);
struct model_texts world_texts(struct world *w, const char *list);
struct model_prefixes world_prefixes(struct world *w, const char *list);
struct model_indexes world_surfaces(struct world *w, const char *list);
/* Whether some gateway of the surface listens in the address's family: who has no address of it never gets there. */
bool world_listens(const struct model *model, uint32_t surface, const struct address *from);
uint32_t world_find_host(const struct world *w, const char *name);
uint32_t world_find_service(const struct world *w, const char *name);

/* The homelab's main cast: roc and bluejay (gateways), robin, iphone, kobo, macbook; surfaces main and agents. */
void world_homelab(struct world *w);

/* Compiles for that gateway; ends the test when that fails. */
void world_compile(const struct world *w, const char *gateway, struct compile_output *ret);
struct image world_attach(struct compile_block block, enum image_kind kind);
