/* What Optuna's storage holds is checked like anything that comes from outside: its texts are data, its JSON is parsed with our
 * reader, and a value that its own distribution does not know ends the import with the trial's number.
 *
 * A parameter of Optuna's may have another range in each trial; the widest one counts. Its values lie in the file as numbers:
 * of a categorical one the index of the choice. */
#include "store/optuna.h"

#include <math.h>
#include <string.h>

#include "common/json.h"
#include "proto/limits.h"
#include "store/view.h"

#define SCHEMA_VERSION 12
#define BUSY_MS 10000
#define CHOICES_MAX 10000

struct import {
        sqlite3 *db;
        const char *path, *metric;
        bool with_series;
        int64_t study;
        json_t *distributions; /* name → {"kind","log","low","high","step"} or {"choices"} */
        struct error *err;
};

static int fail(const struct import *import, int code, const char *what) {
        return error_set(import->err, code, "%s: %s", import->path, what);
}

/* --- which file, which study ------------------------------------------------------------------------------- */

static int open_file(struct import *import) {
        if (sqlite3_open_v2(import->path, &import->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
                return view_fail(import->db, import->path, "cannot open", import->err);
        sqlite3_busy_timeout(import->db, BUSY_MS);
        sqlite3_db_config(import->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        if (sqlite3_exec(import->db, "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; BEGIN", NULL, NULL, NULL) != SQLITE_OK)
                return view_fail(import->db, import->path, "cannot read", import->err);
        return 0;
}

/* version_info is as old as Optuna; alembic_version tells which form the tables have. */
static int check_version(struct import *import) {
        static const char *const known[] = {"v3.0.0.d", "v3.2.0.a", NULL};
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        int64_t schema = 0;
        int r = view_integer(import->db, "SELECT schema_version FROM version_info", &schema);
        if (r == SQLITE_NOTADB || r == SQLITE_CORRUPT)
                return view_fail(import->db, import->path, "cannot read", import->err);
        if (r != SQLITE_OK)
                return fail(import, -EINVAL, "not a storage of Optuna: it has no version_info");
        if (schema != SCHEMA_VERSION)
                return error_set(import->err, -EINVAL, "%s: its schema is Optuna's %lld, this program knows %d", import->path, (long long)schema, SCHEMA_VERSION);
        r = sqlite3_prepare_v2(import->db, "SELECT version_num FROM alembic_version", -1, &s, NULL);
        if (r != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
                return fail(import, -EINVAL, "written by an Optuna before 3: run 'optuna storage upgrade' on a copy of it first");
        const char *version = (const char *)sqlite3_column_text(s, 0);
        for (size_t i = 0; known[i]; i++)
                if (version && strcmp(version, known[i]) == 0)
                        return 0;
        return error_set(import->err, -EINVAL, "%s: its tables are Optuna's %s, this program knows v3.0.0.d and v3.2.0.a (Optuna 3 to 5); an older one becomes "
                                               "such by 'optuna storage upgrade'", import->path, version ? version : "?");
}

static int list_studies(struct import *import, const char *problem) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        char names[256] = "";
        size_t n = 0;
        if (sqlite3_prepare_v2(import->db, "SELECT study_name FROM studies ORDER BY study_id LIMIT 20", -1, &s, NULL) != SQLITE_OK)
                return view_fail(import->db, import->path, "cannot read", import->err);
        while (sqlite3_step(s) == SQLITE_ROW && n < sizeof names)
                n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", sqlite3_column_text(s, 0));
        return error_set(import->err, -ENOENT, "%s: %s: %s", import->path, problem, n ? names : "none");
}

static int find_study(struct import *import, const char *name, json_t *spec) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        if (sqlite3_prepare_v2(import->db, "SELECT study_id, study_name FROM studies WHERE ?1 IS NULL OR study_name = ?1", -1, &s, NULL) != SQLITE_OK)
                return view_fail(import->db, import->path, "cannot read", import->err);
        if (name)
                sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
        if (sqlite3_step(s) != SQLITE_ROW)
                return list_studies(import, "there is no such study; it has");
        import->study = sqlite3_column_int64(s, 0);
        const char *found = (const char *)sqlite3_column_text(s, 1);
        json_t *text = found ? json_string(found) : NULL;
        if (!text || json_object_set_new(spec, "name", text) < 0)
                return fail(import, -EINVAL, "the study's name is no text");
        return sqlite3_step(s) == SQLITE_ROW ? list_studies(import, "it holds several studies, name one with --study") : 0;
}

static int read_direction(struct import *import, const char *metric, json_t *spec) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        if (sqlite3_prepare_v2(import->db, "SELECT direction FROM study_directions WHERE study_id = ?1 ORDER BY objective", -1, &s, NULL) != SQLITE_OK)
                return view_fail(import->db, import->path, "cannot read", import->err);
        sqlite3_bind_int64(s, 1, import->study);
        const char *direction = sqlite3_step(s) == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
        bool maximizes = direction && strcmp(direction, "MAXIMIZE") == 0;
        if (!direction || (!maximizes && strcmp(direction, "MINIMIZE") != 0))
                return fail(import, -EINVAL, "the study has no direction");
        if (sqlite3_step(s) == SQLITE_ROW)
                return fail(import, -EINVAL, "the study has several objectives; a sweep has one");
        json_t *value = json_pack("{s:s, s:s}", "name", metric, "goal", maximizes ? "maximize" : "minimize");
        return value && json_object_set_new(spec, "metric", value) == 0 ? 0 : fail(import, -EINVAL, "--metric is no text");
}

/* --- distributions ----------------------------------------------------------------------------------------- */

/* {"kind":"float"|"int","log","low","high","step"} or {"kind":"choice","choices"}; NULL when it makes no sense. */
static json_t *read_distribution(const char *text) {
        static const struct {
                const char *name, *kind;
                bool log;
        } names[] = {{"FloatDistribution", "float", false}, {"IntDistribution", "int", false}, {"CategoricalDistribution", "choice", false},
                     {"UniformDistribution", "float", false}, {"LogUniformDistribution", "float", true}, {"DiscreteUniformDistribution", "float", false},
                     {"IntUniformDistribution", "int", false}, {"IntLogUniformDistribution", "int", true}};
        _cleanup_json_ json_t *whole = NULL;
        if (!text || json_read(text, strlen(text), &whole, NULL) < 0)
                return NULL;
        const char *name = json_string_value(json_object_get(whole, "name"));
        const json_t *attributes = json_object_get(whole, "attributes");
        json_t *low = json_object_get(attributes, "low"), *high = json_object_get(attributes, "high"), *step = json_object_get(attributes, "step"),
               *choices = json_object_get(attributes, "choices");
        step = step ? step : json_object_get(attributes, "q");
        for (size_t i = 0; name && i < sizeof names / sizeof *names; i++) {
                if (strcmp(names[i].name, name) != 0)
                        continue;
                if (strcmp(names[i].kind, "choice") == 0)
                        return json_array_size(choices) > 0 && json_array_size(choices) <= CHOICES_MAX ? json_pack("{s:s, s:O}", "kind", "choice", "choices", choices) : NULL;
                if (!json_is_number(low) || !json_is_number(high) || json_number_value(low) > json_number_value(high))
                        return NULL;
                return json_pack("{s:s, s:b, s:f, s:f, s:f}", "kind", names[i].kind, "log", names[i].log || json_is_true(json_object_get(attributes, "log")), "low",
                                 json_number_value(low), "high", json_number_value(high), "step", json_is_number(step) ? json_number_value(step) : 0.0);
        }
        return NULL;
}

static double number(const json_t *object, const char *key) {
        return json_number_value(json_object_get(object, key));
}

static bool is_multiple(double value, double step) {
        return fabs(value / step - round(value / step)) < 1e-9;
}

/* The same parameter in another trial: the widest range of both, in steps where theirs meet. */
static int merge(struct import *import, const char *name, json_t *fresh) {
        _cleanup_json_ json_t *owned = fresh;
        json_t *known = json_object_get(import->distributions, name);
        if (!known)
                return json_object_set(import->distributions, name, fresh) < 0 ? -ENOMEM : 0;
        json_t *choices = json_object_get(known, "choices"), *others = json_object_get(fresh, "choices");
        bool same_kind = json_equal(json_object_get(known, "kind"), json_object_get(fresh, "kind")) && (choices == others || json_equal(choices, others));
        if (!same_kind)
                return error_set(import->err, -EINVAL, "%s: parameter %s is of one kind in some trials and of another in others", import->path, name);
        if (choices)
                return 0;
        if (!json_equal(json_object_get(known, "log"), json_object_get(fresh, "log")))
                json_object_set_new(known, "log", json_false());
        double step = number(known, "step");
        if (step != number(fresh, "step") || (step > 0 && !is_multiple(number(known, "low") - number(fresh, "low"), step)))
                json_object_set_new(known, "step", json_real(0));
        json_object_set_new(known, "low", json_real(fmin(number(known, "low"), number(fresh, "low"))));
        json_object_set_new(known, "high", json_real(fmax(number(known, "high"), number(fresh, "high"))));
        return 0;
}

static int read_distributions(struct import *import) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        int r = sqlite3_prepare_v2(import->db,
                                   "SELECT DISTINCT p.param_name, p.distribution_json FROM trial_params p JOIN trials t USING (trial_id) "
                                   "WHERE t.study_id = ?1 AND t.state IN ('COMPLETE', 'PRUNED') ORDER BY p.param_id", -1, &s, NULL);
        if (r != SQLITE_OK)
                return view_fail(import->db, import->path, "cannot read", import->err);
        sqlite3_bind_int64(s, 1, import->study);
        while ((r = sqlite3_step(s)) == SQLITE_ROW) {
                const char *name = (const char *)sqlite3_column_text(s, 0);
                json_t *distribution = read_distribution((const char *)sqlite3_column_text(s, 1));
                if (!name || !distribution) {
                        json_decref(distribution);
                        return error_set(import->err, -EINVAL, "%s: parameter %s has a distribution that this program does not know", import->path, name ? name : "?");
                }
                r = merge(import, name, distribution);
                if (r < 0)
                        return r;
        }
        return r == SQLITE_DONE ? 0 : view_fail(import->db, import->path, "cannot read", import->err);
}

