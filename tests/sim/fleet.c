/* Workers as the contract sees them: register, claim, report until the end; retry everything that is not answered. Some
 * die, stand still for longer than a lease, forget a trial, or come back as another process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "sim.h"

#define TASKS 4

enum manner { ENDS_WITH_VALUE, ENDS_BY_SERIES, ENDS_WITHOUT_METRIC, ENDS_STOPPED, FAILS_RETRYABLE, FAILS_FOR_GOOD, RELEASES, FORGETS };

struct task {
        bool is_used;
        char trial[41], lease[64];
        int64_t attempt, seq, step, n_steps;
        enum manner manner;
        bool told_to_stop, was_last;
};

struct worker {
        struct sim *sim;
        struct rng rng;
        char name[32], id[41];
        uint64_t incarnation;
        unsigned slots, n_claims;
        bool is_claiming;
        uint64_t still_until_ms; /* it stands still, as under SIGSTOP */
        struct task tasks[TASKS];
};

static void work(struct sim *sim, void *owner, uint64_t incarnation, size_t index);
static void begin(struct sim *sim, void *owner, uint64_t incarnation, size_t index);
static void look(struct sim *sim, void *owner, uint64_t incarnation, size_t index);

double point_value(const char *trial, int64_t step, int64_t attempt) {
        uint64_t mix = 0;
        for (; *trial; trial++)
                mix = rng_mix(mix + (unsigned char)*trial);
        return (double)(rng_mix(mix + (uint64_t)step * 1000 + (uint64_t)attempt) % 1000000) / 1e6;
}

static void look_soon(struct worker *worker, double seconds) {
        sim_post(worker->sim, seconds, look, worker, worker->incarnation, 0);
}

/* --- a trial ---------------------------------------------------------------------------------------------- */

static enum manner draw_manner(struct worker *worker) {
        uint64_t dice = rng_below(&worker->rng, 100);
        if (!sim_has(worker->sim, HAZARD_WORKER))
                return dice < 70 ? ENDS_WITH_VALUE : ENDS_BY_SERIES;
        return dice < 35   ? ENDS_WITH_VALUE
               : dice < 60 ? ENDS_BY_SERIES
               : dice < 64 ? ENDS_WITHOUT_METRIC
               : dice < 70 ? ENDS_STOPPED
               : dice < 80 ? FAILS_RETRYABLE
               : dice < 84 ? FAILS_FOR_GOOD
               : dice < 93 ? RELEASES
                           : FORGETS;
}

static json_t *outcome_of(struct worker *worker, const struct task *task) {
        static const char *const retryable[] = {"crashed", "out_of_memory", "io", "timeout", "bad_checkpoint"};
        static const char *const final[] = {"diverged", "bad_config", "bad_data"};
        double value = point_value(task->trial, 0, task->attempt);
        if (task->told_to_stop && rng_below(&worker->rng, 3))
                return json_pack("{s:s, s:f}", "state", "stopped", "value", value);
        switch (task->manner) {
        case ENDS_WITH_VALUE:
                return json_pack("{s:s, s:f}", "state", "completed", "value", value);
        case ENDS_STOPPED:
                return json_pack("{s:s, s:f}", "state", "stopped", "value", value);
        case FAILS_RETRYABLE:
                return json_pack("{s:s, s:s, s:s}", "state", "failed", "reason", retryable[rng_below(&worker->rng, 5)], "detail", "simulated");
        case FAILS_FOR_GOOD:
                return json_pack("{s:s, s:s}", "state", "failed", "reason", final[rng_below(&worker->rng, 3)]);
        case RELEASES:
                return json_pack("{s:s, s:{s:I}}", "state", "released", "resume", "step", (json_int_t)task->step);
        default:
                return json_pack("{s:s}", "state", "completed");
        }
}

static void drop_task(struct worker *worker, struct task *task) {
        task->is_used = false;
        look_soon(worker, rng_uniform(&worker->rng));
}

static void reported(struct sim *sim, struct op *op, int status, json_t *body) {
        (void)sim;
        struct worker *worker = op->owner;
        struct task *task = &worker->tasks[op->index];
        const char *lease = json_string_value(json_object_get(op->body, "lease"));
        if (op->incarnation != worker->incarnation || !task->is_used || strcmp(task->lease, lease) != 0)
                return;
        const char *command = json_string_value(json_object_get(body, "command"));
        if (status != 200 || !command || task->was_last || strcmp(command, "abort") == 0) {
                drop_task(worker, task);
                return;
        }
        if (strcmp(command, "stop") == 0 && rng_below(&worker->rng, 8))
                task->told_to_stop = true;
        sim_post(sim, rng_uniform(&worker->rng) * 12, work, worker, worker->incarnation, op->index);
}

