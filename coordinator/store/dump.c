/* A database in words: every row as a JSON object, for people, scripts and reports of faults. What a plan is made from are the
 * rows of `history`, in their order: the snapshot of an optimiser is the dump of its sweep. */
#include <string.h>

#include "common/json.h"
#include "store/view.h"
#include "store/upkeep.h"

#define SWEEP_COLUMNS \
        "public_id AS id, name, method, state, spec AS spec_json, seed, run_cap, priority, first_allowed_stage, model_sha256, data_sha256, " \
        "stage AS stage_json, next_number, created_ms"
#define SWEEPS "FROM sweeps WHERE ?1 IS NULL OR id = ?1 ORDER BY sweeps.id"
#define WORKER_COLUMNS \
        "public_id AS id, name, instance, slots, trainers AS trainers_json, model AS model_json, data AS data_json, facts AS facts_json, " \
        "draining, registered_ms, last_seen_ms"
#define WORKERS \
        "FROM workers WHERE ?1 IS NULL OR id IN (SELECT a.worker FROM attempts a JOIN trials t ON t.id = a.trial WHERE t.sweep = ?1) " \
        "ORDER BY workers.id"

/* ?1 the sweep's row id, NULL = all. Columns whose name ends in _json are parsed. Left out on purpose: lease tokens, kept
 * answers of claims and keyed requests (they hold lease tokens), hashes of tokens, addresses of webhooks (their paths are secrets). */
static const struct {
        const char *table, *sql;
        bool is_metrics;
        int since, before; /* schema versions that have it; before 0 = the newest, too */
} tables[] = {
        {"sweeps", "SELECT " SWEEP_COLUMNS " " SWEEPS, false, 1, 5},
        {"sweeps", "SELECT " SWEEP_COLUMNS ", spec_version " SWEEPS, false, 5, 0},
        {"workers", "SELECT " WORKER_COLUMNS " " WORKERS, false, 1, 4},
        {"workers", "SELECT " WORKER_COLUMNS ", quarantine, quarantined_ms, unfit, trusted_ms, served, forgotten " WORKERS, false, 4, 0},
        {"trials",
         "SELECT t.public_id AS id, s.public_id AS sweep, t.number, t.state, t.origin, t.stage, t.params AS params_json, t.proposal AS "
         "proposal_json, t.value, t.reason, t.detail, t.resume AS resume_json, t.progress, t.attempt, t.failures, t.place, w.public_id AS "
         "worker, t.released_ms, t.created_ms, t.started_ms, t.finished_ms FROM trials t JOIN sweeps s ON s.id = t.sweep LEFT JOIN workers w "
         "ON w.id = t.worker WHERE ?1 IS NULL OR t.sweep = ?1 ORDER BY t.id",
         false, 1, 0},
        {"attempts",
         "SELECT t.public_id AS trial, a.attempt, w.public_id AS worker, a.evaluator AS evaluator_json, a.last_seq, a.last_answer AS "
         "last_answer_json, a.started_ms, a.ended_ms, a.ended_as, a.reason, a.detail, a.abort_told FROM attempts a "
         "JOIN trials t ON t.id = a.trial JOIN workers w ON w.id = a.worker WHERE ?1 IS NULL OR t.sweep = ?1 ORDER BY a.trial, a.attempt",
         false, 1, 0},
        {"history",
         "SELECT h.seq, s.public_id AS sweep, t.public_id AS trial, t.number, h.added, h.state, h.value FROM history h "
         "JOIN trials t ON t.id = h.trial JOIN sweeps s ON s.id = h.sweep WHERE ?1 IS NULL OR h.sweep = ?1 ORDER BY h.seq",
         false, 1, 0},
        {"changes",
         "SELECT c.id, s.public_id AS sweep, c.at_ms, c.who, c.what, c.last_number, c.detail AS detail_json FROM changes c "
         "JOIN sweeps s ON s.id = c.sweep WHERE ?1 IS NULL OR c.sweep = ?1 ORDER BY c.id",
         false, 5, 0},
        {"webhooks",
         "SELECT m.id, s.public_id AS sweep, m.event, m.body AS body_json, m.created_ms, m.attempts, m.due_ms FROM webhooks m "
         "JOIN sweeps s ON s.id = m.sweep WHERE ?1 IS NULL OR m.sweep = ?1 ORDER BY m.id",
         false, 6, 0},
        {"metrics",
         "SELECT t.public_id AS trial, m.name, m.step, m.epoch, m.value, m.time_ms FROM metrics m JOIN trials t ON t.id = m.trial "
         "WHERE ?1 IS NULL OR t.sweep = ?1 ORDER BY m.trial, m.step, m.name",
         true, 1, 0},
};

