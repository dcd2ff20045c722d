/* What the end of a trainer means for its trial: one pure function, so that every way to die can be tested. */
#pragma once
#include <jansson.h>
#include <stdbool.h>

#include "agent/slot_state.h"

struct trainer_end {
        enum slot_state state;  /* in which the slot was: RUNNING, STOPPING, RELEASING or DISCARDING */
        bool is_command;        /* a program of the worker's owner, not sweep-trainer */
        bool had_checkpoint;    /* it was started on top of one */
        bool has_checkpoint;    /* there is one to go on from */
        bool is_shared;         /* where other workers find it, too */
        const json_t *outcome;  /* what the trainer said, NULL = nothing */
        const char *complaint;  /* why the worker killed it itself; NULL = it did not */
        int exit_status;
        int signal;             /* 0 = it exited */
        bool memory_was_short;  /* the kernel killed processes for memory meanwhile */
        const char *stderr_tail;
        bool has_value;         /* the last point of the sweep's metric */
        double value;
        const char *worker_name;
};

enum verdict {
        VERDICT_REPORT,  /* *ret_outcome is the end of the trial, new reference */
        VERDICT_RESTART, /* delete the checkpoint, start again from step 0 */
        VERDICT_DISCARD, /* nobody wants to know */
};

/* The verdict, or -ENOMEM. */
int verdict_find(const struct trainer_end *end, json_t **ret_outcome);

/* {"state":"released"[,"resume":{…}]}; NULL when out of memory. */
json_t *verdict_released(bool has_checkpoint, bool is_shared, const char *worker_name);
