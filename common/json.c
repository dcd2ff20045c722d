#include "common/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

int json_read(const char *text, size_t len, json_t **ret, struct error *err) {
        json_error_t fault;
        errno = 0;
        json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
        if (!value && errno == ENOMEM) /* Jansson says "invalid token" or nothing then */
                return error_set(err, -ENOMEM, "out of memory");
        if (!value)
                return error_set(err, -EINVAL, "not valid JSON: %s (line %d, column %d)", fault.text, fault.line, fault.column);
        *ret = value;
        return 0;
}

/* As Jansson writes reals: with ".0" where there is neither point nor exponent, the exponent without plus and leading zeros. */
static void tidy_real(char *text) {
        char *exponent = strchr(text, 'e');
        if (!exponent) {
                if (!strchr(text, '.'))
                        strcat(text, ".0");
                return;
        }
        char *to = exponent + 1 + (exponent[1] == '-'), *from = exponent + 2;
        from += strspn(from, "0");
        memmove(to, from, strlen(from) + 1);
}

/* The lowest precision that reads back; without memory of its own, as a number must never become another one. Fifteen digits
 * serve almost every number that people write, so they are tried first; only subnormals are shorter than what %.15g gives. */
void json_format_real(double value, char buf[static 32]) {
        char text[32];
        for (int precision = fabs(value) < 2.3e-308 ? 1 : 15; precision <= 17; precision++) {
                snprintf(text, sizeof text, "%.*g", precision, value);
                if (strtod(text, NULL) == value)
                        break;
        }
        tidy_real(text);
        memcpy(buf, text, strlen(text) + 1);
}

/* Jansson's dump says only that its callback failed; what for is kept here. */
struct sink {
        struct buf *buf;
        int error;
};

static int append(const char *data, size_t len, void *user) {
        struct sink *sink = user;
        sink->error = buf_append(sink->buf, data, len);
        return sink->error < 0 ? -1 : 0;
}

static int write_string(const json_t *string, struct buf *buf) {
        struct sink sink = {.buf = buf};
        if (json_dump_callback(string, append, &sink, JSON_ENCODE_ANY | JSON_COMPACT) < 0)
                return sink.error < 0 ? sink.error : -ENOMEM;
        return 0;
}

static int write_key(const char *key, struct buf *buf) {
        _cleanup_json_ json_t *string = json_string(key);
        return string ? write_string(string, buf) : -ENOMEM;
}

