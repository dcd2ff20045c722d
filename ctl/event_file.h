/* A file of events that TensorBoard reads: records of TensorFlow's TFRecord format, each a tf.Event. Written front to back, in one
 * small buffer. What cannot be written is told when it is closed. */
#pragma once
#include <stdint.h>
#include <stdio.h>

#include "common/error.h"
#include "protobuf.h"

#define EVENT_BYTES_MAX (32u << 20) /* of one record; points are some dozen */

struct event_file {
        FILE *stream;
        char *path;
        int fault; /* the first one, negative errno */
        struct message value, summary, event;
};

/* A new file, with the record that begins one. wall_s: seconds since 1970, here and below. */
int event_file_open(struct event_file *file, const char *path, double wall_s, struct error *err);

/* One point of a series. TensorBoard's scalars have single precision. */
void event_file_add_scalar(struct event_file *file, double wall_s, int64_t step, const char *tag, double value);

/* What a plugin of TensorBoard's finds under its own tag. */
void event_file_add_plugin(struct event_file *file, double wall_s, const char *tag, const char *plugin, const struct message *content);

/* Negative with a text when not all of it was written. */
int event_file_close(struct event_file *file, struct error *err);
void event_file_fini(struct event_file *file);
