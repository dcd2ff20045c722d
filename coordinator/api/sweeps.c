/* /v1/sweeps: create, list, show, patch, delete, best. */
#include <stdio.h>
#include <string.h>

#include "api/core.h"

static int answer_no_sweep(struct api_call *call) {
        return reply_problem(call, 404, "there is no sweep '%s'", call->request.id);
}

static int answer_sweep(struct api *api, struct api_call *call, int status, const struct sweep_row *row) {
        json_t *body = NULL;
        int r = encode_sweep(api, row, &body);
        return r < 0 ? r : reply_json(call, status, body);
}

/* --- create ---------------------------------------------------------------------------------------------------- */

/* 53 bits, so that every JSON reader keeps it. */
static uint64_t draw_seed(struct api *api) {
        uint64_t seed;
        api->world->random_bytes(api->world->data, &seed, sizeof seed);
        return seed >> 11;
}

static int insert_sweep(struct api *api, const struct sweep_spec *spec, int64_t *ret) {
        char id[ID_CHARS + 2];
        world_make_id(api->world, "s", ID_CHARS, id);
        _cleanup_free_ char *text = json_text(spec->source);
        if (!text)
                return -ENOMEM;
        const struct sweep_row row = {
                .public_id = id,
                .name = spec->name,
                .method = (char *)method_name(spec->method),
                .spec = text,
                .state = SWEEP_RUNNING,
                .seed = spec->has_seed ? spec->seed : draw_seed(api),
                .run_cap = spec->run_cap,
                .priority = spec->priority,
                .model_sha256 = spec->model_sha256,
                .data_sha256 = spec->data_sha256,
                .created_ms = api_wall(api),
        };
        int r = store_sweep_insert(api->store, &row, ret);
        if (r == 0)
                log_info("sweep created", log_s("sweep", id), log_s("name", spec->name), log_s("method", row.method));
        return r;
}

/* What the spec alone does not tell: is there anything to propose, and can its warm start be found? */
static int check_new(struct api *api, struct sweep_spec *spec, struct faults *faults, json_t *warm) {
        struct plan *plan;
        struct error err;
        if (spec->relations.n_constraints == 0 && spec->relations.n_conditions == 0 && !spec->warm_start.sweep && !spec->warm_start.trials)
                return 0;
        int r = plan_new(spec, spec->seed, spec->run_cap, &plan, &err);
        if (r < 0)
                return r;
        r = plan_check(plan, "/constraints", faults);
        if (r >= 0)
                r = warm_gather(api, plan, spec, faults, warm);
        plan_free(plan);
        return r < 0 ? r : faults->n_total > 0 ? SPEC_FAULTY : 0;
}

static int create(struct api *api, struct api_call *call, const struct sweep_spec *spec, const json_t *warm) {
        int64_t id;
        struct live *live;
        int r = insert_sweep(api, spec, &id);
        if (r == 0)
                r = live_get(api, id, &live);
        if (r == 0)
                r = change_note(api, id, "created", json_array_size(warm) > 0 ? json_pack("{s:I}", "n", (json_int_t)json_array_size(warm)) : NULL);
        if (r == 0)
                r = warm_import(api, live, warm);
        if (r != 0)
                return r < 0 ? r : -ENOENT;
        live_touch(api, live);
        events_note_sweep(api, live, true);
        return answer_sweep(api, call, 201, &live->row);
}

int sweeps_create(struct api *api, struct api_call *call) {
        struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        _cleanup_json_ json_t *warm = json_array();
        int r = warm ? sweep_spec_parse(call->request.body, &faults, &spec) : -ENOMEM;
        if (r == 0)
                r = check_new(api, spec, &faults, warm);
        r = reply_decoded(call, r, &faults);
        if (r == 0)
                r = create(api, call, spec, warm);
        sweep_spec_free(spec);
        return r < 0 ? r : 0;
}

/* --- show ------------------------------------------------------------------------------------------------------ */

