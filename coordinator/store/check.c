/* What cannot be in a sound database. One table: each check is a query whose rows are faults, in words. SQLite's own
 * checks come first (pages, indexes, column types, the CHECKs of the schema, references); those here hold rows against each
 * other: leases against trials, history against states, counters against rows, texts against what reads them. */
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "proto/spec.h"
#include "store/view.h"
#include "store/upkeep.h"

#define SWEEP "'sweep ' || s.public_id || ': ' || "
#define TRIAL "'trial ' || t.public_id || ' (number ' || t.number || ' of sweep ' || s.public_id || '): ' || "
#define TRIALS "trials t JOIN sweeps s ON s.id = t.sweep "

static const struct check {
        int since; /* schema version that has what the query reads */
        const char *sql, *repair;
} checks[] = {
        /* sweeps */
        {1,
         "SELECT " SWEEP "'its next trial number is ' || s.next_number || ', but it has a trial ' || m.last FROM sweeps s JOIN "
         "(SELECT sweep, max(number) AS last FROM trials GROUP BY sweep) m ON m.sweep = s.id WHERE s.next_number <= m.last",
         "the next number would be one above its last trial's"},
        {1,
         "SELECT " SWEEP "'it is ' || s.state || ', but trial ' || t.public_id || ' is ' || t.state FROM " TRIALS
         "WHERE s.state IN ('finished', 'cancelled') AND t.state IN ('queued', 'running')",
         "a finished sweep would run again, a trial of a cancelled one would be cancelled"},
        /* leases */
        {1,
         "SELECT " TRIAL "'it is running, but has no lease' FROM " TRIALS "WHERE t.state = 'running' AND NOT EXISTS "
         "(SELECT 1 FROM attempts a WHERE a.trial = t.id AND a.attempt = t.attempt AND a.ended_ms IS NULL)",
         "it would be queued again"},
        {1,
         "SELECT " TRIAL "'attempt ' || a.attempt || ' has a lease that nothing will end: the trial is ' || t.state || ' at attempt ' || "
         "t.attempt FROM attempts a JOIN trials t ON t.id = a.trial JOIN sweeps s ON s.id = t.sweep "
         "WHERE a.ended_ms IS NULL AND (t.state <> 'running' OR a.attempt <> t.attempt)",
         "the lease would end as lost"},
        {1,
         "SELECT " TRIAL "'it runs on worker ' || coalesce(t.worker, 'none') || ', its lease is held by worker ' || a.worker FROM attempts a "
         "JOIN trials t ON t.id = a.trial JOIN sweeps s ON s.id = t.sweep "
         "WHERE a.ended_ms IS NULL AND t.state = 'running' AND a.attempt = t.attempt AND t.worker IS NOT a.worker",
         "the trial would be given to the lease's worker"},
        {1,
         "SELECT " TRIAL "'it is at attempt ' || t.attempt || ', but has attempts up to ' || coalesce(m.last, 0) FROM " TRIALS
         "LEFT JOIN (SELECT trial, max(attempt) AS last FROM attempts GROUP BY trial) m ON m.trial = t.id "
         "WHERE t.attempt <> coalesce(m.last, 0)",
         "it would be at its last attempt"},
        /* states */
        {1, "SELECT " TRIAL "'it is running, but never began' FROM " TRIALS "WHERE t.state = 'running' AND t.started_ms IS NULL",
         "it would have begun with its attempt"},
        {1, "SELECT " TRIAL "'it is queued, but has a worker' FROM " TRIALS "WHERE t.state = 'queued' AND t.worker IS NOT NULL",
         "it would have none"},
        {1,
         "SELECT " TRIAL "'it is ' || t.state || ' without a value' FROM " TRIALS
         "WHERE t.state IN ('completed', 'stopped') AND t.value IS NULL",
         "it would take its value from its points, or become failed with no_metric"},
        {1,
         "SELECT " TRIAL "'it is ' || t.state || ', but its last attempt ended as ' || a.ended_as FROM " TRIALS
         "JOIN attempts a ON a.trial = t.id AND a.attempt = t.attempt WHERE t.state IN ('completed', 'stopped') AND a.ended_as <> t.state",
         "the attempt would have ended as the trial did"},
        /* history */
        {1,
         "SELECT " TRIAL "'its beginning is written ' || coalesce(h.n, 0) || ' times in the history' FROM " TRIALS
         "LEFT JOIN (SELECT trial, sum(added) AS n FROM history GROUP BY trial) h ON h.trial = t.id WHERE coalesce(h.n, 0) <> 1",
         "the history would have it once"},
        {1,
         "SELECT " TRIAL "'it is ' || t.state || coalesce(' with ' || t.value, '') || ', but its history ends with ' || h.state || "
         "coalesce(' with ' || h.value, '') FROM (SELECT trial, max(seq) AS last FROM history GROUP BY trial) m "
         "JOIN history h ON h.seq = m.last JOIN trials t ON t.id = h.trial JOIN sweeps s ON s.id = t.sweep "
         "WHERE CASE WHEN t.state IN ('queued', 'running') THEN h.state NOT IN ('queued', 'running') "
         "ELSE h.state <> t.state OR h.value IS NOT t.value END",
         "the history would get one event more"},
        {1,
         "SELECT " TRIAL "'event ' || h.seq || ' of the history has it in another sweep' FROM history h JOIN trials t ON t.id = h.trial "
         "JOIN sweeps s ON s.id = t.sweep WHERE h.sweep <> t.sweep",
         "the event would be moved to the trial's sweep"},
        /* texts */
        {1,
         "SELECT " TRIAL "'its ' || CASE WHEN NOT json_valid(t.params) OR json_type(t.params) <> 'object' THEN 'params are' "
         "WHEN NOT json_valid(t.proposal) THEN 'proposal is' ELSE 'resume is' END || ' not JSON' FROM " TRIALS
         "WHERE NOT json_valid(t.params) OR json_type(t.params) <> 'object' OR NOT json_valid(t.proposal) OR NOT json_valid(coalesce(t.resume, '0'))",
         NULL},
        {1,
         "SELECT " TRIAL "'attempt ' || a.attempt || ': ' || CASE WHEN NOT json_valid(a.evaluator) THEN 'what evaluates it is not JSON' "
         "WHEN a.last_answer IS NULL THEN 'the answer to its last report is missing' ELSE 'the answer to its last report is not JSON' END "
         "FROM attempts a JOIN trials t ON t.id = a.trial JOIN sweeps s ON s.id = t.sweep "
         "WHERE NOT json_valid(a.evaluator) OR NOT json_valid(coalesce(a.last_answer, '0')) OR (a.last_seq > 0 AND a.last_answer IS NULL)",
         "the answer would be 'continue'"},
        {1,
         "SELECT 'worker ' || w.public_id || ': what it registered is not JSON' FROM workers w WHERE NOT json_valid(w.trainers) OR "
         "NOT json_valid(coalesce(w.model, '0')) OR NOT json_valid(coalesce(w.data, '0')) OR NOT json_valid(coalesce(w.facts, '0'))",
         "it would be forgotten until the worker registers again"},
        {1, "SELECT 'claim ' || c.claim_id || ': its answer is not JSON' FROM claims c WHERE NOT json_valid(c.answer)",
         "it would be forgotten"},
        {5, "SELECT " SWEEP "'change ' || c.id || ' in its history is not JSON' FROM changes c JOIN sweeps s ON s.id = c.sweep WHERE NOT json_valid(c.detail)",
         "its words would be lost"},
        {6, "SELECT " SWEEP "'message ' || m.id || ' to a webhook is not JSON' FROM webhooks m JOIN sweeps s ON s.id = m.sweep WHERE NOT json_valid(m.body)",
         "it would not be told"},
        /* counters */
        {1,
         "SELECT 'row ids of ' || q.name || ': the next would be ' || (q.seq + 1) || ', but there is a row ' || q.last FROM "
         "(SELECT name, seq, CASE name WHEN 'sweeps' THEN (SELECT max(id) FROM sweeps) WHEN 'trials' THEN (SELECT max(id) FROM trials) "
         "WHEN 'workers' THEN (SELECT max(id) FROM workers) WHEN 'claims' THEN (SELECT max(id) FROM claims) "
         "WHEN 'history' THEN (SELECT max(seq) FROM history) END AS last FROM sqlite_sequence) q WHERE q.seq < q.last",
         "the next would be one above the last"},
        {4,
         "SELECT 'worker ' || public_id || ': it is ' || CASE forgotten WHEN 1 THEN 'forgotten, but holds a lease' ELSE 'unfit, but not said why' END "
         "FROM workers w WHERE (unfit = 1 AND quarantine IS NULL) OR (forgotten = 1 AND "
         "EXISTS (SELECT 1 FROM attempts a WHERE a.worker = w.id AND a.ended_ms IS NULL))",
         "it would be known again, and fit"},
        {4,
         "SELECT 'worker ' || w.public_id || ': ' || count(*) || ' attempts were its own, but it never served' FROM workers w "
         "JOIN attempts a ON a.worker = w.id WHERE w.served = 0 GROUP BY w.id",
         "it would have served"},
        {2, "SELECT n || ' rows count the changes of tokens' FROM (SELECT count(*) AS n FROM token_changes) WHERE n <> 1",
         "there would be one row"},
        {3,
         "SELECT 'sweep ' || s.public_id || ': ' || sum(CASE WHEN kept THEN n ELSE 0 END) || ' ' || origin || ' trials of stage ' || q.stage || "
         "' are counted as ' || q.state || ', ' || sum(CASE WHEN kept THEN 0 ELSE n END) || ' are' FROM "
         "(SELECT 1 AS kept, sweep, stage, origin, state, n FROM trial_counts UNION ALL "
         "SELECT 0, sweep, stage, origin, state, count(*) FROM trials GROUP BY sweep, stage, origin, state) q "
         "JOIN sweeps s ON s.id = q.sweep GROUP BY q.sweep, q.stage, q.origin, q.state HAVING sum(CASE WHEN kept THEN n ELSE -n END) <> 0",
         "they would be counted anew"},
};

