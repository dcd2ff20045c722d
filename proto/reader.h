/* Reads the members of one JSON object and says in words what is wrong with each: the decoders of messages and specs
 * are lists of these calls. Every fault carries its pointer; reading goes on after a fault, so that all are found.
 * null counts as left out wherever a member is optional. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/problem.h"

#define POINTER_SIZE 512

struct reader {
        const json_t *object; /* borrowed */
        const char *pointer;  /* of the object; "" for the document */
        struct faults *faults;
};

/* Is `value` an object? Else a fault at pointer, and false. */
bool reader_init(struct reader *reader, const json_t *value, const char *pointer, struct faults *faults);

/* A fault for each member whose name is not in the list (ended by NULL). */
void reader_refuse_unknown(const struct reader *reader, const char *const *known);

/* A fault at the member `key`. */
void reader_fault(const struct reader *reader, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The member, NULL when left out or null. */
json_t *reader_get(const struct reader *reader, const char *key);

/* A fault "is required" when left out; true when it is there. */
bool reader_require(const struct reader *reader, const char *key);

/* NULL or false, and *ret untouched, when the member is left out or faulty. Text is never empty, holds no NUL and no
 * control character, and at most max_bytes. */
const char *reader_text(const struct reader *reader, const char *key, size_t max_bytes);
bool reader_integer(const struct reader *reader, const char *key, int64_t low, int64_t high, int64_t *ret);
bool reader_number(const struct reader *reader, const char *key, double low, double high, double *ret);
bool reader_positive(const struct reader *reader, const char *key, double *ret);
bool reader_boolean(const struct reader *reader, const char *key, bool *ret);
json_t *reader_object(const struct reader *reader, const char *key);
json_t *reader_array(const struct reader *reader, const char *key, size_t min_items, size_t max_items);

/* Text for people, may be empty and hold line breaks; NULL when left out or faulty. */
const char *reader_prose(const struct reader *reader, const char *key, size_t max_bytes);

/* An array of non-empty strings; false when left out or faulty. */
bool reader_texts(const struct reader *reader, const char *key, size_t max_items, size_t max_bytes);

/* "object", "integer", … for fault texts. */
const char *json_type_word(const json_t *value);
