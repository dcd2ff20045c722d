/* One turn of the coordinator, and the table of what answers which route. */
#include <string.h>

#include "api/core.h"
#include "api/export.h"

#define BACKOFF_MS 1000 /* between tries of the coordinator's own writes after a failure */
#define PRUNE_EVERY_MS 3600000
#define UNAVAILABLE "the coordinator cannot write now: try again"

static const struct {
        int (*handler)(struct api *api, struct api_call *call);
        bool is_write; /* inside the turn's transaction; the others read what is committed */
        bool is_keyed; /* remembers its 2xx answer under an Idempotency-Key */
        bool is_work;  /* brings new work: refused while the disk is nearly full */
} routes[N_ROUTES] = {
        [ROUTE_SWEEP_CREATE] = {sweeps_create, true, true, true},       [ROUTE_SWEEP_LIST] = {sweeps_list, false, false},
        [ROUTE_SWEEP_GET] = {sweeps_get, false, false},           [ROUTE_SWEEP_PATCH] = {sweeps_patch, true, true},
        [ROUTE_SWEEP_DELETE] = {sweeps_delete, true, true},       [ROUTE_TRIAL_CREATE] = {trials_enqueue, true, true, true},
        [ROUTE_TRIAL_LIST] = {trials_list, false, false},         [ROUTE_SWEEP_BEST] = {explain_best, false, false},
        [ROUTE_SWEEP_IMPORTANCE] = {explain_importance, false, false},
        [ROUTE_SWEEP_SLICE] = {explain_slice, false, false},
        [ROUTE_SWEEP_HISTORY] = {sweeps_history, false, false},
        [ROUTE_SWEEP_EXPORT] = {trials_export, false, false},     [ROUTE_SWEEP_REPORT] = {trials_report, false, false},
        [ROUTE_TRIAL_GET] = {trials_get, false, false},
        [ROUTE_TRIAL_METRICS] = {trials_metrics, false, false},   [ROUTE_TRIAL_CANCEL] = {trials_cancel, true, true},
        [ROUTE_TRIAL_RETRY] = {trials_retry, true, true, true},         [ROUTE_TRIAL_REPORT] = {reports_post, true, false},
        [ROUTE_WORKER_REGISTER] = {workers_register, true, true}, [ROUTE_WORKER_LIST] = {workers_list, false, false},
        [ROUTE_WORKER_DRAIN] = {workers_drain, true, true},       [ROUTE_CLAIM] = {claims_post, true, false},
        [ROUTE_WORKER_UNDRAIN] = {workers_undrain, true, true},   [ROUTE_WORKER_FORGET] = {workers_forget, true, true},
        [ROUTE_SWEEP_MODELS] = {kept_list, false, false},
        [ROUTE_MODEL_GET] = {kept_get, false, false},             [ROUTE_MODEL_OFFER] = {kept_offer, false, false},
        [ROUTE_EVENTS] = {events_get, false, false},
        [ROUTE_METRICS] = {measure_get, false, false},
        [ROUTE_DEBUG_STATE] = {debug_state, false, false},
        [ROUTE_SWEEP_SNAPSHOT] = {debug_snapshot, false, false},
        [ROUTE_TRIAL_EXPIRE] = {debug_expire, true, true},
};

void api_call_fini(struct api_call *call) {
        json_decref(call->request.body);
        json_decref(call->request.query);
        free(call->request.idempotency_key);
        free(call->request.body_sha256);
        json_decref(call->response.body);
        free(call->response.text);
        api_export_free(call->response.export);
        call->request = (struct api_request){0};
        call->response = (struct api_response){0};
}

void api_answer(struct api *api, struct api_call *call) {
        call->next = NULL;
        *api->answers_end = call;
        api->answers_end = &call->next;
}

static void deliver(struct api *api) {
        struct api_call *call = api->answers, *next;
        api->answers = NULL;
        api->answers_end = &api->answers;
        for (; call; call = next) {
                next = call->next; /* the transport may free it */
                call->done(call);
        }
}

