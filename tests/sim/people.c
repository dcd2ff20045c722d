/* People: create sweeps of every method, change them, look at them. Every write of theirs has an idempotency key and is
 * sent until it is answered. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "sim.h"

struct person {
        struct sim *sim;
        struct rng rng;
};

static void live(struct sim *sim, void *owner, uint64_t incarnation, size_t index);

void people_learn_sweep(struct sim *sim, const char *id) {
        for (size_t i = 0; i < sim->n_sweeps; i++)
                if (strcmp(sim->sweeps[i], id) == 0)
                        return;
        if (sim->n_sweeps < 2 * SIM_SWEEPS)
                sim->sweeps[sim->n_sweeps++] = strdup(id);
}

void people_learn_trial(struct sim *sim, const char *id) {
        if (sim->n_trials < SIM_TRIALS)
                sim->trials[sim->n_trials++] = strdup(id);
}

/* --- specs ------------------------------------------------------------------------------------------------- */

static json_t *read_spec(const char *text) {
        char *copy = strdup(text);
        for (char *c = copy; *c; c++)
                if (*c == '\'')
                        *c = '"';
        json_t *spec = NULL;
        if (json_read(copy, strlen(copy), &spec, NULL) < 0)
                abort();
        free(copy);
        return spec;
}

#define LR "'lr':{'distribution':'log_uniform_values','min':1e-5,'max':1e-1}"
#define WD "'wd':{'min':0.0,'max':0.1}"
#define OPT "'opt':{'values':['sgd','adam','lion']}"

static json_t *draw_spec(struct rng *rng) {
        static const char *const specs[] = {
                "{'method':'grid','parameters':{" OPT ",'k':{'values':[1,2,3,4]},'on':{'values':[true,false]}}}",
                "{'method':'random','parameters':{" LR "," WD "," OPT "}}",
                "{'method':'sobol','parameters':{" LR "," WD "}}",
                "{'method':'ofat','baseline':{'lr':1e-3,'wd':0.0,'opt':'sgd'},'parameters':{" LR "," WD "," OPT "},'levels':{'lr':[1e-4,1e-2],'wd':"
                "[0.01,0.1],'opt':['adam','lion']}}",
                "{'method':'staged','baseline':{'lr':1e-3,'wd':0.0,'opt':'sgd'},'parameters':{" LR "," WD "," OPT "},'stages':[{'method':'ofat',"
                "'levels':{'lr':[1e-4,1e-2],'wd':[0.01,0.1],'opt':['adam','lion']}},{'method':'grid','select_top':2,'values':{'lr':[1e-4,1e-3,"
                "1e-2],'wd':[0.0,0.05],'opt':['sgd','adam']}},{'method':'random','run_cap':4}]}",
                "{'method':'bayes','parameters':{" LR "," WD "}}",
                "{'method':'staged','baseline':{'lr':1e-3,'wd':0.0},'parameters':{" LR "," WD "},'stages':[{'method':'ofat','levels':{'lr':[1e-4,1e-2],"
                "'wd':[0.01,0.1]},'pause_after':true},{'method':'sobol','select_top':1,'run_cap':3},{'method':'confirm','top_k':2,'repeats':2}]}",
        };
        size_t which = rng_below(rng, 40);
        which = which == 0 ? 5 : which < 6 ? 6 : which % 5;
        json_t *spec = read_spec(specs[which]);
        json_object_set_new(spec, "trainer", json_string("external"));
        json_t *metric = json_pack("{s:s, s:s}", "name", "loss", "goal", rng_below(rng, 2) ? "minimize" : "maximize");
        if (rng_below(rng, 8) == 0)
                json_object_set_new(metric, "summary", json_string("last"));
        if (rng_below(rng, 16) == 0)
                json_object_set_new(metric, "target", json_real(rng_uniform(rng)));
        json_object_set_new(spec, "metric", metric);
        if (rng_below(rng, 2))
                json_object_set_new(spec, "seed", json_integer((json_int_t)rng_below(rng, 1000)));
        bool endless = which == 1 || which == 2 || which == 5;
        if (endless || rng_below(rng, 6) == 0)
                json_object_set_new(spec, "run_cap", json_integer((json_int_t)(1 + rng_below(rng, which == 5 ? 6 : 24))));
        if (rng_below(rng, 4) == 0)
                json_object_set_new(spec, "max_attempts", json_integer((json_int_t)(1 + rng_below(rng, 4))));
        if (rng_below(rng, 5) == 0)
                json_object_set_new(spec, "parallelism", json_integer((json_int_t)(1 + rng_below(rng, 4))));
        if (rng_below(rng, 5) == 0)
                json_object_set_new(spec, "priority", json_integer((json_int_t)rng_below(rng, 3)));
        if (rng_below(rng, 8) == 0)
                json_object_set_new(spec, "trial_timeout_s", json_integer((json_int_t)(20 + rng_below(rng, 100))));
        if (rng_below(rng, 8) == 0)
                json_object_set_new(spec, "no_progress_timeout_s", json_integer((json_int_t)(20 + rng_below(rng, 100))));
        if (rng_below(rng, 4) == 0)
                json_object_set_new(spec, "early_terminate",
                                    rng_below(rng, 2) ? json_pack("{s:s, s:i, s:i}", "type", "hyperband", "min_iter", 1, "eta", 2)
                                                      : json_pack("{s:s, s:i, s:i}", "type", "median", "min_iter", 1, "min_trials", 2));
        return spec;
}

