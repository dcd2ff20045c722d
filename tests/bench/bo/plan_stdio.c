/* A plan behind stdin and stdout, for quick looks at the optimizer: the same proposals as through HTTP, without it.
 *
 *   plan_stdio SEED <<< spec, then lines "ask", "tell NUMBER VALUE" or "best"
 *
 * The first line is a sweep spec as JSON. "ask" prints {"number","params","proposal","ms"}, "best" what GET …/best says of the model; a tell
 * prints nothing. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/json.h"
#include "plan/plan.h"

static double now_ms(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int die(const char *what) {
        fprintf(stderr, "plan_stdio: %s\n", what);
        return 1;
}

static void print_line(json_t *line) {
        char *text = json_text(line);
        puts(text);
        fflush(stdout);
        free(text);
        json_decref(line);
}

static int best(struct plan *plan) {
        struct plan_job *job;
        if (plan_ask(plan, PLAN_ASKS_BEST, NULL, NULL, &job) != 0)
                return die("no memory");
        plan_job_compute(job);
        print_line(plan_job_answer(job, plan));
        plan_job_free(job);
        return 0;
}

static int ask(struct plan *plan, uint64_t number) {
        json_t *params = NULL, *proposal = NULL;
        unsigned stage = 0;
        enum plan_answer answer;
        struct plan_job *job;
        struct error err;
        double begin = now_ms();
        do {
                if (plan_next(plan, &answer, &params, &proposal, &stage, &job, &err) < 0)
                        return die(err.text);
                if (answer == PLAN_JOB) {
                        plan_job_compute(job);
                        plan_job_finish(plan, job);
                }
        } while (answer == PLAN_JOB);
        if (answer != PLAN_TRIAL || plan_trial_added(plan, number, stage, ORIGIN_PROPOSED, params) < 0)
                return die("nothing more to propose");
        print_line(json_pack("{s:I, s:o, s:o, s:f}", "number", (json_int_t)number, "params", params, "proposal", proposal, "ms",
                             now_ms() - begin));
        return 0;
}

int main(int argc, char **argv) {
        char *line = NULL;
        size_t cap = 0;
        json_t *document = NULL;
        struct error err;
        struct faults faults = {0};
        struct sweep_spec *spec;
        struct plan *plan;
        if (argc != 2 || getline(&line, &cap, stdin) < 0 || json_read(line, strlen(line), &document, &err) < 0)
                return die("give a seed, and a spec on the first line");
        if (sweep_spec_parse(document, &faults, &spec) != 0)
                return die(faults.n ? faults.items[0].detail : "no memory");
        if (plan_new(spec, strtoull(argv[1], NULL, 10), 0, &plan, &err) < 0)
                return die(err.text);
        uint64_t n = 0, number;
        int r = 0;
        double value;
        while (r == 0 && getline(&line, &cap, stdin) > 0) {
                if (sscanf(line, "tell %lu %lf", &number, &value) == 2)
                        plan_trial_state(plan, number, isfinite(value) ? TRIAL_COMPLETED : TRIAL_FAILED, isfinite(value), value);
                else
                        r = strncmp(line, "best", 4) == 0 ? best(plan) : ask(plan, ++n);
        }
        plan_free(plan);
        sweep_spec_free(spec);
        json_decref(document);
        free(line);
        return r;
}