/* --- what the store holds -------------------------------------------------------------------------------------- */

struct lease_list {
        struct lease_row *rows;
        size_t n, cap;
};

static int collect_lease(void *data, const struct lease_row *row) {
        struct lease_list *list = data;
        if (list->n == list->cap) {
                size_t cap = list->cap ? list->cap * 2 : 64;
                struct lease_row *rows = realloc(list->rows, cap * sizeof *rows);
                if (!rows)
                        return -ENOMEM;
                list->rows = rows;
                list->cap = cap;
        }
        list->rows[list->n++] = *row;
        return 0;
}

/* A lease that was known keeps its deadlines; others start anew, with what is left of their trial's own time. */
static int restore_lease(struct api *api, const struct lease_table *before, const struct lease_row *row) {
        const struct lease *known = lease_table_find(before, row->trial);
        if (known && known->attempt == row->attempt)
                return lease_table_put(&api->leases, known);
        struct live *live;
        int r = live_get(api, row->sweep, &live);
        if (r != 0)
                return r == -EINVAL || r == STORE_NONE ? 0 : r; /* a spec that cannot be read was logged */
        uint64_t now = api_now(api), wall = api_wall(api), limit_ms = (uint64_t)(live->spec->trial_timeout_s * 1000);
        uint64_t spent = wall > row->started_ms ? wall - row->started_ms : 0;
        const struct lease lease = {
                .trial = row->trial,
                .sweep = row->sweep,
                .worker = row->worker,
                .attempt = row->attempt,
                .expires_ms = now + api_lease_ms(api),
                .timeout_ms = limit_ms == 0 ? LEASE_NEVER : now + (limit_ms > spent ? limit_ms - spent : 0),
                .stall_ms = move_stall_deadline(api, live),
        };
        return lease_table_put(&api->leases, &lease);
}

static int load_leases(struct api *api) {
        struct lease_list list = {0};
        struct lease_table before = api->leases;
        api->leases = (struct lease_table){0};
        int r = store_attempt_each_running(api->store, 0, collect_lease, &list);
        for (size_t i = 0; i < list.n && r == 0; i++)
                r = restore_lease(api, &before, &list.rows[i]);
        free(list.rows);
        if (r < 0) {
                lease_table_fini(&api->leases);
                api->leases = before;
                return r;
        }
        lease_table_fini(&before);
        return 0;
}

int api_load(struct api *api) {
        if (api->stale) {
                live_forget_all(api);
                api->is_loaded = false;
                api->changes.is_overrun |= api->changes.is_watched; /* what was to be shown went with the caches */
        }
        if (api->is_loaded)
                return 0;
        int r = peers_load(api);
        if (r == 0)
                r = live_load_running(api);
        if (r == 0)
                r = load_leases(api);
        if (r < 0)
                return r;
        api->stale = false;
        api->is_loaded = true;
        api->wake = true;
        return 0;
}

/* --- one call -------------------------------------------------------------------------------------------------- */

static void log_failure(struct api *api, const char *message, int code) {
        log_error(message, log_s("error", strerror(-code)), log_s("sqlite", store_error(api->store)));
}

/* "POST /v1/sweeps/{id}/trials s123": the scope of a key beside the token. */
static void key_path(const struct api_request *request, char ret[static 128]) {
        const struct route_info *info = route_info(request->route);
        snprintf(ret, 128, "%s %s %s", info->method, info->path, request->id);
}

/* The first answer of this key again: ANSWERED, or 0 when the key is new. */
static int find_key(struct api *api, struct api_call *call, const char *path) {
        struct key_row row = {0};
        const char *body = call->request.body_sha256 ? call->request.body_sha256 : "";
        int r = store_key_find(api->store, path, call->request.token, call->request.idempotency_key, &row);
        if (r != 0)
                return r < 0 ? r : 0;
        if (strcmp(row.body_sha256, body) != 0)
                r = reply_problem(call, 422, "this Idempotency-Key came with another body before, so nothing was done now: a key is for sending the very same request again, a new request needs a new one");
        else if (row.status == 204)
                r = reply_empty(call);
        else
                r = reply_text(call, row.status, TAKE(row.answer), NULL);
        key_row_fini(&row);
        return r < 0 ? r : ANSWERED;
}

