/* A recursive reader over libyaml's events. Every function reads one node: the event that begins it is in hand, the events
 * inside are fetched, and `pointer` says where in the document it stands. */
#include "yaml_read.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "common/cleanup.h"
#include "proto/problem.h"

#define POINTER_BYTES 2048
#define ANCHORS_MAX 1000

struct anchor {
        char *name;
        json_t *value; /* shared by all aliases: never changed once built */
        size_t n_nodes;
        unsigned depth; /* levels below it */
};

struct reader {
        yaml_parser_t parser;
        struct yaml_notes *notes;
        struct error *err;
        struct anchor *anchors;
        size_t n_anchors;
        size_t n_nodes;   /* so far, aliases counted as what they stand for */
        unsigned deepest; /* reached so far in the anchored node being read */
};

static int read_node(struct reader *reader, yaml_event_t *event, const char *pointer, unsigned depth, json_t **ret);

static unsigned line_of(const yaml_event_t *event) {
        return (unsigned)event->start_mark.line + 1;
}

static int fail_at(struct reader *reader, unsigned line, const char *text) {
        return error_set(reader->err, -EINVAL, "line %u: %s", line, text);
}

static int next(struct reader *reader, yaml_event_t *event) {
        if (yaml_parser_parse(&reader->parser, event))
                return 0;
        const yaml_parser_t *p = &reader->parser;
        return error_set(reader->err, p->error == YAML_MEMORY_ERROR ? -ENOMEM : -EINVAL, "line %zu: not valid YAML: %s%s%s",
                         p->problem_mark.line + 1, p->context ? p->context : "", p->context ? ", " : "", p->problem ? p->problem : "");
}

static int count(struct reader *reader, unsigned line, size_t n, unsigned depth) {
        reader->n_nodes += n;
        if (depth > reader->deepest)
                reader->deepest = depth;
        if (depth > YAML_DEPTH_MAX)
                return fail_at(reader, line, "nested too deeply");
        if (reader->n_nodes > YAML_NODES_MAX)
                return error_set(reader->err, -EINVAL, "line %u: too large: more than %d values, those of aliases counted each time (JSON may have more)", line,
                                 YAML_NODES_MAX);
        return 0;
}

/* --- scalars --------------------------------------------------------------------------------------- */

static bool is_one_of(const char *text, const char *const *words) {
        for (; *words; words++)
                if (strcmp(text, *words) == 0)
                        return true;
        return false;
}

static bool is_null(const char *text) {
        return is_one_of(text, (const char *const[]){"", "~", "null", "Null", "NULL", NULL});
}

static bool is_true(const char *text) {
        return is_one_of(text, (const char *const[]){"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", NULL});
}

static bool is_false(const char *text) {
        return is_one_of(text, (const char *const[]){"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", NULL});
}

/* Copies without the underscores that YAML 1.1 allows between digits. False when it cannot be a number. */
static bool number_text(const char *text, size_t len, char *ret, size_t size) {
        if (len == 0 || len >= size || strlen(text) != len)
                return false;
        size_t n = 0;
        for (size_t i = 0; i < len; i++)
                if (text[i] != '_' || i == 0)
                        ret[n++] = text[i];
        ret[n] = 0;
        const char *digits = ret + (*ret == '-' || *ret == '+');
        return isdigit((unsigned char)*digits) || (*digits == '.' && isdigit((unsigned char)digits[1]));
}

static size_t skip_digits(const char **at) {
        size_t n = strspn(*at, "0123456789");
        *at += n;
        return n;
}

/* [-+]? digits [. digits] [e [-+] digits], with at least one digit before the exponent. */
static bool is_real(const char *text) {
        const char *at = text + (*text == '-' || *text == '+');
        size_t n = skip_digits(&at);
        if (*at == '.') {
                at++;
                n += skip_digits(&at);
        }
        if (n == 0)
                return false;
        if (*at == 'e' || *at == 'E') {
                at++;
                at += *at == '-' || *at == '+';
                if (skip_digits(&at) == 0)
                        return false;
        }
        return *at == 0;
}

/* The base of an integer literal, 0 when it is none; *ret_digits is what strtoll shall read after the sign. */
static int integer_base(const char *text, const char **ret_digits) {
        const char *digits = text + (*text == '-' || *text == '+');
        *ret_digits = digits;
        if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'b')) {
                *ret_digits = digits + 2;
                const char *allowed = digits[1] == 'x' ? "0123456789abcdefABCDEF" : "01";
                return digits[2] && strspn(digits + 2, allowed) == strlen(digits + 2) ? (digits[1] == 'x' ? 16 : 2) : 0;
        }
        if (!*digits || strspn(digits, "0123456789") != strlen(digits))
                return 0;
        if (digits[0] != '0' || !digits[1])
                return 10;
        return strspn(digits, "01234567") == strlen(digits) ? 8 : 0;
}

