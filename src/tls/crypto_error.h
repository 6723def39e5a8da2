/* OpenSSL's error queue as a message of ours. */
#pragma once

#include "base/error.h"

/* Puts OpenSSL's first queued error into err, after what was being done, and empties the queue. */
void tls_error_set(struct error *err, const char *doing);
