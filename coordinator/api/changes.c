/* The history of a sweep for people: what was changed, by whom, when, and what the coordinator did by itself. */
#include <string.h>

#include "api/core.h"
#include "common/utf8.h"

#define DETAIL_MAX (64 << 10) /* bytes; of a larger change, and of one that is nested too deeply, only the places are kept */
#define CHANGES_MAX 1000      /* of one edit */
#define TEXT_MAX 1000
#define VALUE_BYTES 60 /* of a value in a sentence */

/* --- writing --------------------------------------------------------------------------------------------------- */

/* A value that a body could just hold may be too deep with what stands around it here. */
static int judge_detail(const char *text, bool *ret_fits) {
        _cleanup_json_ json_t *again = NULL;
        int r = json_read(text, strlen(text), &again, NULL);
        *ret_fits = r == 0 && strlen(text) <= DETAIL_MAX;
        return r == -ENOMEM ? r : 0;
}

int change_note(struct api *api, int64_t sweep, const char *what, json_t *detail) {
        _cleanup_json_ json_t *owned = detail ? detail : json_object();
        _cleanup_free_ char *text = owned ? json_text(owned) : NULL;
        bool fits;
        if (!text || judge_detail(text, &fits) < 0)
                return -ENOMEM;
        if (!fits) {
                size_t i;
                json_t *change;
                json_array_foreach(json_object_get(owned, "changes"), i, change) {
                        json_object_del(change, "before");
                        json_object_del(change, "after");
                }
                free(text);
                text = json_text(owned);
        }
        if (!text)
                return -ENOMEM;
        return store_change_add(api->store, &(struct change_row){.sweep = sweep, .at_ms = api_wall(api), .who = (char *)api->who, .what = (char *)what,
                                                                 .detail = text});
}

static json_int_t integer_of(const json_t *detail, const char *key) {
        return json_integer_value(json_object_get(detail, key));
}

/* What requests of one import have in common: their key up to its last dot. Length; 0 = nothing. */
static size_t stem_of(const char *key) {
        const char *dot = key ? strrchr(key, '.') : NULL;
        return dot ? (size_t)(dot - key) : 0;
}

static bool is_continued(const struct api *api, const struct change_row *row, const json_t *detail, const char *what, const char *key, uint64_t first) {
        const char *stem = json_string_value(json_object_get(detail, "key"));
        size_t len = stem_of(key);
        bool is_same_person = row->who && api->who ? strcmp(row->who, api->who) == 0 : row->who == api->who;
        return len > 0 && stem && strlen(stem) == len && memcmp(stem, key, len) == 0 && is_same_person && strcmp(row->what, what) == 0 &&
               integer_of(detail, "last") + 1 == (json_int_t)first;
}

int change_note_trials(struct api *api, int64_t sweep, const char *what, const char *key, uint64_t n, uint64_t first, uint64_t last) {
        struct change_row row = {0};
        int r = store_change_last(api->store, sweep, &row);
        if (r < 0)
                return r;
        _cleanup_json_ json_t *before = r == 0 ? encode_stored(row.detail) : NULL;
        bool continues = before && is_continued(api, &row, before, what, key, first);
        json_int_t all = (json_int_t)n + (continues ? integer_of(before, "n") : 0);
        json_t *detail = json_pack("{s:I, s:I, s:I}", "n", all, "first", continues ? integer_of(before, "first") : (json_int_t)first, "last",
                                   (json_int_t)last);
        if (detail && stem_of(key) > 0)
                json_put(&detail, "key", json_stringn(key, stem_of(key)));
        if (continues) {
                char *text = detail ? json_text(detail) : NULL;
                json_decref(detail);
                free(row.detail);
                row.detail = text;
                row.at_ms = api_wall(api);
                r = text ? store_change_update(api->store, &row) : -ENOMEM;
        } else
                r = detail ? change_note(api, sweep, what, detail) : -ENOMEM;
        change_row_fini(&row);
        return r;
}

