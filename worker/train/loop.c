#include "train/loop.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/world.h"

#define MACHINE_S 10         /* between reports of what the machine does */
#define RELEASE_SYNC_MS 1000 /* for the disk, of the five seconds that there are */

int loop_fail(struct outcome *outcome, const char *reason, int code, const char *format, ...) {
        va_list args;
        *outcome = (struct outcome){.state = OUTCOME_FAILED, .reason = code == -ENOMEM ? "out_of_memory" : reason};
        va_start(args, format);
        vsnprintf(outcome->detail, sizeof outcome->detail, format, args);
        va_end(args);
        return LOOP_FAILED;
}

static int diverged(struct training *t, const char *what, double value, uint64_t step) {
        return loop_fail(t->outcome, "diverged", 0, "%s is %s at step %llu", what, isnan(value) ? "NaN" : "Inf", (unsigned long long)step);
}

static uint64_t now_ms(void) {
        return world_mono_ms(world_real());
}

/* --- reports ------------------------------------------------------------------------------------------ */

static double current_epoch(const struct training *t) {
        return (double)t->state.micro / (double)t->batches_per_epoch;
}

static bool better(const struct training *t, double value, double than) {
        return t->job->maximize ? value > than : value < than;
}

/* A reader that is gone ends the training as a request to stop does: with a checkpoint. */
static void check_sent(struct training *t, int r) {
        if (r == 0 || r == -ETIMEDOUT || t->reader_gone)
                return;
        t->reader_gone = true;
        log_error("nobody reads standard output, stopping", log_s("error", strerror(-r)));
}

static void report(struct training *t, enum metric metric, double value) {
        struct train_state *state = &t->state;
        state->last[metric] = (struct point){.present = 1, .step = state->step, .epoch = current_epoch(t), .value = value};
        if (metric == t->job->metric && (!state->has_best || better(t, value, state->best))) {
                state->has_best = 1;
                state->best = value;
        }
        check_sent(t, events_send_metric(t->events, metric, state->step, current_epoch(t), value));
}

static void report_progress(struct training *t) {
        check_sent(t, events_send_progress(t->events, (double)t->state.step / (double)t->total_steps));
}

/* After a resumption: the newest point of each series again. They may have been lost with the process that read them,
 * and a point said twice counts once. */
static void report_again(struct training *t) {
        report_progress(t);
        for (int i = 0; i < N_METRICS; i++) {
                const struct point *point = &t->state.last[i];
                if (point->present && i < METRIC_PERF_TOKENS_PER_S)
                        check_sent(t, events_send_metric(t->events, (enum metric)i, point->step, point->epoch, point->value));
        }
}

static void report_machine(struct training *t) {
        struct perf_figures figures;
        perf_take(&t->perf, t->model, &figures);
        report(t, METRIC_PERF_STEP_S, figures.step_s);
        report(t, METRIC_PERF_GEMM_GFLOPS, figures.gemm_gflops);
        report(t, METRIC_PERF_CORES, figures.cores);
        report(t, METRIC_PERF_MEMORY_MIB, figures.memory_mib);
        if (!isnan(figures.temperature_c))
                report(t, METRIC_PERF_TEMPERATURE_C, figures.temperature_c);
}

/* More of the machine's figures come with the first report and the last, and at most every MACHINE_S in between. */
static bool machine_is_due(const struct training *t) {
        return !t->state.last[METRIC_PERF_STEP_S].present || t->state.step == t->total_steps || perf_age_s(&t->perf) >= MACHINE_S;
}

static void report_training(struct training *t, double rate, double norm) {
        struct train_state *state = &t->state;
        report(t, METRIC_TRAIN_LOSS, state->loss_sum / (double)state->loss_steps);
        report(t, METRIC_TRAIN_LEARNING_RATE, rate);
        report(t, METRIC_TRAIN_GRAD_NORM, norm);
        report(t, METRIC_PERF_TOKENS_PER_S, perf_tokens_per_s(&t->perf));
        if (machine_is_due(t))
                report_machine(t);
        report_progress(t);
        state->loss_sum = 0;
        state->loss_steps = 0;
}

