#include "protobuf.h"

#include <endian.h>
#include <string.h>

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };

void message_fini(struct message *message) {
        buf_fini(&message->buf);
}

void message_clear(struct message *message) {
        buf_clear(&message->buf);
        message->fault = 0;
}

static void add(struct message *message, const void *data, size_t len) {
        if (message->fault == 0 && len > 0)
                message->fault = buf_append(&message->buf, data, len);
}

static void add_varint(struct message *message, uint64_t value) {
        uint8_t bytes[10];
        size_t n = 0;
        for (; value > 127; value >>= 7)
                bytes[n++] = (uint8_t)(value | 128);
        bytes[n++] = (uint8_t)value;
        add(message, bytes, n);
}

static void add_key(struct message *message, unsigned field, enum wire_type type) {
        add_varint(message, (uint64_t)field << 3 | type);
}

void message_add_integer(struct message *message, unsigned field, uint64_t value) {
        add_key(message, field, WIRE_VARINT);
        add_varint(message, value);
}

void message_add_double(struct message *message, unsigned field, double value) {
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        bits = htole64(bits);
        add_key(message, field, WIRE_FIXED64);
        add(message, &bits, sizeof bits);
}

void message_add_float(struct message *message, unsigned field, float value) {
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        bits = htole32(bits);
        add_key(message, field, WIRE_FIXED32);
        add(message, &bits, sizeof bits);
}

void message_add_bytes(struct message *message, unsigned field, const void *data, size_t len) {
        add_key(message, field, WIRE_LENGTH);
        add_varint(message, len);
        add(message, data, len);
}

void message_add_text(struct message *message, unsigned field, const char *text) {
        message_add_bytes(message, field, text, strlen(text));
}

void message_add_message(struct message *message, unsigned field, const struct message *inner) {
        if (message->fault == 0)
                message->fault = inner->fault;
        message_add_bytes(message, field, inner->buf.data, inner->buf.len);
}
