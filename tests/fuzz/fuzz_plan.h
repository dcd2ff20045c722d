/* What the targets that drive a plan share. */
#pragma once
#include <jansson.h>

#include "fuzz.h"
#include "plan/plan.h"

/* The next trial that the plan proposes by itself: model-based computing is left out, it takes its time and sees numbers only.
 * The caller owns *ret_params. False when there is none. */
static inline bool fuzz_propose(struct plan *plan, json_t **ret_params, unsigned *ret_stage) {
        enum plan_answer answer;
        json_t *proposal = NULL;
        struct plan_job *job = NULL;
        struct error err;
        *ret_params = NULL;
        *ret_stage = 0;
        if (plan_next(plan, &answer, ret_params, &proposal, ret_stage, &job, &err) < 0)
                return false;
        if (answer == PLAN_JOB)
                plan_job_free(job);
        if (answer != PLAN_TRIAL)
                return false;
        fuzz_assert(json_is_object(*ret_params) && json_is_object(proposal));
        json_decref(proposal);
        return true;
}
