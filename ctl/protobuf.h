/* Messages in protobuf's wire format, written field by field (protobuf.dev, "Encoding"). Nothing is read, and fields that hold their
 * default are written like any other. A message that cannot grow remembers it: `fault` is looked at once, when it is done. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

struct message {
        struct buf buf;
        int fault; /* negative errno */
};
#define MESSAGE_INIT(max_bytes) ((struct message){.buf = BUF_INIT(max_bytes)})
#define _cleanup_message_ __attribute__((cleanup(message_fini)))

void message_fini(struct message *message);
void message_clear(struct message *message); /* keeps the memory */

void message_add_integer(struct message *message, unsigned field, uint64_t value); /* int32, int64, bool, enum */
void message_add_double(struct message *message, unsigned field, double value);
void message_add_float(struct message *message, unsigned field, float value);
void message_add_bytes(struct message *message, unsigned field, const void *data, size_t len);
void message_add_text(struct message *message, unsigned field, const char *text);
void message_add_message(struct message *message, unsigned field, const struct message *inner);
