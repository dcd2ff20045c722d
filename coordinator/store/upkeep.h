/* Keeping a database well: a copy of it, what is wrong in it, what it holds in words. For `sweepd backup|check|dump`.
 *
 * All of it only reads, takes no lock of the store and may run beside a server that works on the same file: a read
 * transaction sees one moment of it and holds up no writer (WAL). Every function opens the file for itself; older versions
 * of the schema are fine, a newer one is refused. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

/* Copies the database at `path` as of one moment into a new file that replaces `to` once it is whole, checked
 * (integrity, foreign keys) and on disk. The copy is one file without a log beside it. Refuses to write over the database
 * itself, and over anything that is no database of this program. */
int store_backup(const char *path, const char *to, struct error *err);

struct store_fault_text {
        const char *what;   /* "trials: t3 (sweep s1, number 4): running without a lease" */
        const char *repair; /* "it would be queued again"; NULL where only a backup helps */
};

struct store_checked {
        int64_t version; /* of the schema */
        uint64_t n_sweeps, n_trials, n_attempts, n_points, n_faults;
};

/* Looks for everything that cannot be, by rows: what SQLite knows of (pages, indexes, constraints, references), and what
 * only this program knows of (leases, states, history, counters, specs). Calls `say` for every fault, at most
 * `max_per_kind` of a kind; *ret counts all. 0 also with faults; negative when it cannot be read at all. */
int store_check(const char *path, uint64_t max_per_kind, void (*say)(void *data, const struct store_fault_text *fault), void *data,
                struct store_checked *ret, struct error *err);

/* Does a server work on it? It must not be started at this very instant. -ENOENT when there is no such file. */
int store_is_served(const char *path, bool *ret, struct error *err);

/* Every row as a JSON object {"table":…, column:…}, JSON columns as JSON, in the order in which things came to exist; of one
 * sweep only, or (NULL) of all. Secrets (lease tokens, token hashes, kept answers) are left out. row returns 0 to go on.
 * -ENOENT when there is no such sweep. */
int store_dump(const char *path, const char *sweep, bool with_metrics, int (*row)(void *data, const json_t *row), void *data,
               struct error *err);
