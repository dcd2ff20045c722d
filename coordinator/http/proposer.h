/* Computes plan jobs on a thread of its own, in order, one at a time. */
#pragma once
#include "common/error.h"
#include "common/metrics.h"
#include "plan/plan.h"

struct proposer;

/* done is called on the proposer's thread with each computed job. */
int proposer_new(void (*done)(void *data, struct plan_job *job), void *data, struct proposer **ret, struct error *err);

/* Takes the job: 0. -EAGAIN when too many wait already: the caller keeps it. */
int proposer_submit(struct proposer *proposer, struct plan_job *job);

/* Jobs that wait, and how long computing took. */
void proposer_count(struct proposer *proposer, size_t *ret_waiting, struct histogram *ret_seconds);

/* Frees the jobs that wait and ends the thread. -ETIMEDOUT when it still computes after timeout_ms; nothing is freed. */
int proposer_free(struct proposer *proposer, unsigned timeout_ms);