static json_t *text_value(const char *text, bool is_json) {
        json_t *value = NULL;
        if (is_json && json_read(text, strlen(text), &value, NULL) == 0)
                return value;
        return json_string(text); /* NULL without memory, or for what is not UTF-8 */
}

static json_t *column_value(sqlite3_stmt *s, int column, bool is_json) {
        switch (sqlite3_column_type(s, column)) {
        case SQLITE_INTEGER:
                return json_integer(sqlite3_column_int64(s, column));
        case SQLITE_FLOAT:
                return json_real(sqlite3_column_double(s, column));
        case SQLITE_TEXT:
                return text_value((const char *)sqlite3_column_text(s, column), is_json);
        default:
                return json_null();
        }
}

static int row_object(sqlite3_stmt *s, const char *table, json_t **ret) {
        _cleanup_json_ json_t *object = json_pack("{s:s}", "table", table);
        for (int i = 0; object && i < sqlite3_column_count(s); i++) {
                const char *name = sqlite3_column_name(s, i);
                size_t len = strlen(name);
                bool is_json = len > 5 && strcmp(name + len - 5, "_json") == 0;
                char key[64] = "";
                memcpy(key, name, is_json ? len - 5 : len < sizeof key ? len : sizeof key - 1);
                json_t *value = column_value(s, i, is_json);
                if (json_object_set_new(object, key, value ? value : json_null()) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE(object);
        return *ret ? 0 : -ENOMEM;
}

static int each_row(sqlite3_stmt *s, const char *table, int (*row)(void *data, const json_t *row), void *data) {
        int r = 0, code = SQLITE_DONE;
        while (r == 0 && (code = sqlite3_step(s)) == SQLITE_ROW) {
                _cleanup_json_ json_t *object = NULL;
                r = row_object(s, table, &object);
                if (r == 0)
                        r = row(data, object);
        }
        return r < 0 ? r : code == SQLITE_DONE ? 0 : -EIO;
}

/* The row id of a sweep; 0 for NULL. */
static int find_sweep(sqlite3 *db, const char *path, const char *public_id, int64_t *ret, struct error *err) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        *ret = 0;
        if (!public_id)
                return 0;
        if (sqlite3_prepare_v2(db, "SELECT id FROM sweeps WHERE public_id = ?1", -1, &s, NULL) != SQLITE_OK ||
            sqlite3_bind_text(s, 1, public_id, -1, SQLITE_STATIC) != SQLITE_OK)
                return view_fail(db, path, "cannot read", err);
        int code = sqlite3_step(s);
        if (code == SQLITE_DONE)
                return error_set(err, -ENOENT, "%s: there is no sweep '%s'", path, public_id);
        if (code != SQLITE_ROW)
                return view_fail(db, path, "cannot read", err);
        *ret = sqlite3_column_int64(s, 0);
        return 0;
}

int store_dump(const char *path, const char *sweep, bool with_metrics, int (*row)(void *data, const json_t *row), void *data,
               struct error *err) {
        _cleanup_(cleanup_sqlite) sqlite3 *db = NULL;
        int64_t version, id;
        int r = view_open(path, &db, &version, err);
        if (r == 0)
                r = find_sweep(db, path, sweep, &id, err);
        for (size_t i = 0; i < sizeof tables / sizeof tables[0] && r == 0; i++) {
                _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
                if ((tables[i].is_metrics && !with_metrics) || tables[i].since > version || (tables[i].before > 0 && version >= tables[i].before))
                        continue;
                if (sqlite3_prepare_v2(db, tables[i].sql, -1, &s, NULL) != SQLITE_OK ||
                    (id > 0 && sqlite3_bind_int64(s, 1, id) != SQLITE_OK))
                        return view_fail(db, path, "cannot read", err);
                r = each_row(s, tables[i].table, row, data);
                if (r == -EIO)
                        return view_fail(db, path, "cannot read", err);
                if (r < 0)
                        return error_set(err, r, "cannot write: %s", strerror(-r));
        }
        return r;
}