struct run {
        sqlite3 *db;
        const char *path;
        int64_t version;
        uint64_t max_per_kind, n_of_kind;
        void (*say)(void *data, const struct store_fault_text *fault);
        void *data;
        struct store_checked *checked;
        struct error *err;
};

static void note(struct run *run, const char *what, const char *repair) {
        run->checked->n_faults++;
        if (run->n_of_kind++ < run->max_per_kind)
                run->say(run->data, &(struct store_fault_text){what, repair});
}

static void note_file(void *data, const char *line) {
        note(data, line, NULL);
}

static int run_check(struct run *run, const struct check *check) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        run->n_of_kind = 0;
        int r = sqlite3_prepare_v2(run->db, check->sql, -1, &s, NULL);
        while (r == SQLITE_OK && (r = sqlite3_step(s)) == SQLITE_ROW) {
                const char *what = (const char *)sqlite3_column_text(s, 0);
                note(run, what ? what : "a row that cannot be named", check->repair);
                r = SQLITE_OK;
        }
        return r == SQLITE_DONE ? 0 : view_fail(run->db, run->path, "cannot check", run->err);
}

/* --- specs --------------------------------------------------------------------------------------------------- */

static void check_spec(struct run *run, const char *id, const char *text, int64_t last_stage) {
        char what[512];
        struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        json_t *document = NULL;
        if (json_read(text, strlen(text), &document, NULL) < 0) {
                snprintf(what, sizeof what, "sweep %s: its spec is not JSON", id);
                note(run, what, NULL);
                return;
        }
        if (sweep_spec_parse(document, &faults, &spec) != 0) {
                snprintf(what, sizeof what, "sweep %s: its spec is not valid: %s: %s", id, faults.n > 0 ? faults.items[0].pointer : "",
                         faults.n > 0 ? faults.items[0].detail : "out of memory");
                note(run, what, NULL);
        } else if (last_stage >= (int64_t)spec->n_stages) {
                snprintf(what, sizeof what, "sweep %s: it has a trial of stage %lld, and %zu stages", id, (long long)last_stage, spec->n_stages);
                note(run, what, "the trial would be one of the last stage");
        }
        faults_fini(&faults);
        sweep_spec_free(spec);
        json_decref(document);
}

