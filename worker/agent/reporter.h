/* The reports of one lease while its trial runs: heartbeat, metrics and progress in one call, one in flight at a time,
 * sent again with the same seq until there is an answer.
 *
 *   points arrive ─▶ queue ─▶ body (≤ 1000 points, next seq) ─▶ in flight ─▶ answered: body dropped, command obeyed
 *                                        ▲                          │
 *                                        └── no answer, 5xx, 429 ◀──┘   after a backoff, the same body
 *
 * The end of a trial is not sent from here: reporter_seal turns all that is unsent into a parcel for the outbox. */
#pragma once
#include <jansson.h>
#include <stdbool.h>

#include "common/world.h"
#include "net/net.h"

enum report_command {
        REPORT_STOP,  /* a stopping rule fired */
        REPORT_ABORT, /* no longer wanted */
        REPORT_LOST,  /* the lease is no longer valid */
};

/* why: the coordinator's words when the lease is lost, else NULL. The callback may free the reporter. */
typedef void reporter_callback(void *data, enum report_command command, const char *why);

struct reporter;

/* trial: a claimed trial, kept by reference. */
int reporter_new(struct net *net, const struct world *world, json_t *trial, reporter_callback *callback, void *data, struct reporter **ret);
void reporter_free(struct reporter *reporter);

/* Keeps points that are not acknowledged in the file at path too. resumes: those that lie there are sent first, since the
 * trainer goes on behind them; else they are forgotten. Without the file the reporter works from memory alone. */
void reporter_keep_journal(struct reporter *reporter, const char *path, bool resumes);

void reporter_add_point(struct reporter *reporter, json_t *point); /* takes the reference; the oldest go when 50000 wait */
void reporter_set_progress(struct reporter *reporter, double progress);

/* Sends what is due: points at most a second old, a heartbeat every third of the lease. */
void reporter_pump(struct reporter *reporter);

/* {"trial","sweep","reports"} with everything unsent and the outcome (borrowed) at its end; the reporter sends nothing more.
 * New reference, NULL = out of memory. */
json_t *reporter_seal(struct reporter *reporter, json_t *outcome);
