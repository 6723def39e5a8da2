/* How long one browser's request head, one response head and one chunk take to parse, in nanoseconds of CPU time. */
#include <stdio.h>
#include <time.h>

#include "http/h1.h"

enum { ROUNDS = 7, REPEATS = 200000 };

static const char request[] =
    "GET /api/dashboards/uid/rYdddlPWk?orgId=1&refresh=30s HTTP/1.1\r\n"
    "Host: grafana.home.example\r\n"
    "Connection: keep-alive\r\n"
    "sec-ch-ua: \"Chromium\";v=\"126\", \"Not;A=Brand\";v=\"24\"\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n"
    "Accept: application/json, text/plain, */*\r\n"
    "X-Grafana-Org-Id: 1\r\n"
    "Sec-Fetch-Mode: cors\r\n"
    "Referer: https://grafana.home.example/d/rYdddlPWk/node-exporter-full?orgId=1\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Cookie: grafana_session=8f14e45fceea167a5a36dedd4bea2543; grafana_session_expiry=1718000000\r\n\r\n";

static const char response[] =
    "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: deny\r\nX-Xss-Protection: 1; mode=block\r\nDate: Mon, 10 Jun 2024 12:00:00 GMT\r\nContent-Length: 1234\r\n\r\n";

static const char chunk[] = "3e8\r\n";

static struct http_head head;

static int parse_one_request(void)
{
    size_t scanned = 0, used = 0;
    enum http_violation violation;
    return http1_parse_request(request, sizeof request - 1, &scanned, &head, &used, &violation);
}

static int parse_one_response(void)
{
    size_t scanned = 0, used = 0;
    enum http_violation violation;
    return http1_parse_response(response, sizeof response - 1, &scanned, false, &head, &used, &violation);
}

static int decode_one_chunk(void)
{
    static char text[sizeof chunk - 1 + 1000 + 2];
    if (!text[0]) {
        memset(text, 'x', sizeof text);
        memcpy(text, chunk, sizeof chunk - 1);
        memcpy(text + sizeof text - 2, "\r\n", 2);
    }
    struct http1_chunked chunked;
    http1_chunked_init(&chunked);
    size_t used = 0;
    struct str data;
    enum http_violation violation;
    int r = http1_chunked_decode(&chunked, text, sizeof text, &used, &data, &violation);
    return r || data.len != 1000;
}

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The best round: what the code costs when nobody else is on the core. */
static int measure(const char *what, size_t size, int (*one)(void))
{
    double best = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        double start = cpu_ns();
        for (unsigned i = 0; i < REPEATS; i++) {
            if (one() != 0)
                return 1;
            __asm__ volatile("" ::: "memory");
        }
        double each = (cpu_ns() - start) / REPEATS;
        if (round == 0 || each < best)
            best = each;
    }
    printf("%-22s %5zu bytes  %4u fields  %6.0f ns\n", what, size, head.n_fields, best);
    return 0;
}

int main(void)
{
    int failed = measure("request head", sizeof request - 1, parse_one_request);
    failed |= measure("response head", sizeof response - 1, parse_one_response);
    head.n_fields = 0;
    failed |= measure("chunk of 1000", sizeof chunk - 1 + 1002, decode_one_chunk);
    return failed;
}
