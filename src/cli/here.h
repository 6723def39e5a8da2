/* Which of the declared hosts this machine is. */
#pragma once

#include "model/model.h"

/* By the name that is given, or the machine's own. MODEL_NONE: there is none, a message was printed. */
uint32_t cli_host_here(const char *command, const struct model *model, const char *given);
