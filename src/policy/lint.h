/* What is right to read and still worth a word: grants that do nothing, names that nothing uses, administrators about to be cut off. */
#pragma once

#include "model/diagnose.h"
#include "policy/access.h"

/* Adds warnings. 0 or -ENOMEM. */
int lint_check(const struct access *access, struct diagnostics *d) must_check;
