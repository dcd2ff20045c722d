/* An edit of a running sweep's spec. What counts afterwards is the new spec and the trials that are there: the plan is made anew from
 * both, exactly as after a restart. */
#include "api/core.h"

/* The merged spec as a whole, and what in it contradicts the trials that are there. */
static int check(const struct live *live, json_t *merged, struct faults *faults, struct sweep_spec **ret) {
        struct plan *plan;
        struct error err;
        int r = sweep_spec_parse(merged, faults, ret);
        if (r != 0)
                return r;
        r = plan_check_edit(live->plan, *ret, faults);
        if (r != 0 || ((*ret)->relations.n_constraints == 0 && (*ret)->relations.n_conditions == 0))
                return r;
        r = plan_new(*ret, live->row.seed, live->row.run_cap, &plan, &err);
        if (r < 0)
                return r;
        r = plan_check(plan, "/constraints", faults);
        plan_free(plan);
        return r;
}

/* A budget or priority that the edit gives counts as if it had been patched by itself. */
static int store_edit(struct api *api, struct live *live, const struct sweep_spec *after, const json_t *merged, json_t *differences) {
        _cleanup_free_ char *text = json_text(merged);
        int r = text ? store_sweep_set_spec(api->store, live->row.id, after->name, text) : -ENOMEM;
        if (after->run_cap != live->spec->run_cap)
                live->row.run_cap = after->run_cap;
        if (after->priority != live->spec->priority)
                live->row.priority = after->priority;
        if (r == 0)
                r = store_sweep_update(api->store, &live->row);
        return r < 0 ? r : change_note(api, live->row.id, "edited", json_pack("{s:O}", "changes", differences));
}

/* The same sweep with the new spec; one that had finished goes on when there is more to propose now. */
static int reload(struct api *api, struct live **live) {
        int64_t id = (*live)->row.id;
        live_forget(api, id);
        int r = live_get(api, id, live);
        if (r != 0)
                return r < 0 ? r : -ENOENT;
        log_info("sweep edited", log_s("sweep", (*live)->row.public_id), log_i("version", (*live)->row.spec_version));
        live_touch(api, *live);
        if ((*live)->row.state != SWEEP_FINISHED)
                return 0;
        enum plan_answer answer;
        r = live_ask_plan(api, *live, true, &answer);
        if (r == 0 && answer != PLAN_EXHAUSTED)
                return live_set_state(api, *live, SWEEP_RUNNING);
        return r < 0 ? r : live_keep_stage(api, *live);
}

int edit_spec(struct api *api, struct api_call *call, const json_t *patch, struct live **live) {
        struct faults faults = {0};
        struct sweep_spec *after = NULL;
        _cleanup_json_ json_t *merged = json_merge_patch((*live)->spec->source, patch), *differences = NULL;
        if (!merged)
                return -ENOMEM;
        int r = change_compare((*live)->spec->source, merged, &differences);
        if (r < 0 || json_array_size(differences) == 0)
                return r;
        r = check(*live, merged, &faults, &after);
        faults_prefix(&faults, "/spec");
        r = reply_decoded(call, r, &faults);
        if (r == 0)
                r = store_edit(api, *live, after, merged, differences);
        sweep_spec_free(after);
        return r == 0 ? reload(api, live) : r;
}
