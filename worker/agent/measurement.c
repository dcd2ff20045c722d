/* One division after the other. Each trainer tells perf/tokens_per_s for every step; a division counts from the moment when
 * all its trainers have done their first step until each has done enough, and its rate is the sum of the trainers' medians.
 * The trials' settings are not known yet: the trainer's own defaults are measured. */
#include "agent/measurement.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/command.h"
#include "agent/process.h"
#include "agent/trainer_line.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "common/memory.h"

#define RATES_MIN 6      /* of each trainer, and */
#define WINDOW_MS 1500   /* at least so long */
#define PATIENCE_MS 90000 /* for one division */
#define RATES_KEPT 256   /* newest of each trainer */

/* Which task's columns the files have is not known: the first that can read them. Tokens are tokens. */
static const char *const tasks[] = {"mrpc", "rte", "qqp", "sst2", "cola", "qnli"};
#define N_TASKS (sizeof tasks / sizeof *tasks)

struct runner {
        struct measurement *measurement;
        struct process *process; /* NULL: ended */
        uint64_t n_points;
        double rates[RATES_KEPT];
        size_t n_rates; /* in the window; the array is a ring */
        double memory_mib;
};

struct measurement {
        struct measurement_plan plan;
        size_t current;
        struct runner *runners; /* [n_runners] of the current division */
        unsigned n_runners, n_alive;
        uint64_t started_ms, window_ms; /* window_ms 0: not every trainer has begun */
        size_t task;
        bool is_ending, is_cancelled, is_next_task; /* is_ending: the trainers have been killed */
        char failure[512];
};

int measurement_start(const struct measurement_plan *plan, struct measurement **ret) {
        struct measurement *measurement = calloc(1, sizeof *measurement);
        if (!measurement)
                return -ENOMEM;
        measurement->plan = *plan;
        *ret = measurement;
        return 0;
}

void measurement_free(struct measurement *measurement) {
        if (!measurement)
                return;
        free(measurement->runners);
        free(measurement);
}

static uint64_t now_ms(const struct measurement *measurement) {
        return world_mono_ms(measurement->plan.world);
}

static struct division *current(struct measurement *measurement) {
        return &measurement->plan.divisions[measurement->current];
}

static void kill_all(struct measurement *measurement) {
        measurement->is_ending = true;
        for (unsigned i = 0; i < measurement->n_runners; i++)
                if (measurement->runners[i].process)
                        process_signal(measurement->runners[i].process, SIGKILL);
}

static void fail(struct measurement *measurement, const char *why) {
        if (!measurement->failure[0])
                snprintf(measurement->failure, sizeof measurement->failure, "%s", why);
        kill_all(measurement);
}

/* --- one division ------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

static double median(struct runner *runner) {
        size_t n = runner->n_rates < RATES_KEPT ? runner->n_rates : RATES_KEPT;
        qsort(runner->rates, n, sizeof *runner->rates, compare);
        return n == 0 ? 0 : (runner->rates[(n - 1) / 2] + runner->rates[n / 2]) / 2;
}

static void take_result(struct measurement *measurement) {
        struct division *division = current(measurement);
        for (unsigned i = 0; i < measurement->n_runners; i++) {
                struct runner *runner = &measurement->runners[i];
                division->tokens_per_s += median(runner);
                if (runner->memory_mib > division->memory_mib)
                        division->memory_mib = runner->memory_mib;
        }
        division->tokens_per_s = rint(division->tokens_per_s * 10) / 10;
        log_info("measured", log_i("slots", division->slots), log_i("threads", division->threads), log_f("tokens_per_s", division->tokens_per_s),
                 log_f("memory_mib_each", division->memory_mib));
}

/* Ends the division when it has been measured for long enough. */
static void look(struct measurement *measurement) {
        uint64_t now = now_ms(measurement);
        bool all_began = true, all_done = true, is_late = now - measurement->started_ms > PATIENCE_MS;
        if (measurement->is_ending || measurement->n_alive < measurement->n_runners)
                return;
        for (unsigned i = 0; i < measurement->n_runners; i++) {
                all_began = all_began && measurement->runners[i].n_points > 0;
                all_done = all_done && measurement->runners[i].n_rates >= (is_late ? 1 : RATES_MIN);
        }
        if (all_began && !measurement->window_ms)
                measurement->window_ms = now;
        bool lasted = measurement->window_ms && now - measurement->window_ms >= WINDOW_MS;
        if (lasted && all_done) {
                take_result(measurement);
                kill_all(measurement);
        } else if (is_late)
                fail(measurement, "no step was done in time");
}

static void take_point(struct runner *runner, const json_t *point) {
        const char *name = json_string_value(json_object_get(point, "name"));
        double value = json_number_value(json_object_get(point, "value"));
        if (strcmp(name, "perf/memory_mib") == 0 && value > runner->memory_mib)
                runner->memory_mib = value;
        if (strcmp(name, "perf/tokens_per_s") != 0)
                return;
        runner->n_points++;
        if (runner->measurement->window_ms && !runner->measurement->is_ending)
                runner->rates[runner->n_rates++ % RATES_KEPT] = value;
}

static bool outcome_is(const json_t *outcome, const char *reason) {
        const char *found = json_string_value(json_object_get(outcome, "reason"));
        return found && strcmp(found, reason) == 0;
}

static void take_outcome(struct runner *runner, const json_t *outcome) {
        struct measurement *measurement = runner->measurement;
        const char *detail = json_string_value(json_object_get(outcome, "detail"));
        if (measurement->is_ending)
                return;
        if (outcome_is(outcome, "bad_data") && measurement->task + 1 < N_TASKS) {
                measurement->is_next_task = true;
                kill_all(measurement);
        } else if (outcome_is(outcome, "out_of_memory")) {
                log_info("these slots do not fit in memory", log_i("slots", current(measurement)->slots), log_i("threads", current(measurement)->threads),
                         log_s("why", detail));
                kill_all(measurement); /* and it stays unmeasured */
        } else
                fail(measurement, detail && *detail ? detail : "the training ended by itself");
}

