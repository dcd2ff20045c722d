/* A sweep spec, and what a sound one leads to: a plan that proposes, describes itself and completes what people enqueue.
 * Model-based computing is left out: it takes its time and sees numbers only. */
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "fuzz_plan.h"
#include "proto/spec.h"

#define PROPOSALS 3

static void complete(const struct plan *plan, const json_t *params) {
        struct faults faults = {0};
        json_t *completed = NULL;
        if (plan_complete_params(plan, params, false, "/params", &faults, &completed) == 0)
                json_decref(completed);
        else
                fuzz_assert(faults.n_total > 0);
        faults_fini(&faults);
}

static void propose(struct plan *plan) {
        for (uint64_t number = 1; number <= PROPOSALS; number++) {
                json_t *params;
                unsigned stage;
                if (!fuzz_propose(plan, &params, &stage))
                        return;
                char *text = json_text(params);
                fuzz_assert(text);
                free(text);
                plan_trial_added(plan, number, stage, ORIGIN_PROPOSED, params);
                complete(plan, params);
                plan_trial_state(plan, number, TRIAL_COMPLETED, true, (double)number);
                json_decref(params);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_t *document = NULL;
        struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        struct plan *plan = NULL;
        struct error err;
        if (json_read((const char *)data, size, &document, NULL) < 0)
                return 0;
        int r = sweep_spec_parse(document, &faults, &spec);
        fuzz_assert((r == 0) == (faults.n_total == 0) && (r == 0) == (spec != NULL));
        if (r == 0 && plan_new(spec, 1, spec->run_cap, &plan, &err) == 0) {
                propose(plan);
                json_decref(plan_describe_stage(plan));
                plan_remaining(plan);
                plan_free(plan);
        }
        faults_fini(&faults);
        sweep_spec_free(spec);
        return 0;
}
