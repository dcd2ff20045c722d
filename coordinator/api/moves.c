/* The moves of trials: the only place where a trial changes its state. Each move writes the trial, its attempt and the
 * history in the running unit, and tells the sweep's plan and counts the same. */
#include <string.h>

#include "api/core.h"

static uint64_t *count_of(struct live *live, enum trial_state state) {
        return state == TRIAL_QUEUED ? &live->n_queued : state == TRIAL_RUNNING ? &live->n_running : NULL;
}

static void count_move(struct live *live, enum trial_state from, enum trial_state to) {
        uint64_t *left = count_of(live, from), *entered = count_of(live, to);
        if (left && *left > 0)
                --*left;
        if (entered)
                ++*entered;
}

/* Writes the row in its new state. */
static int save(struct api *api, struct live *live, struct trial_row *row, enum trial_state to) {
        enum trial_state from = row->state;
        if (!trial_may_move(from, to))
                return -EINVAL;
        row->state = to;
        int r = store_trial_update(api->store, row);
        if (r < 0)
                return r;
        count_move(live, from, to);
        api->counts.moves[to]++;
        live_touch(api, live);
        events_note_trial(api, row->id);
        return 0;
}

/* Ended, or back in the queue by a retry: what plans are made from. */
static int remember(struct api *api, struct live *live, const struct trial_row *row) {
        int r = store_history_add(api->store, row->sweep, row->id, false, row->state, row->has_value, row->value);
        if (r < 0)
                return r;
        plan_trial_state(live->plan, row->number, row->state, row->has_value, row->value);
        stopping_note_state(live, row);
        return live->spec->metric.has_target ? live_judge_closed(api, live) : 0;
}

static void replace_text(char **text, char *with) {
        free(*text);
        *text = with;
}

int move_create(struct api *api, struct live *live, const struct trial_seed *seed, struct trial_row *ret) {
        char id[ID_CHARS + 2];
        world_make_id(api->world, "t", ID_CHARS, id);
        struct trial_row row = {
                .sweep = live->row.id,
                .public_id = strdup(id),
                .sweep_public_id = strdup(live->row.public_id),
                .state = seed->has_value ? seed->state : TRIAL_QUEUED,
                .origin = (int)seed->origin,
                .stage = seed->stage,
                .params = json_text(seed->params),
                .proposal = json_text(seed->proposal),
                .has_value = seed->has_value,
                .value = seed->value,
                .reason = -1,
                .place = PLACE_ENQUEUED,
                .created_ms = api_wall(api),
                .finished_ms = seed->has_value ? api_wall(api) : 0,
        };
        int r = row.public_id && row.sweep_public_id && row.params && row.proposal ? 0 : -ENOMEM;
        if (r == 0)
                r = store_sweep_take_number(api->store, live->row.id, &row.number);
        if (r == 0)
                r = store_trial_insert(api->store, &row, &row.id);
        if (r == 0)
                r = store_history_add(api->store, row.sweep, row.id, true, row.state, row.has_value, row.value);
        if (r == 0)
                r = plan_trial_added(live->plan, row.number, row.stage, seed->origin, seed->params);
        if (r == 0 && json_object_get(seed->proposal, "sweep")) /* as store_history_each tells after a restart */
                plan_trial_foreign(live->plan, row.number);
        if (r == 0 && seed->has_value)
                plan_trial_state(live->plan, row.number, row.state, true, row.value);
        if (r == 0 && seed->has_value)
                r = live_judge_closed(api, live);
        if (r < 0) {
                trial_row_fini(&row);
                return r;
        }
        live->n_queued += row.state == TRIAL_QUEUED;
        api->counts.moves[row.state]++;
        live_touch(api, live);
        events_note_trial(api, row.id);
        *ret = row;
        return 0;
}

/* --- lease --------------------------------------------------------------------------------------------------- */

static json_t *describe_evaluator(const struct peer *peer) {
        return json_pack("{s:s, s:o, s:o, s:o, s:o}", "worker", peer->row.name, "instance", encode_text(peer->row.instance), "model",
                         encode_stored(peer->row.model), "data", encode_stored(peer->row.data), "facts", encode_stored(peer->row.facts));
}

/* The first claim by a worker that has a model and data fixes them for the sweep. */
static int fix_fingerprints(struct api *api, struct live *live, const struct peer *peer) {
        bool model = !live->row.model_sha256 && peer->row.model_sha256, data = !live->row.data_sha256 && peer->row.data_sha256;
        if (!model && !data)
                return 0;
        if (model && !(live->row.model_sha256 = strdup(peer->row.model_sha256)))
                return -ENOMEM;
        if (data && !(live->row.data_sha256 = strdup(peer->row.data_sha256)))
                return -ENOMEM;
        return store_sweep_update(api->store, &live->row);
}

static uint64_t after_seconds(uint64_t now_ms, double seconds) {
        return seconds > 0 ? now_ms + (uint64_t)(seconds * 1000) : LEASE_NEVER;
}

uint64_t move_stall_deadline(const struct api *api, const struct live *live) {
        return after_seconds(api_now(api), live->spec->no_progress_timeout_s);
}

