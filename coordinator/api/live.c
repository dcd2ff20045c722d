/* Sweeps in memory: the row, the parsed spec and the plan, rebuilt from the store's history when they are needed. */
#include <string.h>

#include "api/core.h"
#include "sweep/order.h"

#define MAX_RESTING 32 /* sweeps that do not run and stay loaded */
#define PAGE 64

static void live_free(struct live *live) {
        if (!live)
                return;
        curve_table_fini(&live->curves);
        explain_forget(live);
        plan_free(live->plan); /* a job that is out comes back to nobody and is freed then */
        sweep_spec_free(live->spec);
        sweep_row_fini(&live->row);
        free(live);
}

CLEANUP_DEFINE(struct live *, cleanup_live, live_free)

static int feed(void *data, const struct history_row *row) {
        struct live *live = data;
        if (row->added) {
                _cleanup_json_ json_t *params = encode_stored(row->params);
                int r = params ? plan_trial_added(live->plan, row->number, row->stage, (enum trial_origin)row->origin, params) : -ENOMEM;
                if (r == 0 && row->is_foreign)
                        plan_trial_foreign(live->plan, row->number);
                if (r < 0 || !trial_state_ended(row->state))
                        return r;
        }
        plan_trial_state(live->plan, row->number, row->state, row->has_value, row->value);
        return 0;
}

static int load_history(void *data) {
        struct live *live = data;
        return store_history_each(live->store, live->row.id, feed, live);
}

static int take_tally(void *data, const struct trial_tally *tally) {
        struct live *live = data;
        plan_tally(live->plan, &(struct plan_tally){tally->stage, (enum trial_origin)tally->origin, tally->state, tally->n});
        return 0;
}

static int make_spec(struct live *live) {
        struct faults faults = {0};
        _cleanup_json_ json_t *document = encode_stored(live->row.spec);
        int r = document ? sweep_spec_parse(document, &faults, &live->spec) : -ENOMEM;
        if (r > 0) {
                log_error("a stored spec is not valid any more", log_s("sweep", live->row.public_id),
                          log_s("pointer", faults.n > 0 ? faults.items[0].pointer : ""),
                          log_s("detail", faults.n > 0 ? faults.items[0].detail : ""));
                r = -EINVAL;
        }
        faults_fini(&faults);
        return r;
}

static uint64_t hours_over_wall(const struct live *live) {
        return live->spec->max_hours > 0 ? live->row.created_ms + (uint64_t)(live->spec->max_hours * 3.6e6) : API_NEVER;
}

static int make_plan(struct api *api, struct live *live) {
        struct error err = {0};
        uint64_t counts[N_TRIAL_STATES];
        int r = plan_new(live->spec, live->row.seed, live->row.run_cap, &live->plan, &err);
        if (r < 0) {
                log_error("cannot plan a sweep", log_s("sweep", live->row.public_id), log_s("error", err.text));
                return r;
        }
        plan_allow_stage(live->plan, live->row.first_allowed_stage);
        plan_set_edit(live->plan, live->row.spec_version - 1);
        r = plan_defer(live->plan, load_history, live) ? store_trial_tallies(api->store, live->row.id, take_tally, live) : load_history(live);
        if (r == 0)
                r = store_trial_counts(api->store, live->row.id, counts);
        if (r == 0)
                r = stopping_load(api, live);
        if (r < 0)
                return r;
        live->n_queued = counts[TRIAL_QUEUED];
        live->n_running = counts[TRIAL_RUNNING];
        for (int i = TRIAL_RUNNING; i < N_TRIAL_STATES; i++)
                live->n_served += counts[i];
        r = live_judge_closed(api, live);
        /* It may have been closed before; what was enqueued since then is a person's wish. */
        live->closed_wall_ms = live->are_hours_over ? hours_over_wall(live) : 0;
        return r;
}

static int live_load(struct api *api, int64_t id, struct live **ret) {
        if (api->n_lives == api->cap_lives) {
                size_t cap = api->cap_lives ? api->cap_lives * 2 : 16;
                struct live **lives = realloc(api->lives, cap * sizeof *lives);
                if (!lives)
                        return -ENOMEM;
                api->lives = lives;
                api->cap_lives = cap;
        }
        _cleanup_(cleanup_live) struct live *live = calloc(1, sizeof *live);
        if (!live)
                return -ENOMEM;
        live->store = api->store;
        int r = store_sweep_load(api->store, id, &live->row);
        if (r == 0)
                r = make_spec(live);
        if (r == 0)
                r = make_plan(api, live);
        if (r != 0)
                return r;
        live->is_unsettled = true;
        *ret = api->lives[api->n_lives++] = TAKE(live);
        return 0;
}

