/* What a listing lets in, for tests that try the same with packets: reads {"listing": {...}, "questions": [[path, interface, from, to, protocol,
 * port], ...]} from standard input and writes the list of answers, "open", "closed" or "unknown"; each by both evaluators, which must agree. */
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "observe/nftables.h"

static void must(bool is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "judge_nftables: %s\n", what);
    exit(1);
}

static struct address address_at(const json_t *question, size_t i)
{
    struct address address = { 0 };
    must(address_parse(str_of(json_string_value(json_array_get(question, i))), &address), "no address");
    return address;
}

static const char *judge(const struct packet_filter *filter, const json_t *question)
{
    static const char *const names[] = { "closed", "open", "unknown" };
    enum packet_path path = strcmp(json_string_value(json_array_get(question, 0)), "through") == 0 ? PACKET_THROUGH_HOST : PACKET_TO_HOST;
    const struct packet_arrival arrival = { .interface = str_of(json_string_value(json_array_get(question, 1))) };
    struct address from = address_at(question, 2), to = address_at(question, 3);
    uint8_t protocol = strcmp(json_string_value(json_array_get(question, 4)), "udp") == 0 ? IPPROTO_UDP : IPPROTO_TCP;
    uint16_t port = (uint16_t)json_integer_value(json_array_get(question, 5));
    const struct relation_range only = { to, to };
    struct relation open, unknown;
    relation_init(&open);
    relation_init(&unknown);
    must(packet_filter_relation(filter, path, &arrival, &only, 1, &open, &unknown) == 0, "no relation");
    enum packet_answer answer = packet_filter_decide(filter, path, &arrival, &from, &to, protocol, port, NULL);
    must((relation_find_rule(&open, &from, &to, protocol, port) != UINT32_MAX) == (answer == PACKET_ADMITTED), "the evaluators disagree");
    must((relation_find_rule(&unknown, &from, &to, protocol, port) != UINT32_MAX) == (answer == PACKET_UNKNOWN), "the evaluators disagree");
    relation_deinit(&open);
    relation_deinit(&unknown);
    return names[answer];
}

int main(void)
{
    json_t *input = json_loadf(stdin, 0, NULL), *answers = json_array(), *question;
    char *listing = json_dumps(json_object_get(input, "listing"), 0);
    struct packet_filter filter;
    struct error err = { "" };
    size_t i;
    must(listing && observe_nftables_read(str_of(listing), STR("nftables"), &filter, &err) == 0, err.text);
    json_array_foreach(json_object_get(input, "questions"), i, question)
        must(json_array_append_new(answers, json_string(judge(&filter, question))) == 0, "no memory");
    must(json_dumpf(answers, stdout, 0) == 0, "can't write");
    packet_filter_deinit(&filter);
    free(listing);
    json_decref(input);
    json_decref(answers);
    return 0;
}
