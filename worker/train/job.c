#include "train/job.h"

#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"

/* Every key that may be there, so that a misspelt one is refused by name. */
static const char *const keys[] = {"model",   "data",           "metric",     "params",      "fixed",      "seed",
                                   "threads", "checkpoint_dir", "output_dir", "limit_train", "limit_eval", "report"};

/* Of "metric", the coordinator's own keys pass through: they mean nothing here. */
static const char *const metric_keys[] = {"name", "goal", "target", "summary", "impute", "impute_while_running"};

static int refuse_unknown(const json_t *object, const char *const *known, size_t n_known, const char *where, struct error *err) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)object, key, value) {
                size_t i = 0;
                while (i < n_known && strcmp(known[i], key) != 0)
                        i++;
                if (i == n_known)
                        return error_set(err, -EINVAL, "unknown key '%.100s'%s", key, where);
        }
        return 0;
}

static int read_folder(const json_t *object, const char *key, bool required, const char **ret, struct error *err) {
        const json_t *value = json_object_get(object, key);
        if (!required && (!value || json_is_null(value)))
                return *ret = NULL, 0;
        if (!value)
                return error_set(err, -EINVAL, "%s is missing", key);
        const char *text = json_string_value(value);
        if (!text || !*text || strlen(text) != json_string_length(value))
                return error_set(err, -EINVAL, "%s must be the path of a folder", key);
        return *ret = text, 0;
}

static int read_integer(const json_t *object, const char *key, int64_t low, int64_t high, int64_t *value, struct error *err) {
        const json_t *found = json_object_get(object, key);
        if (!found || json_is_null(found))
                return 0;
        double real = json_number_value(found);
        int64_t whole = json_is_integer(found) ? json_integer_value(found) : 0;
        if (json_is_real(found) && real >= (double)low && real <= 9007199254740992.0)
                whole = (int64_t)real;
        if (!json_is_number(found) || (json_is_real(found) && (double)whole != real) || whole < low || whole > high)
                return error_set(err, -EINVAL, "%s must be a whole number from %lld to %lld", key, (long long)low, (long long)high);
        return *value = whole, 0;
}

static int read_metric(const json_t *object, struct job *job, struct error *err) {
        const json_t *metric = json_object_get(object, "metric");
        job->metric = METRIC_EVAL_ACCURACY;
        job->maximize = true;
        if (!metric || json_is_null(metric))
                return 0;
        if (!json_is_object(metric))
                return error_set(err, -EINVAL, "metric must be an object with name and goal");
        int r = refuse_unknown(metric, metric_keys, sizeof metric_keys / sizeof *metric_keys, " in metric", err);
        if (r < 0)
                return r;
        const char *name = json_string_value(json_object_get(metric, "name"));
        if (!name)
                return error_set(err, -EINVAL, "metric.name must be the name of a metric");
        if (metric_from_name(name, &job->metric) < 0)
                return error_set(err, -EINVAL, "metric.name '%.100s' is not reported by this trainer; %s, %s and %s are", name,
                                 metric_name(METRIC_EVAL_ACCURACY), metric_name(METRIC_EVAL_F1), metric_name(METRIC_EVAL_LOSS));
        const json_t *goal = json_object_get(metric, "goal");
        const char *text = goal ? json_string_value(goal) : "minimize";
        if (!text || (strcmp(text, "minimize") != 0 && strcmp(text, "maximize") != 0))
                return error_set(err, -EINVAL, "metric.goal must be minimize or maximize");
        job->maximize = strcmp(text, "maximize") == 0;
        return 0;
}

/* limit_train, limit_eval and report stand at the top, or among the settings; said twice, they must agree. */
static int read_top_settings(const json_t *object, json_t *given, struct job *job, struct error *err) {
        static const char *const names[] = {"limit_train", "limit_eval", "report"};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                json_t *value = json_object_get(object, names[i]);
                const json_t *before = json_object_get(given, names[i]);
                if (!value || json_is_null(value) || (before && json_equal(before, value)))
                        continue;
                _cleanup_json_ json_t *one = json_pack("{s:O}", names[i], value);
                int r = one ? settings_read(&job->settings, one, "", given, err) : error_set(err, -ENOMEM, "out of memory");
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_settings(const json_t *object, struct job *job, struct error *err) {
        _cleanup_json_ json_t *given = json_object();
        if (!given)
                return error_set(err, -ENOMEM, "out of memory");
        settings_defaults(&job->settings);
        int r = settings_read(&job->settings, json_object_get(object, "params"), "params", given, err);
        if (r == 0)
                r = settings_read(&job->settings, json_object_get(object, "fixed"), "fixed", given, err);
        if (r == 0)
                r = read_top_settings(object, given, job, err);
        return r < 0 ? r : settings_check(&job->settings, given, err);
}

static int read_all(const json_t *object, struct job *job, struct error *err) {
        int64_t seed = 0, threads = 1;
        int r = refuse_unknown(object, keys, sizeof keys / sizeof *keys, "", err);
        if (r == 0)
                r = read_folder(object, "model", true, &job->model, err);
        if (r == 0)
                r = read_folder(object, "data", true, &job->data, err);
        if (r == 0)
                r = read_folder(object, "checkpoint_dir", false, &job->checkpoint_dir, err);
        if (r == 0)
                r = read_folder(object, "output_dir", false, &job->output_dir, err);
        if (r == 0)
                r = read_integer(object, "seed", 0, INT64_MAX, &seed, err);
        if (r == 0)
                r = read_integer(object, "threads", 1, JOB_MAX_THREADS, &threads, err);
        if (r == 0)
                r = read_metric(object, job, err);
        if (r == 0)
                r = read_settings(object, job, err);
        if (r < 0)
                return r;
        job->threads = (int)threads;
        if (job->metric == METRIC_PERF_TEMPERATURE_C)
                return error_set(err, -EINVAL, "metric.name perf/temperature_c is not there on every machine");
        if (job->metric == METRIC_EVAL_MCC && !settings_task(&job->settings)->reports_mcc)
                return error_set(err, -EINVAL, "metric.name eval/mcc is reported for the tasks cola and tsv; task is %s", job->settings.task_name);
        if (job->settings.early_stopping_patience > 0 && strncmp(metric_name(job->metric), "eval/", 5) != 0)
                return error_set(err, -EINVAL, "early_stopping_patience needs a metric of evaluations, eval/…; metric.name is %s",
                                 metric_name(job->metric));
        if (job->settings.seed < 0)
                job->settings.seed = seed;
        return 0;
}

int job_read(const char *text, size_t len, struct job *ret, struct error *err) {
        struct job job = {0};
        int r = json_read(text, len, &job.object, err);
        if (r == 0 && !json_is_object(job.object))
                r = error_set(err, -EINVAL, "the configuration must be one JSON object");
        if (r == 0)
                r = read_all(job.object, &job, err);
        if (r < 0)
                return job_fini(&job), r;
        *ret = job;
        return 0;
}

void job_fini(struct job *job) {
        json_decref(job->object);
        job->object = NULL;
}
