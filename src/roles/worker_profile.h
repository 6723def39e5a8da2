/* What a worker may still do: move bytes on what it was handed, and nothing that could reach anybody else. */
#pragma once

#include "roles/confine.h"

extern const struct confine_profile worker_profile;