static void on_line(void *data, const char *text, size_t len) {
        struct runner *runner = data;
        struct trainer_line line = {0};
        struct error err;
        int kind = text ? trainer_line_decode(text, len, world_wall_ms(runner->measurement->plan.world), &line, &err) : LINE_MALFORMED;
        if (kind == LINE_METRIC)
                take_point(runner, line.json);
        else if (kind == LINE_OUTCOME)
                take_outcome(runner, line.json);
        json_decref(line.json);
        look(runner->measurement);
}

static void on_end(void *data, const struct process_end *end) {
        struct runner *runner = data;
        struct measurement *measurement = runner->measurement;
        runner->process = NULL;
        measurement->n_alive--;
        if (!measurement->is_ending) {
                char why[256];
                size_t len = strlen(end->stderr_tail), shown = len < 160 ? len : 160;
                snprintf(why, sizeof why, "a trainer died (status %d, signal %d): %s", end->exit_status, end->signal, end->stderr_tail + len - shown);
                fail(measurement, why);
        }
        measurement_pump(measurement);
}

/* --- its start ---------------------------------------------------------------------------------------- */

static char *input(const struct measurement *measurement, unsigned threads) {
        const struct agent_options *options = measurement->plan.options;
        _cleanup_json_ json_t *job =
                json_pack("{s:s, s:s, s:{}, s:{s:i, s:i, s:i, s:s}, s:i, s:i, s:n, s:n}", "model", options->model_dir, "data", options->data_dir, "params",
                          "fixed", "epochs", 1000, "logging_steps", 1, "limit_eval", 8, "task", tasks[measurement->task], "seed", 1, "threads",
                          (int)threads, "checkpoint_dir", "output_dir");
        return job ? json_text(job) : NULL;
}

static int start_runner(struct measurement *measurement, struct runner *runner, struct error *err) {
        const struct measurement_plan *plan = &measurement->plan;
        _cleanup_words_ struct words argv = {0}, variables = {0};
        unsigned threads = current(measurement)->threads;
        char *text = input(measurement, threads);
        int r = text ? command_add_launcher(&argv, plan->options->launcher) : -ENOMEM;
        if (r == 0)
                r = words_add(&argv, "%s", plan->options->trainer_program);
        if (r == 0)
                r = command_add_environment(&variables, threads);
        if (r < 0) {
                free(text);
                return error_set(err, r, "out of memory");
        }
        struct process_events events = {.data = runner, .line = on_line, .end = on_end};
        return process_start(plan->loop, &argv, &variables, plan->folder, text, &events, &runner->process, err);
}

static double room_mib(const char **ret_from) {
        struct memory_room room;
        memory_look("", &room);
        *ret_from = room.resident_from ? room.resident_from : "machine";
        return (double)room.resident_bytes / (1 << 20);
}

/* By what one slot took in the divisions before. */
static bool fits(struct measurement *measurement) {
        struct division guess = *current(measurement);
        const char *from;
        double room = room_mib(&from);
        for (size_t i = 0; i < measurement->current; i++)
                if (measurement->plan.divisions[i].memory_mib > guess.memory_mib)
                        guess.memory_mib = measurement->plan.divisions[i].memory_mib;
        double needs = division_needs_mib(&guess);
        if (needs <= room)
                return true;
        log_info("these slots do not fit in memory", log_i("slots", guess.slots), log_i("threads", guess.threads), log_f("needs_mib", needs),
                 log_f("available_mib", room), log_s("by_the", from));
        return false;
}

static void start_division(struct measurement *measurement) {
        unsigned n = current(measurement)->slots;
        struct error err = {.text = "out of memory"};
        measurement->is_ending = measurement->is_next_task = false;
        measurement->window_ms = 0;
        measurement->started_ms = now_ms(measurement);
        measurement->n_runners = measurement->n_alive = 0;
        free(measurement->runners);
        measurement->runners = calloc(n, sizeof *measurement->runners);
        if (!measurement->runners) {
                fail(measurement, err.text);
                return;
        }
        measurement->n_runners = n;
        for (unsigned i = 0; i < n; i++) {
                struct runner *runner = &measurement->runners[i];
                runner->measurement = measurement;
                if (start_runner(measurement, runner, &err) < 0) {
                        fail(measurement, err.text);
                        return;
                }
                measurement->n_alive++;
        }
}

static void finish(struct measurement *measurement) {
        struct measurement_result result = {measurement->plan.divisions, measurement->plan.n,
                                            measurement->is_cancelled ? "cancelled" : measurement->failure[0] ? measurement->failure : NULL};
        measurement->plan.done(measurement->plan.data, &result);
}

void measurement_pump(struct measurement *measurement) {
        if (measurement->n_alive > 0) {
                look(measurement);
                return;
        }
        if (measurement->is_ending && measurement->is_next_task)
                measurement->task++;
        else if (measurement->is_ending)
                measurement->current++;
        measurement->is_ending = false;
        while (measurement->current < measurement->plan.n && (current(measurement)->tokens_per_s > 0 || !fits(measurement)))
                measurement->current++;
        if (measurement->is_cancelled || measurement->failure[0] || measurement->current == measurement->plan.n) {
                finish(measurement);
                return;
        }
        start_division(measurement);
}

void measurement_cancel(struct measurement *measurement) {
        measurement->is_cancelled = true;
        kill_all(measurement);
}
