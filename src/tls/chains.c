/* How a surface's certificates travel from the keeper to its workers. */
#include "tls/chains.h"

#include <errno.h>

static bool is_name(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
            return false;
    }
    return name.len <= TLS_CHAIN_NAME_MAX;
}

static size_t padding(size_t length)
{
    return -length & 7;
}

void tls_chains_append(struct buf *buf, const struct tls_chain *chain)
{
    struct tls_chain_head head = {
        .certificate = chain->certificate,
        .name_length = (uint32_t)chain->name.len,
        .pem_length = (uint32_t)chain->pem.len,
    };
    buf_append(buf, str_make((const char *)&head, sizeof head));
    buf_append(buf, chain->name);
    buf_append(buf, chain->pem);
    buf_append(buf, str_first(STR("\0\0\0\0\0\0\0"), padding(chain->name.len + chain->pem.len)));
}

int tls_chains_decode(const void *data, size_t size, uint32_t n, struct tls_chain ret[])
{
    const char *at = data;
    size_t left = size;
    uint32_t n_defaults = 0;

    if (n > TLS_CHAINS_MAX || size > TLS_CHAINS_SIZE_MAX)
        return -EBADMSG;
    for (uint32_t i = 0; i < n; i++) {
        struct tls_chain_head head;
        if (left < sizeof head)
            return -EBADMSG;
        memcpy(&head, at, sizeof head);
        at += sizeof head;
        left -= sizeof head;
        if (head.name_length > TLS_CHAIN_NAME_MAX || head.pem_length == 0 || head.pem_length > TLS_CHAIN_PEM_MAX)
            return -EBADMSG;
        size_t texts = (size_t)head.name_length + head.pem_length;
        if (left < texts || left - texts < padding(texts))
            return -EBADMSG;
        ret[i] = (struct tls_chain){
            .certificate = head.certificate,
            .name = str_make(at, head.name_length),
            .pem = str_make(at + head.name_length, head.pem_length),
        };
        if (!is_name(ret[i].name))
            return -EBADMSG;
        n_defaults += head.name_length == 0;
        at += texts + padding(texts);
        left -= texts + padding(texts);
    }
    return left == 0 && n_defaults == 1 ? 0 : -EBADMSG;
}
