/* JSON in and out, over Jansson. What Jansson 2.14 does not do by itself lives here: real numbers are written as the
 * shortest decimal that reads back to the same double (0.85, never 0.84999999999999998), duplicate keys are refused,
 * and input is capped by its caller. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/error.h"

/* Parses exactly one JSON value from len bytes (UTF-8, may hold NUL escapes). New reference in *ret.
 * -EINVAL with line and column in err: malformed, duplicate key, number out of range, trailing bytes. -ENOMEM. */
int json_read(const char *text, size_t len, json_t **ret, struct error *err);

/* Appends the compact text of any JSON value. 0, -ENOMEM, -EFBIG. Keys keep their insertion order. */
int json_write(const json_t *value, struct buf *buf);

/* The same as a new string that the caller frees; NULL when out of memory. */
char *json_text(const json_t *value);

/* Shortest decimal of a finite double as JSON writes it ("0.85", "1.0", "1e-5"). buf holds at least 32 bytes. */
void json_format_real(double value, char buf[static 32]);

/* Canonical text: keys sorted, for comparing and hashing. The caller frees it. */
char *json_canonical(const json_t *value);

/* Equality as the contract sees it: 1 and 1.0 are the same value. Either may be NULL, which is equal to nothing. */
bool json_same(const json_t *a, const json_t *b);

/* An integer for whole numbers that fit 53 bits when prefer_integer, else a real. New reference. */
json_t *json_number(double value, int prefer_integer);

/* null for what JSON has no number for: infinities and NAN. New reference. */
json_t *json_real_or_null(double value);

/* Looks up `a.b.c` in nested objects: exact key first, then by dots. Borrowed, NULL when absent. */
json_t *json_get_dotted(const json_t *object, const char *path);

/* What a merge patch (RFC 7396) makes of target: members of objects are replaced one by one, null takes a member out, everything
 * else is replaced as a whole. target and patch are borrowed and stay as they are. New reference; NULL without memory. */
json_t *json_merge_patch(const json_t *target, const json_t *patch);

/* Removes what json_get_dotted finds, and groups that are empty then. False when there is nothing. */
bool json_del_dotted(json_t *object, const char *path);

/* Add to a list or an object and take the item. Without memory (also where the item is NULL) all of it goes and *list is NULL: an
 * answer is whole, or none. */
void json_push(json_t **list, json_t *item);
void json_put(json_t **object, const char *key, json_t *item);

/* Sets `a.b.c`, making the objects between. Takes the reference of value (also on failure). 0 or -ENOMEM, -EINVAL. */
int json_set_dotted(json_t *object, const char *path, json_t *value);