int sweeps_get(struct api *api, struct api_call *call) {
        struct list_query query;
        struct sweep_row row = {0};
        int r = reply_query(call, LIST_NOTHING, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        r = store_sweep_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return answer_no_sweep(call);
        if (r == 0)
                r = answer_sweep(api, call, 200, &row);
        sweep_row_fini(&row);
        return r;
}

static int read_cursor(struct api_call *call, const struct list_query *query, int64_t fields[static CURSOR_FIELDS]) {
        int64_t from[CURSOR_FIELDS];
        char tail[129];
        if (!query->after)
                return 0;
        if (!cursor_decode(query->after, from, tail) || from[0] != LIST_SWEEPS || from[2] != query->state)
                return reply_fault(call, "/after", "is no cursor of this list") < 0 ? -ENOMEM : ANSWERED;
        fields[1] = from[1];
        return 0;
}

static int encode_rows(struct api *api, struct sweep_row *rows, size_t n, json_t **ret) {
        _cleanup_json_ json_t *items = json_array();
        int r = items ? 0 : -ENOMEM;
        for (size_t i = 0; i < n && r == 0; i++) {
                json_t *item = NULL;
                r = encode_sweep(api, &rows[i], &item);
                if (r == 0 && json_array_append_new(items, item) < 0)
                        r = -ENOMEM;
        }
        if (r == 0)
                *ret = TAKE(items);
        return r;
}

int sweeps_list(struct api *api, struct api_call *call) {
        struct list_query query;
        int r = reply_query(call, LIST_SWEEPS, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        int64_t fields[CURSOR_FIELDS] = {LIST_SWEEPS, 0, query.state};
        r = read_cursor(call, &query, fields);
        if (r != 0)
                return r < 0 ? r : 0;
        _cleanup_free_ struct sweep_row *rows = calloc(query.limit + 1, sizeof *rows);
        size_t n = 0;
        r = rows ? store_sweep_list(api->store, query.state, fields[1], query.limit + 1, rows, &n) : -ENOMEM;
        if (r < 0)
                return r;
        size_t shown = n > query.limit ? query.limit : n;
        json_t *items = NULL;
        r = encode_rows(api, rows, shown, &items);
        fields[1] = shown > 0 ? rows[shown - 1].id : 0;
        for (size_t i = 0; i < n; i++)
                sweep_row_fini(&rows[i]);
        return r < 0 ? r : reply_page(call, items, n > shown ? cursor_encode(fields, "") : NULL);
}

/* --- patch ----------------------------------------------------------------------------------------------------- */

static json_t *cap_json(uint64_t run_cap) {
        return run_cap ? json_integer((json_int_t)run_cap) : json_null();
}

static int patch_run_cap(struct api *api, struct live *live, uint64_t run_cap) {
        bool raised = run_cap == 0 || (live->row.run_cap > 0 && run_cap > live->row.run_cap);
        int r = change_note(api, live->row.id, "extended", change_of("/run_cap", cap_json(live->row.run_cap), cap_json(run_cap)));
        if (r < 0)
                return r;
        live->row.run_cap = run_cap;
        plan_set_run_cap(live->plan, run_cap);
        live_touch(api, live);
        if (raised && live->row.state == SWEEP_FINISHED)
                return live_set_state(api, live, SWEEP_RUNNING);
        return store_sweep_update(api->store, &live->row);
}

/* Resuming at a pause_after takes note of it: the stage after the present one may start. */
static int resume(struct api *api, struct live *live) {
        enum plan_answer answer;
        int r = live_ask_plan(api, live, live->spec->stages[live_stage(live)].pause_after, &answer);
        if (r < 0)
                return r;
        if (answer == PLAN_PAUSE) {
                live->row.first_allowed_stage = live_stage(live) + 1;
                plan_allow_stage(live->plan, live->row.first_allowed_stage);
        }
        return live_set_state(api, live, SWEEP_RUNNING);
}

static int patch_state(struct api *api, struct live *live, enum sweep_state state) {
        if (live->row.state == state)
                return 0;
        if (state == SWEEP_RUNNING)
                return resume(api, live);
        if (state == SWEEP_CANCELLED) {
                int r = move_cancel_all(api, live);
                return r < 0 ? r : live_set_state(api, live, state);
        }
        return live_set_state(api, live, state);
}

/* Which of the wishes the sweep's state forbids; false when none. A finished sweep goes on by more budget, not by wish. */
static bool is_refused(const struct live *live, const struct sweep_patch *patch, char text[static 128]) {
        enum sweep_state now = live->row.state;
        bool raises = patch->has_run_cap && now == SWEEP_FINISHED && (patch->run_cap == 0 || patch->run_cap > live->row.run_cap) &&
                      live->row.run_cap > 0;
        bool same = patch->state < 0 || patch->state == (int)now;
        if (now == SWEEP_CANCELLED && (!same || patch->has_run_cap || patch->has_priority || patch->spec))
                snprintf(text, 128, "the sweep is cancelled, which is final");
        else if (now == SWEEP_FINISHED && patch->state == SWEEP_RUNNING && !raises && !patch->spec)
                snprintf(text, 128, "the sweep is finished: raise run_cap, edit its spec, enqueue or retry a trial to go on");
        else if (now == SWEEP_FINISHED && patch->state == SWEEP_PAUSED && !raises)
                snprintf(text, 128, "the sweep is finished and cannot be paused");
        else
                return false;
        return true;
}

static int apply_patch(struct api *api, struct live *live, const struct sweep_patch *patch) {
        int r = 0;
        if (patch->has_priority && patch->priority != live->row.priority) {
                r = change_note(api, live->row.id, "prioritised",
                                change_of("/priority", json_integer(live->row.priority), json_integer(patch->priority)));
                live->row.priority = patch->priority;
                live_touch(api, live);
                if (r == 0)
                        r = store_sweep_update(api->store, &live->row);
        }
        if (r == 0 && patch->has_run_cap && patch->run_cap != live->row.run_cap)
                r = patch_run_cap(api, live, patch->run_cap);
        if (r == 0 && patch->state >= 0)
                r = patch_state(api, live, (enum sweep_state)patch->state);
        return r < 0 ? r : live_settle(api, live);
}

static int find_live(struct api *api, struct api_call *call, struct live **ret) {
        struct sweep_row row = {0};
        int r = store_sweep_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return answer_no_sweep(call) < 0 ? -ENOMEM : ANSWERED;
        if (r == 0)
                r = live_get(api, row.id, ret);
        sweep_row_fini(&row);
        return r;
}

int sweeps_patch(struct api *api, struct api_call *call) {
        struct sweep_patch patch;
        struct faults faults = {0};
        int r = reply_decoded(call, sweep_patch_decode(call->request.body, &faults, &patch), &faults);
        if (r != 0)
                return r < 0 ? r : 0;
        struct live *live;
        r = find_live(api, call, &live);
        if (r != 0)
                return r < 0 ? r : 0;
        char text[128];
        if (is_refused(live, &patch, text))
                return reply_problem(call, 409, "%s", text);
        r = patch.spec ? edit_spec(api, call, patch.spec, &live) : 0;
        if (r != 0)
                return r < 0 ? r : 0;
        r = apply_patch(api, live, &patch);
        events_note_sweep(api, live, true);
        return r < 0 ? r : answer_sweep(api, call, 200, &live->row);
}

int sweeps_delete(struct api *api, struct api_call *call) {
        struct sweep_row row = {0};
        int r = store_sweep_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return answer_no_sweep(call);
        if (r == 0 && row.state == SWEEP_RUNNING)
                r = reply_problem(call, 409, "the sweep is running: pause or cancel it first");
        else if (r == 0) {
                r = store_sweep_delete(api->store, row.id);
                live_forget(api, row.id);
                for (size_t i = 0; i < api->leases.n;)
                        if (api->leases.items[i].sweep == row.id)
                                lease_table_remove(&api->leases, api->leases.items[i].trial);
                        else
                                i++;
                api->wake = true;
                events_note_deleted(api, row.public_id);
                kept_note_gone(api, row.public_id, NULL);
                if (r == 0)
                        r = reply_empty(call);
        }
        sweep_row_fini(&row);
        return r;
}