static void report_evaluation(struct training *t, const struct evaluation *evaluation) {
        report(t, METRIC_EVAL_LOSS, evaluation->loss);
        report(t, METRIC_EVAL_ACCURACY, evaluation->accuracy);
        report(t, METRIC_EVAL_F1, evaluation->f1);
        report(t, METRIC_EVAL_PRECISION, evaluation->precision);
        report(t, METRIC_EVAL_RECALL, evaluation->recall);
        if (settings_task(&t->job->settings)->reports_mcc)
                report(t, METRIC_EVAL_MCC, evaluation->mcc);
        report_progress(t);
}

/* --- steps -------------------------------------------------------------------------------------------- */

/* As transformers 4.30: every gradient_accumulation_steps micro-batches, counted across epochs; and at the end of an
 * epoch that has no more than those. */
static bool step_is_complete(const struct training *t) {
        uint64_t accumulation = (uint64_t)t->job->settings.gradient_accumulation_steps;
        return t->state.micro % accumulation == 0 || (t->batches_per_epoch <= accumulation && t->state.micro % t->batches_per_epoch == 0);
}

static int optimizer_step(struct training *t) {
        struct train_state *state = &t->state;
        double rate = t->schedule.learning_rate * schedule_factor(&t->schedule, state->step);
        double norm = model_gradient_norm(t->model);
        if (!isfinite(norm))
                return diverged(t, "the gradient norm", norm, state->step + 1);
        perf_skip(&t->perf, saver_wait_arrays(t->saver));
        model_adamw_step(t->model, &t->adamw, rate, state->step + 1, model_clip_coefficient(&t->adamw, norm));
        state->step++;
        t->perf.steps++;
        state->loss_sum += state->step_loss;
        state->loss_steps++;
        state->step_loss = 0;
        state->pending = 0;
        if (state->step % (uint64_t)t->job->settings.logging_steps == 0 || state->step == t->total_steps)
                report_training(t, rate, norm);
        t->boundary = *state;
        return 0;
}

static struct batch next_batch(struct training *t) {
        uint64_t epoch = t->state.micro / t->batches_per_epoch, index = t->state.micro % t->batches_per_epoch;
        if (t->order_epoch != epoch + 1) {
                examples_shuffle(t->order, t->train.n, (uint64_t)t->job->settings.seed, epoch);
                t->order_epoch = epoch + 1;
        }
        size_t size = (size_t)t->job->settings.train_batch_size, first = index * size;
        return pack_fill(&t->pack, &t->train, t->order + first, t->train.n - first < size ? t->train.n - first : size);
}

/* Below 1 also after rounding to float: what is kept is scaled by 1 / (1 - rate). */
static float dropout_rate(double rate) {
        return fminf((float)rate, 1.0f - FLT_EPSILON);
}

static int micro_step(struct training *t) {
        struct train_state *state = &t->state;
        const struct settings *settings = &t->job->settings;
        struct batch batch = next_batch(t);
        struct dropout dropout = {.hidden = dropout_rate(settings->dropout),
                                  .attention = dropout_rate(settings->attention_dropout),
                                  .classifier = dropout_rate(settings->seq_classif_dropout),
                                  .seed = (uint64_t)settings->seed,
                                  .step = state->micro};
        double scale = 1.0 / (double)settings->gradient_accumulation_steps;
        double loss = model_forward_backward(t->model, &batch, &dropout, scale, NULL);
        if (*t->stop)
                return LOOP_RELEASED; /* half a step */
        if (!isfinite(loss))
                return diverged(t, "loss", loss, state->step + 1);
        t->perf.tokens += (uint64_t)batch.n_tokens;
        state->step_loss += loss * scale;
        state->micro++;
        state->pending++;
        return step_is_complete(t) ? optimizer_step(t) : 0;
}

/* --- evaluation --------------------------------------------------------------------------------------- */

static bool must_stop(const struct training *t) {
        return *t->stop || t->reader_gone || !events_has_reader(t->events);
}

static bool ran_out_of_patience(const struct training *t) {
        uint64_t patience = (uint64_t)t->job->settings.early_stopping_patience;
        return patience > 0 && t->state.without_gain >= patience;
}

static bool finished(const struct training *t) {
        return t->state.step >= t->total_steps || ran_out_of_patience(t);
}

static bool evaluation_due(const struct training *t) {
        const struct train_state *state = &t->state;
        uint64_t every = (uint64_t)t->job->settings.eval_steps;
        if (state->micro == 0 || state->evaluated == state->micro)
                return false;
        if (finished(t))
                return true;
        return every > 0 ? state->pending == 0 && state->step % every == 0 : state->micro % t->batches_per_epoch == 0;
}

