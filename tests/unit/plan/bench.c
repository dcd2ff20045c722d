#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "bench.h"
#include "common/json.h"

void open_bench(struct bench *b, const char *text) {
        struct error err;
        struct faults faults = {0};
        assert_int_equal(json_read(text, strlen(text), &b->document, &err), 0);
        int r = sweep_spec_parse(b->document, &faults, &b->spec);
        for (size_t i = 0; i < faults.n; i++)
                print_error("%s: %s\n", faults.items[i].pointer, faults.items[i].detail);
        assert_int_equal(r, 0);
        faults_fini(&faults);
        assert_int_equal(plan_new(b->spec, 7, b->spec->run_cap, &b->plan, &err), 0);
        b->n = 0;
}

void close_bench(struct bench *b) {
        plan_free(b->plan);
        sweep_spec_free(b->spec);
        json_decref(b->document);
}

json_t *propose(struct bench *b, enum plan_answer *ret_answer, char *source, unsigned *ret_stage) {
        json_t *params = NULL, *proposal = NULL;
        unsigned stage = 0;
        struct plan_job *job = NULL;
        struct error err;
        assert_int_equal(plan_next(b->plan, ret_answer, &params, &proposal, &stage, &job, &err), 0);
        if (*ret_answer == PLAN_JOB) {
                plan_job_compute(job);
                plan_job_finish(b->plan, job);
                assert_int_equal(plan_next(b->plan, ret_answer, &params, &proposal, &stage, &job, &err), 0);
        }
        if (*ret_answer != PLAN_TRIAL)
                return NULL;
        if (source)
                snprintf(source, 32, "%s", json_string_value(json_object_get(proposal, "source")));
        json_decref(proposal);
        assert_int_equal(plan_trial_added(b->plan, ++b->n, stage, ORIGIN_PROPOSED, params), 0);
        if (ret_stage)
                *ret_stage = stage;
        return params;
}

double number(const json_t *params, const char *name) {
        return json_number_value(json_get_dotted(params, name));
}