int live_get(struct api *api, int64_t id, struct live **ret) {
        struct live *live = NULL;
        for (size_t i = 0; i < api->n_lives && !live; i++)
                if (api->lives[i]->row.id == id)
                        live = api->lives[i];
        int r = live ? 0 : live_load(api, id, &live);
        if (r != 0)
                return r;
        live->used = api->turn;
        *ret = live;
        return 0;
}

int live_load_running(struct api *api) {
        struct sweep_row rows[PAGE];
        int64_t after = 0;
        size_t n;
        do {
                n = 0;
                int r = store_sweep_list(api->store, SWEEP_RUNNING, after, PAGE, rows, &n);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < n; i++) {
                        struct live *live;
                        int fault = r < 0 ? r : live_get(api, rows[i].id, &live);
                        after = rows[i].id;
                        sweep_row_fini(&rows[i]);
                        r = fault == -EINVAL ? 0 : fault; /* one unreadable spec must not stop the others; it was logged */
                }
                if (r < 0)
                        return r;
        } while (n == PAGE);
        return 0;
}

static void forget_at(struct api *api, size_t i) {
        live_free(api->lives[i]);
        memmove(api->lives + i, api->lives + i + 1, (--api->n_lives - i) * sizeof *api->lives);
}

void live_forget(struct api *api, int64_t id) {
        for (size_t i = 0; i < api->n_lives; i++)
                if (api->lives[i]->row.id == id) {
                        forget_at(api, i);
                        return;
                }
}

void live_forget_all(struct api *api) {
        while (api->n_lives > 0)
                forget_at(api, api->n_lives - 1);
}

void live_evict(struct api *api) {
        for (;;) {
                size_t n_resting = 0, oldest = 0;
                for (size_t i = 0; i < api->n_lives; i++) {
                        const struct live *live = api->lives[i];
                        if (live->row.state == SWEEP_RUNNING || live->n_running > 0 || live->showing.is_changed)
                                continue;
                        if (n_resting++ == 0 || live->used < api->lives[oldest]->used)
                                oldest = i;
                }
                if (n_resting <= MAX_RESTING)
                        return;
                forget_at(api, oldest);
        }
}

/* --- what changes them --------------------------------------------------------------------------------------- */

void live_touch(struct api *api, struct live *live) {
        live->is_idle = false;
        live->is_unsettled = true;
        api->wake = true;
        events_note_sweep(api, live, false);
}

unsigned live_stage(struct live *live) {
        return plan_stage(live->plan);
}

uint64_t live_hours_deadline(const struct api *api, const struct live *live) {
        uint64_t over = hours_over_wall(live), wall = api_wall(api);
        if (over == API_NEVER || live->are_hours_over || live->row.state != SWEEP_RUNNING)
                return API_NEVER;
        return api_now(api) + (over > wall ? over - wall : 0);
}

int live_judge_closed(struct api *api, struct live *live) {
        bool reached = false;
        if (live->spec->metric.has_target) {
                struct trial_row best = {0};
                int r = store_trial_best(api->store, live->row.id, live->spec->metric.maximize, &best);
                if (r < 0)
                        return r;
                reached = r == 0 && ending_target_reached(live->spec->metric.maximize, live->spec->metric.target, best.value);
                trial_row_fini(&best);
        }
        live->are_hours_over = api_wall(api) >= hours_over_wall(live);
        bool was_closed = live->is_closed;
        live->is_closed = reached || live->are_hours_over;
        plan_set_closed(live->plan, live->is_closed);
        if (live->is_closed && !was_closed)
                live->closed_wall_ms = api_wall(api);
        return 0;
}

/* At rest the plan's words on its stages are kept, so that showing old sweeps does not mean planning them anew. */
static int keep_stage(struct live *live) {
        free(live->row.stage);
        live->row.stage = NULL;
        if (live->row.state != SWEEP_FINISHED && live->row.state != SWEEP_CANCELLED)
                return 0;
        _cleanup_json_ json_t *stage = plan_describe_stage(live->plan);
        live->row.stage = stage ? json_text(stage) : NULL;
        return live->row.stage ? 0 : -ENOMEM;
}

int live_keep_stage(struct api *api, struct live *live) {
        int r = keep_stage(live);
        return r < 0 ? r : store_sweep_update(api->store, &live->row);
}

