#include "proto/reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/nearest.h"
#include "proto/limits.h"

#define WHOLE_MAX 9007199254740991.0 /* 2^53-1: a double tells every whole number up to here from its neighbours */

const char *json_type_word(const json_t *value) {
        static const char *const words[] = {
                [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string", [JSON_INTEGER] = "an integer",
                [JSON_REAL] = "a number",    [JSON_TRUE] = "true",      [JSON_FALSE] = "false",     [JSON_NULL] = "null",
        };
        return value ? words[json_typeof(value)] : "nothing";
}

bool reader_init(struct reader *reader, const json_t *value, const char *pointer, struct faults *faults) {
        *reader = (struct reader){.object = value, .pointer = pointer, .faults = faults};
        if (json_is_object(value))
                return true;
        faults_add(faults, pointer, "must be an object, not %s", json_type_word(value));
        return false;
}

void reader_fault(const struct reader *reader, const char *key, const char *format, ...) {
        char pointer[POINTER_SIZE], text[512];
        va_list ap;
        va_start(ap, format);
        vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        faults_add(reader->faults, pointer_join(pointer, sizeof pointer, reader->pointer, key), "%s", text);
}

void reader_refuse_unknown(const struct reader *reader, const char *const *known) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)reader->object, key, value) {
                size_t i = 0;
                while (known[i] && strcmp(known[i], key) != 0)
                        i++;
                bool is_told = !known[i] && reader->faults->n < LIMIT_FAULTS; /* a body has room for a hundred thousand */
                const char *meant = is_told ? nearest_of(key, known) : NULL;
                if (!known[i])
                        reader_fault(reader, key, "unknown key '%.*s'%s%s%s", 128, key, meant ? ": did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
        }
}

json_t *reader_get(const struct reader *reader, const char *key) {
        json_t *value = json_object_get(reader->object, key);
        return json_is_null(value) ? NULL : value;
}

bool reader_require(const struct reader *reader, const char *key) {
        if (reader_get(reader, key))
                return true;
        reader_fault(reader, key, "is required");
        return false;
}

static bool has_control(const char *text, size_t len) {
        for (size_t i = 0; i < len; i++)
                if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
                        return true;
        return false;
}

/* The fault of a value that should be a short line of text, or NULL. */
static const char *text_fault(const json_t *value, size_t max_bytes, char buf[static 96]) {
        size_t len = json_is_string(value) ? json_string_length(value) : 0;
        if (!json_is_string(value))
                snprintf(buf, 96, "must be a string, not %s", json_type_word(value));
        else if (len == 0)
                snprintf(buf, 96, "must not be empty");
        else if (len > max_bytes)
                snprintf(buf, 96, "must be at most %zu bytes, not %zu", max_bytes, len);
        else if (has_control(json_string_value(value), len))
                snprintf(buf, 96, "must not hold control characters");
        else
                return NULL;
        return buf;
}

const char *reader_text(const struct reader *reader, const char *key, size_t max_bytes) {
        const json_t *value = reader_get(reader, key);
        if (!value)
                return NULL;
        char buf[96];
        const char *fault = text_fault(value, max_bytes, buf);
        if (fault)
                reader_fault(reader, key, "%s", fault);
        return fault ? NULL : json_string_value(value);
}

const char *reader_prose(const struct reader *reader, const char *key, size_t max_bytes) {
        const json_t *value = reader_get(reader, key);
        if (!value)
                return NULL;
        size_t len = json_string_length(value);
        if (!json_is_string(value))
                reader_fault(reader, key, "must be a string, not %s", json_type_word(value));
        else if (len > max_bytes)
                reader_fault(reader, key, "must be at most %zu bytes, not %zu", max_bytes, len);
        else if (strlen(json_string_value(value)) != len)
                reader_fault(reader, key, "must not hold NUL characters");
        else
                return json_string_value(value);
        return NULL;
}

bool reader_texts(const struct reader *reader, const char *key, size_t max_items, size_t max_bytes) {
        json_t *list = reader_array(reader, key, 0, max_items);
        if (!list)
                return false;
        size_t before = reader->faults->n_total;
        char pointer[POINTER_SIZE], buf[96];
        for (size_t i = 0; i < json_array_size(list); i++) {
                const char *fault = text_fault(json_array_get(list, i), max_bytes, buf);
                if (!fault)
                        continue;
                pointer_join(pointer, sizeof pointer, reader->pointer, key);
                faults_add(reader->faults, pointer_join_index(pointer, sizeof pointer, pointer, i), "%s", fault);
        }
        return reader->faults->n_total == before;
}

bool reader_integer(const struct reader *reader, const char *key, int64_t low, int64_t high, int64_t *ret) {
        const json_t *value = reader_get(reader, key);
        if (!value)
                return false;
        int64_t n = json_integer_value(value);
        if (json_is_real(value) && fabs(json_real_value(value)) <= WHOLE_MAX && rint(json_real_value(value)) == json_real_value(value))
                n = (int64_t)json_real_value(value); /* 230.0 is an integer, as JSON Schema has it: some languages write theirs so */
        else if (!json_is_integer(value)) {
                reader_fault(reader, key, "must be an integer, not %s", json_type_word(value));
                return false;
        }
        if (n < low || n > high) {
                if (high == INT64_MAX)
                        reader_fault(reader, key, "must be at least %lld", (long long)low);
                else
                        reader_fault(reader, key, "must be from %lld to %lld", (long long)low, (long long)high);
        } else {
                *ret = n;
                return true;
        }
        return false;
}

bool reader_number(const struct reader *reader, const char *key, double low, double high, double *ret) {
        const json_t *value = reader_get(reader, key);
        if (!value)
                return false;
        double x = json_number_value(value);
        if (!json_is_number(value)) {
                reader_fault(reader, key, "must be a number, not %s", json_type_word(value));
        } else if (!isfinite(x)) {
                reader_fault(reader, key, "must be finite");
        } else if (x < low || x > high) {
                reader_fault(reader, key, "must be from %g to %g", low, high);
        } else {
                *ret = x;
                return true;
        }
        return false;
}

bool reader_positive(const struct reader *reader, const char *key, double *ret) {
        double x;
        if (!reader_number(reader, key, -HUGE_VAL, HUGE_VAL, &x))
                return false;
        if (x <= 0) {
                reader_fault(reader, key, "must be > 0");
                return false;
        }
        *ret = x;
        return true;
}

bool reader_boolean(const struct reader *reader, const char *key, bool *ret) {
        const json_t *value = reader_get(reader, key);
        if (!value)
                return false;
        if (!json_is_boolean(value)) {
                reader_fault(reader, key, "must be true or false, not %s", json_type_word(value));
                return false;
        }
        *ret = json_is_true(value);
        return true;
}

json_t *reader_object(const struct reader *reader, const char *key) {
        json_t *value = reader_get(reader, key);
        if (value && !json_is_object(value)) {
                reader_fault(reader, key, "must be an object, not %s", json_type_word(value));
                return NULL;
        }
        return value;
}

json_t *reader_array(const struct reader *reader, const char *key, size_t min_items, size_t max_items) {
        json_t *value = reader_get(reader, key);
        size_t n = json_array_size(value);
        if (!value)
                return NULL;
        if (!json_is_array(value))
                reader_fault(reader, key, "must be an array, not %s", json_type_word(value));
        else if (n < min_items)
                reader_fault(reader, key, "must have at least %zu item%s", min_items, min_items == 1 ? "" : "s");
        else if (n > max_items)
                reader_fault(reader, key, "must have at most %zu items, not %zu", max_items, n);
        else
                return value;
        return NULL;
}