/* Ours, with Weights & Biases' names. A step that does not begin at a multiple of itself has no such name: its values are listed
 * where they are few, else the range is taken whole. */
static json_t *parameter_of(const json_t *distribution) {
        json_t *choices = json_object_get(distribution, "choices");
        if (choices)
                return json_pack("{s:O}", "values", choices);
        bool is_int = strcmp(json_string_value(json_object_get(distribution, "kind")), "int") == 0, is_log = json_is_true(json_object_get(distribution, "log"));
        double low = number(distribution, "low"), high = number(distribution, "high"), step = number(distribution, "step");
        if (low == high)
                return json_pack("{s:o}", "value", json_number(low, is_int));
        if (is_log)
                return is_int ? json_pack("{s:s, s:o, s:o, s:i}", "distribution", "q_log_uniform_values", "min", json_number(low, 1), "max", json_number(high, 1), "q", 1)
                              : json_pack("{s:s, s:f, s:f}", "distribution", "log_uniform_values", "min", low, "max", high);
        bool is_plain = is_int ? step <= 1 : step <= 0;
        if (!is_plain && is_multiple(low, step))
                return json_pack("{s:s, s:o, s:o, s:o}", "distribution", "q_uniform", "min", json_number(low, is_int), "max", json_number(high, is_int), "q",
                                 json_number(step, is_int));
        if (!is_plain && (high - low) / step < 100) {
                json_t *values = json_array();
                for (int i = 0; low + i * step <= high + step * 1e-9; i++)
                        json_array_append_new(values, json_number(low + i * step, is_int));
                return json_pack("{s:o}", "values", values);
        }
        return json_pack("{s:s, s:o, s:o}", "distribution", is_int ? "int_uniform" : "uniform", "min", json_number(low, is_int), "max", json_number(high, is_int));
}