static int keep_key(struct api *api, struct api_call *call, const char *path) {
        if (call->response.status >= 300)
                return 0;
        _cleanup_free_ char *text = call->response.body ? json_text(call->response.body) : strdup("");
        if (!text)
                return -ENOMEM;
        const struct key_row row = {
                .body_sha256 = call->request.body_sha256 ? call->request.body_sha256 : "", .answer = text, .status = call->response.status};
        return store_key_insert(api->store, path, call->request.token, call->request.idempotency_key, &row, api_wall(api));
}

static int run_handler(struct api *api, struct api_call *call) {
        if (routes[call->request.route].is_work && api->is_room_short)
                return room_refuse(api, call);
        return routes[call->request.route].handler(api, call);
}

static int handle(struct api *api, struct api_call *call) {
        if (!routes[call->request.route].handler)
                return reply_problem(call, 404, "there is nothing here");
        int r = limit_check(api, call);
        if (r != 0)
                return r < 0 ? r : 0;
        if (!call->request.idempotency_key || !routes[call->request.route].is_keyed)
                return run_handler(api, call);
        char path[128];
        key_path(&call->request, path);
        r = find_key(api, call, path);
        if (r != 0)
                return r < 0 ? r : 0;
        r = run_handler(api, call);
        return r < 0 ? r : keep_key(api, call, path);
}

int api_unit(struct api *api, int (*what)(struct api *api, void *data), void *data) {
        if (!store_in_transaction(api->store))
                return -EIO;
        int r = api_load(api);
        if (r == 0)
                r = store_savepoint(api->store);
        if (r < 0)
                return r;
        size_t noted = events_mark(api);
        r = what(api, data);
        if (r == 0)
                return store_savepoint_release(api->store);
        if (r < 0) {
                log_failure(api, "cannot write", r);
                api->stale = true;
                api->turn_failed = true;
        }
        events_undo(api, noted);
        int fault = store_savepoint_undo(api->store);
        return fault < 0 ? fault : UNIT_FAILED;
}

struct write {
        struct api_call *call;
        int result; /* of the handler */
};

#define REFUSED 1 /* answered with 400 or more: undone, though nothing should have changed */

static int carry_out(struct api *api, void *data) {
        struct write *write = data;
        write->result = handle(api, write->call);
        if (write->result < 0)
                return write->result;
        return write->result == 0 && write->call->response.status >= 400 ? REFUSED : 0;
}

static void run_write(struct api *api, struct api_call *call) {
        struct write write = {call, -EIO};
        api->who = call->request.token ? call->request.token : "";
        int r = api_unit(api, carry_out, &write);
        api->who = NULL;
        if (r == 0 && write.result == HANDLER_PARKED)
                return;
        if (write.result == HANDLER_PARKED) /* its unit was lost: it gets its answer here, and no other */
                claims_forget(api, call);
        if (r < 0 || write.result < 0) {
                api->turn_failed = true;
                reply_unavailable(call, UNAVAILABLE);
        }
        api_answer(api, call);
}

/* --- the coordinator's own doings ------------------------------------------------------------------------------ */

static int end_leases(struct api *api, void *unused) {
        (void)unused;
        size_t position = 0;
        const struct lease *over;
        while ((over = lease_table_next_over(&api->leases, &position, api_now(api)))) {
                const struct lease lease = *over;
                int r = move_lease_over(api, &lease, lease_judge(&lease, api_now(api)));
                if (r < 0)
                        return r;
                position--; /* it was taken out of the table */
        }
        return 0;
}

static int end_hours(struct api *api, void *unused) {
        (void)unused;
        for (size_t i = 0; i < api->n_lives; i++) {
                struct live *live = api->lives[i];
                if (live_hours_deadline(api, live) > api_now(api))
                        continue;
                int r = live_judge_closed(api, live);
                if (r < 0)
                        return r;
                live_touch(api, live);
        }
        return 0;
}