json_t *change_of(const char *pointer, json_t *before, json_t *after) {
        return json_pack("{s:[{s:s, s:o, s:o}]}", "changes", "pointer", pointer, "before", before, "after", after);
}

/* One difference; a side that is NULL is not there, which is not the same as null. */
static int add_difference(json_t *list, const char *pointer, const json_t *before, const json_t *after) {
        if (json_array_size(list) >= CHANGES_MAX)
                return 0;
        json_t *change = json_pack("{s:s, s:O*, s:O*}", "pointer", pointer, "before", before, "after", after);
        return json_array_append_new(list, change) < 0 ? -ENOMEM : 0;
}

static bool are_objects(const json_t *list) {
        for (size_t i = 0; i < json_array_size(list); i++)
                if (!json_is_object(json_array_get(list, i)))
                        return false;
        return json_array_size(list) > 0;
}

static int compare(const char *pointer, const json_t *before, const json_t *after, json_t *list);

static int compare_members(const char *pointer, const json_t *before, const json_t *after, json_t *list) {
        char at[1024];
        const char *key;
        json_t *value;
        int r = 0;
        json_object_foreach((json_t *)before, key, value)
                if (r == 0)
                        r = compare(pointer_join(at, sizeof at, pointer, key), value, json_object_get(after, key), list);
        json_object_foreach((json_t *)after, key, value)
                if (r == 0 && !json_object_get(before, key))
                        r = compare(pointer_join(at, sizeof at, pointer, key), NULL, value, list);
        return r;
}

static int compare(const char *pointer, const json_t *before, const json_t *after, json_t *list) {
        if (before && after && json_equal(before, after))
                return 0;
        if (json_is_object(before) && json_is_object(after))
                return compare_members(pointer, before, after, list);
        if (!are_objects(before) || !are_objects(after))
                return add_difference(list, pointer, before, after);
        char at[1024];
        int r = 0;
        for (size_t i = 0; r == 0 && (i < json_array_size(before) || i < json_array_size(after)); i++)
                r = compare(pointer_join_index(at, sizeof at, pointer, i), json_array_get(before, i), json_array_get(after, i), list);
        return r;
}

int change_compare(const json_t *before, const json_t *after, json_t **ret) {
        json_t *list = json_array();
        int r = list ? compare("", before, after, list) : -ENOMEM;
        if (r < 0)
                json_decref(list);
        else
                *ret = list;
        return r;
}

/* --- reading --------------------------------------------------------------------------------------------------- */

/* "parameters.lr.max" of "/parameters/lr/max". */
static int put_place(struct buf *text, const char *pointer) {
        size_t start = text->len;
        int r = buf_puts(text, *pointer == '/' ? pointer + 1 : pointer);
        for (size_t i = start; r == 0 && i < text->len; i++)
                if (text->data[i] == '/')
                        text->data[i] = '.';
        return r;
}

static int put_value(struct buf *text, const json_t *value) {
        _cleanup_free_ char *json = json_text(value);
        if (!json)
                return -ENOMEM;
        size_t len = strlen(json), shown = len > VALUE_BYTES ? utf8_span(json, VALUE_BYTES) : len;
        int r = buf_append(text, json, shown);
        return r == 0 && shown < len ? buf_puts(text, "…") : r;
}

static int put_change(struct buf *text, const json_t *change) {
        const char *pointer = json_string_value(json_object_get(change, "pointer"));
        const json_t *before = json_object_get(change, "before"), *after = json_object_get(change, "after");
        int r = put_place(text, pointer ? pointer : "");
        if (r == 0 && !before && !after)
                return 0;
        if (r == 0)
                r = buf_puts(text, ": ");
        if (r == 0)
                r = before ? put_value(text, before) : buf_puts(text, "(none)");
        if (r == 0)
                r = buf_puts(text, " → ");
        if (r == 0)
                r = after ? put_value(text, after) : buf_puts(text, "(none)");
        return r;
}

static long long number(const json_t *detail, const char *key) {
        return (long long)json_integer_value(json_object_get(detail, key));
}