static int describe_parameters(struct import *import, json_t *spec) {
        json_t *parameters = json_object();
        const char *name;
        json_t *distribution;
        json_object_foreach(import->distributions, name, distribution)
                json_object_set_new(parameters, name, parameter_of(distribution));
        if (json_object_size(parameters) == 0) {
                json_decref(parameters);
                return fail(import, -EINVAL, "the study has no completed or pruned trial with parameters");
        }
        return json_object_set_new(spec, "parameters", parameters) < 0 ? -ENOMEM : 0;
}

/* --- trials ------------------------------------------------------------------------------------------------ */

/* NULL: the distribution does not know the value. */
static json_t *value_of(const json_t *distribution, double value) {
        const json_t *choices = json_object_get(distribution, "choices");
        bool is_int = choices || strcmp(json_string_value(json_object_get(distribution, "kind")), "int") == 0;
        if (!isfinite(value) || (is_int && value != floor(value)))
                return NULL;
        if (choices)
                return value < 0 || value >= (double)json_array_size(choices) ? NULL : json_incref(json_array_get(choices, (size_t)value));
        return json_number(value, is_int);
}

static int read_params(struct import *import, int64_t trial, int64_t trial_number, json_t **ret) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        _cleanup_json_ json_t *params = json_object();
        int r = sqlite3_prepare_v2(import->db, "SELECT param_name, param_value, distribution_json FROM trial_params WHERE trial_id = ?1 ORDER BY param_id", -1, &s, NULL);
        if (r != SQLITE_OK)
                return view_fail(import->db, import->path, "cannot read", import->err);
        sqlite3_bind_int64(s, 1, trial);
        while ((r = sqlite3_step(s)) == SQLITE_ROW) {
                const char *name = (const char *)sqlite3_column_text(s, 0);
                _cleanup_json_ json_t *distribution = read_distribution((const char *)sqlite3_column_text(s, 2));
                json_t *value = distribution && sqlite3_column_type(s, 1) != SQLITE_NULL ? value_of(distribution, sqlite3_column_double(s, 1)) : NULL;
                if (!name || !value || json_object_set_new(params, name, value) < 0)
                        return error_set(import->err, -EINVAL, "%s: trial %lld: parameter %s has a value that its distribution does not know", import->path,
                                         (long long)trial_number, name ? name : "?");
        }
        if (r != SQLITE_DONE)
                return view_fail(import->db, import->path, "cannot read", import->err);
        *ret = TAKE(params);
        return 0;
}

