/* What `sweepd doctor`, `sweep-worker doctor` and `sweep-trainer doctor` have found: one line a check, with what to do where
 * something is wrong. The checks themselves stand in the programs. One thread. */
#pragma once
#include <jansson.h>
#include <stdbool.h>

enum doctor_verdict { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_WRONG };

struct doctor {
        json_t *checks; /* [{"check","verdict":"ok|warning|wrong","detail","remedy"}]; NULL: out of memory */
};

void doctor_init(struct doctor *doctor);
void doctor_fini(struct doctor *doctor);

/* remedy: what to do, NULL = nothing. */
void doctor_say(struct doctor *doctor, enum doctor_verdict verdict, const char *check, const char *remedy, const char *format, ...)
        __attribute__((format(printf, 5, 6)));

/* Takes over the "checks" of another program's --json; false when it holds none. */
bool doctor_take(struct doctor *doctor, const json_t *answer);

/* Prints all, as lines or as {"ok","checks"}. The exit status: 0, or 1 when something is wrong. */
int doctor_finish(const struct doctor *doctor, bool as_json);
