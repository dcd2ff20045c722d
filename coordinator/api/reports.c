/* POST /v1/trials/{id}/report: heartbeat, metrics and ending in one call.
 *
 * A report is applied once: its seq and answer are kept with the attempt in the same transaction, so a retry of it (a
 * seq not above the last one) gets that answer again, also when the attempt has ended meanwhile. A new seq is only taken
 * on a good lease. The one exception is a cancelled trial, whose worker must hear of it: the first report after the end
 * is answered `abort` and changes nothing, later ones are stale. */
#include <string.h>

#include "api/core.h"

static int answer_command(struct api *api, struct api_call *call, const struct attempt_row *attempt, int64_t seq, const char *command,
                          bool abort_told) {
        _cleanup_json_ json_t *body = json_pack("{s:s, s:o}", "command", command, "lease_s", json_number(api->config.lease_s, 1));
        _cleanup_free_ char *text = body ? json_text(body) : NULL;
        if (!text)
                return -ENOMEM;
        int r = store_attempt_set_answer(api->store, attempt->trial, attempt->attempt, seq, text, abort_told);
        return r < 0 ? r : reply_text(call, 200, TAKE(text), NULL);
}

struct metric_row report_point_row(const struct api *api, const struct metric_point *point) {
        return (struct metric_row){
                .name = (char *)point->name,
                .step = point->step,
                .has_epoch = point->has_epoch,
                .epoch = point->epoch,
                .value = point->value,
                .time_ms = point->time_ms ? point->time_ms : api_wall(api),
        };
}

static int put_points(struct api *api, const struct trial_row *trial, const struct report *message) {
        for (size_t i = 0; i < message->n_points; i++) {
                const struct metric_row row = report_point_row(api, &message->points[i]);
                int r = store_metric_put(api->store, trial->id, &row);
                if (r < 0)
                        return r;
                api->counts.points++;
                events_note_point(api, trial, &row);
        }
        return 0;
}

int report_find_lease(struct api *api, struct api_call *call, const char *lease, struct trial_row *trial, struct attempt_row *attempt) {
        int r = store_trial_get(api->store, call->request.id, trial);
        if (r == STORE_NONE)
                r = reply_problem(call, 404, "there is no trial '%s'", call->request.id);
        else if (r == 0) {
                r = store_attempt_find(api->store, trial->id, lease, attempt);
                if (r != STORE_NONE)
                        return r;
                r = reply_problem(call, 409, "the lease is not one of this trial");
        }
        return r < 0 ? r : ANSWERED;
}

int report_summarise(struct api *api, const struct live *live, int64_t trial, bool *ret_has, double *ret_value) {
        const struct metric_spec *metric = &live->spec->metric;
        enum metric_summary kind = metric->summary_last ? SUMMARY_LAST : metric->maximize ? SUMMARY_MAXIMUM : SUMMARY_MINIMUM;
        *ret_value = 0;
        int r = store_metric_summary(api->store, trial, metric->name, kind, ret_value);
        *ret_has = r == 0;
        return r < 0 ? r : 0;
}

static int finish(struct api *api, struct live *live, struct trial_row *row, const struct report *message, bool was_told) {
        struct ending ending;
        bool has_summary;
        double summary;
        int r = report_summarise(api, live, row->id, &has_summary, &summary);
        if (r < 0)
                return r;
        if (message->outcome == OUTCOME_RELEASED || message->outcome == OUTCOME_FAILED) {
                bool released = message->outcome == OUTCOME_RELEASED;
                ending = released ? ending_by_release() : ending_by_failure(message->reason, row->failures, live->spec->max_attempts);
                const char *as = released ? "released" : trial_state_name(TRIAL_FAILED);
                if (was_told) {
                        ending = ending_after_stop(ending, has_summary, summary);
                        as = trial_state_name(ending.state);
                }
                return move_end(api, live, row, &ending, as, message->detail, released ? message->resume : NULL);
        }
        enum trial_state state = message->outcome == OUTCOME_STOPPED ? TRIAL_STOPPED : TRIAL_COMPLETED;
        ending = ending_by_value(state, message->has_value, message->value, has_summary, summary);
        const char *detail = ending.state == TRIAL_FAILED && !message->detail ? "no value was reported, and no point of the sweep's metric"
                                                                              : message->detail;
        return move_end(api, live, row, &ending, trial_state_name(ending.state), detail, NULL);
}

static int keep_lease(struct api *api, const struct live *live, const struct trial_row *row, bool progressed) {
        struct lease *lease = lease_table_find(&api->leases, row->id);
        if (!lease)
                return -ENOENT; /* the table follows the store: only a bug gets here */
        lease->expires_ms = api_now(api) + api_lease_ms(api);
        if (progressed)
                lease->stall_ms = move_stall_deadline(api, live);
        return 0;
}

static int apply(struct api *api, struct api_call *call, struct trial_row *row, const struct attempt_row *attempt,
                 const struct report *message) {
        struct live *live;
        int r = live_get(api, row->sweep, &live);
        if (r != 0)
                return r < 0 ? r : -ENOENT;
        bool progressed = message->n_points > 0 || (message->has_progress && (!row->has_progress || row->progress != message->progress));
        r = put_points(api, row, message);
        if (r == 0)
                r = keep_lease(api, live, row, progressed);
        bool stop = false;
        if (r == 0)
                r = stopping_judge_report(api, live, row, attempt, message, &stop);
        if (r == 0 && message->has_progress) {
                row->has_progress = true;
                row->progress = message->progress;
                events_note_trial(api, row->id);
        }
        bool was_told = false;
        if (r == 0 && message->outcome != OUTCOME_NONE)
                r = stopping_was_told(attempt, &was_told);
        if (r == 0 && message->outcome != OUTCOME_NONE)
                r = finish(api, live, row, message, was_told);
        else if (r == 0 && message->has_progress)
                r = store_trial_update(api->store, row);
        return r < 0 ? r : answer_command(api, call, attempt, message->seq, stop ? "stop" : "continue", false);
}

static int judge(struct api *api, struct api_call *call, struct trial_row *row, const struct attempt_row *attempt,
                 const struct report *message) {
        if (message->seq <= attempt->last_seq)
                return reply_text(call, 200, strdup(attempt->last_answer ? attempt->last_answer : "{}"), NULL);
        struct peer *peer = peer_by_row(api, attempt->worker);
        if (peer)
                peer_seen(api, peer);
        if (attempt->ended_ms == 0)
                return apply(api, call, row, attempt, message);
        bool cancelled = strcmp(attempt->ended_as, trial_state_name(TRIAL_CANCELLED)) == 0;
        if (cancelled && !attempt->abort_told)
                return answer_command(api, call, attempt, message->seq, "abort", true);
        bool is_lost = strcmp(attempt->ended_as, "lost") == 0 && attempt->detail;
        return reply_problem(call, 409, "the lease is over: attempt %u ended as %s%s%s", attempt->attempt, attempt->ended_as, is_lost ? ": " : "",
                             is_lost ? attempt->detail : "");
}

int reports_post(struct api *api, struct api_call *call) {
        struct report message;
        struct faults faults = {0};
        int r = reply_decoded(call, report_decode(call->request.body, &faults, &message), &faults);
        if (r != 0)
                return r < 0 ? r : 0;
        struct trial_row row = {0};
        struct attempt_row attempt = {0};
        r = report_find_lease(api, call, message.lease, &row, &attempt);
        if (r == 0)
                r = judge(api, call, &row, &attempt, &message);
        attempt_row_fini(&attempt);
        trial_row_fini(&row);
        report_fini(&message);
        return r < 0 ? r : 0;
}