static int add_lease(struct api *api, const struct live *live, const struct trial_row *row) {
        const struct lease lease = {
                .trial = row->id,
                .sweep = row->sweep,
                .worker = row->worker,
                .attempt = row->attempt,
                .expires_ms = api_now(api) + api_lease_ms(api),
                .timeout_ms = after_seconds(api_now(api), live->spec->trial_timeout_s),
                .stall_ms = move_stall_deadline(api, live),
        };
        return lease_table_put(&api->leases, &lease);
}

int move_lease(struct api *api, struct live *live, struct trial_row *row, const struct peer *peer, int64_t claim,
               char ret_lease[static LEASE_CHARS + 1]) {
        _cleanup_json_ json_t *evaluator = describe_evaluator(peer);
        _cleanup_free_ char *evaluator_text = evaluator ? json_text(evaluator) : NULL;
        if (!evaluator_text)
                return -ENOMEM;
        world_make_id(api->world, "", LEASE_CHARS, ret_lease);
        row->attempt++;
        row->worker = peer->row.id;
        row->started_ms = api_wall(api);
        row->released_by = 0;
        row->released_ms = 0;
        int r = save(api, live, row, TRIAL_RUNNING);
        if (r == 0)
                r = store_attempt_insert(api->store, &(struct attempt_row){.trial = row->id,
                                                                           .attempt = row->attempt,
                                                                           .worker = peer->row.id,
                                                                           .claim = claim,
                                                                           .lease = ret_lease,
                                                                           .evaluator = evaluator_text,
                                                                           .started_ms = row->started_ms});
        if (r == 0)
                r = fix_fingerprints(api, live, peer);
        if (r == 0)
                r = add_lease(api, live, row);
        live->n_served++;
        struct peer *served = peer_by_row(api, row->worker);
        events_note_worker(api, served, false);
        if (r == 0 && served && !served->row.served) {
                served->row.served = true;
                r = store_worker_update(api->store, &served->row);
        }
        return r;
}

/* --- ends ---------------------------------------------------------------------------------------------------- */

static int requeue(struct api *api, struct live *live, struct trial_row *row, const struct ending *ending, const json_t *resume) {
        bool released = ending->reason < 0;
        row->place = released ? PLACE_RELEASED : PLACE_REQUEUED;
        row->failures += ending->counts;
        row->released_by = released ? row->worker : 0;
        row->released_ms = released ? api_wall(api) : 0;
        row->worker = 0;
        row->started_ms = 0;
        row->has_progress = false;
        if (released && resume) {
                replace_text(&row->resume, json_text(resume));
                if (!row->resume)
                        return -ENOMEM;
        }
        if (ending->reason == REASON_BAD_CHECKPOINT)
                replace_text(&row->resume, NULL);
        uint64_t until = api_now(api) + api_lease_ms(api); /* then others must look again */
        if (released && until < api->reservation_ms)
                api->reservation_ms = until;
        return save(api, live, row, TRIAL_QUEUED);
}

int move_end(struct api *api, struct live *live, struct trial_row *row, const struct ending *ending, const char *ended_as,
             const char *detail, const json_t *resume) {
        int r = store_attempt_end(api->store, row->id, row->attempt, ended_as, ending->reason, detail, api_wall(api));
        if (r < 0)
                return r;
        lease_table_remove(&api->leases, row->id);
        events_note_worker(api, peer_by_row(api, row->worker), false);
        int64_t worker = row->worker;
        if (ending->state == TRIAL_QUEUED) {
                r = requeue(api, live, row, ending, resume);
                return r < 0 ? r : health_note_end(api, worker, ending);
        }
        char *copy = detail ? strdup(detail) : NULL;
        if (detail && !copy)
                return -ENOMEM;
        replace_text(&row->detail, copy);
        row->failures += ending->counts;
        row->has_value = ending->has_value;
        row->value = ending->value;
        row->reason = ending->reason;
        row->finished_ms = api_wall(api);
        r = save(api, live, row, ending->state);
        if (r == 0)
                r = remember(api, live, row);
        if (r == 0 && ending->state == TRIAL_FAILED)
                r = webhook_note(api, live, WEBHOOK_TRIAL_FAILED, row);
        return r < 0 ? r : health_note_end(api, worker, ending);
}

int move_cancel(struct api *api, struct live *live, struct trial_row *row) {
        int r = row->state == TRIAL_RUNNING
                        ? store_attempt_end(api->store, row->id, row->attempt, trial_state_name(TRIAL_CANCELLED), -1, NULL, api_wall(api))
                        : 0;
        lease_table_remove(&api->leases, row->id);
        events_note_worker(api, peer_by_row(api, row->worker), false);
        row->finished_ms = api_wall(api);
        if (r == 0)
                r = save(api, live, row, TRIAL_CANCELLED);
        return r < 0 ? r : remember(api, live, row);
}