/* A new reference, or NULL when the text is no number. *ret_range: it is one that JSON cannot hold. */
static json_t *read_number(const char *text, size_t len, bool as_real, bool *ret_range) {
        char clean[128];
        const char *digits;
        *ret_range = false;
        if (!number_text(text, len, clean, sizeof clean))
                return NULL;
        int base = integer_base(clean, &digits);
        if (base > 0 && !as_real) {
                errno = 0;
                long long magnitude = strtoll(digits, NULL, base);
                *ret_range = errno == ERANGE;
                return json_integer(*clean == '-' ? -magnitude : magnitude);
        }
        if (!is_real(clean))
                return NULL;
        double value = strtod(clean, NULL);
        *ret_range = !isfinite(value);
        return *ret_range ? json_null() : json_real(value);
}

static json_t *make_string(const yaml_event_t *event) {
        return json_stringn((const char *)event->data.scalar.value, event->data.scalar.length);
}

static bool is_not_finite(const char *text) {
        text += *text == '-' || *text == '+';
        return strcasecmp(text, ".inf") == 0 || strcasecmp(text, ".nan") == 0;
}

static json_t *read_plain(const yaml_event_t *event, bool *ret_range) {
        const char *text = (const char *)event->data.scalar.value;
        size_t len = event->data.scalar.length;
        *ret_range = is_not_finite(text);
        if (*ret_range)
                return json_null();
        if (is_null(text))
                return json_null();
        if (is_true(text) || is_false(text))
                return json_boolean(is_true(text));
        json_t *number = read_number(text, len, false, ret_range);
        return number ? number : make_string(event);
}

/* An explicit tag decides, whatever the quotes: !!float "1e-5" is what the W&B documentation recommends. */
static json_t *read_tagged(const yaml_event_t *event, const char *tag, bool *ret_range) {
        const char *text = (const char *)event->data.scalar.value, *kind = tag + strlen("tag:yaml.org,2002:");
        size_t len = event->data.scalar.length;
        *ret_range = false;
        if (strcmp(tag, "!") == 0)
                return make_string(event);
        if (strncmp(tag, "tag:yaml.org,2002:", strlen("tag:yaml.org,2002:")) != 0)
                return NULL;
        if (strcmp(kind, "str") == 0)
                return make_string(event);
        if (strcmp(kind, "float") == 0)
                return is_not_finite(text) ? (*ret_range = true, json_null()) : read_number(text, len, true, ret_range);
        if (strcmp(kind, "int") == 0) {
                json_t *number = read_number(text, len, false, ret_range);
                if (json_is_integer(number))
                        return number;
                json_decref(number);
                return NULL;
        }
        if (strcmp(kind, "bool") == 0)
                return is_true(text) || is_false(text) ? json_boolean(is_true(text)) : NULL;
        return strcmp(kind, "null") == 0 && is_null(text) ? json_null() : NULL;
}

/* Keys of a sweep file whose values are words, also when they look like numbers. */
static bool holds_words(const char *pointer) {
        static const char *const keys[] = {"/name",    "/description", "/project",    "/entity", "/program",
                                           "/command", "/tags",        "/apiVersion", NULL};
        for (const char *const *key = keys; *key; key++)
                if (strncmp(pointer, *key, strlen(*key)) == 0)
                        return true;
        return false;
}

static int warn_of_quotes(struct reader *reader, const yaml_event_t *event, const char *pointer) {
        struct yaml_notes *notes = reader->notes;
        bool range;
        json_t *number = read_number((const char *)event->data.scalar.value, event->data.scalar.length, false, &range);
        json_decref(number);
        if (!number || holds_words(pointer) || notes->n_warnings == YAML_WARNINGS_MAX)
                return 0;
        if (asprintf(&notes->warnings[notes->n_warnings], "line %u: \"%s\" is quoted and so a string, not a number", line_of(event),
                     (const char *)event->data.scalar.value) < 0)
                return -ENOMEM;
        notes->n_warnings++;
        return 0;
}