/* One report of a task: a few points, and in the end its outcome. */
static void work(struct sim *sim, void *owner, uint64_t incarnation, size_t index) {
        struct worker *worker = owner;
        struct task *task = &worker->tasks[index];
        if (incarnation != worker->incarnation || !task->is_used)
                return;
        if (sim->now_ms < worker->still_until_ms) {
                sim_post(sim, (double)(worker->still_until_ms - sim->now_ms) / 1000 + 0.1, work, worker, incarnation, index);
                return;
        }
        if (task->manner == FORGETS && task->step > 0 && !sim->is_healing) {
                drop_task(worker, task);
                return;
        }
        json_t *points = json_array();
        uint64_t n = task->manner == ENDS_WITHOUT_METRIC ? 0 : rng_below(&worker->rng, 4);
        for (uint64_t i = 0; i < n && task->step < task->n_steps; i++) {
                task->step++;
                json_array_append_new(points, json_pack("{s:s, s:I, s:f}", "name", rng_below(&worker->rng, 5) ? "loss" : "other", "step",
                                                        (json_int_t)task->step, "value", point_value(task->trial, task->step, task->attempt)));
        }
        task->was_last = task->step >= task->n_steps || task->told_to_stop || (n == 0 && rng_below(&worker->rng, 4) == 0);
        task->seq += 1 + (int64_t)rng_below(&worker->rng, 2);
        json_t *body = json_pack("{s:s, s:I, s:o}", "lease", task->lease, "seq", (json_int_t)task->seq, "metrics", points);
        if (rng_below(&worker->rng, 3) == 0)
                json_object_set_new(body, "progress", json_real((double)task->step / (double)task->n_steps));
        if (task->was_last)
                json_object_set_new(body, "outcome", outcome_of(worker, task));
        sim_send(sim, ROUTE_TRIAL_REPORT, task->trial, body, false, 5, reported, worker, worker->incarnation, index);
}

static void take_trial(struct worker *worker, const json_t *trial) {
        size_t index = 0;
        while (index < TASKS && worker->tasks[index].is_used)
                index++;
        if (index == TASKS)
                return; /* more than was asked for: the oracle complains */
        struct task *task = &worker->tasks[index];
        *task = (struct task){.is_used = true, .n_steps = 1 + (int64_t)rng_below(&worker->rng, 6), .manner = draw_manner(worker)};
        snprintf(task->trial, sizeof task->trial, "%s", json_string_value(json_object_get(trial, "id")));
        snprintf(task->lease, sizeof task->lease, "%s", json_string_value(json_object_get(trial, "lease")));
        task->attempt = json_integer_value(json_object_get(trial, "attempt"));
        people_learn_trial(worker->sim, task->trial);
        sim_post(worker->sim, rng_uniform(&worker->rng) * 5, work, worker, worker->incarnation, index);
}

/* --- claims ------------------------------------------------------------------------------------------------ */

static void claimed(struct sim *sim, struct op *op, int status, json_t *body) {
        (void)sim;
        struct worker *worker = op->owner;
        if (op->incarnation != worker->incarnation)
                return;
        worker->is_claiming = false;
        size_t i;
        json_t *trial;
        json_array_foreach(json_object_get(body, "trials"), i, trial) take_trial(worker, trial);
        if (status == 404)
                sim_post(sim, 1, begin, worker, worker->incarnation, 0);
        else
                look_soon(worker, status == 200 ? 0.01 : rng_uniform(&worker->rng) * 15);
}

