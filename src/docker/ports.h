/* The ports of a container, as list and inspect each say them. */
#pragma once

#include "docker/json.h"

/* `Ports` of a listed container, into container->ports; errors stick to the reader. */
void docker_ports_of_list(struct docker_json *reader, const json_t *ports, struct docker_container *container);
/* From the whole inspected object: what is published while it runs; else what it asks for; and what is only exposed. */
void docker_ports_of_inspect(struct docker_json *reader, const json_t *object, struct docker_container *container);