static int put_words(struct buf *text, const char *what, const json_t *detail) {
        size_t i;
        json_t *change, *changes = json_object_get(detail, "changes");
        const char *why = json_string_value(json_object_get(detail, "why"));
        int r = buf_puts(text, what);
        if (r == 0 && json_object_get(detail, "n"))
                r = buf_printf(text, "%s %lld trial%s", strcmp(what, "created") == 0 ? " with" : "", number(detail, "n"), number(detail, "n") == 1 ? "" : "s");
        if (r == 0 && json_object_get(detail, "first"))
                r = buf_printf(text, number(detail, "n") == 1 ? " (number %lld)" : " (numbers %lld to %lld)", number(detail, "first"), number(detail, "last"));
        if (r == 0 && json_object_get(detail, "trial"))
                r = buf_printf(text, " %lld", number(detail, "trial"));
        json_array_foreach(changes, i, change) {
                if (r < 0)
                        break;
                if (text->len > TEXT_MAX)
                        return buf_printf(text, "; and %zu more", json_array_size(changes) - i);
                r = buf_puts(text, i == 0 ? ": " : "; ");
                if (r == 0)
                        r = put_change(text, change);
        }
        return r == 0 && why ? buf_printf(text, ": %s", why) : r;
}

static json_t *encode_change(const struct change_row *row) {
        _cleanup_buf_ struct buf text = BUF_INIT(1 << 20);
        _cleanup_json_ json_t *detail = encode_stored(row->detail);
        if (!detail || put_words(&text, row->what, detail) < 0)
                return NULL;
        json_t *changes = json_object_get(detail, "changes");
        return json_pack("{s:o, s:o, s:s, s:s, s:I, s:o}", "time", encode_time(row->at_ms), "who", encode_text(row->who), "what", row->what, "text",
                         text.data, "trials", (json_int_t)row->last_number, "changes", changes ? json_incref(changes) : json_array());
}

static int list(struct api *api, struct api_call *call, const struct list_query *query, int64_t sweep) {
        int64_t fields[CURSOR_FIELDS] = {LIST_HISTORY, sweep, 0}, from[CURSOR_FIELDS] = {0};
        char tail[129];
        if (query->after && (!cursor_decode(query->after, from, tail) || from[0] != LIST_HISTORY || from[1] != sweep))
                return reply_fault(call, "/after", "is no cursor of this list");
        _cleanup_free_ struct change_row *rows = calloc(query->limit + 1, sizeof *rows);
        _cleanup_json_ json_t *items = json_array();
        size_t n = 0;
        int r = rows && items ? store_change_list(api->store, sweep, from[2], query->limit + 1, rows, &n) : -ENOMEM;
        size_t shown = n > query->limit ? query->limit : n;
        for (size_t i = 0; i < n; i++) {
                if (r == 0 && i < shown && json_array_append_new(items, encode_change(&rows[i])) < 0)
                        r = -ENOMEM;
                if (i < shown)
                        fields[2] = rows[i].id;
                change_row_fini(&rows[i]);
        }
        return r < 0 ? r : reply_page(call, TAKE(items), n > shown ? cursor_encode(fields, "") : NULL);
}

int sweeps_history(struct api *api, struct api_call *call) {
        struct list_query query;
        struct sweep_row row = {0};
        int r = reply_query(call, LIST_HISTORY, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        r = store_sweep_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                r = reply_problem(call, 404, "there is no sweep '%s'", call->request.id);
        else if (r == 0)
                r = list(api, call, &query, row.id);
        sweep_row_fini(&row);
        return r;
}

int change_recent(struct api *api, int64_t sweep, size_t max, json_t *ret_list) {
        struct change_row rows[100];
        size_t n = 100;
        for (int64_t after = 0; n == 100 && json_array_size(ret_list) < max;) {
                int r = store_change_list(api->store, sweep, after, 100, rows, &n);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < n; i++) {
                        after = rows[i].id;
                        if (r == 0 && json_array_size(ret_list) < max && json_array_append_new(ret_list, encode_change(&rows[i])) < 0)
                                r = -ENOMEM;
                        change_row_fini(&rows[i]);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}
