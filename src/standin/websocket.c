/* WebSocket echo (RFC 6455): every message comes back as it came, fragment by fragment. */
#include <errno.h>
#include <openssl/sha.h>

#include "standin/standin.h"

enum { FRAME_MAX = 1 << 20, OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10 };

static void frame_header(struct buf *out, unsigned first, uint64_t length)
{
    buf_append_char(out, (char)first);
    if (length < 126) {
        buf_append_char(out, (char)length);
        return;
    }
    unsigned bytes = length < 65536 ? 2 : 8;
    buf_append_char(out, bytes == 2 ? 126 : 127);
    for (unsigned i = bytes; i-- > 0;)
        buf_append_char(out, (char)(length >> (8 * i)));
}

static int websocket_close(struct connection *connection, unsigned code)
{
    frame_header(&connection->out, 0x80 | OPCODE_CLOSE, 2);
    buf_append_char(&connection->out, (char)(code >> 8));
    buf_append_char(&connection->out, (char)code);
    connection->finish = true;
    return connection->out.error;
}

static int websocket_start(struct connection *connection)
{
    (void)connection;
    return 0;
}

static int websocket_data(struct connection *connection)
{
    while (connection->out.len < STANDIN_OUT_HIGH) {
        const unsigned char *p = (const unsigned char *)connection->in.ptr;
        size_t have = connection->in.len, header = 2;
        if (have < 2)
            break;
        if (!(p[1] & 0x80))
            return websocket_close(connection, 1002); /* section 5.1: a client masks */
        uint64_t length = p[1] & 0x7f;
        size_t extra = length == 126 ? 2 : length == 127 ? 8 : 0;
        if (have < header + extra)
            break;
        if (extra) {
            length = 0;
            for (size_t i = 0; i < extra; i++)
                length = length << 8 | p[header + i];
        }
        if (length > FRAME_MAX)
            return websocket_close(connection, 1009);
        header += extra + 4;
        if (have < header + length)
            break;
        unsigned opcode = p[0] & 0x0f;
        unsigned char *payload = (unsigned char *)connection->in.ptr + header;
        for (size_t i = 0; i < length; i++)
            payload[i] ^= p[header - 4 + i % 4];
        if (opcode == OPCODE_CLOSE)
            return websocket_close(connection, length >= 2 ? (unsigned)payload[0] << 8 | payload[1] : 1000);
        if (opcode != OPCODE_PONG) {
            frame_header(&connection->out, opcode == OPCODE_PING ? 0x80 | OPCODE_PONG : p[0], length);
            buf_append(&connection->out, str_make((const char *)payload, (size_t)length));
        }
        buf_consume(&connection->in, header + (size_t)length);
    }
    if (connection->eof)
        connection->finish = true;
    return connection->out.error;
}

static int websocket_pump(struct connection *connection)
{
    (void)connection;
    return 0;
}

static const struct protocol protocol_websocket = { "websocket", websocket_start, websocket_data, websocket_pump, NULL };

int websocket_take(struct connection *connection, const struct request *request)
{
    struct str key = request_field(request, STR("sec-websocket-key"));
    if (!str_equal_nocase(request_field(request, STR("upgrade")), STR("websocket")) || key.len != 24)
        return -EPROTO;
    char text[24 + 36 + 1];
    unsigned char digest[SHA_DIGEST_LENGTH], accept[32];
    str_copy(text, sizeof(text), key);
    str_copy(text + 24, sizeof(text) - 24, STR("258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    if (!EVP_Digest(text, 60, digest, NULL, EVP_sha1(), NULL))
        return -EIO;
    EVP_EncodeBlock(accept, digest, sizeof(digest));
    struct str subprotocol = request_field(request, STR("sec-websocket-protocol"));
    subprotocol = str_trim(str_first(subprotocol, str_find_char(subprotocol, ',')));
    buf_printf(&connection->out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n",
               (char *)accept);
    if (subprotocol.len)
        buf_printf(&connection->out, "Sec-WebSocket-Protocol: %.*s\r\n", STR_ARG(subprotocol));
    buf_printf(&connection->out, "Stand-In: %.*s@%.*s\r\n\r\n", STR_ARG(connection->standin->name), STR_ARG(connection->standin->host));
    connection->protocol->stop(connection);
    return connection_switch(connection, &protocol_websocket);
}
