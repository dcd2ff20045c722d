/* Stopping rules at work: curves are kept beside the plan of a sweep that has a rule, every report of a running trial is
 * judged before it is answered, and the answer is the durable mark: an attempt whose last answer was `stop` goes on being
 * told so, and ends as stopped when it would otherwise be queued again. */
#include "api/core.h"
#include "sweep/stopping.h"

static bool has_rule(const struct live *live) {
        return live->spec->early_terminate.type != STOP_NEVER;
}

static int take_point(void *data, uint64_t number, bool is_complete, int64_t step, double value) {
        struct live *live = data;
        int r = curve_table_put(&live->curves, number, step, value);
        if (r == 0)
                curve_table_set_complete(&live->curves, number, is_complete);
        return r;
}

int stopping_load(struct api *api, struct live *live) {
        live->curves.maximize = live->spec->metric.maximize;
        return has_rule(live) ? store_metric_each(api->store, live->row.id, live->spec->metric.name, take_point, live) : 0;
}

void stopping_note_state(struct live *live, const struct trial_row *row) {
        if (has_rule(live))
                curve_table_set_complete(&live->curves, row->number, row->state == TRIAL_COMPLETED);
}

int stopping_was_told(const struct attempt_row *attempt, bool *ret) {
        _cleanup_json_ json_t *answer = attempt->last_answer ? encode_stored(attempt->last_answer) : json_null();
        const char *command = json_string_value(json_object_get(answer, "command"));
        *ret = command && strcmp(command, "stop") == 0;
        return answer ? 0 : -ENOMEM;
}

/* A person's retry of a stopped trial is a wish to see its end. */
static int is_exempt(struct api *api, const struct trial_row *row, bool *ret) {
        *ret = false;
        return row->attempt > 1 ? store_attempt_was_stopped(api->store, row->id, ret) : 0;
}

static int put_points(struct live *live, const struct trial_row *row, const struct metric_point *points, size_t n) {
        int r = 0;
        for (size_t i = 0; i < n && r == 0; i++)
                if (strcmp(points[i].name, live->spec->metric.name) == 0)
                        r = curve_table_put(&live->curves, row->number, points[i].step, points[i].value);
        return r;
}

int stopping_take_points(struct live *live, const struct trial_row *row, const struct metric_point *points, size_t n) {
        int r = has_rule(live) ? put_points(live, row, points, n) : 0;
        if (r == 0)
                stopping_note_state(live, row);
        return r;
}

int stopping_judge_report(struct api *api, struct live *live, const struct trial_row *row, const struct attempt_row *attempt,
                          const struct report *message, bool *ret_stop) {
        *ret_stop = false;
        if (!has_rule(live))
                return 0;
        size_t n_before = curve_table_get(&live->curves, row->number)->n;
        int r = put_points(live, row, message->points, message->n_points);
        if (r < 0 || message->outcome != OUTCOME_NONE)
                return r;
        bool told;
        r = stopping_was_told(attempt, &told);
        if (r < 0)
                return r;
        if (!told && stopping_judge(&live->spec->early_terminate, &live->curves, live->spec->metric.summary_last, row->number, n_before)) {
                bool exempt;
                r = is_exempt(api, row, &exempt);
                told = r == 0 && !exempt;
                if (told)
                        log_info("a stopping rule fired", log_s("trial", row->public_id),
                                 log_i("iteration", (int64_t)curve_table_get(&live->curves, row->number)->n));
        }
        *ret_stop = told;
        return r;
}
