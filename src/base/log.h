/* What a process says about itself, one line each, to its standard error ("postern-broker: warning: ..."); never about requests, never a secret. */
#pragma once

#include "base/macros.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* name: the process, borrowed for ever. Lines above max_level are dropped. */
void log_init(const char *name, enum log_level max_level);
void log_write(enum log_level level, const char *format, ...) printf_like(2, 3);

#define log_error(...)   log_write(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_DEBUG, __VA_ARGS__)
