/* A record (tensorflow.org/tutorials/load_data/tfrecord): length, uint64 little-endian; masked CRC-32C of these 8 bytes; the data;
 * masked CRC-32C of the data. The mask keeps a sum of data that holds sums from being trivial. */
#include "event_file.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define BEGINNING "brain.Event:2" /* the format's version */
#define CRC32C_POLYNOMIAL 0x82f63b78u /* Castagnoli's, reflected */
#define MASK_DELTA 0xa282ead8u

/* Field numbers of tensorboard/compat/proto/{event,summary,tensor,tensor_shape}.proto. */
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_TENSOR = 8, VALUE_METADATA = 9 };
enum { METADATA_PLUGIN = 1, PLUGIN_NAME = 1, PLUGIN_CONTENT = 2 };

static uint32_t crc32c(const void *data, size_t len) {
        static uint32_t table[256];
        for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
                table[i] = i;
                for (int bit = 0; bit < 8; bit++)
                        table[i] = table[i] >> 1 ^ (table[i] & 1 ? CRC32C_POLYNOMIAL : 0);
        }
        uint32_t crc = ~0u;
        for (const uint8_t *byte = data; len > 0; byte++, len--)
                crc = crc >> 8 ^ table[(crc ^ *byte) & 255];
        return ~crc;
}

static uint32_t masked(uint32_t crc) {
        return htole32((crc >> 15 | crc << 17) + MASK_DELTA);
}

static void write_bytes(struct event_file *file, const void *data, size_t len) {
        errno = 0;
        if (file->fault == 0 && fwrite(data, 1, len, file->stream) < len)
                file->fault = errno ? -errno : -EIO;
}

static void write_record(struct event_file *file, const struct message *event) {
        if (file->fault == 0)
                file->fault = event->fault;
        uint64_t length = htole64(event->buf.len);
        uint32_t length_crc = masked(crc32c(&length, sizeof length)), crc = masked(crc32c(event->buf.data, event->buf.len));
        write_bytes(file, &length, sizeof length);
        write_bytes(file, &length_crc, sizeof length_crc);
        write_bytes(file, event->buf.data, event->buf.len);
        write_bytes(file, &crc, sizeof crc);
}

int event_file_open(struct event_file *file, const char *path, double wall_s, struct error *err) {
        *file = (struct event_file){.value = MESSAGE_INIT(EVENT_BYTES_MAX), .summary = MESSAGE_INIT(EVENT_BYTES_MAX), .event = MESSAGE_INIT(EVENT_BYTES_MAX)};
        file->path = strdup(path);
        if (!file->path)
                return error_set(err, -ENOMEM, "out of memory");
        file->stream = fopen(path, "wxe");
        if (!file->stream)
                return error_set(err, -errno, "cannot create %s: %s", path, strerror(errno));
        message_add_double(&file->event, EVENT_WALL_TIME, wall_s);
        message_add_text(&file->event, EVENT_FILE_VERSION, BEGINNING);
        write_record(file, &file->event);
        return 0;
}

/* file->value as an event of its own. */
static void write_value(struct event_file *file, double wall_s, int64_t step) {
        message_clear(&file->summary);
        message_add_message(&file->summary, SUMMARY_VALUE, &file->value);
        message_clear(&file->event);
        message_add_double(&file->event, EVENT_WALL_TIME, wall_s);
        message_add_integer(&file->event, EVENT_STEP, (uint64_t)step);
        message_add_message(&file->event, EVENT_SUMMARY, &file->summary);
        write_record(file, &file->event);
}

void event_file_add_scalar(struct event_file *file, double wall_s, int64_t step, const char *tag, double value) {
        message_clear(&file->value);
        message_add_text(&file->value, VALUE_TAG, tag);
        message_add_float(&file->value, VALUE_SIMPLE, (float)value);
        write_value(file, wall_s, step);
}

void event_file_add_plugin(struct event_file *file, double wall_s, const char *tag, const char *plugin, const struct message *content) {
        static const uint8_t empty_tensor[] = {0x08, 1, 0x12, 2, 0x12, 0}; /* dtype: float; shape: one dimension of 0 */
        _cleanup_message_ struct message data = MESSAGE_INIT(EVENT_BYTES_MAX), metadata = MESSAGE_INIT(EVENT_BYTES_MAX);
        message_add_text(&data, PLUGIN_NAME, plugin);
        message_add_message(&data, PLUGIN_CONTENT, content);
        message_add_message(&metadata, METADATA_PLUGIN, &data);
        message_clear(&file->value);
        message_add_text(&file->value, VALUE_TAG, tag);
        message_add_bytes(&file->value, VALUE_TENSOR, empty_tensor, sizeof empty_tensor);
        message_add_message(&file->value, VALUE_METADATA, &metadata);
        write_value(file, wall_s, 0);
}

int event_file_close(struct event_file *file, struct error *err) {
        if (fclose(TAKE(file->stream)) != 0 && file->fault == 0)
                file->fault = -errno;
        return file->fault < 0 ? error_set(err, file->fault, "cannot write %s: %s", file->path, strerror(-file->fault)) : 0;
}

void event_file_fini(struct event_file *file) {
        if (file->stream)
                fclose(file->stream);
        free(file->path);
        message_fini(&file->value);
        message_fini(&file->summary);
        message_fini(&file->event);
        *file = (struct event_file){0};
}