static int check_specs(struct run *run) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        run->n_of_kind = 0;
        int r = sqlite3_prepare_v2(run->db,
                                   "SELECT s.public_id, s.spec, coalesce(m.last, 0) FROM sweeps s LEFT JOIN "
                                   "(SELECT sweep, max(stage) AS last FROM trials GROUP BY sweep) m ON m.sweep = s.id ORDER BY s.id",
                                   -1, &s, NULL);
        while (r == SQLITE_OK && (r = sqlite3_step(s)) == SQLITE_ROW) {
                const char *id = (const char *)sqlite3_column_text(s, 0), *text = (const char *)sqlite3_column_text(s, 1);
                if (id && text)
                        check_spec(run, id, text, sqlite3_column_int64(s, 2));
                r = SQLITE_OK;
        }
        return r == SQLITE_DONE ? 0 : view_fail(run->db, run->path, "cannot check", run->err);
}

/* --- all ----------------------------------------------------------------------------------------------------- */

static int count(struct run *run, const char *sql, uint64_t *ret) {
        int64_t n = 0;
        if (view_integer(run->db, sql, &n) != SQLITE_OK)
                return view_fail(run->db, run->path, "cannot read", run->err);
        *ret = (uint64_t)n;
        return 0;
}

int store_check(const char *path, uint64_t max_per_kind, void (*say)(void *data, const struct store_fault_text *fault), void *data,
                struct store_checked *ret, struct error *err) {
        _cleanup_(cleanup_sqlite) sqlite3 *db = NULL;
        struct store_checked checked = {0};
        struct run run = {.path = path, .max_per_kind = max_per_kind, .say = say, .data = data, .checked = &checked, .err = err};
        int r = view_open(path, &db, &checked.version, err);
        if (r < 0)
                return r;
        run.db = db;
        if (view_check_file(db, note_file, &run) != SQLITE_OK)
                note(&run, sqlite3_errmsg(db), NULL);
        if (checked.n_faults > 0) { /* what lies on broken pages can say anything */
                *ret = checked;
                return 0;
        }
        for (size_t i = 0; i < sizeof checks / sizeof checks[0] && r == 0; i++)
                if (checks[i].since <= checked.version)
                        r = run_check(&run, &checks[i]);
        if (r == 0)
                r = check_specs(&run);
        if (r == 0)
                r = count(&run, "SELECT count(*) FROM sweeps", &checked.n_sweeps);
        if (r == 0)
                r = count(&run, "SELECT count(*) FROM trials", &checked.n_trials);
        if (r == 0)
                r = count(&run, "SELECT count(*) FROM attempts", &checked.n_attempts);
        if (r == 0)
                r = count(&run, "SELECT count(*) FROM metrics", &checked.n_points);
        if (r == 0)
                *ret = checked;
        return r;
}
