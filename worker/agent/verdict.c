#include "agent/verdict.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/trainer_line.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "proto/limits.h"
#include "proto/state.h"

#define KILLED_STATUS (128 + SIGKILL) /* what a shell makes of a killed child */

json_t *verdict_released(bool has_checkpoint, bool is_shared, const char *worker_name) {
        if (!has_checkpoint)
                return json_pack("{s:s}", "state", "released");
        return json_pack("{s:s, s:{s:s, s:s}}", "state", "released", "resume", "checkpoint", is_shared ? "shared" : "local", "worker", worker_name);
}

static json_t *stopped(const struct trainer_end *end) {
        if (!end->has_value || end->is_command)
                return json_pack("{s:s}", "state", "stopped"); /* the coordinator takes it from the series */
        return json_pack("{s:s, s:f}", "state", "stopped", "value", end->value);
}

/* The tail goes last and is cut at its front: what a program says last tells most. */
static json_t *failed(const char *reason, const char *what, const char *stderr_tail) {
        _cleanup_buf_ struct buf detail = BUF_INIT(LIMIT_DETAIL_BYTES);
        if (buf_puts(&detail, what) < 0)
                return NULL;
        size_t left = LIMIT_DETAIL_BYTES - detail.len - 64;
        if (stderr_tail && *stderr_tail) {
                size_t len = strlen(stderr_tail);
                if (buf_printf(&detail, "; last on stderr:\n%s", len > left ? stderr_tail + len - left : stderr_tail) < 0)
                        return NULL;
        }
        json_t *text = text_for_report(detail.data, LIMIT_DETAIL_BYTES, 0);
        return json_pack("{s:s, s:s, s:o}", "state", "failed", "reason", reason, "detail", text);
}

static json_t *died(const struct trainer_end *end) {
        bool killed = end->signal == SIGKILL || end->exit_status == KILLED_STATUS;
        char what[256];
        if (end->complaint)
                snprintf(what, sizeof what, "%s", end->complaint);
        else if (end->signal)
                snprintf(what, sizeof what, "the trainer was killed by signal %d (%s)", end->signal, strsignal(end->signal));
        else
                snprintf(what, sizeof what, "the trainer exited with status %d and gave no outcome", end->exit_status);
        return failed(!end->complaint && killed && end->memory_was_short ? "out_of_memory" : "crashed", what, end->stderr_tail);
}

static bool outcome_is(const struct trainer_end *end, const char *state) {
        const char *said = json_string_value(json_object_get(end->outcome, "state"));
        return said && strcmp(said, state) == 0;
}

/* It was asked to end and could not do so cleanly, for want of disk space to save its state for one. */
static bool stumbled(const struct trainer_end *end) {
        const char *reason = json_string_value(json_object_get(end->outcome, "reason"));
        int known = reason ? failure_reason_from_name(reason) : -1;
        return outcome_is(end, "failed") && known >= 0 && failure_reason_retryable((enum failure_reason)known);
}

static bool checkpoint_was_bad(const struct trainer_end *end) {
        const char *reason = json_string_value(json_object_get(end->outcome, "reason"));
        return reason && strcmp(reason, "bad_checkpoint") == 0 && end->had_checkpoint;
}

int verdict_find(const struct trainer_end *end, json_t **ret_outcome) {
        json_t *outcome;
        bool asked_to_end = end->state == SLOT_STOPPING || end->state == SLOT_RELEASING;
        if (end->state == SLOT_DISCARDING)
                return VERDICT_DISCARD;
        if (checkpoint_was_bad(end) && end->state == SLOT_RUNNING)
                return VERDICT_RESTART;
        if (checkpoint_was_bad(end))
                outcome = end->state == SLOT_STOPPING ? stopped(end) : verdict_released(false, false, end->worker_name);
        else if (outcome_is(end, "released") || (asked_to_end && (!end->outcome || stumbled(end))))
                outcome = end->state == SLOT_STOPPING ? stopped(end) : verdict_released(end->has_checkpoint, end->is_shared, end->worker_name);
        else if (end->outcome)
                outcome = json_deep_copy(end->outcome);
        else if (end->is_command && !end->complaint && !end->signal && end->exit_status == 0)
                outcome = json_pack("{s:s}", "state", "completed");
        else
                outcome = died(end);
        if (!outcome)
                return -ENOMEM;
        *ret_outcome = outcome;
        return VERDICT_REPORT;
}