/* Which points of all series are taken: the same steps of every trial, so that they can be compared. */
static int choose_stride(struct import *import, struct optuna_tally *tally) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        int r = sqlite3_prepare_v2(import->db,
                                   "SELECT coalesce(sum(n), 0), coalesce(max(n), 0), count(*) FROM (SELECT count(*) AS n FROM trial_intermediate_values JOIN trials t USING (trial_id) "
                                   "WHERE t.study_id = ?1 AND t.state IN ('COMPLETE', 'PRUNED') GROUP BY trial_id)", -1, &s, NULL);
        if (r == SQLITE_OK) {
                sqlite3_bind_int64(s, 1, import->study);
                r = sqlite3_step(s);
        }
        if (r != SQLITE_ROW)
                return view_fail(import->db, import->path, "cannot read", import->err);
        uint64_t n = (uint64_t)sqlite3_column_int64(s, 0), n_of_one = (uint64_t)sqlite3_column_int64(s, 1), n_trials = (uint64_t)sqlite3_column_int64(s, 2);
        n_trials = n_trials < OPTUNA_TRIALS_MAX ? n_trials : OPTUNA_TRIALS_MAX;
        const uint64_t most = LIMIT_ENQUEUE_POINTS - n_trials, most_of_one = LIMIT_POINTS_PER_REPORT - 1; /* and each trial's last one */
        uint64_t stride = (n + most - 1) / most, stride_of_one = (n_of_one + most_of_one - 1) / most_of_one;
        stride = stride > stride_of_one ? stride : stride_of_one;
        tally->stride = stride > 1 ? stride : 1;
        return 0;
}

/* *ret NULL: it has none. */
static int read_series(struct import *import, int64_t trial, struct optuna_tally *tally, json_t **ret) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        _cleanup_json_ json_t *points = json_array(), *last = NULL;
        uint64_t n = 0;
        int r = sqlite3_prepare_v2(import->db, "SELECT step, intermediate_value FROM trial_intermediate_values WHERE trial_id = ?1 AND step >= 0 AND "
                                               "intermediate_value_type = 'FINITE' AND intermediate_value IS NOT NULL ORDER BY step", -1, &s, NULL);
        if (r != SQLITE_OK)
                return view_fail(import->db, import->path, "cannot read", import->err);
        sqlite3_bind_int64(s, 1, trial);
        while ((r = sqlite3_step(s)) == SQLITE_ROW) {
                json_decref(last);
                last = json_pack("{s:s, s:I, s:f}", "name", import->metric, "step", (json_int_t)sqlite3_column_int64(s, 0), "value", sqlite3_column_double(s, 1));
                if (!last)
                        return fail(import, -EINVAL, "an intermediate value is no number");
                if (++n % tally->stride == 0 && json_array_append(points, last) < 0)
                        return -ENOMEM;
        }
        if (r != SQLITE_DONE)
                return view_fail(import->db, import->path, "cannot read", import->err);
        if (last && n % tally->stride != 0 && json_array_append(points, last) < 0)
                return -ENOMEM;
        tally->n_points += json_array_size(points);
        *ret = last ? TAKE(points) : NULL;
        return 0;
}

