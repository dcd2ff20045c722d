/* One line of a trainer's stdout, decoded and checked, so that what is sent on is what the coordinator accepts. */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

enum line_kind {
        LINE_CHATTER,   /* not an event: what programs print */
        LINE_MALFORMED, /* meant as an event, but err says what is wrong */
        LINE_METRIC,    /* json: a metric point of a report */
        LINE_PROGRESS,  /* progress, 0–1 */
        LINE_OUTCOME,   /* json: an outcome of a report */
};

struct trainer_line {
        json_t *json; /* new reference, NULL for the other kinds */
        double progress;
};

/* now_ms (wall clock) dates points that have no time of their own. -ENOMEM or the kind. */
int trainer_line_decode(const char *text, size_t len, uint64_t now_ms, struct trainer_line *ret, struct error *err);

/* A JSON string of at most max_bytes of text: its last part when keep_end, with bytes that are not UTF-8 replaced. */
json_t *text_for_report(const char *text, size_t max_bytes, int keep_end);