static int set_state(struct api *api, struct live *live, enum sweep_state state, json_t *detail) {
        enum sweep_state from = live->row.state;
        const char *what = state == SWEEP_RUNNING ? (from == SWEEP_PAUSED ? "resumed" : "reopened") : sweep_state_name(state);
        _cleanup_json_ json_t *owned = detail;
        if (!sweep_may_move(from, state))
                return -EINVAL;
        live->row.state = state;
        int r = live_keep_stage(api, live);
        if (r == 0)
                r = change_note(api, live->row.id, what, TAKE(owned));
        if (r == 0 && state != SWEEP_RUNNING)
                r = webhook_note(api, live, state == SWEEP_FINISHED ? WEBHOOK_FINISHED : state == SWEEP_PAUSED ? WEBHOOK_PAUSED : WEBHOOK_CANCELLED, NULL);
        if (r < 0)
                return r;
        log_info("sweep changed", log_s("sweep", live->row.public_id), log_s("state", sweep_state_name(state)));
        live_touch(api, live);
        events_note_sweep(api, live, true);
        return 0;
}

int live_set_state(struct api *api, struct live *live, enum sweep_state state) {
        return set_state(api, live, state, NULL);
}

/* Of our own accord, whoever has just asked for something. */
static int set_state_ourselves(struct api *api, struct live *live, enum sweep_state state, json_t *detail) {
        const char *who = api->who;
        api->who = NULL;
        int r = set_state(api, live, state, detail);
        api->who = who;
        return r;
}

int live_pause_after_stage(struct api *api, struct live *live) {
        return set_state_ourselves(api, live, SWEEP_PAUSED, json_pack("{s:o}", "why", json_sprintf("stage %u has ended, and has pause_after", live_stage(live) + 1)));
}

static int ask_plan(const struct live *live, enum plan_answer *ret, struct plan_job **ret_job) {
        _cleanup_json_ json_t *params = NULL, *proposal = NULL;
        unsigned stage;
        struct error err = {0};
        if (plan_next(live->plan, ret, &params, &proposal, &stage, ret_job, &err) == 0)
                return 0;
        *ret = PLAN_WAIT; /* it stays as it is */
        return live_unplanned(live, &err);
}

int live_ask_plan(struct api *api, struct live *live, bool at_once, enum plan_answer *ret) {
        struct plan_job *job = NULL;
        int r = ask_plan(live, ret, &job);
        if (r == 0 && *ret == PLAN_JOB && at_once) {
                plan_job_compute(job);
                plan_job_finish(live->plan, job);
                r = ask_plan(live, ret, &job);
        }
        if (r == 0 && *ret == PLAN_JOB)
                live_submit(api, live, job);
        return r;
}

static const char *why_finished(const struct live *live) {
        return live->are_hours_over ? "max_hours are over" : live->is_closed ? "the target was reached" : NULL;
}

void live_submit(struct api *api, struct live *live, struct plan_job *job) {
        plan_job_set_tag(job, live->row.id);
        live->job = job;
        api->config.submit_job(api->config.job_data, job);
}

int live_unplanned(const struct live *live, const struct error *err) {
        log_error("cannot plan a sweep", log_s("sweep", live->row.public_id), log_s("error", err->text));
        return err->code == -EINVAL || err->code == -E2BIG ? 0 : err->code;
}

/* The worker whose trial has just ended asks for the next one soon; after that a later result is prepared for. */
static int prepare_ahead(struct api *api, struct live *live) {
        struct plan_job *job = NULL;
        int r = order_has_room(live->spec->parallelism, live->n_running) ? plan_ahead(live->plan, &job) : 0;
        if (r == 0 && !job)
                r = plan_prepare(live->plan, &job);
        if (job)
                live_submit(api, live, job);
        return r;
}

/* A proposal that comes at once is not taken here: the plan gives the same one again when a worker asks. A computation
 * is worth starting: the next claim finds it done. */
int live_settle(struct api *api, struct live *live) {
        live->is_unsettled = false;
        if (live->closed_wall_ms > 0) {
                int r = move_cancel_unstarted(api, live, live->closed_wall_ms);
                if (r < 0)
                        return r;
                live->closed_wall_ms = 0;
        }
        if (live->row.state != SWEEP_RUNNING || live->n_queued > 0 || live->job)
                return 0;
        if (live->n_running > 0)
                return prepare_ahead(api, live);
        enum plan_answer answer;
        int r = live_ask_plan(api, live, false, &answer);
        if (r < 0)
                return r;
        if (answer == PLAN_PAUSE)
                return live_pause_after_stage(api, live);
        if (ending_sweep_is_over(answer == PLAN_EXHAUSTED, live->n_queued, live->n_running))
                return set_state_ourselves(api, live, SWEEP_FINISHED, why_finished(live) ? json_pack("{s:s}", "why", why_finished(live)) : NULL);
        return 0;
}