static int prune(struct api *api, void *unused) {
        (void)unused;
        uint64_t wall = api_wall(api), kept = (uint64_t)KEPT_KEYS_S * 1000;
        api->prune_ms = api_now(api) + PRUNE_EVERY_MS;
        int r = wall > kept ? store_keys_prune(api->store, wall - kept) : 0;
        return r < 0 ? r : health_forget_old(api);
}

/* Released trials whose time for their worker is over are anybody's now; when the next one will be. */
static int end_reservations(struct api *api, void *unused) {
        (void)unused;
        uint64_t wall = api_wall(api), lease = api_lease_ms(api), first = 0;
        int r = store_trial_first_release(api->store, wall > lease ? wall - lease : 0, &first);
        if (r < 0)
                return r;
        api->reservation_ms = r == STORE_NONE ? API_NEVER : api_now(api) + (first + lease > wall ? first + lease - wall : 0);
        for (size_t i = 0; i < api->n_lives; i++)
                api->lives[i]->is_idle = false;
        api->wake = true;
        return 0;
}

static int probe(struct api *api, void *unused) {
        (void)unused;
        return store_probe(api->store);
}

/* What time brings, each a unit of its own; then claims. Negative when the transaction is lost. */
static int tend(struct api *api) {
        uint64_t now = api_now(api);
        int r = api_unit(api, end_leases, NULL);
        if (r >= 0)
                r = api_unit(api, end_hours, NULL);
        if (r >= 0 && now >= api->prune_ms)
                r = api_unit(api, prune, NULL);
        if (r >= 0 && !api->is_healthy)
                r = api_unit(api, probe, NULL);
        if (r >= 0 && now >= api->reservation_ms)
                r = api_unit(api, end_reservations, NULL);
        if (r >= 0)
                r = claims_wake(api);
        return r < 0 ? r : 0;
}

/* --- the turn -------------------------------------------------------------------------------------------------- */

static void refuse_answers(struct api *api) {
        for (struct api_call *call = api->answers; call; call = call->next)
                reply_unavailable(call, UNAVAILABLE);
}

static int commit(struct api *api, double begun_s, size_t n_writes) {
        struct counts *counts = &api->counts;
        double ready_s = metrics_now_s();
        int r = store_commit(api->store);
        double done_s = metrics_now_s();
        counts->commit_failures += r < 0;
        if (r == 0 && n_writes > 0) {
                histogram_add(&counts->commit_s, &histogram_seconds, done_s - ready_s);
                histogram_add(&counts->turn_s, &histogram_seconds, done_s - begun_s);
                histogram_add(&counts->writes, &histogram_sizes, (double)n_writes);
        }
        return r;
}

/* All writes of the turn and what follows from them, in one transaction with one fsync. */
static void write_phase(struct api *api, struct api_call *calls) {
        double begun_s = metrics_now_s();
        size_t n_writes = 0;
        int r = store_begin(api->store);
        api->turn_failed = false;
        for (struct api_call *call = calls, *next; call; call = next) {
                next = call->next;
                run_write(api, call);
                n_writes++;
        }
        if (r == 0 && (calls || api_now(api) >= api->retry_ms))
                r = tend(api);
        if (r == 0)
                r = commit(api, begun_s, n_writes);
        if (r < 0) {
                log_failure(api, "cannot commit", r);
                store_rollback(api->store);
                api->stale = true;
                refuse_answers(api);
                events_drop(api);
        }
        kept_settle(api, r == 0 && !api->turn_failed);
        api->is_healthy = r == 0 && !api->turn_failed;
        api->retry_ms = api->is_healthy ? 0 : api_now(api) + BACKOFF_MS;
        deliver(api);
        events_publish(api);
}