static int read_scalar(struct reader *reader, const yaml_event_t *event, const char *pointer, json_t **ret) {
        const char *tag = (const char *)event->data.scalar.tag;
        bool range = false;
        json_t *value;
        if (tag) {
                value = read_tagged(event, tag, &range);
                if (!value)
                        return error_set(reader->err, -EINVAL, "line %u: '%.64s' is not a value of the type %.64s", line_of(event),
                                         (const char *)event->data.scalar.value, tag);
        } else if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
                value = read_plain(event, &range);
        } else {
                value = make_string(event);
                int r = warn_of_quotes(reader, event, pointer);
                if (r < 0) {
                        json_decref(value);
                        return r;
                }
        }
        if (range) {
                json_decref(value);
                return error_set(reader->err, -EINVAL, "line %u: the number %.64s is out of range", line_of(event),
                                 (const char *)event->data.scalar.value);
        }
        if (!value)
                return error_set(reader->err, -EINVAL, "line %u: not a valid string", line_of(event));
        *ret = value;
        return 0;
}

/* --- collections ----------------------------------------------------------------------------------- */

static int read_sequence(struct reader *reader, const char *pointer, unsigned depth, json_t **ret) {
        _cleanup_json_ json_t *array = json_array();
        if (!array)
                return -ENOMEM;
        while (true) {
                yaml_event_t event;
                char inner[POINTER_BYTES];
                json_t *item = NULL;
                int r = next(reader, &event);
                if (r < 0)
                        return r;
                if (event.type == YAML_SEQUENCE_END_EVENT) {
                        yaml_event_delete(&event);
                        *ret = TAKE(array);
                        return 0;
                }
                pointer_join_index(inner, sizeof inner, pointer, json_array_size(array));
                r = line_map_add(&reader->notes->lines, inner, line_of(&event));
                if (r == 0)
                        r = read_node(reader, &event, inner, depth + 1, &item);
                yaml_event_delete(&event);
                if (r == 0 && json_array_append_new(array, item) < 0)
                        r = -ENOMEM;
                if (r < 0)
                        return r;
        }
}

/* YAML 1.1 merge key: what the mapping does not say itself comes from the other one. */
static int merge(struct reader *reader, unsigned line, json_t *object, const json_t *other) {
        if (json_is_array(other)) {
                size_t i;
                json_t *item;
                json_array_foreach(other, i, item) {
                        int r = json_is_object(item) ? merge(reader, line, object, item) : fail_at(reader, line, "<< takes mappings");
                        if (r < 0)
                                return r;
                }
                return 0;
        }
        if (!json_is_object(other))
                return fail_at(reader, line, "<< takes a mapping");
        return json_object_update_missing(object, (json_t *)other) < 0 ? -ENOMEM : 0;
}

/* One key and its value. *merged collects what << brings: it counts last, wherever it is written. */
static int read_entry(struct reader *reader, const yaml_event_t *key, const char *pointer, unsigned depth, json_t *object,
                      json_t **merged) {
        const char *name = (const char *)key->data.scalar.value;
        char inner[POINTER_BYTES];
        unsigned line = line_of(key);
        if (key->type != YAML_SCALAR_EVENT || strlen(name) != key->data.scalar.length)
                return fail_at(reader, line, "keys must be plain text");
        pointer_join(inner, sizeof inner, pointer, name);
        bool is_merge = strcmp(name, "<<") == 0 && key->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        if (!is_merge && json_object_get(object, name))
                return error_set(reader->err, -EINVAL, "line %u: the key '%.128s' was already given on line %u", line, name,
                                 line_map_find(&reader->notes->lines, inner));
        yaml_event_t event;
        json_t *value = NULL;
        int r = line_map_add(&reader->notes->lines, inner, line);
        if (r == 0)
                r = next(reader, &event);
        if (r < 0)
                return r;
        r = read_node(reader, &event, inner, depth + 1, &value);
        yaml_event_delete(&event);
        if (r < 0)
                return r;
        if (!is_merge)
                return json_object_set_new(object, name, value) < 0 ? -ENOMEM : 0;
        if (!*merged)
                *merged = json_object();
        r = *merged ? merge(reader, line, *merged, value) : -ENOMEM;
        json_decref(value);
        return r;
}

static int read_mapping(struct reader *reader, const char *pointer, unsigned depth, json_t **ret) {
        _cleanup_json_ json_t *object = json_object(), *merged = NULL;
        if (!object)
                return -ENOMEM;
        while (true) {
                yaml_event_t event;
                int r = next(reader, &event);
                if (r < 0)
                        return r;
                bool end = event.type == YAML_MAPPING_END_EVENT;
                if (!end)
                        r = read_entry(reader, &event, pointer, depth, object, &merged);
                yaml_event_delete(&event);
                if (r < 0)
                        return r;
                if (!end)
                        continue;
                if (merged && json_object_update_missing(object, merged) < 0)
                        return -ENOMEM;
                *ret = TAKE(object);
                return 0;
        }
}

/* --- anchors --------------------------------------------------------------------------------------- */

