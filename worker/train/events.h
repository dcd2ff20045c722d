/* What a training tells: JSON lines on a file descriptor, whole lines in order, each sent at once when the reader keeps
 * up. A slow reader never blocks a step until MAX_QUEUED bytes wait; a reader that is gone shows as -EPIPE.
 * One thread calls. The process ignores SIGPIPE. */
#pragma once
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "train/metrics.h"

enum outcome_state { OUTCOME_COMPLETED, OUTCOME_FAILED, OUTCOME_RELEASED };

struct outcome {
        enum outcome_state state;
        double value;       /* completed */
        const char *reason; /* failed: static text */
        char detail[512];   /* failed: one sentence */
};

struct events;

/* stop, a flag that a signal sets, ends the waiting for a slow reader. */
int events_new(int fd, const volatile sig_atomic_t *stop, struct events **ret);
void events_free(struct events *events);

/* Each sends one line. 0 · -EPIPE, -EIO, …: nobody reads any more; the rest is swallowed. · -ENOMEM */
int events_send_metric(struct events *events, enum metric metric, uint64_t step, double epoch, double value);
int events_send_progress(struct events *events, double value);
/* False once the reader is gone, also when nothing is sent. */
bool events_has_reader(const struct events *events);

/* The last line; waits for the reader. */
int events_send_outcome(struct events *events, const struct outcome *outcome);
