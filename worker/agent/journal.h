/* The metric points of a running trial that the coordinator has not acknowledged yet, on disk beside the checkpoint: a
 * trainer that goes on from its checkpoint does not say again what it said before, so a killed worker must not forget it.
 * Appended without fsync: it survives the death of the process, the coordinator's answer makes it durable. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

struct journal;

/* Opens or makes the file; without keep what it holds is forgotten. */
int journal_open(const char *path, bool keep, struct journal **ret, struct error *err);
void journal_close(struct journal *journal); /* the file stays */

/* The points that it holds, a new array; a last line that was cut off is skipped. NULL = out of memory. */
json_t *journal_read(const struct journal *journal);

/* One more point. A full journal (16 MiB) or disk takes none: the points are then only in memory. */
void journal_append(struct journal *journal, const json_t *point);

/* All points were acknowledged. */
void journal_clear(struct journal *journal);