static void look(struct sim *sim, void *owner, uint64_t incarnation, size_t index) {
        (void)index;
        struct worker *worker = owner;
        if (incarnation != worker->incarnation || worker->is_claiming)
                return;
        if (sim->now_ms < worker->still_until_ms) {
                look_soon(worker, (double)(worker->still_until_ms - sim->now_ms) / 1000 + 0.1);
                return;
        }
        unsigned n_free = 0;
        for (size_t i = 0; i < worker->slots; i++)
                n_free += !worker->tasks[i].is_used;
        if (n_free == 0)
                return; /* the end of a trial looks again */
        static const double waits[] = {0, 0.5, 5, 30};
        double wait_s = waits[rng_below(&worker->rng, 4)];
        char claim[64];
        snprintf(claim, sizeof claim, "%s-%llu-%u", worker->name, (unsigned long long)worker->incarnation, ++worker->n_claims);
        json_t *body = json_pack("{s:s, s:s, s:i, s:f}", "worker", worker->id, "claim_id", claim, "slots",
                                 1 + (int)rng_below(&worker->rng, n_free), "wait_s", wait_s);
        if (sim->n_sweeps > 0 && rng_below(&worker->rng, 8) == 0 && !sim->is_healing)
                json_object_set_new(body, "sweep", json_string(sim->sweeps[rng_below(&worker->rng, sim->n_sweeps)]));
        worker->is_claiming = true;
        sim_send(sim, ROUTE_CLAIM, NULL, body, false, wait_s + 40, claimed, worker, worker->incarnation, 0);
}

/* --- a process ---------------------------------------------------------------------------------------------- */

static void registered(struct sim *sim, struct op *op, int status, json_t *body) {
        struct worker *worker = op->owner;
        if (op->incarnation != worker->incarnation)
                return;
        if (status != 200 && status != 201) {
                sim_post(sim, 1, begin, worker, worker->incarnation, 0);
                return;
        }
        snprintf(worker->id, sizeof worker->id, "%s", json_string_value(json_object_get(body, "id")));
        look_soon(worker, 0.01);
}

static void begin(struct sim *sim, void *owner, uint64_t incarnation, size_t index) {
        (void)index;
        struct worker *worker = owner;
        if (incarnation != worker->incarnation)
                return;
        char instance[32];
        snprintf(instance, sizeof instance, "i%llu", (unsigned long long)worker->incarnation);
        json_t *body = json_pack("{s:s, s:s, s:i, s:[s]}", "name", worker->name, "instance", instance, "slots", (int)worker->slots, "trainers",
                                 "external");
        sim_send(sim, ROUTE_WORKER_REGISTER, NULL, body, rng_below(&worker->rng, 2), 5, registered, worker, worker->incarnation, 0);
}

/* Its process ends and another one takes its name. */
static void rebirth(struct worker *worker, double after_s) {
        worker->incarnation++;
        worker->is_claiming = false;
        worker->still_until_ms = 0;
        memset(worker->tasks, 0, sizeof worker->tasks);
        sim_post(worker->sim, after_s, begin, worker, worker->incarnation, 0);
}

static void fate(struct sim *sim, void *owner, uint64_t incarnation, size_t index) {
        (void)incarnation, (void)index;
        struct worker *worker = owner;
        if (sim->is_healing)
                return;
        if (sim_has(sim, HAZARD_WORKER)) {
                if (rng_below(&worker->rng, 2))
                        rebirth(worker, rng_uniform(&worker->rng) * (rng_below(&worker->rng, 3) ? 5 : 4 * sim->lease_s));
                else
                        worker->still_until_ms = sim->now_ms + (uint64_t)(rng_uniform(&worker->rng) * 3 * sim->lease_s * 1000);
        }
        sim_post(sim, rng_uniform(&worker->rng) * 600, fate, worker, 0, 0);
}

void fleet_init(struct sim *sim) {
        sim->n_workers = sim->options.workers ? sim->options.workers
                         : rng_below(&sim->rng, 3) ? 2 + rng_below(&sim->rng, 12)
                                                   : 2 + rng_below(&sim->rng, 120);
        sim->workers = calloc(sim->n_workers, sizeof *sim->workers);
        for (size_t i = 0; i < sim->n_workers; i++) {
                struct worker *worker = &sim->workers[i];
                worker->sim = sim;
                rng_init(&worker->rng, sim->options.seed, 1000 + i);
                snprintf(worker->name, sizeof worker->name, "w%zu", i);
                worker->slots = 1 + (unsigned)rng_below(&worker->rng, TASKS);
                sim_post(sim, rng_uniform(&worker->rng) * 10, begin, worker, 0, 0);
                sim_post(sim, rng_uniform(&worker->rng) * 600, fate, worker, 0, 0);
        }
}

/* Everybody is well again. A drained worker comes back as another process. */
void fleet_heal(struct sim *sim) {
        for (size_t i = 0; i < sim->n_workers; i++)
                rebirth(&sim->workers[i], rng_uniform(&sim->workers[i].rng) * 5);
}

void fleet_fini(struct sim *sim) {
        free(sim->workers);
}
