/* What was acknowledged, and whether it is there.
 *
 * An answer counts from the moment the coordinator gives it, also when the network loses it. Facts are kept by key:
 * sweeps by id, leases by token, points by (trial, step, name). Checks read the database itself, between turns. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "plan/plan.h"
#include "sim.h"
#include "store/statement.h"
#include "store/store.h"
#include "store/upkeep.h"

struct oracle {
        json_t *sweeps;  /* id → {} */
        json_t *deleted; /* id → true: somebody asked for it */
        json_t *retried; /* trial → true: somebody asked for it */
        json_t *leases;  /* token → {trial, sweep, attempt, seq, told, ended, frozen} */
        json_t *latest;  /* trial → highest attempt that was handed out */
        json_t *points;  /* "trial step name" → the attempt that was acknowledged last */
        json_t *ends;    /* trial → {state, value} of an acknowledged end that is final */
        json_t *names;   /* worker's name → id */
};

struct oracle *oracle_new(void) {
        struct oracle *oracle = calloc(1, sizeof *oracle);
        json_t **all[] = {&oracle->sweeps, &oracle->deleted, &oracle->retried, &oracle->leases,
                          &oracle->latest, &oracle->points,  &oracle->ends,    &oracle->names};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
                *all[i] = json_object();
        return oracle;
}

void oracle_free(struct oracle *oracle) {
        json_decref(oracle->sweeps);
        json_decref(oracle->deleted);
        json_decref(oracle->retried);
        json_decref(oracle->leases);
        json_decref(oracle->latest);
        json_decref(oracle->points);
        json_decref(oracle->ends);
        json_decref(oracle->names);
        free(oracle);
}

static const char *text_at(const json_t *object, const char *key) {
        const char *text = json_string_value(json_object_get(object, key));
        return text ? text : "";
}

static int64_t number_at(const json_t *object, const char *key) {
        return json_integer_value(json_object_get(object, key));
}

/* --- the database --------------------------------------------------------------------------------------- */

static sqlite3_stmt *query(struct sim *sim, const char *sql) {
        sqlite3_stmt *s = NULL;
        if (sqlite3_prepare_v2(sim->store->db, sql, -1, &s, NULL) != SQLITE_OK)
                sim_complain(sim, "the oracle's own query: %s", sqlite3_errmsg(sim->store->db));
        return s;
}

/* Every row of the query is a fault in words. */
static void none(struct sim *sim, const char *sql) {
        sqlite3_stmt *s = query(sim, sql);
        if (s && sqlite3_step(s) == SQLITE_ROW)
                sim_complain(sim, "%s", (const char *)sqlite3_column_text(s, 0));
        sqlite3_finalize(s);
}

static int64_t number_of(struct sim *sim, const char *sql, const char *a, int64_t b) {
        sqlite3_stmt *s = query(sim, sql);
        int64_t number = -1;
        if (s && a)
                sqlite3_bind_text(s, 1, a, -1, SQLITE_STATIC);
        if (s && b >= 0)
                sqlite3_bind_int64(s, 2, b);
        if (s && sqlite3_step(s) == SQLITE_ROW)
                number = sqlite3_column_int64(s, 0);
        sqlite3_finalize(s);
        return number;
}