/* Logits of every example, in file order. LOOP_RELEASED when asked to stop on the way. */
static int compute_logits(struct training *t) {
        size_t size = (size_t)t->job->settings.eval_batch_size, n_labels = (size_t)model_shape(t->model)->n_labels;
        float *logits = t->eval_logits + t->eval.n * n_labels; /* the last part of the array: one batch */
        for (size_t first = 0; first < t->eval.n; first += size) {
                if (must_stop(t))
                        return LOOP_RELEASED;
                size_t n = t->eval.n - first < size ? t->eval.n - first : size;
                struct batch batch = pack_fill(&t->pack, &t->eval, t->eval_order + first, n);
                model_forward(t->model, &batch, logits);
                if (*t->stop)
                        return LOOP_RELEASED;
                for (size_t i = 0; i < n; i++)
                        memcpy(t->eval_logits + t->eval_order[first + i] * n_labels, logits + i * n_labels, n_labels * sizeof *logits);
        }
        return 0;
}

static void judge_logits(struct training *t, struct evaluation *ret) {
        int n_labels = model_shape(t->model)->n_labels;
        double sum = 0;
        for (size_t i = 0; i < t->eval.n; i++) {
                const float *row = t->eval_logits + i * (size_t)n_labels;
                sum += metrics_cross_entropy(row, n_labels, t->eval.labels[i]);
                t->eval_predictions[i] = metrics_argmax(row, n_labels);
        }
        metrics_count(t->eval.labels, t->eval_predictions, t->eval.n, n_labels, ret);
        ret->loss = sum / (double)t->eval.n;
}

/* The model is written out when the sweep's metric is better than at any evaluation before. */
static void keep_if_best(struct training *t) {
        struct train_state *state = &t->state;
        const struct point *point = &state->last[t->job->metric];
        if (!point->present || (state->has_kept && !better(t, point->value, state->kept)))
                return;
        state->has_kept = 1;
        state->kept = point->value;
        state->kept_step = state->step;
        t->best_waits = t->folders.output != NULL;
}

/* As transformers' EarlyStoppingCallback: an evaluation counts as better from early_stopping_threshold on. */
static void count_patience(struct training *t) {
        struct train_state *state = &t->state;
        double value = state->last[t->job->metric].value, least = t->job->settings.early_stopping_threshold;
        bool gained = !state->has_reference || (better(t, value, state->reference) && fabs(value - state->reference) > least);
        state->without_gain = gained ? 0 : state->without_gain + 1;
        if (!gained)
                return;
        state->has_reference = 1;
        state->reference = value;
}

static int evaluate(struct training *t) {
        struct evaluation evaluation;
        uint64_t started_ms = now_ms();
        int r = compute_logits(t);
        if (r != 0)
                return r;
        judge_logits(t, &evaluation);
        if (!isfinite(evaluation.loss))
                return diverged(t, "eval/loss", evaluation.loss, t->state.step);
        report_evaluation(t, &evaluation);
        count_patience(t);
        if (ran_out_of_patience(t))
                log_info("stopping early", log_i("step", t->state.step), log_i("evaluations_without_gain", t->state.without_gain));
        keep_if_best(t);
        t->state.evaluated = t->state.micro;
        if (t->state.pending == 0)
                t->boundary = t->state;
        perf_skip(&t->perf, now_ms() - started_ms); /* perf counts training alone */
        return 0;
}

/* --- checkpoints -------------------------------------------------------------------------------------- */

static struct checkpoint checkpoint_of(const struct training *t, struct train_state *state) {
        return (struct checkpoint){.identity = t->identity,
                                   .state = state,
                                   .state_bytes = sizeof *state,
                                   .arrays = {model_weights(t->model), model_moment1(t->model), model_moment2(t->model)},
                                   .n_floats = model_n_floats(t->model)};
}

/* The result of what the saver has done, waiting for it. */
static int finish_saving(struct training *t, uint64_t hurry_ms) {
        uint64_t took_ms, started_ms = now_ms();
        struct error err = {0};
        int r = saver_finish(t->saver, hurry_ms, &took_ms, &err);
        uint64_t waited_ms = now_ms() - started_ms;
        if (r < 0)
                return loop_fail(t->outcome, "io", r, "%s", err.text);
        perf_skip(&t->perf, waited_ms);
        if (took_ms > 0)
                log_info("saved", log_i("step", t->saving.step), log_i("ms", took_ms), log_i("waited_ms", waited_ms));
        return 0;
}

