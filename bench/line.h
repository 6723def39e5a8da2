/* Connections to the proxy that is measured, shared by the bench's clients. Whatever goes wrong with them ends the process with status 1. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ssl NULL: plain. */
struct line {
    int fd;
    SSL *ssl;
};

extern SSL_CTX *line_context;        /* NULL: plain */
extern const char *line_server_name;
extern SSL_SESSION *line_session;    /* the newest ticket, to resume with */

__attribute__((noreturn, format(printf, 1, 2))) void line_die(const char *format, ...);
int64_t line_now_ns(void);           /* CLOCK_MONOTONIC */

/* Who is connected to, trusting ca ("plain": no TLS), under which name; as many descriptors as this process may have. */
void line_setup(const char *port, const char *ca, const char *name);
/* A blocking connection with its handshake done. False: it could not be made. */
bool line_open(struct line *line, const char *alpn);
/* A non-blocking one, under way: SSL_do_handshake makes it. */
void line_begin(struct line *line, const char *alpn);
void line_close(struct line *line);
ssize_t line_read(struct line *line, void *data, size_t size);
bool line_write(struct line *line, const void *data, size_t size);
