/* What the kernel pays per packet for a firewall written as linear rules and for the same as one set, 10,000 grants each.
 *
 * bench/packets [--json FILE], as root. In a network namespace of its own, over its loopback: datagrams to a port that the last grant opens, sent for
 * half a second per way of writing it; packets per second of one core. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GRANTS = 10000, PORT = 30000, ROUND_MS = 500, BATCH = 64, KINDS = 3 };

static const char *const names[KINDS] = { "no rules", "linear rules", "one set" };

static void demand(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void loopback_up(void)
{
    struct ifreq request = { .ifr_name = "lo" };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    demand(fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0, "lo");
    request.ifr_flags |= IFF_UP;
    demand(ioctl(fd, SIOCSIFFLAGS, &request) == 0, "lo");
    close(fd);
}

/* Sources and ports of grants, each once; the last of them is what is sent. */
static void write_grants(FILE *out, const char *before, const char *between, const char *after)
{
    for (unsigned left = GRANTS; left-- > 0;)
        fprintf(out, "%s127.0.%u.%u%s%d%s", before, left / 250, 1 + left % 250, between, PORT, after);
}

static void run_nft(FILE *rules)
{
    char program[] = "nft", flag[] = "-f", input[] = "/dev/stdin", *const command[] = { program, flag, input, NULL };
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 1;
    demand(fseek(rules, 0, SEEK_SET) == 0, "the rules' beginning");
    demand(posix_spawn_file_actions_init(&actions) == 0 && posix_spawn_file_actions_adddup2(&actions, fileno(rules), STDIN_FILENO) == 0 &&
               posix_spawnp(&pid, "nft", &actions, NULL, command, environ) == 0 && waitpid(pid, &status, 0) == pid && status == 0, "nft -f");
    posix_spawn_file_actions_destroy(&actions);
}

static void load_rules(unsigned kind)
{
    FILE *nft = tmpfile();
    if (!nft) {
        demand(false, "a temporary file");
        return;
    }
    fputs("flush ruleset\n", nft);
    if (kind != 0) {
        fputs("table inet bench {\n", nft);
        if (kind == 2) {
            fputs("set allowed { type ipv4_addr . inet_service\nelements = {", nft);
            write_grants(nft, " ", " . ", ",");
            fputs(" }\n}\n", nft);
        }
        fputs("chain input { type filter hook input priority 0; policy drop;\n", nft);
        if (kind == 2)
            fputs("ip saddr . udp dport @allowed accept\n", nft);
        else
            write_grants(nft, "ip saddr ", " udp dport ", " accept\n");
        fputs("}\n}\n", nft);
    }
    run_nft(nft);
    fclose(nft);
}

/* Sends and takes: what arrives is counted, so that a rule set that drops counts for nothing. */
static double measure(int from, int to)
{
    char bytes[64] = { 0 };
    unsigned long n = 0;
    double before = now_ms();
    while (now_ms() - before < ROUND_MS) {
        for (unsigned i = 0; i < BATCH; i++)
            demand(send(from, bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes, "send");
        while (recv(to, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
            n++;
    }
    return (double)n / (now_ms() - before) * 1e3;
}

int main(int argc, char **argv)
{
    double packets[KINDS];
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    if (argc != 1 && (argc != 3 || strcmp(argv[1], "--json") != 0)) {
        fputs("usage: packets [--json FILE]\n", stderr);
        return 2;
    }
    demand(unshare(CLONE_NEWNET) == 0, "a network namespace");
    loopback_up();
    int to = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), from = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    demand(to >= 0 && from >= 0 && bind(to, (struct sockaddr *)&address, sizeof address) == 0 &&
               connect(from, (struct sockaddr *)&address, sizeof address) == 0, "sockets");
    for (unsigned kind = 0; kind < KINDS; kind++) {
        load_rules(kind);
        packets[kind] = measure(from, to);
        printf("%-14s %10.0f packets/s\n", names[kind], packets[kind]);
        demand(packets[kind] > 0, "nothing arrives");
    }
    if (argc == 3) {
        FILE *out = fopen(argv[2], "we");
        demand(out != NULL && fprintf(out, "{ \"none\": %.0f, \"linear\": %.0f, \"set\": %.0f }\n", packets[0], packets[1], packets[2]) > 0 &&
                   fclose(out) == 0, argv[2]);
    }
    return 0;
}
