/* Trials: show, list, metrics, enqueue and import, cancel, retry. */
#include <string.h>

#include "api/core.h"

static int answer_no_trial(struct api_call *call) {
        return reply_problem(call, 404, "there is no trial '%s'", call->request.id);
}

static int answer_no_sweep(struct api_call *call) {
        return reply_problem(call, 404, "there is no sweep '%s'", call->request.id);
}

static int answer_trial(struct api *api, struct api_call *call, int status, const struct trial_row *row) {
        json_t *body = NULL;
        int r = encode_trial(api, row, &body);
        return r < 0 ? r : reply_json(call, status, body);
}

/* --- show ------------------------------------------------------------------------------------------------------ */

#define MAX_ATTEMPTS_SHOWN 100

static int encode_attempts(struct api *api, int64_t trial, json_t **ret) {
        struct attempt_row rows[MAX_ATTEMPTS_SHOWN];
        size_t n = 0;
        int r = store_attempt_list(api->store, trial, MAX_ATTEMPTS_SHOWN, rows, &n);
        if (r < 0)
                return r;
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++) {
                const struct attempt_row *row = &rows[i];
                json_t *item =
                        json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "attempt", (int)row->attempt, "worker", row->worker_public_id,
                                  "state", row->ended_as ? row->ended_as : trial_state_name(TRIAL_RUNNING), "reason",
                                  encode_text(row->reason < 0 ? NULL : failure_reason_name((enum failure_reason)row->reason)), "detail",
                                  encode_text(row->detail), "evaluator", encode_stored(row->evaluator), "started",
                                  encode_time(row->started_ms), "ended", encode_time(row->ended_ms));
                if (json_array_append_new(list, item) < 0)
                        r = -ENOMEM;
                attempt_row_fini(&rows[i]);
        }
        if (r == 0)
                *ret = list;
        else
                json_decref(list);
        return r;
}

