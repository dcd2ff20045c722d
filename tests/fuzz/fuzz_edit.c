/* A sweep spec, the byte 0xFF, and a patch of it, as of PATCH /v1/sweeps/{id}: judged against a plan that has a few trials; when it is taken,
 * the plan of the new spec must take the same history and go on. */
#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "fuzz_plan.h"
#include "proto/spec.h"

#define TRIALS 4

struct history {
        struct {
                json_t *params;
                unsigned stage;
        } trials[2 * TRIALS];
        size_t n;
};

static void tell(struct plan *plan, const struct history *history, size_t i) {
        int r = plan_trial_added(plan, i + 1, history->trials[i].stage, ORIGIN_PROPOSED, history->trials[i].params);
        fuzz_assert(r == 0 || r == -ENOMEM);
        plan_trial_state(plan, i + 1, TRIAL_COMPLETED, true, (double)i);
}

static void propose(struct plan *plan, struct history *history) {
        for (int i = 0; i < TRIALS; i++) {
                json_t *params;
                unsigned stage;
                if (!fuzz_propose(plan, &params, &stage))
                        return;
                history->trials[history->n].params = params;
                history->trials[history->n].stage = stage;
                tell(plan, history, history->n++);
        }
}

static void go_on(const struct sweep_spec *after, struct history *history) {
        struct plan *plan = NULL;
        struct error err;
        if (plan_new(after, 1, after->run_cap, &plan, &err) < 0)
                return;
        plan_set_edit(plan, 1);
        for (size_t i = 0; i < history->n; i++)
                tell(plan, history, i);
        propose(plan, history);
        json_decref(plan_describe_stage(plan));
        plan_free(plan);
}

static void edit(const struct sweep_spec *before, const json_t *patch) {
        struct history history = {.n = 0};
        struct faults faults = {0};
        struct sweep_spec *after = NULL;
        struct plan *plan = NULL;
        struct error err;
        _cleanup_json_ json_t *merged = json_merge_patch(before->source, patch);
        if (!merged || plan_new(before, 1, before->run_cap, &plan, &err) < 0)
                return;
        propose(plan, &history);
        if (sweep_spec_parse(merged, &faults, &after) == 0) {
                int r = plan_check_edit(plan, after, &faults);
                fuzz_assert(r == -ENOMEM || (r == 0) == (faults.n_total == 0));
                if (r == 0)
                        go_on(after, &history);
        }
        plan_free(plan);
        sweep_spec_free(after);
        faults_fini(&faults);
        for (size_t i = 0; i < history.n; i++)
                json_decref(history.trials[i].params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_t *document = NULL, *patch = NULL;
        struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        size_t len, rest_len;
        const uint8_t *rest = fuzz_cut(data, size, &len, &rest_len);
        if (json_read((const char *)data, len, &document, NULL) < 0 || json_read((const char *)rest, rest_len, &patch, NULL) < 0 || !json_is_object(patch))
                return 0;
        if (sweep_spec_parse(document, &faults, &spec) == 0)
                edit(spec, patch);
        faults_fini(&faults);
        sweep_spec_free(spec);
        return 0;
}
