/* Is it the worker, or what it is given? A rule over the trials that failed at one worker since one succeeded there.
 *
 * A trial speaks against its worker when it ended in a way that a machine may cause, and has not failed so elsewhere, too. Enough
 * such trials are not enough: as long as nobody else has ended these trials, or newer ones of the same sweeps, the sweep may
 * be what is broken. So the last worker that works, or that has not been tried yet, is never blamed: a sweep that fails everywhere
 * is its owner's to look at. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "proto/state.h"

#define BLAME_TRIALS 5    /* that speak against it, and not one that succeeded meanwhile */
#define BLAME_CASES_MAX 64

struct blame_case {
        enum failure_reason reason;
        bool failed_elsewhere;   /* in such a way */
        bool succeeded_elsewhere;
        bool sweep_succeeds;     /* another worker began a trial of its sweep since the first of these failed, and ended it with a value */
};

struct blame {
        size_t n_trials;    /* that speak against the worker */
        size_t n_succeeded; /* of them: elsewhere */
        enum failure_reason reason; /* the most frequent of theirs */
};

/* May a machine be the cause? Not: diverged, bad_config, no_metric (the trial's), lease_lost (the network's). */
bool blame_fits(enum failure_reason reason);

/* Is the worker to blame? *ret is filled in any case. */
bool blame_judge(const struct blame_case *cases, size_t n, struct blame *ret);