int trials_get(struct api *api, struct api_call *call) {
        struct list_query query;
        struct trial_row row = {0};
        int r = reply_query(call, LIST_NOTHING, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        r = store_trial_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return answer_no_trial(call);
        json_t *attempts = NULL;
        if (r == 0)
                r = answer_trial(api, call, 200, &row);
        if (r == 0)
                r = encode_attempts(api, row.id, &attempts);
        if (r == 0 && json_object_set_new(call->response.body, "attempts", attempts) < 0)
                r = -ENOMEM;
        trial_row_fini(&row);
        return r;
}

static json_t *encode_point(const struct metric_row *row) {
        return json_pack("{s:s, s:I, s:o, s:f, s:o}", "name", row->name, "step", (json_int_t)row->step, "epoch",
                         row->has_epoch ? json_real(row->epoch) : json_null(), "value", row->value, "time", encode_time(row->time_ms));
}

/* name is a filter: a cursor of another filter would skip points. */
static int64_t filter_mark(const char *name) {
        uint64_t mark = name ? 1 : 0;
        for (; name && *name; name++)
                mark = mark * 31 + (unsigned char)*name;
        return (int64_t)mark;
}

static int page_of_points(struct api *api, struct api_call *call, const struct list_query *query, int64_t trial) {
        int64_t fields[CURSOR_FIELDS] = {LIST_METRICS, 0, trial, filter_mark(query->name)}, from[CURSOR_FIELDS] = {0};
        char tail[129] = "";
        if (query->after &&
            (!cursor_decode(query->after, from, tail) || from[0] != LIST_METRICS || from[2] != trial || from[3] != fields[3]))
                return reply_fault(call, "/after", "is no cursor of this list");
        _cleanup_free_ struct metric_row *rows = calloc(query->limit + 1, sizeof *rows);
        size_t n = 0;
        int r = rows ? store_metric_list(api->store, trial, query->name, from[1], query->after ? tail : NULL, query->limit + 1, rows, &n)
                     : -ENOMEM;
        if (r < 0)
                return r;
        size_t shown = n > query->limit ? query->limit : n;
        json_t *items = json_array();
        for (size_t i = 0; i < shown; i++)
                json_array_append_new(items, encode_point(&rows[i]));
        char *next = NULL;
        if (n > shown) {
                fields[1] = rows[shown - 1].step;
                next = cursor_encode(fields, rows[shown - 1].name);
        }
        for (size_t i = 0; i < n; i++)
                metric_row_fini(&rows[i]);
        return reply_page(call, items, next);
}

int trials_metrics(struct api *api, struct api_call *call) {
        struct list_query query;
        struct trial_row row = {0};
        int r = reply_query(call, LIST_METRICS, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        r = store_trial_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return answer_no_trial(call);
        int64_t id = row.id;
        trial_row_fini(&row);
        return r < 0 ? r : page_of_points(api, call, &query, id);
}

/* --- list ------------------------------------------------------------------------------------------------------ */

/* Fields of a cursor: list, sweep, state and sort of the query, then by creation: number, -;
 * by value: number, history position, and in the tail the value's bits (empty for none). */
static int64_t describe_query(const struct list_query *query) {
        return (int64_t)query->sort * 16 + query->state + 1;
}

static bool read_bits(const char *text, struct value_position *ret) {
        uint64_t bits;
        char *end;
        ret->has_value = *text != 0;
        bits = strtoull(text, &end, 16);
        memcpy(&ret->value, &bits, sizeof bits);
        return *end == 0;
}

static int list_by_value(struct api *api, const struct list_query *query, int64_t fields[static CURSOR_FIELDS], const char *tail,
                         struct trial_row *rows, size_t *ret_n, char **ret_next) {
        struct value_position after = {.number = (uint64_t)fields[3]}, last;
        int r = query->after ? (read_bits(tail, &after) ? 0 : -EINVAL) : store_history_position(api->store, &fields[4]);
        if (r < 0)
                return r;
        bool descending = query->sort == SORT_VALUE_DESCENDING;
        struct value_position *from = query->after ? &after : NULL;
        r = store_trial_list_by_value(api->store, fields[1], query->state, descending, fields[4], from, query->limit, rows, ret_n, &last);
        if (r < 0 || *ret_n < query->limit)
                return r;
        struct trial_row peek = {0};
        struct value_position unused;
        size_t n = 0;
        fields[3] = (int64_t)last.number;
        r = store_trial_list_by_value(api->store, fields[1], query->state, descending, fields[4], &last, 1, &peek, &n, &unused);
        trial_row_fini(&peek);
        if (r < 0 || n == 0)
                return r;
        char bits[20] = "";
        uint64_t word;
        memcpy(&word, &last.value, sizeof word);
        if (last.has_value)
                snprintf(bits, sizeof bits, "%llx", (unsigned long long)word);
        *ret_next = cursor_encode(fields, bits);
        return *ret_next ? 0 : -ENOMEM;
}

static int list_by_number(struct api *api, const struct list_query *query, int64_t fields[static CURSOR_FIELDS], struct trial_row *rows,
                          size_t *ret_n, char **ret_next) {
        int r = store_trial_list(api->store, fields[1], query->state, (uint64_t)fields[3], query->limit + 1, rows, ret_n);
        if (r < 0 || *ret_n <= query->limit)
                return r;
        trial_row_fini(&rows[--*ret_n]);
        fields[3] = (int64_t)rows[*ret_n - 1].number;
        *ret_next = cursor_encode(fields, "");
        return *ret_next ? 0 : -ENOMEM;
}

static int encode_rows(struct api *api, const struct trial_row *rows, size_t n, json_t **ret) {
        _cleanup_json_ json_t *items = json_array();
        int r = items ? 0 : -ENOMEM;
        for (size_t i = 0; i < n && r == 0; i++) {
                json_t *item = NULL;
                r = encode_trial(api, &rows[i], &item);
                if (r == 0 && json_array_append_new(items, item) < 0)
                        r = -ENOMEM;
        }
        if (r == 0)
                *ret = TAKE(items);
        return r;
}

static int page_of_trials(struct api *api, struct api_call *call, const struct list_query *query, int64_t sweep) {
        int64_t fields[CURSOR_FIELDS] = {LIST_TRIALS, sweep, describe_query(query)}, from[CURSOR_FIELDS];
        char tail[129] = "", *next = NULL;
        if (query->after) {
                if (!cursor_decode(query->after, from, tail) || memcmp(from, fields, 3 * sizeof *from) != 0)
                        return reply_fault(call, "/after", "is no cursor of this list");
                memcpy(fields, from, sizeof fields);
        }
        _cleanup_free_ struct trial_row *rows = calloc(query->limit + 1, sizeof *rows);
        size_t n = 0;
        int r = !rows                         ? -ENOMEM
                : query->sort == SORT_CREATED ? list_by_number(api, query, fields, rows, &n, &next)
                                              : list_by_value(api, query, fields, tail, rows, &n, &next);
        json_t *items = NULL;
        if (r == 0)
                r = encode_rows(api, rows, n, &items);
        for (size_t i = 0; i < n; i++)
                trial_row_fini(&rows[i]);
        if (r < 0) {
                free(next);
                return r;
        }
        return reply_page(call, items, next);
}

int trials_list(struct api *api, struct api_call *call) {
        struct list_query query;
        struct sweep_row row = {0};
        int r = reply_query(call, LIST_TRIALS, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        r = store_sweep_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return answer_no_sweep(call);
        int64_t id = row.id;
        sweep_row_fini(&row);
        return r < 0 ? r : page_of_trials(api, call, &query, id);
}

/* --- enqueue and import ---------------------------------------------------------------------------------------- */

/* Completes every configuration before anything is written, so that a 422 names all faults and changes nothing. */
static int complete_all(struct live *live, const struct enqueue_request *message, json_t *completed, struct faults *faults) {
        for (size_t i = 0; i < message->n; i++) {
                const struct enqueue_item *item = &message->items[i];
                char pointer[64] = "/params";
                if (message->many)
                        snprintf(pointer, sizeof pointer, "/trials/%zu/params", i);
                json_t *params = NULL;
                int r = plan_complete_params(live->plan, item->params, item->has_value, pointer, faults, &params);
                if (r < 0)
                        return r;
                if (r == 0 && json_array_append_new(completed, params) < 0)
                        return -ENOMEM;
        }
        return faults->n_total > 0 ? MESSAGE_FAULTY : 0;
}

/* The series of a trial that was finished elsewhere. Nobody follows it, so that no events tell of its points. */
static int import_points(struct api *api, struct live *live, const struct trial_row *trial, const struct enqueue_item *item) {
        int r = 0;
        for (size_t i = 0; i < item->n_points && r == 0; i++) {
                const struct metric_row row = report_point_row(api, &item->points[i]);
                r = store_metric_put(api->store, trial->id, &row);
        }
        api->counts.points += item->n_points;
        return r < 0 ? r : stopping_take_points(live, trial, item->points, item->n_points);
}

static int create_all(struct api *api, struct live *live, const struct enqueue_request *message, const json_t *completed, json_t *items) {
        _cleanup_json_ json_t *user = json_pack("{s:s}", "source", "user"), *import = json_pack("{s:s}", "source", "import");
        if (!user || !import)
                return -ENOMEM;
        unsigned stage = live_stage(live);
        for (size_t i = 0; i < message->n; i++) {
                const struct enqueue_item *item = &message->items[i];
                const struct trial_seed seed = {
                        .origin = item->has_value ? ORIGIN_IMPORTED : ORIGIN_ENQUEUED,
                        .stage = stage,
                        .params = json_array_get(completed, i),
                        .proposal = item->has_value ? import : user,
                        .has_value = item->has_value,
                        .value = item->value,
                        .state = item->state,
                };
                struct trial_row row = {0};
                json_t *trial = NULL;
                int r = move_create(api, live, &seed, &row);
                if (r == 0)
                        r = import_points(api, live, &row, item);
                if (r == 0)
                        r = encode_trial(api, &row, &trial);
                trial_row_fini(&row);
                if (r == 0 && json_array_append_new(items, trial) < 0)
                        r = -ENOMEM;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int note_created(struct api *api, struct live *live, const char *key, const json_t *items) {
        size_t n = json_array_size(items), n_queued = 0;
        for (size_t i = 0; i < n; i++)
                n_queued += json_is_null(json_object_get(json_array_get(items, i), "value"));
        json_int_t first = json_integer_value(json_object_get(json_array_get(items, 0), "number"));
        return change_note_trials(api, live->row.id, n_queued == n ? "enqueued" : n_queued == 0 ? "imported" : "enqueued and imported", key,
                                  n, (uint64_t)first, (uint64_t)first + n - 1);
}

static int enqueue(struct api *api, struct api_call *call, struct live *live, const struct enqueue_request *message) {
        if (live->row.state == SWEEP_CANCELLED)
                return reply_problem(call, 409, "the sweep is cancelled, which is final");
        struct faults faults = {0};
        _cleanup_json_ json_t *completed = json_array(), *items = json_array();
        int r = completed && items ? complete_all(live, message, completed, &faults) : -ENOMEM;
        r = reply_decoded(call, r, &faults);
        if (r != 0)
                return r < 0 ? r : 0;
        r = create_all(api, live, message, completed, items);
        if (r == 0)
                r = note_created(api, live, call->request.idempotency_key, items);
        if (r == 0 && live->row.state == SWEEP_FINISHED && live->n_queued > 0)
                r = live_set_state(api, live, SWEEP_RUNNING);
        return r < 0 ? r : reply_json(call, 201, json_pack("{s:O}", "items", items));
}

int trials_enqueue(struct api *api, struct api_call *call) {
        struct enqueue_request message;
        struct faults faults = {0};
        int r = reply_decoded(call, enqueue_request_decode(call->request.body, &faults, &message), &faults);
        if (r != 0)
                return r < 0 ? r : 0;
        struct sweep_row row = {0};
        struct live *live;
        r = store_sweep_get(api->store, call->request.id, &row);
        if (r == 0)
                r = live_get(api, row.id, &live);
        if (r == STORE_NONE)
                r = answer_no_sweep(call);
        else if (r == 0)
                r = enqueue(api, call, live, &message);
        sweep_row_fini(&row);
        enqueue_request_fini(&message);
        return r;
}

/* --- cancel and retry ------------------------------------------------------------------------------------------ */

static int cancel(struct api *api, struct api_call *call, struct live *live, struct trial_row *row) {
        if (row->state == TRIAL_CANCELLED)
                return 0;
        if (trial_state_ended(row->state))
                return reply_problem(call, 409, "the trial has ended: it is %s", trial_state_name(row->state)) < 0 ? -ENOMEM : ANSWERED;
        int r = change_note(api, row->sweep, "cancelled trial", json_pack("{s:I}", "trial", (json_int_t)row->number));
        return r < 0 ? r : move_cancel(api, live, row);
}

static int retry(struct api *api, struct api_call *call, struct live *live, struct trial_row *row) {
        if (row->state == TRIAL_QUEUED)
                return 0;
        if (!trial_state_ended(row->state))
                return reply_problem(call, 409, "the trial is running") < 0 ? -ENOMEM : ANSWERED;
        if (live->row.state == SWEEP_CANCELLED)
                return reply_problem(call, 409, "the sweep is cancelled, which is final") < 0 ? -ENOMEM : ANSWERED;
        int r = change_note(api, row->sweep, "retried trial", json_pack("{s:I}", "trial", (json_int_t)row->number));
        kept_note_gone(api, NULL, row->public_id);
        return r < 0 ? r : move_retry(api, live, row);
}

static int change(struct api *api, struct api_call *call,
                  int (*what)(struct api *api, struct api_call *call, struct live *live, struct trial_row *row)) {
        struct faults faults = {0};
        int r = reply_decoded(call, empty_decode(call->request.body, &faults), &faults);
        if (r != 0)
                return r < 0 ? r : 0;
        struct trial_row row = {0};
        struct live *live;
        r = store_trial_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return answer_no_trial(call);
        if (r == 0)
                r = live_get(api, row.sweep, &live);
        if (r == 0)
                r = what(api, call, live, &row);
        if (r == 0)
                r = answer_trial(api, call, 200, &row);
        trial_row_fini(&row);
        return r < 0 ? r : 0;
}

int trials_cancel(struct api *api, struct api_call *call) {
        return change(api, call, cancel);
}

int trials_retry(struct api *api, struct api_call *call) {
        return change(api, call, retry);
}
