/* Rows of the store as the bodies of the contract. */
#include <math.h>

#include "api/core.h"
#include "common/rfc3339.h"

json_t *encode_time(uint64_t ms) {
        if (ms == 0)
                return json_null();
        char text[RFC3339_SIZE];
        rfc3339_format(ms, text);
        return json_string(text);
}

json_t *encode_text(const char *text) {
        return text ? json_string(text) : json_null();
}

json_t *encode_stored(const char *json) {
        json_t *value = NULL;
        if (!json)
                return json_null();
        return json_read(json, strlen(json), &value, NULL) < 0 ? NULL : value;
}

static json_t *encode_real(bool has, double value) {
        return has ? json_real(value) : json_null();
}

int encode_trial(struct api *api, const struct trial_row *row, json_t **ret) {
        return encode_trial_row(api->store, row, ret);
}

int encode_trial_row(struct store *store, const struct trial_row *row, json_t **ret) {
        struct attempt_row attempt = {0};
        int r = row->attempt > 0 ? store_attempt_last(store, row->id, &attempt) : STORE_NONE;
        if (r < 0)
                return r;
        json_t *trial = json_pack("{s:s, s:s, s:I, s:s, s:o, s:o, s:i, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "id",
                                  row->public_id, "sweep", row->sweep_public_id, "number", (json_int_t)row->number, "state",
                                  trial_state_name(row->state), "params", encode_stored(row->params), "value",
                                  encode_real(row->has_value, row->value), "attempt", (int)row->attempt, "worker",
                                  encode_text(row->worker_public_id), "stage", (int)row->stage, "reason",
                                  encode_text(row->reason < 0 ? NULL : failure_reason_name((enum failure_reason)row->reason)), "detail",
                                  encode_text(row->detail), "proposal", encode_stored(row->proposal), "progress",
                                  encode_real(row->has_progress, row->progress), "evaluator", encode_stored(attempt.evaluator), "created",
                                  encode_time(row->created_ms), "started", encode_time(row->started_ms), "finished",
                                  encode_time(row->finished_ms), "seed", (json_int_t)plan_trial_seed(row->sweep_seed, row->number));
        attempt_row_fini(&attempt);
        if (!trial)
                return -ENOMEM;
        *ret = trial;
        return 0;
}

static int encode_counts(struct api *api, int64_t sweep, uint64_t counts[static N_TRIAL_STATES], json_t **ret) {
        int r = store_trial_counts(api->store, sweep, counts);
        if (r < 0)
                return r;
        json_t *object = json_object();
        for (int i = 0; i < N_TRIAL_STATES; i++)
                if (json_object_set_new(object, trial_state_name((enum trial_state)i), json_integer((json_int_t)counts[i])) < 0) {
                        json_decref(object);
                        return -ENOMEM;
                }
        *ret = object;
        return 0;
}

static int encode_best(struct api *api, int64_t sweep, bool maximize, json_t **ret) {
        struct trial_row row = {0};
        int r = store_trial_best(api->store, sweep, maximize, &row);
        if (r == STORE_NONE) {
                *ret = json_null();
                return 0;
        }
        if (r == 0)
                r = encode_trial(api, &row, ret);
        trial_row_fini(&row);
        return r;
}

/* Seconds until the sweep is through, from the mean trial: null when the number of trials to come is not known. */
static int encode_eta(struct api *api, struct live *live, json_t **ret) {
        double mean = 0;
        int64_t remaining = plan_remaining(live->plan);
        int r = remaining >= 0 ? store_trial_mean_seconds(api->store, live->row.id, &mean) : 0;
        if (r < 0)
                return r;
        uint64_t parallel = live->n_running > 0 ? live->n_running : 1;
        uint64_t open = (uint64_t)(remaining > 0 ? remaining : 0) + live->n_queued + live->n_running;
        *ret = live->row.state != SWEEP_RUNNING || remaining < 0 || mean <= 0
                       ? json_null()
                       : json_real(round(1000 * mean * (double)open / (double)parallel) / 1000);
        return 0;
}

static int encode_stage(struct api *api, const struct sweep_row *row, json_t **ret_stage, json_t **ret_eta) {
        struct live *live = NULL;
        if (row->stage) {
                *ret_stage = encode_stored(row->stage);
                *ret_eta = json_null();
                return 0;
        }
        int r = live_get(api, row->id, &live);
        if (r == -EINVAL) { /* its spec cannot be read any more, which was logged: the rest can be shown */
                *ret_stage = json_null();
                *ret_eta = json_null();
                return 0;
        }
        if (r != 0)
                return r < 0 ? r : -ENOENT;
        r = encode_eta(api, live, ret_eta);
        if (r == 0)
                *ret_stage = plan_describe_stage(live->plan);
        return r;
}

static bool wants_maximum(const json_t *spec) {
        const char *goal = json_string_value(json_object_get(json_object_get(spec, "metric"), "goal"));
        return goal && strcmp(goal, "maximize") == 0;
}

int encode_sweep(struct api *api, const struct sweep_row *row, json_t **ret) {
        uint64_t n[N_TRIAL_STATES];
        _cleanup_json_ json_t *spec = encode_stored(row->spec), *counts = NULL, *best = NULL, *stage = NULL, *eta = NULL;
        int r = spec ? encode_counts(api, row->id, n, &counts) : -ENOMEM;
        if (r == 0)
                r = encode_best(api, row->id, wants_maximum(spec), &best);
        if (r == 0)
                r = encode_stage(api, row, &stage, &eta);
        if (r < 0)
                return r;
        json_t *sweep =
                json_pack("{s:s, s:s, s:s, s:s, s:O, s:O, s:O, s:O, s:o, s:i, s:I, s:o, s:o, s:o, s:O, s:i}", "id", row->public_id, "name",
                          row->name, "method", row->method, "state", sweep_state_name(row->state), "spec", spec, "counts", counts, "best",
                          best, "stage", stage, "run_cap", row->run_cap ? json_integer((json_int_t)row->run_cap) : json_null(), "priority",
                          row->priority, "seed", (json_int_t)row->seed, "model_sha256", encode_text(row->model_sha256), "data_sha256",
                          encode_text(row->data_sha256), "created", encode_time(row->created_ms), "eta_s", eta, "spec_version", (int)row->spec_version);
        if (!sweep)
                return -ENOMEM;
        *ret = sweep;
        return 0;
}