/* A later anchor of the same name hides the earlier one. */
static const struct anchor *find_anchor(const struct reader *reader, const char *name) {
        for (size_t i = reader->n_anchors; i > 0; i--)
                if (strcmp(reader->anchors[i - 1].name, name) == 0)
                        return &reader->anchors[i - 1];
        return NULL;
}

static int add_anchor(struct reader *reader, unsigned line, const char *name, json_t *value, size_t n_nodes, unsigned depth) {
        if (reader->n_anchors == ANCHORS_MAX)
                return fail_at(reader, line, "too many anchors");
        struct anchor *anchors = reallocarray(reader->anchors, reader->n_anchors + 1, sizeof *anchors);
        if (!anchors)
                return -ENOMEM;
        reader->anchors = anchors;
        char *copy = strdup(name);
        if (!copy)
                return -ENOMEM;
        anchors[reader->n_anchors++] = (struct anchor){.name = copy, .value = json_incref(value), .n_nodes = n_nodes, .depth = depth};
        return 0;
}

static int read_alias(struct reader *reader, const yaml_event_t *event, unsigned depth, json_t **ret) {
        const char *name = (const char *)event->data.alias.anchor;
        const struct anchor *anchor = find_anchor(reader, name);
        if (!anchor)
                return error_set(reader->err, -EINVAL, "line %u: *%.64s stands for nothing that is complete here", line_of(event), name);
        int r = count(reader, line_of(event), anchor->n_nodes, depth + anchor->depth);
        if (r == 0)
                *ret = json_incref(anchor->value);
        return r;
}

/* --- nodes and documents --------------------------------------------------------------------------- */

static const char *anchor_of(const yaml_event_t *event) {
        const yaml_char_t *anchor = event->type == YAML_SCALAR_EVENT           ? event->data.scalar.anchor
                                    : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.anchor
                                                                               : event->data.mapping_start.anchor;
        return (const char *)anchor;
}

static int read_node(struct reader *reader, yaml_event_t *event, const char *pointer, unsigned depth, json_t **ret) {
        if (event->type == YAML_ALIAS_EVENT)
                return read_alias(reader, event, depth, ret);
        size_t before = reader->n_nodes;
        unsigned deepest = reader->deepest;
        reader->deepest = depth;
        int r = count(reader, line_of(event), 1, depth);
        if (r < 0)
                return r;
        if (event->type == YAML_SCALAR_EVENT)
                r = read_scalar(reader, event, pointer, ret);
        else if (event->type == YAML_SEQUENCE_START_EVENT)
                r = read_sequence(reader, pointer, depth, ret);
        else
                r = read_mapping(reader, pointer, depth, ret);
        if (r == 0 && anchor_of(event)) {
                r = add_anchor(reader, line_of(event), anchor_of(event), *ret, reader->n_nodes - before, reader->deepest - depth);
                if (r < 0)
                        json_decref(*ret);
        }
        if (deepest > reader->deepest)
                reader->deepest = deepest;
        return r;
}

static int read_document(struct reader *reader, json_t **ret) {
        _cleanup_json_ json_t *value = NULL;
        yaml_event_t event;
        for (bool end = false; !end;) {
                int r = next(reader, &event);
                if (r < 0)
                        return r;
                switch (event.type) {
                case YAML_STREAM_START_EVENT:
                case YAML_DOCUMENT_END_EVENT:
                        break;
                case YAML_DOCUMENT_START_EVENT:
                        if (value)
                                r = fail_at(reader, line_of(&event), "a second document begins here; one is expected");
                        break;
                case YAML_STREAM_END_EVENT:
                        end = true;
                        break;
                default:
                        r = read_node(reader, &event, "", 0, &value);
                }
                yaml_event_delete(&event);
                if (r < 0)
                        return r;
        }
        if (!value)
                return error_set(reader->err, -EINVAL, "the document is empty");
        *ret = TAKE(value);
        return 0;
}

int yaml_read(const char *text, size_t len, json_t **ret, struct yaml_notes *notes, struct error *err) {
        struct reader reader = {.notes = notes, .err = err};
        if (!yaml_parser_initialize(&reader.parser))
                return error_set(err, -ENOMEM, "out of memory");
        yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, len);
        int r = read_document(&reader, ret);
        if (r == -ENOMEM)
                error_set(err, r, "out of memory");
        yaml_parser_delete(&reader.parser);
        for (size_t i = 0; i < reader.n_anchors; i++) {
                free(reader.anchors[i].name);
                json_decref(reader.anchors[i].value);
        }
        free(reader.anchors);
        return r;
}

void yaml_notes_fini(struct yaml_notes *notes) {
        line_map_fini(&notes->lines);
        for (size_t i = 0; i < notes->n_warnings; i++)
                free(notes->warnings[i]);
        *notes = (struct yaml_notes){0};
}
