/* What the relay of direct ports may call, in a file of its own so that tests confine a process in the same way. */
#pragma once

#include "roles/confine.h"

extern const struct confine_profile relay_profile;
