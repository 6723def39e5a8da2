/* Holding an engine's findings against a declaration: what is declared is no finding, and what is declared and isn't there is one. */
#pragma once

#include "model/model.h"
#include "observe/findings.h"

/* Takes out of findings what the declaration gives on this host, adds what it says in vain, and sorts. 0 or a negative errno. */
int cli_audit_declared(const struct model *model, uint32_t host, struct observe_engine *engine, struct findings *findings) must_check;