static int compare_keys(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int write_value(const json_t *value, struct buf *buf, bool sorted);

static int write_member(const char *key, const json_t *value, struct buf *buf, bool sorted, bool first) {
        int r = first ? 0 : buf_puts(buf, ",");
        if (r == 0)
                r = write_key(key, buf);
        if (r == 0)
                r = buf_puts(buf, ":");
        return r < 0 ? r : write_value(value, buf, sorted);
}

static int write_object(const json_t *object, struct buf *buf, bool sorted) {
        int r = buf_puts(buf, "{");
        size_t n = json_object_size(object), i = 0;
        const char *key;
        json_t *member;
        if (!sorted) {
                json_object_foreach((json_t *)object, key, member) {
                        if (r < 0)
                                return r;
                        r = write_member(key, member, buf, sorted, i++ == 0);
                }
        } else if (n > 0) {
                _cleanup_free_ const char **keys = calloc(n, sizeof *keys);
                if (!keys)
                        return -ENOMEM;
                json_object_foreach((json_t *)object, key, member)
                        keys[i++] = key;
                qsort(keys, n, sizeof *keys, compare_keys);
                for (i = 0; i < n && r == 0; i++)
                        r = write_member(keys[i], json_object_get(object, keys[i]), buf, sorted, i == 0);
        }
        return r < 0 ? r : buf_puts(buf, "}");
}

static int write_array(const json_t *array, struct buf *buf, bool sorted) {
        int r = buf_puts(buf, "[");
        for (size_t i = 0; i < json_array_size(array) && r == 0; i++) {
                if (i > 0)
                        r = buf_puts(buf, ",");
                if (r == 0)
                        r = write_value(json_array_get(array, i), buf, sorted);
        }
        return r < 0 ? r : buf_puts(buf, "]");
}

static int write_value(const json_t *value, struct buf *buf, bool sorted) {
        char number[32];
        switch (json_typeof(value)) {
        case JSON_OBJECT:
                return write_object(value, buf, sorted);
        case JSON_ARRAY:
                return write_array(value, buf, sorted);
        case JSON_STRING:
                return write_string(value, buf);
        case JSON_INTEGER:
                return buf_printf(buf, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        case JSON_REAL:
                json_format_real(json_real_value(value), number);
                return buf_puts(buf, number);
        case JSON_TRUE:
                return buf_puts(buf, "true");
        case JSON_FALSE:
                return buf_puts(buf, "false");
        case JSON_NULL:
                return buf_puts(buf, "null");
        }
        return -EINVAL;
}

int json_write(const json_t *value, struct buf *buf) {
        return write_value(value, buf, false);
}

char *json_text(const json_t *value) {
        struct buf buf = BUF_INIT(0);
        if (write_value(value, &buf, false) < 0)
                buf_fini(&buf);
        return buf.data;
}

char *json_canonical(const json_t *value) {
        struct buf buf = BUF_INIT(0);
        if (write_value(value, &buf, true) < 0)
                buf_fini(&buf);
        return buf.data;
}

/* Allocates nothing: without memory another answer would be a wrong one. */
bool json_same(const json_t *a, const json_t *b) {
        const char *key;
        json_t *member;
        if (json_is_number(a) && json_is_number(b))
                return json_number_value(a) == json_number_value(b);
        if (!a || !b || json_typeof(a) != json_typeof(b))
                return false;
        if (json_is_array(a)) {
                bool same = json_array_size(a) == json_array_size(b);
                for (size_t i = 0; same && i < json_array_size(a); i++)
                        same = json_same(json_array_get(a, i), json_array_get(b, i));
                return same;
        }
        if (!json_is_object(a))
                return json_equal(a, b);
        if (json_object_size(a) != json_object_size(b))
                return false;
        json_object_foreach((json_t *)a, key, member)
                if (!json_same(member, json_object_get(b, key)))
                        return false;
        return true;
}

json_t *json_number(double value, int prefer_integer) {
        if (prefer_integer && value == floor(value) && fabs(value) <= 9007199254740992.0)
                return json_integer((json_int_t)value);
        return json_real(value);
}

json_t *json_real_or_null(double value) {
        return isfinite(value) ? json_real(value) : json_null();
}

json_t *json_get_dotted(const json_t *object, const char *path) {
        json_t *hit = json_object_get(object, path);
        const char *dot = strchr(path, '.');
        while (!hit && dot) {
                json_t *child = json_object_getn(object, path, (size_t)(dot - path));
                if (json_is_object(child))
                        hit = json_get_dotted(child, dot + 1);
                dot = strchr(dot + 1, '.');
        }
        return hit;
}

static void drop_if(bool failed, json_t **value) {
        if (!failed)
                return;
        json_decref(*value);
        *value = NULL;
}

void json_push(json_t **list, json_t *item) {
        drop_if(json_array_append_new(*list, item) < 0, list);
}

void json_put(json_t **object, const char *key, json_t *item) {
        drop_if(json_object_set_new(*object, key, item) < 0, object);
}

int json_set_dotted(json_t *object, const char *path, json_t *value) {
        const char *dot = strchr(path, '.');
        if (!dot)
                return json_object_set_new(object, path, value) < 0 ? -ENOMEM : 0;
        size_t len = (size_t)(dot - path);
        json_t *child = json_object_getn(object, path, len);
        if (!child) {
                child = json_object();
                if (json_object_setn_new(object, path, len, child) < 0) {
                        json_decref(value);
                        return -ENOMEM;
                }
        }
        if (!json_is_object(child)) {
                json_decref(value);
                return -EINVAL;
        }
        return json_set_dotted(child, dot + 1, value);
}

bool json_del_dotted(json_t *object, const char *path) {
        if (json_object_get(object, path))
                return json_object_del(object, path) == 0;
        for (const char *dot = strchr(path, '.'); dot; dot = strchr(dot + 1, '.')) {
                json_t *child = json_object_getn(object, path, (size_t)(dot - path));
                if (!json_is_object(child) || !json_del_dotted(child, dot + 1))
                        continue;
                if (json_object_size(child) == 0)
                        json_object_deln(object, path, (size_t)(dot - path));
                return true;
        }
        return false;
}

json_t *json_merge_patch(const json_t *target, const json_t *patch) {
        if (!json_is_object(patch))
                return json_incref((json_t *)patch);
        json_t *merged = json_is_object(target) ? json_copy((json_t *)target) : json_object();
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)patch, key, value) {
                if (json_is_null(value)) {
                        json_object_del(merged, key);
                        continue;
                }
                if (json_object_set_new(merged, key, json_merge_patch(json_object_get(merged, key), value)) < 0) {
                        json_decref(merged);
                        return NULL;
                }
        }
        return merged;
}
