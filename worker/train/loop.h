/* The loop of one training: batches, optimizer steps, evaluations, checkpoints, reports. Exact under interruption: what
 * follows is a function of (weights, moments, struct train_state) alone, and both are saved together, always as they
 * were after a whole optimizer step. Writing happens beside the steps (saver.h); asked to stop, a step is abandoned. */
#pragma once
#include <jansson.h>
#include <signal.h>
#include <stdint.h>

#include "model/model.h"
#include "train/best.h"
#include "train/checkpoint.h"
#include "train/events.h"
#include "train/examples.h"
#include "train/job.h"
#include "train/perf.h"
#include "train/saver.h"
#include "train/schedule.h"

struct point {
        uint64_t present, step;
        double epoch, value;
};

/* Plain 8-byte members: it is saved as it lies in memory. */
struct train_state {
        uint64_t step;       /* optimizer steps done */
        uint64_t micro;      /* micro-batches done; also the number of the next one's dropout masks */
        uint64_t pending;    /* micro-batches whose gradients wait for an optimizer step; 0 in a checkpoint */
        double step_loss;    /* their share of the loss */
        double loss_sum;     /* since the last report of train/loss */
        uint64_t loss_steps;
        uint64_t evaluated;  /* value of micro at the last evaluation */
        struct point last[N_METRICS];
        uint64_t has_best;   /* the sweep's metric: best point so far */
        double best;
        uint64_t has_kept;   /* the best evaluation, whose weights were kept */
        double kept;
        uint64_t kept_step;
        uint64_t has_reference; /* early stopping: the value that an evaluation must beat, and how many have not */
        double reference;
        uint64_t without_gain;
};

/* Everything the loop uses; made by train_run (train.c), which owns all that is pointed to. */
struct training {
        const struct job *job;
        const json_t *identity;
        struct model *model;
        struct events *events;
        const volatile sig_atomic_t *stop;
        struct examples train, eval;
        struct pack pack;
        uint32_t *order, *eval_order;
        float *eval_logits;        /* [eval.n, n_labels] */
        int32_t *eval_predictions; /* [eval.n] */
        struct schedule schedule;
        struct adamw adamw;
        uint64_t batches_per_epoch, total_steps;
        struct best_folders folders;

        struct train_state state;
        struct train_state boundary; /* state after the last whole optimizer step and what followed it */
        uint64_t order_epoch;        /* epoch that `order` holds, plus one; 0: none */
        struct saver *saver;
        struct train_state saving;   /* what the saver writes */
        bool best_waits;             /* the weights of now are the best, and not yet given to the saver */
        uint64_t saved_micro, saved_evaluated, saved_kept_step; /* what the newest checkpoint holds, written or on its way */
        uint64_t last_save_ms;
        struct perf perf;            /* since the last report of the machine's figures */
        uint64_t release_ms;         /* from then on nothing is synced any more; set when asked to stop */
        bool reader_gone;
        struct outcome *outcome; /* filled where a training fails */
};

/* Runs from training->state to the end. 0: completed · LOOP_RELEASED: asked to stop, the checkpoint is written ·
 * LOOP_FAILED: the outcome says why. */
#define LOOP_RELEASED 1
#define LOOP_FAILED 2
int loop_run(struct training *training);

/* Continues from the folder's checkpoint, if there is one: 0, or LOOP_FAILED. *ret_resumed tells. */
int loop_resume(struct training *training, bool *ret_resumed);

/* Fills a failed outcome; -ENOMEM becomes out_of_memory, whatever the reason. Returns LOOP_FAILED. */
int loop_fail(struct outcome *outcome, const char *reason, int code, const char *format, ...) __attribute__((format(printf, 4, 5)));
