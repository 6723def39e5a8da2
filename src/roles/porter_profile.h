/* What the porter may call, in files of its own so that tests confine a process in the same way. */
#pragma once

#include "roles/confine.h"

/* low_ports: it is to bind ports below 1024. */
struct confine_profile porter_profile(bool low_ports);