static void read_phase(struct api *api, struct api_call *calls) {
        int r = store_begin_read(api->store);
        for (struct api_call *call = calls, *next; call; call = next) {
                next = call->next;
                int fault = r < 0 ? r : api_load(api);
                if (fault == 0)
                        fault = handle(api, call);
                if (fault == HANDLER_PARKED)
                        continue;
                if (fault < 0) {
                        log_failure(api, "cannot answer a request", fault);
                        reply_unavailable(call, "the coordinator cannot read now: try again");
                }
                api_answer(api, call);
        }
        explain_answer_all(api);
        store_rollback(api->store);
        deliver(api);
}

void api_turn(struct api *api, struct api_call *calls) {
        struct api_call *reads = NULL, *writes = NULL, **reads_end = &reads, **writes_end = &writes;
        api->turn++;
        events_begin(api);
        room_look(api);
        for (struct api_call *call = calls, *next; call; call = next) {
                next = call->next;
                call->next = NULL;
                struct api_call ***end = routes[call->request.route].is_write ? &writes_end : &reads_end;
                if (api->is_draining) {
                        reply_unavailable(call, "the coordinator is shutting down");
                        api_answer(api, call);
                        continue;
                }
                **end = call;
                *end = &call->next;
        }
        if (writes || api_next_deadline(api) <= api_now(api))
                write_phase(api, writes);
        if (reads || explain_has_answers(api))
                read_phase(api, reads);
        deliver(api);
        live_evict(api);
}

static uint64_t earlier(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

uint64_t api_next_deadline(const struct api *api) {
        if (api->is_draining)
                return API_NEVER;
        uint64_t deadline = api->wake || api->stale || !api->is_loaded || !api->is_healthy
                                    ? 0
                                    : earlier(lease_table_deadline(&api->leases), claims_deadline(api));
        for (size_t i = 0; i < api->n_lives && deadline > 0; i++)
                deadline = earlier(deadline, live_hours_deadline(api, api->lives[i]));
        deadline = earlier(deadline, earlier(api->reservation_ms, api->prune_ms));
        deadline = earlier(deadline, earlier(events_deadline(api), room_deadline(api)));
        return deadline > api->retry_ms ? deadline : api->retry_ms;
}

void api_job_done(struct api *api, struct plan_job *job) {
        if (plan_job_is_question(job)) {
                explain_job_done(api, job);
                return;
        }
        for (size_t i = 0; i < api->n_lives; i++) {
                struct live *live = api->lives[i];
                if (live->job != job)
                        continue;
                live->job = NULL;
                plan_job_finish(live->plan, job);
                live_touch(api, live);
                return;
        }
        plan_job_free(job);
        api->wake = true;
}

void api_drain(struct api *api) {
        api->is_draining = true;
        claims_refuse_all(api, "the coordinator is shutting down");
        explain_refuse_all(api, "the coordinator is shutting down");
        deliver(api);
}

bool api_is_healthy(const struct api *api) {
        return api->is_healthy;
}

bool api_is_room_short(const struct api *api) {
        return api->is_room_short;
}

int api_new(const struct api_config *config, struct store *store, const struct world *world, struct api **ret, struct error *err) {
        struct api *api = calloc(1, sizeof *api);
        if (!api)
                return error_set(err, -ENOMEM, "out of memory");
        api->config = *config;
        api->store = store;
        api->world = world;
        if (api->config.lease_s <= 0)
                api->config.lease_s = DEFAULT_LEASE_S;
        if (api->config.max_parked == 0)
                api->config.max_parked = 10000;
        api->answers_end = &api->answers;
        api->reservation_ms = api_now(api); /* released trials of before */
        api->prune_ms = api_now(api);
        api->is_healthy = true;
        int r = api_load(api);
        if (r == 0)
                r = kept_reconcile(api);
        if (r < 0) {
                error_set(err, r, "cannot read the database: %s", store_error(store));
                api_free(api);
                return r;
        }
        *ret = api;
        return 0;
}

void api_free(struct api *api) {
        if (!api)
                return;
        api_drain(api);
        live_forget_all(api);
        peers_fini(api);
        lease_table_fini(&api->leases);
        events_fini(api);
        json_decref(api->gone);
        free(api->lives);
        free(api->parked);
        free(api->asked);
        free(api);
}