/* Columns: trial_id, number, value, its type, whether it was pruned. */
static int add_trial(struct import *import, sqlite3_stmt *s, json_t *trials, struct optuna_tally *tally) {
        _cleanup_json_ json_t *params = NULL, *series = NULL;
        bool is_pruned = sqlite3_column_int(s, 4);
        if (sqlite3_column_type(s, 2) == SQLITE_NULL || strcmp((const char *)sqlite3_column_text(s, 3), "FINITE") != 0) {
                tally->n_without_value++;
                return 0;
        }
        int r = read_params(import, sqlite3_column_int64(s, 0), sqlite3_column_int64(s, 1), &params);
        if (r < 0)
                return r;
        bool is_partial = json_object_size(params) < json_object_size(import->distributions), is_full = json_array_size(trials) >= OPTUNA_TRIALS_MAX;
        if (is_partial || is_full) {
                tally->n_partial += is_partial;
                tally->n_too_many += !is_partial;
                return 0;
        }
        if (import->with_series)
                r = read_series(import, sqlite3_column_int64(s, 0), tally, &series);
        if (r < 0)
                return r;
        tally->n_taken++;
        tally->n_pruned += is_pruned;
        json_t *item = json_pack("{s:O, s:f, s:s*, s:O*}", "params", params, "value", sqlite3_column_double(s, 2), "state", is_pruned ? "stopped" : NULL, "metrics", series);
        return json_array_append_new(trials, item) < 0 ? -ENOMEM : 0;
}

static int read_trials(struct import *import, json_t *trials, struct optuna_tally *tally) {
        _cleanup_(cleanup_statement) sqlite3_stmt *s = NULL;
        int r = sqlite3_prepare_v2(import->db,
                                   "SELECT t.trial_id, t.number, v.value, coalesce(v.value_type, ''), t.state = 'PRUNED', t.state IN ('COMPLETE', 'PRUNED'), "
                                   "t.state = 'FAIL' FROM trials t LEFT JOIN trial_values v ON v.trial_id = t.trial_id AND v.objective = 0 "
                                   "WHERE t.study_id = ?1 ORDER BY t.number", -1, &s, NULL);
        if (r != SQLITE_OK)
                return view_fail(import->db, import->path, "cannot read", import->err);
        sqlite3_bind_int64(s, 1, import->study);
        while ((r = sqlite3_step(s)) == SQLITE_ROW) {
                bool is_ended = sqlite3_column_int(s, 5), is_failed = sqlite3_column_int(s, 6);
                tally->n_failed += is_failed;
                tally->n_open += !is_ended && !is_failed;
                r = is_ended ? add_trial(import, s, trials, tally) : 0;
                if (r < 0)
                        return r;
        }
        return r == SQLITE_DONE ? 0 : view_fail(import->db, import->path, "cannot read", import->err);
}

int store_read_optuna(const char *path, const char *study, const char *metric, bool with_series, json_t **ret_spec, json_t **ret_trials,
                      struct optuna_tally *ret_tally, struct error *err) {
        _cleanup_json_ json_t *spec = json_pack("{s:n, s:s, s:s}", "name", "method", "bayes", "trainer", "external"), *distributions = json_object(),
                              *trials = json_array();
        struct import import = {.path = path, .metric = metric, .with_series = with_series, .distributions = distributions, .err = err};
        struct optuna_tally tally = {.stride = 1};
        int r = spec && distributions && trials ? open_file(&import) : error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = check_version(&import);
        if (r == 0)
                r = find_study(&import, study, spec);
        if (r == 0)
                r = read_direction(&import, metric, spec);
        if (r == 0)
                r = read_distributions(&import);
        if (r == 0)
                r = describe_parameters(&import, spec);
        if (r == 0 && with_series)
                r = choose_stride(&import, &tally);
        if (r == 0)
                r = read_trials(&import, trials, &tally);
        if (r == 0 && tally.n_taken == 0)
                r = fail(&import, -EINVAL, "the study has no completed or pruned trial with a value and all parameters");
        sqlite3_close(import.db);
        if (r < 0)
                return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
        *ret_spec = TAKE(spec);
        *ret_trials = TAKE(trials);
        *ret_tally = tally;
        return 0;
}