/* --- wishes ------------------------------------------------------------------------------------------------ */

static void go_on(struct person *person) {
        sim_post(person->sim, rng_uniform(&person->rng) * 25, live, person, 0, 0);
}

static void done(struct sim *sim, struct op *op, int status, json_t *body) {
        struct person *person = op->owner;
        if (op->route == ROUTE_SWEEP_CREATE && status == 201)
                people_learn_sweep(sim, json_string_value(json_object_get(body, "id")));
        else if (op->route == ROUTE_SWEEP_CREATE && status != 0)
                sim_complain(sim, "a spec is refused: %d", status);
        size_t i;
        json_t *item;
        if (op->route == ROUTE_TRIAL_CREATE)
                json_array_foreach(json_object_get(body, "items"), i, item)
                        people_learn_trial(sim, json_string_value(json_object_get(item, "id")));
        go_on(person);
}

static const char *some_sweep(struct person *person) {
        struct sim *sim = person->sim;
        return sim->sweeps[rng_below(&person->rng, sim->n_sweeps)];
}

static json_t *some_configurations(struct person *person) {
        json_t *trials = json_array();
        for (uint64_t n = 1 + rng_below(&person->rng, 3); n > 0; n--) {
                json_t *item = json_pack("{s:{}}", "params");
                json_t *params = json_object_get(item, "params");
                if (rng_below(&person->rng, 2))
                        json_object_set_new(params, "lr", json_real(rng_below(&person->rng, 2) ? 1e-3 : 1e-2));
                if (rng_below(&person->rng, 2))
                        json_object_set_new(params, "opt", json_string(rng_below(&person->rng, 2) ? "adam" : "sgd"));
                if (rng_below(&person->rng, 2))
                        json_object_set_new(params, "wd", json_real(0.05));
                if (rng_below(&person->rng, 3) == 0)
                        json_object_set_new(item, "value", json_real((double)rng_below(&person->rng, 1000) / 1000));
                json_array_append_new(trials, item);
        }
        return json_pack("{s:o}", "trials", trials);
}

static json_t *some_patch(struct person *person) {
        switch (rng_below(&person->rng, 14)) {
        case 0:
        case 1:
        case 2:
                return json_pack("{s:s}", "state", "paused");
        case 3:
                return rng_below(&person->rng, 3) ? json_pack("{s:s}", "state", "running") : json_pack("{s:s}", "state", "cancelled");
        case 4:
        case 5:
                return json_pack("{s:i}", "priority", (int)rng_below(&person->rng, 4));
        case 6:
        case 7:
                return json_pack("{s:i}", "run_cap", 1 + (int)rng_below(&person->rng, 30));
        case 8:
                return json_pack("{s:{s:{s:{s:f}}}}", "spec", "parameters", "lr", "max", 0.05 + rng_uniform(&person->rng) / 10);
        case 9:
                return json_pack("{s:{s:i}}", "spec", "parallelism", 1 + (int)rng_below(&person->rng, 4));
        default:
                return json_pack("{s:s}", "state", "running");
        }
}