static bool is_new(const struct training *t) {
        return t->job->checkpoint_dir && (t->boundary.micro != t->saved_micro || t->boundary.evaluated != t->saved_evaluated);
}

/* Gives the saver the last boundary (weights and moments have not changed since then) and the model, if it is the best. */
static int start_saving(struct training *t, uint64_t hurry_ms) {
        int r = finish_saving(t, hurry_ms);
        if (r != 0 || (!is_new(t) && !t->best_waits))
                return r;
        t->saving = t->boundary;
        struct saver_work work = {.model = t->model,
                                  .folders = &t->folders,
                                  .best = t->best_waits,
                                  .best_step = t->state.kept_step,
                                  .checkpoint = is_new(t),
                                  .newest_best_step = t->boundary.kept_step,
                                  .previous_best_step = t->saved_kept_step};
        if (work.checkpoint)
                work.content = checkpoint_of(t, &t->saving);
        saver_start(t->saver, &work);
        t->best_waits = false;
        if (!work.checkpoint)
                return 0;
        t->saved_micro = t->boundary.micro;
        t->saved_evaluated = t->boundary.evaluated;
        t->saved_kept_step = t->boundary.kept_step;
        t->last_save_ms = now_ms();
        return 0;
}

/* All that is to be saved, now. The disk has until hurry_ms; what it has not taken then it takes later. */
static int save_to_the_end(struct training *t, uint64_t hurry_ms) {
        int r = start_saving(t, hurry_ms);
        return r == 0 ? finish_saving(t, hurry_ms) : r;
}

/* At each epoch's end, as soon as no gradients wait, and every checkpoint_s; one at a time, however slow the disk. The best
 * model at once: the next step changes its weights. */
static bool save_due(const struct training *t) {
        if (t->best_waits)
                return true;
        if (t->state.pending > 0 || !is_new(t) || saver_is_busy(t->saver))
                return false;
        bool new_epoch = t->state.micro / t->batches_per_epoch > t->saved_micro / t->batches_per_epoch;
        return new_epoch || (double)(now_ms() - t->last_save_ms) >= 1000.0 * t->job->settings.checkpoint_s;
}

int loop_resume(struct training *t, bool *ret_resumed) {
        struct error err = {0};
        *ret_resumed = false;
        if (!t->job->checkpoint_dir)
                return 0;
        checkpoint_clear(t->job->checkpoint_dir);
        struct checkpoint checkpoint = checkpoint_of(t, &t->state);
        int r = checkpoint_load(t->job->checkpoint_dir, &checkpoint, &err);
        if (r == CHECKPOINT_NONE)
                return 0;
        if (r == 0 && t->folders.output && t->state.has_kept)
                r = best_restore(&t->folders, t->model, t->state.kept_step, &err);
        if (r != 0)
                return loop_fail(t->outcome, r > 0 || r == -ENOENT ? "bad_checkpoint" : "io", r, "%s", err.text);
        t->boundary = t->state;
        t->saved_micro = t->state.micro;
        t->saved_evaluated = t->state.evaluated;
        t->saved_kept_step = t->state.kept_step;
        *ret_resumed = true;
        log_info("resumed from checkpoint", log_i("step", t->state.step), log_i("of", t->total_steps));
        report_again(t);
        return 0;
}

static int release(struct training *t) {
        return save_to_the_end(t, now_ms() + RELEASE_SYNC_MS) == 0 ? LOOP_RELEASED : LOOP_FAILED;
}

/* The last evaluation counts, and its model; the last checkpoint is for a process that dies before it has told the outcome. */
static int complete(struct training *t) {
        return save_to_the_end(t, 0);
}

int loop_run(struct training *t) {
        t->last_save_ms = now_ms();
        perf_start(&t->perf, t->model);
        model_set_stop(t->model, t->stop);
        int r = 0;
        while (r == 0) {
                if (evaluation_due(t))
                        r = must_stop(t) ? LOOP_RELEASED : evaluate(t);
                if (r == 0 && finished(t))
                        return complete(t);
                if (r == 0 && must_stop(t))
                        r = LOOP_RELEASED;
                if (r == 0 && save_due(t))
                        r = start_saving(t, UINT64_MAX);
                if (r == 0)
                        r = micro_step(t);
        }
        return r == LOOP_RELEASED ? release(t) : r;
}