int move_cancel_all(struct api *api, struct live *live) {
        static const enum trial_state open[] = {TRIAL_QUEUED, TRIAL_RUNNING};
        for (size_t s = 0; s < 2; s++) {
                struct trial_row rows[64];
                size_t n = 64;
                uint64_t after = 0;
                while (n == 64) {
                        int r = store_trial_list(api->store, live->row.id, (int)open[s], after, 64, rows, &n);
                        if (r < 0)
                                return r;
                        for (size_t i = 0; i < n; i++) {
                                plan_trial_state(live->plan, rows[i].number, TRIAL_CANCELLED, false, 0);
                                lease_table_remove(&api->leases, rows[i].id);
                                api->counts.moves[TRIAL_CANCELLED]++;
                                events_note_trial(api, rows[i].id);
                                events_note_worker(api, peer_by_row(api, rows[i].worker), false);
                                after = rows[i].number;
                                trial_row_fini(&rows[i]);
                        }
                }
        }
        int r = store_trial_cancel_all(api->store, live->row.id, api_wall(api));
        if (r < 0)
                return r;
        live->n_queued = live->n_running = 0;
        live_touch(api, live);
        return 0;
}

int move_cancel_unstarted(struct api *api, struct live *live, uint64_t created_until_ms) {
        struct trial_row rows[64];
        size_t n = live->n_queued > 0 ? 64 : 0;
        uint64_t after = 0;
        while (n == 64) {
                int r = store_trial_list(api->store, live->row.id, TRIAL_QUEUED, after, 64, rows, &n);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < n; i++) {
                        after = rows[i].number;
                        if (r == 0 && rows[i].attempt == 0 && rows[i].created_ms <= created_until_ms) {
                                replace_text(&rows[i].detail, strdup(live->are_hours_over ? "max_hours are over" : "the target was reached"));
                                r = rows[i].detail ? move_cancel(api, live, &rows[i]) : -ENOMEM;
                        }
                        trial_row_fini(&rows[i]);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

int move_retry(struct api *api, struct live *live, struct trial_row *row) {
        row->has_value = false;
        row->value = 0;
        row->reason = -1;
        row->failures = 0;
        row->place = PLACE_REQUEUED;
        row->worker = 0;
        row->started_ms = row->finished_ms = 0;
        row->has_progress = false;
        row->released_by = 0;
        row->released_ms = 0;
        replace_text(&row->detail, NULL);
        replace_text(&row->resume, NULL);
        replace_text(&row->worker_public_id, NULL);
        int r = save(api, live, row, TRIAL_QUEUED);
        if (r == 0)
                r = remember(api, live, row);
        if (r == 0 && live->row.state == SWEEP_FINISHED)
                r = live_set_state(api, live, SWEEP_RUNNING);
        return r;
}

/* A trial that had been told to stop is stopped now, with what its series says. */
static int end_told(struct api *api, struct live *live, const struct trial_row *row, struct ending *ending, const char **as) {
        struct attempt_row attempt = {0};
        bool has_summary, was_told = false;
        double summary;
        int r = store_attempt_last(api->store, row->id, &attempt);
        if (r == 0)
                r = stopping_was_told(&attempt, &was_told);
        if (r == 0 && was_told) {
                r = report_summarise(api, live, row->id, &has_summary, &summary);
                if (r == 0)
                        *ending = ending_after_stop(*ending, has_summary, summary);
                *as = trial_state_name(ending->state);
        }
        attempt_row_fini(&attempt);
        return r < 0 ? r : 0;
}

int move_lease_over(struct api *api, const struct lease *lease, enum lease_end end) {
        struct trial_row row = {0};
        struct live *live;
        int64_t trial = lease->trial;
        unsigned attempt = lease->attempt;
        int r = store_trial_load(api->store, trial, &row);
        if (r == 0 && (row.state != TRIAL_RUNNING || row.attempt != attempt))
                r = STORE_NONE;
        if (r == 0)
                r = live_get(api, row.sweep, &live);
        if (r == STORE_NONE) {
                lease_table_remove(&api->leases, trial);
                r = 0;
        } else if (r == 0) {
                bool is_lost = end == LEASE_EXPIRED || end == LEASE_TAKEN;
                enum failure_reason reason = is_lost ? REASON_LEASE_LOST : REASON_TIMEOUT;
                const char *detail = end == LEASE_EXPIRED     ? "the worker stopped reporting"
                                     : end == LEASE_TAKEN     ? "another process registered under the worker's name"
                                     : end == LEASE_TIMED_OUT ? "the trial took longer than trial_timeout_s"
                                                              : "no progress for no_progress_timeout_s";
                api->counts.leases_expired += is_lost;
                api->counts.leases_timed_out += !is_lost;
                struct ending ending = ending_by_failure(reason, row.failures, live->spec->max_attempts);
                const char *as = is_lost ? "lost" : "failed";
                r = end_told(api, live, &row, &ending, &as);
                log_info("lease is over", log_s("trial", row.public_id), log_i("attempt", attempt),
                         log_s("reason", failure_reason_name(reason)), log_s("state", trial_state_name(ending.state)));
                if (r == 0)
                        r = move_end(api, live, &row, &ending, as, detail, NULL);
        }
        trial_row_fini(&row);
        return r;
}