static void write_something(struct person *person) {
        struct sim *sim = person->sim;
        struct rng *rng = &person->rng;
        uint64_t dice = rng_below(rng, 100);
        if (dice < 30)
                sim_send(sim, ROUTE_SWEEP_PATCH, some_sweep(person), some_patch(person), true, 5, done, person, 0, 0);
        else if (dice < 50)
                sim_send(sim, ROUTE_TRIAL_CREATE, some_sweep(person), some_configurations(person), true, 5, done, person, 0, 0);
        else if (dice < 65 && sim->n_trials > 0)
                sim_send(sim, ROUTE_TRIAL_CANCEL, sim->trials[rng_below(rng, sim->n_trials)], NULL, true, 5, done, person, 0, 0);
        else if (dice < 82 && sim->n_trials > 0)
                sim_send(sim, ROUTE_TRIAL_RETRY, sim->trials[rng_below(rng, sim->n_trials)], NULL, true, 5, done, person, 0, 0);
        else if (dice < 84)
                sim_send(sim, ROUTE_SWEEP_DELETE, some_sweep(person), NULL, true, 5, done, person, 0, 0);
        else
                go_on(person);
}

static void read_something(struct person *person) {
        struct sim *sim = person->sim;
        static const enum route of_sweep[] = {ROUTE_SWEEP_GET, ROUTE_TRIAL_LIST, ROUTE_SWEEP_BEST, ROUTE_SWEEP_EXPORT};
        uint64_t dice = rng_below(&person->rng, 8);
        if (dice < 4)
                sim_send(sim, of_sweep[dice], some_sweep(person), NULL, false, 5, done, person, 0, 0);
        else if (dice < 6 && sim->n_trials > 0)
                sim_send(sim, dice == 4 ? ROUTE_TRIAL_GET : ROUTE_TRIAL_METRICS, sim->trials[rng_below(&person->rng, sim->n_trials)], NULL, false,
                         5, done, person, 0, 0);
        else
                sim_send(sim, dice == 6 ? ROUTE_SWEEP_LIST : ROUTE_WORKER_LIST, NULL, NULL, false, 5, done, person, 0, 0);
}

static void live(struct sim *sim, void *owner, uint64_t incarnation, size_t index) {
        (void)incarnation, (void)index;
        struct person *person = owner;
        if (sim->is_healing)
                return;
        if (sim->n_sweeps == 0 || (sim->n_sweeps < SIM_SWEEPS && rng_below(&person->rng, 6) == 0))
                sim_send(sim, ROUTE_SWEEP_CREATE, NULL, draw_spec(&person->rng), true, 5, done, person, 0, 0);
        else if (sim_has(sim, HAZARD_PEOPLE) && rng_below(&person->rng, 3))
                write_something(person);
        else
                read_something(person);
}

void people_init(struct sim *sim) {
        sim->trials = calloc(SIM_TRIALS, sizeof *sim->trials);
        sim->n_persons = 1 + rng_below(&sim->people, 3);
        sim->persons = calloc(sim->n_persons, sizeof *sim->persons);
        for (size_t i = 0; i < sim->n_persons; i++) {
                sim->persons[i].sim = sim;
                rng_init(&sim->persons[i].rng, sim->options.seed, 500 + i);
                go_on(&sim->persons[i]);
        }
}

static void resume_all(struct sim *sim, void *owner, uint64_t incarnation, size_t index);

static void resumed(struct sim *sim, struct op *op, int status, json_t *body) {
        (void)sim, (void)op, (void)status, (void)body;
}

static void resume_all(struct sim *sim, void *owner, uint64_t incarnation, size_t index) {
        (void)owner, (void)incarnation, (void)index;
        oracle_learn_paused(sim); /* of some whose creation was never answered nobody knows, and a stage may have paused them */
        for (size_t i = 0; i < sim->n_sweeps; i++)
                sim_send(sim, ROUTE_SWEEP_PATCH, sim->sweeps[i], json_pack("{s:s}", "state", "running"), true, 5, resumed, &sim->persons[0], 0, 0);
        sim_post(sim, 1000, resume_all, NULL, 0, 0);
}

void people_heal(struct sim *sim) {
        sim_post(sim, 400, resume_all, NULL, 0, 0); /* after the latest of what is still under way */
}

void people_fini(struct sim *sim) {
        for (size_t i = 0; i < sim->n_sweeps; i++)
                free(sim->sweeps[i]);
        for (size_t i = 0; i < sim->n_trials; i++)
                free(sim->trials[i]);
        free(sim->trials);
        free(sim->persons);
}