uint64_t oracle_digest(struct sim *sim, const char *path) {
        (void)sim;
        sqlite3 *db = NULL;
        uint64_t digest = 1;
        if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
                sqlite3_close(db);
                return 0;
        }
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_stmt *tables = NULL;
        if (sqlite3_prepare_v2(db, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", -1, &tables, NULL) != SQLITE_OK)
                digest = 2; /* cannot be read */
        while (tables && sqlite3_step(tables) == SQLITE_ROW) {
                char *sql = sqlite3_mprintf("SELECT * FROM \"%w\"", sqlite3_column_text(tables, 0));
                sqlite3_stmt *rows = NULL;
                sqlite3_prepare_v2(db, sql, -1, &rows, NULL);
                sqlite3_free(sql);
                int r = SQLITE_DONE;
                while (rows && (r = sqlite3_step(rows)) == SQLITE_ROW)
                        for (int i = 0; i < sqlite3_column_count(rows); i++) {
                                const unsigned char *text = sqlite3_column_text(rows, i);
                                digest = rng_mix(digest + 7);
                                for (; text && *text; text++)
                                        digest = (digest ^ *text) * 0x100000001b3u;
                        }
                if (r != SQLITE_DONE)
                        digest = rng_mix(digest ^ (uint64_t)r);
                sqlite3_finalize(rows);
        }
        sqlite3_finalize(tables);
        sqlite3_close(db);
        return digest;
}

/* --- what is sent and told --------------------------------------------------------------------------------- */

void oracle_sent(struct sim *sim, struct op *op) {
        if (op->route == ROUTE_SWEEP_DELETE)
                json_object_set_new(sim->oracle->deleted, op->id, json_true());
        if (op->route == ROUTE_TRIAL_RETRY)
                json_object_set_new(sim->oracle->retried, op->id, json_true());
}

static bool is_deleted(struct sim *sim, const char *sweep) {
        return json_object_get(sim->oracle->deleted, sweep) != NULL;
}

static bool lease_is_deleted(struct sim *sim, const json_t *lease) {
        return is_deleted(sim, text_at(lease, "sweep"));
}

/* A retry gets the first answer again. */
static void compare_answers(struct sim *sim, struct op *op, int status, const char *text) {
        if (op->first_status < 200 || op->first_status >= 300 || op->first_status == 204 || status == 503)
                return;
        bool is_report = op->route == ROUTE_TRIAL_REPORT, is_same = status == op->first_status && strcmp(text, op->first_text) == 0;
        if (is_same || (!op->key && !is_report && op->route != ROUTE_CLAIM))
                return;
        if (is_report && (status == 404 || status == 200)) {
                const json_t *lease = json_object_get(sim->oracle->leases, text_at(op->body, "lease"));
                if (!lease || lease_is_deleted(sim, lease) || number_at(lease, "told") > number_at(op->body, "seq"))
                        return;
        }
        sim_complain(sim, "op %llu got %d %s, and before it %d %s", (unsigned long long)op->number, status, text, op->first_status, op->first_text);
}

static void told_claim(struct sim *sim, struct op *op, const json_t *body, bool is_first) {
        struct oracle *oracle = sim->oracle;
        size_t i;
        json_t *trial;
        if (!is_first)
                return;
        if (json_array_size(json_object_get(body, "trials")) > (size_t)number_at(op->body, "slots"))
                sim_complain(sim, "more trials than slots");
        json_array_foreach(json_object_get(body, "trials"), i, trial) {
                const char *id = text_at(trial, "id"), *token = text_at(trial, "lease");
                int64_t attempt = number_at(trial, "attempt");
                sim->result->acknowledged++;
                if (json_object_get(oracle->leases, token)) {
                        sim_complain(sim, "trial %s: the lease was handed out before, to another claim", id);
                        return;
                }
                json_object_set_new(oracle->leases, token, json_pack("{s:s, s:s, s:I}", "trial", id, "sweep", text_at(trial, "sweep"), "attempt", (json_int_t)attempt));
                if (number_of(sim, "SELECT count(*) FROM attempts WHERE lease = ?1", token, -1) != 1 && !is_deleted(sim, text_at(trial, "sweep")))
                        sim_complain(sim, "trial %s: a lease that is not in the database was handed out", id);
                if (number_of(sim, "SELECT count(*) FROM attempts a JOIN trials t ON t.id = a.trial WHERE t.public_id = ?1 AND a.ended_ms IS NULL", id, -1) > 1)
                        sim_complain(sim, "trial %s has two live leases", id);
                /* what earlier attempts did is done */
                const char *old_token;
                json_t *old;
                if (attempt > 1)
                        json_object_foreach(oracle->leases, old_token, old)
                                if (strcmp(text_at(old, "trial"), id) == 0 && number_at(old, "attempt") < attempt && !json_object_get(old, "frozen")) {
                                        int64_t seq = number_of(sim, "SELECT last_seq FROM attempts WHERE lease = ?1", old_token, -1);
                                        json_object_set_new(old, "frozen", json_integer((json_int_t)seq));
                                }
        }
}

static const char *expected_end(const char *state, const char *reason) {
        (void)reason;
        return state;
}

static void told_report(struct sim *sim, struct op *op, int status, const json_t *body) {
        struct oracle *oracle = sim->oracle;
        const char *token = text_at(op->body, "lease"), *trial = op->id, *command = text_at(body, "command");
        json_t *lease = json_object_get(oracle->leases, token);
        int64_t seq = number_at(op->body, "seq");
        if (!lease)
                return;
        if (status == 409) {
                if (number_of(sim, "SELECT ended_ms IS NULL FROM attempts WHERE lease = ?1", token, -1) == 1)
                        sim_complain(sim, "trial %s: a report on a good lease is refused", trial);
                return;
        }
        if (status == 200 && seq > number_at(lease, "told"))
                json_object_set_new(lease, "told", json_integer((json_int_t)seq)); /* retries of earlier ones get the answer to this */
        if (status != 200 || strcmp(command, "abort") == 0)
                return;
        const json_t *frozen = json_object_get(lease, "frozen");
        if (frozen && seq > json_integer_value(frozen))
                sim_complain(sim, "trial %s: report %lld is taken on attempt %lld, which is over: a later one has begun", trial, (long long)seq,
                             (long long)number_at(lease, "attempt"));
        if (seq <= number_at(lease, "seq"))
                return;
        sim->result->acknowledged++;
        json_object_set_new(lease, "seq", json_integer((json_int_t)seq));
        size_t i;
        json_t *point;
        json_array_foreach(json_object_get(op->body, "metrics"), i, point) {
                char key[160];
                snprintf(key, sizeof key, "%s %lld %s", trial, (long long)number_at(point, "step"), text_at(point, "name"));
                if (number_at(oracle->points, key) < number_at(lease, "attempt"))
                        json_object_set(oracle->points, key, json_object_get(lease, "attempt"));
        }
        const json_t *outcome = json_object_get(op->body, "outcome");
        if (!outcome)
                return;
        json_object_set_new(lease, "ended", json_string(expected_end(text_at(outcome, "state"), text_at(outcome, "reason"))));
        const json_t *value = json_object_get(outcome, "value");
        if (value && !json_object_get(oracle->retried, trial))
                json_object_set_new(oracle->ends, trial, json_pack("{s:s, s:O, s:s}", "state", text_at(outcome, "state"), "value", value, "sweep", text_at(lease, "sweep")));
}

static void told_worker(struct sim *sim, struct op *op, const json_t *body) {
        const char *name = text_at(op->body, "name"), *before = text_at(sim->oracle->names, name);
        if (*before && strcmp(before, text_at(body, "id")) != 0)
                sim_complain(sim, "worker %s had id %s and now has %s", name, before, text_at(body, "id"));
        json_object_set(sim->oracle->names, name, json_object_get(body, "id"));
}

void oracle_told(struct sim *sim, struct op *op, int status, const char *text) {
        sim_say(sim, "told op %llu: %d %s", (unsigned long long)op->number, status, text);
        if (status == 500 || status == 0)
                sim_complain(sim, "op %llu is answered %d", (unsigned long long)op->number, status);
        compare_answers(sim, op, status, text);
        bool is_first = op->first_status != 200 && op->first_status != 201;
        _cleanup_json_ json_t *body = NULL;
        if (*text && op->route != ROUTE_SWEEP_EXPORT)
                json_read(text, strlen(text), &body, NULL);
        if (status < 300 && op->route == ROUTE_SWEEP_CREATE)
                json_object_set_new(sim->oracle->sweeps, text_at(body, "id"), json_true());
        if (status == 200 && op->route == ROUTE_CLAIM)
                told_claim(sim, op, body, is_first);
        if (op->route == ROUTE_TRIAL_REPORT)
                told_report(sim, op, status, body);
        if (status < 300 && op->route == ROUTE_WORKER_REGISTER)
                told_worker(sim, op, body);
        if (status < 300 && op->route != ROUTE_TRIAL_REPORT && op->route != ROUTE_CLAIM && is_first)
                sim->result->acknowledged++;
        if (status == 204 || status == 503 || op->first_status == 200 || op->first_status == 201)
                return;
        free(op->first_text);
        op->first_text = strdup(text);
        op->first_status = status;
}

/* --- checks ------------------------------------------------------------------------------------------------ */

static void check_sweeps(struct sim *sim) {
        const char *id;
        json_t *unused;
        json_object_foreach(sim->oracle->sweeps, id, unused)
                if (!is_deleted(sim, id) && number_of(sim, "SELECT count(*) FROM sweeps WHERE public_id = ?1", id, -1) != 1)
                        sim_complain(sim, "sweep %s was acknowledged and is not there", id);
        (void)unused;
}

static bool is_end_of(const char *ended, const char *as) {
        if (strcmp(ended, as) == 0)
                return true;
        /* told to stop: what would be tried again is stopped instead; without a value it is failed */
        return strcmp(as, "stopped") == 0 || strcmp(as, "failed") == 0;
}

static void check_leases(struct sim *sim) {
        sqlite3_stmt *s = query(sim, "SELECT last_seq, ended_as FROM attempts WHERE lease = ?1");
        const char *token;
        json_t *lease;
        json_object_foreach(sim->oracle->leases, token, lease) {
                sqlite3_reset(s);
                sqlite3_bind_text(s, 1, token, -1, SQLITE_STATIC);
                bool is_there = sqlite3_step(s) == SQLITE_ROW;
                if (!is_there) {
                        if (!lease_is_deleted(sim, lease))
                                sim_complain(sim, "trial %s: attempt %lld was acknowledged and is not there", text_at(lease, "trial"),
                                             (long long)number_at(lease, "attempt"));
                        continue;
                }
                const char *ended = text_at(lease, "ended"), *as = (const char *)sqlite3_column_text(s, 1);
                if (sqlite3_column_int64(s, 0) < number_at(lease, "seq"))
                        sim_complain(sim, "trial %s: report %lld was acknowledged, and the last one is %lld", text_at(lease, "trial"),
                                     (long long)number_at(lease, "seq"), (long long)sqlite3_column_int64(s, 0));
                if (*ended && (!as || !is_end_of(ended, as)))
                        sim_complain(sim, "trial %s: its end as %s was acknowledged, and it is %s", text_at(lease, "trial"), ended,
                                     as ? as : "running");
        }
        sqlite3_finalize(s);
}

static void check_points(struct sim *sim) {
        sqlite3_stmt *s = query(sim, "SELECT m.value, t.attempt FROM metrics m JOIN trials t ON t.id = m.trial WHERE t.public_id = ?1 AND m.step = ?2 AND m.name = ?3");
        sqlite3_stmt *there = query(sim, "SELECT 1 FROM trials WHERE public_id = ?1");
        const char *key;
        json_t *attempt;
        json_object_foreach(sim->oracle->points, key, attempt) {
                char trial[64], name[64];
                long long step;
                if (sscanf(key, "%63s %lld %63s", trial, &step, name) != 3)
                        abort();
                sqlite3_reset(there);
                sqlite3_bind_text(there, 1, trial, -1, SQLITE_STATIC);
                if (sqlite3_step(there) != SQLITE_ROW)
                        continue; /* its sweep was deleted: leases tell if not */
                sqlite3_reset(s);
                sqlite3_bind_text(s, 1, trial, -1, SQLITE_STATIC);
                sqlite3_bind_int64(s, 2, step);
                sqlite3_bind_text(s, 3, name, -1, SQLITE_STATIC);
                bool found = false;
                if (sqlite3_step(s) == SQLITE_ROW)
                        for (int64_t a = json_integer_value(attempt); a <= sqlite3_column_int64(s, 1); a++)
                                found |= sqlite3_column_double(s, 0) == point_value(trial, step, a);
                if (!found)
                        sim_complain(sim, "trial %s: the point of step %lld of attempt %lld was acknowledged and is not there", trial, step,
                                     (long long)json_integer_value(attempt));
        }
        sqlite3_finalize(s);
        sqlite3_finalize(there);
}

static void check_ends(struct sim *sim) {
        sqlite3_stmt *s = query(sim, "SELECT state, value FROM trials WHERE public_id = ?1");
        const char *trial;
        json_t *end;
        json_object_foreach(sim->oracle->ends, trial, end) {
                if (json_object_get(sim->oracle->retried, trial) || is_deleted(sim, text_at(end, "sweep")))
                        continue;
                sqlite3_reset(s);
                sqlite3_bind_text(s, 1, trial, -1, SQLITE_STATIC);
                if (sqlite3_step(s) != SQLITE_ROW || strcmp((const char *)sqlite3_column_text(s, 0), text_at(end, "state")) != 0 ||
                    sqlite3_column_double(s, 1) != json_number_value(json_object_get(end, "value")))
                        sim_complain(sim, "trial %s: its end as %s with %g was acknowledged and is not there", trial, text_at(end, "state"),
                                     json_number_value(json_object_get(end, "value")));
        }
        sqlite3_finalize(s);
}

static void note_fault(void *data, const struct store_fault_text *fault) {
        sim_complain(data, "%s", fault->what);
}

void oracle_check(struct sim *sim, bool thorough) {
        check_sweeps(sim);
        check_leases(sim);
        check_points(sim);
        check_ends(sim);
        none(sim, "SELECT 'trial ' || t.public_id || ' has two live leases' FROM attempts a JOIN trials t ON t.id = a.trial WHERE a.ended_ms IS NULL "
                  "GROUP BY a.trial HAVING count(*) > 1");
        none(sim, "SELECT 'trial ' || t.public_id || ' is counted ' || h.n || ' times in a row' FROM (SELECT trial, sum(CASE WHEN state IN "
                  "('completed', 'stopped', 'failed', 'cancelled') THEN 1 WHEN added THEN 0 ELSE -1 END) AS n FROM history GROUP BY trial) h JOIN trials t ON "
                  "t.id = h.trial WHERE h.n <> (t.state NOT IN ('queued', 'running'))");
        none(sim, "SELECT 'sweep ' || s.public_id || ' has ' || t.n || ' trials, numbers up to ' || t.m || ', and the next is ' || s.next_number FROM sweeps s "
                  "JOIN (SELECT sweep, count(*) AS n, max(number) AS m FROM trials GROUP BY sweep) t ON t.sweep = s.id WHERE t.n <> t.m OR "
                  "t.m + 1 <> s.next_number");
        none(sim, "SELECT 'sweep ' || sweep || ': ' || sum(n) || ' trials more are counted as ' || state || ' than are' FROM (SELECT sweep, stage, origin, "
                  "state, n FROM trial_counts UNION ALL SELECT sweep, stage, origin, state, -count(*) FROM trials GROUP BY sweep, stage, origin, state) "
                  "GROUP BY sweep, stage, origin, state HAVING sum(n) <> 0");
        if (!thorough || sim->result->failed)
                return;
        struct store_checked checked;
        struct error err = {0};
        if (store_check(sim->path, 3, note_fault, sim, &checked, &err) < 0)
                sim_complain(sim, "the database cannot be checked: %s", err.text);
}

bool oracle_at_rest(struct sim *sim) {
        return number_of(sim, "SELECT count(*) FROM sweeps WHERE state IN ('running', 'paused')", NULL, -1) == 0;
}

void oracle_learn_paused(struct sim *sim) {
        if (!sim->is_up)
                return;
        sim_quiet(sim, true);
        sqlite3_stmt *s = query(sim, "SELECT public_id FROM sweeps WHERE state = 'paused'");
        while (s && sqlite3_step(s) == SQLITE_ROW)
                people_learn_sweep(sim, (const char *)sqlite3_column_text(s, 0));
        sqlite3_finalize(s);
        sim_quiet(sim, false);
}

void oracle_blame_endless(struct sim *sim) {
        none(sim, "SELECT 'sweep ' || public_id || ' does not come to its end: it is ' || state || ', with ' || (SELECT count(*) FROM trials t WHERE "
                  "t.sweep = s.id AND t.state IN ('queued', 'running')) || ' open trials' FROM sweeps s WHERE state IN ('running', 'paused')");
}

/* --- the end ------------------------------------------------------------------------------------------------ */

/* What the plan proposes when it is fed the history, event by event: the same as it did in the middle of the storm. */
static void replay(struct sim *sim, int64_t sweep, const char *id, const char *spec_text, uint64_t seed) {
        struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        struct plan *plan = NULL;
        struct error err = {0};
        json_t *document = NULL;
        json_read(spec_text, strlen(spec_text), &document, NULL);
        if (sweep_spec_parse(document, &faults, &spec) != 0 || plan_new(spec, seed, 0, &plan, &err) < 0)
                abort();
        plan_allow_stage(plan, 1000);
        sqlite3_stmt *s = query(sim, "SELECT h.added, h.state, h.value, t.number, t.stage, t.origin, t.params FROM history h JOIN trials t ON t.id = h.trial "
                                     "WHERE h.sweep = ?1 ORDER BY h.seq");
        sqlite3_bind_int64(s, 1, sweep);
        while (!sim->result->failed && sqlite3_step(s) == SQLITE_ROW) {
                uint64_t number = (uint64_t)sqlite3_column_int64(s, 3);
                enum trial_state state = (enum trial_state)trial_state_from_name((const char *)sqlite3_column_text(s, 1));
                sim_say(sim, "replay %s: %s %llu %s %s, stage %d, %s", id, sqlite3_column_int(s, 0) ? "new" : "old", (unsigned long long)number,
                        (const char *)sqlite3_column_text(s, 1), (const char *)sqlite3_column_text(s, 5), sqlite3_column_int(s, 4),
                        (const char *)sqlite3_column_text(s, 6));
                if (sqlite3_column_int(s, 0)) {
                        const char *text = (const char *)sqlite3_column_text(s, 6), *origin = (const char *)sqlite3_column_text(s, 5);
                        _cleanup_json_ json_t *params = NULL, *proposed = NULL, *proposal = NULL;
                        json_read(text, strlen(text), &params, NULL);
                        if (strcmp(origin, "proposed") == 0) {
                                enum plan_answer answer;
                                unsigned stage;
                                struct plan_job *job = NULL;
                                int r = plan_next(plan, &answer, &proposed, &proposal, &stage, &job, &err);
                                while (r == 0 && answer == PLAN_JOB) {
                                        plan_job_compute(job);
                                        plan_job_finish(plan, job);
                                        r = plan_next(plan, &answer, &proposed, &proposal, &stage, &job, &err);
                                }
                                _cleanup_free_ char *mine = proposed ? json_canonical(proposed) : NULL, *theirs = json_canonical(params);
                                sim->result->proposals++;
                                if (r < 0 || answer != PLAN_TRIAL || strcmp(mine, theirs) != 0)
                                        sim_complain(sim, "sweep %s: proposal %llu is %s, undisturbed it is %s", id, (unsigned long long)number, theirs,
                                                     mine ? mine : "none");
                        }
                        plan_trial_added(plan, number, (unsigned)sqlite3_column_int(s, 4),
                                         strcmp(origin, "proposed") == 0   ? ORIGIN_PROPOSED
                                         : strcmp(origin, "enqueued") == 0 ? ORIGIN_ENQUEUED
                                                                           : ORIGIN_IMPORTED,
                                         params);
                }
                if (!sqlite3_column_int(s, 0) || trial_state_ended(state))
                        plan_trial_state(plan, number, state, sqlite3_column_type(s, 2) != SQLITE_NULL, sqlite3_column_double(s, 2));
        }
        sqlite3_finalize(s);
        plan_free(plan);
        sweep_spec_free(spec);
        faults_fini(&faults);
        json_decref(document);
}

void oracle_check_end(struct sim *sim) {
        sim->result->trials += (uint64_t)number_of(sim, "SELECT count(*) FROM trials", NULL, -1);
        none(sim, "SELECT 'sweep ' || s.public_id || ' is at rest with ' || count(*) || ' open trials' FROM sweeps s JOIN trials t ON t.sweep = s.id WHERE "
                  "t.state IN ('queued', 'running') GROUP BY s.id");
        /* Of an edited one the history is that of several specs. */
        sqlite3_stmt *s = query(sim, "SELECT id, public_id, spec, seed FROM sweeps WHERE spec_version = 1");
        while (s && !sim->result->failed && sqlite3_step(s) == SQLITE_ROW)
                replay(sim, sqlite3_column_int64(s, 0), (const char *)sqlite3_column_text(s, 1), (const char *)sqlite3_column_text(s, 2),
                       (uint64_t)sqlite3_column_int64(s, 3));
        sqlite3_finalize(s);
}
