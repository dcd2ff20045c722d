/* A sweep spec, decoded: the top level. Parameters are in spec_parameter.c, stages in spec_stage.c.
 *
 * The distributions (W&B's meaning), with u uniform on [0,1) and z standard normal:
 *   constant                  value; no search dimension
 *   categorical               one of `values`, with `probabilities` when given
 *   int_uniform               whole numbers min … max, both included
 *   uniform                   min + u (max - min)
 *   log_uniform               exp(min + u (max - min)): min and max are base-e exponents
 *   log_uniform_values        the same with min and max as values
 *   inv_log_uniform[_values]  log(1/x) uniform
 *   normal, log_normal        mu + sigma z, exp(mu + sigma z)
 *   beta                      Beta(a, b) on [0,1]
 *   q_…                       the same, rounded to a multiple of q
 *
 * Two groups of keys besides those that are acted on: Weights & Biases' notes, which are checked and kept in the
 * spec's source, and its keys without meaning here, refused by name so that nobody believes they have an effect. */
#include "proto/spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "proto/limits.h"
#include "proto/spec_parts.h"
#include "proto/state.h"

#define ATTEMPTS_MAX 1000
#define PARALLELISM_MAX 1000000
#define SECONDS_MAX 1e9
#define COMMAND_WORDS_MAX 1024
#define COMMAND_WORD_BYTES 4096
#define TAGS_MAX 1000

static const char *const method_names[N_METHODS] = {
        [METHOD_GRID] = "grid",   [METHOD_RANDOM] = "random", [METHOD_SOBOL] = "sobol",
        [METHOD_BAYES] = "bayes", [METHOD_OFAT] = "ofat",     [METHOD_STAGED] = "staged",
        [METHOD_CONFIRM] = "confirm",
};

const char *method_name(enum method method) {
        return method_names[method];
}

int method_from_name(const char *name) {
        for (int i = 0; i < N_METHODS; i++)
                if (strcmp(method_names[i], name) == 0)
                        return i;
        return -1;
}

/* --- keys -------------------------------------------------------------------------------------------- */

static const char *const known_keys[] = {
        "name", "method", "metric", "parameters", "run_cap", "trainer", "program", "command", "fixed", "baseline", "levels", "stages",
        "max_attempts", "seed", "parallelism", "priority", "trial_timeout_s", "no_progress_timeout_s", "max_hours", "model_sha256",
        "data_sha256", "early_terminate", "conditions", "constraints", "tie", "warm_start", "repeats", "notify",
        /* notes */
        "project", "entity", "apiVersion", "kind", "description", "tags",
        /* refused below */
        "controller", "job", "image_uri", "scheduler", "metrics", NULL};

static const char *const meaningless_keys[] = {"controller", "job", "image_uri", "scheduler", "metrics"};

static void keys_check(const struct reader *reader) {
        reader_refuse_unknown(reader, known_keys);
        for (size_t i = 0; i < sizeof meaningless_keys / sizeof *meaningless_keys; i++)
                if (reader_get(reader, meaningless_keys[i]))
                        reader_fault(reader, meaningless_keys[i], "'%s' has no meaning here", meaningless_keys[i]);
}

static void notes_check(const struct reader *reader) {
        reader_text(reader, "project", LIMIT_NAME_BYTES);
        reader_text(reader, "entity", LIMIT_NAME_BYTES);
        reader_text(reader, "apiVersion", LIMIT_NAME_BYTES);
        reader_prose(reader, "description", LIMIT_DESCRIPTION_BYTES);
        reader_texts(reader, "tags", TAGS_MAX, LIMIT_NAME_BYTES);
        const char *kind = reader_text(reader, "kind", LIMIT_NAME_BYTES);
        if (kind && strcmp(kind, "sweep") != 0)
                reader_fault(reader, "kind", "must be sweep");
}

/* --- small parts ------------------------------------------------------------------------------------- */

static int copy_text(const char *text, char **ret) {
        if (!text)
                return 0;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

/* Which events, never which address: that is the server's owner's to say. */
static void notify_parse(const struct reader *reader, struct sweep_spec *spec) {
        const json_t *list = reader_get(reader, "notify");
        if (!list || !reader_texts(reader, "notify", N_WEBHOOK_EVENTS, LIMIT_NAME_BYTES))
                return;
        spec->has_notify = true;
        for (size_t i = 0; i < json_array_size(list); i++) {
                int event = webhook_event_from_name(json_string_value(json_array_get(list, i)));
                if (event < 0)
                        reader_fault(reader, "notify", "must hold finished, cancelled, paused or trial_failed, not '%.64s'", json_string_value(json_array_get(list, i)));
                else
                        spec->notify |= 1u << event;
        }
}

static int method_parse(const struct reader *reader) {
        if (!reader_require(reader, "method"))
                return -1;
        const char *name = reader_text(reader, "method", LIMIT_NAME_BYTES);
        int method = name ? method_from_name(name) : -1;
        if (name && strcmp(name, "custom") == 0)
                reader_fault(reader, "method", "'custom' has no meaning here: there is no scheduler to call");
        else if (name && method == METHOD_CONFIRM)
                reader_fault(reader, "method", "'confirm' is a stage of a staged sweep, after another one");
        else if (name && method < 0)
                reader_fault(reader, "method", "must be bayes, grid, random, sobol, ofat or staged");
        return method == METHOD_CONFIRM ? -1 : method;
}

static int name_parse(const struct reader *reader, struct sweep_spec *spec) {
        const char *name = reader_text(reader, "name", LIMIT_NAME_BYTES);
        if (name)
                return copy_text(name, &spec->name);
        return asprintf(&spec->name, "%s sweep", method_name(spec->method)) < 0 ? (spec->name = NULL, -ENOMEM) : 0;
}

static void check_word(const struct reader *reader, const char *key, const char *const *words) {
        if (json_is_false(reader_get(reader, key))) /* YAML's reading of W&B's word "false" */
                return;
        const char *word = reader_text(reader, key, LIMIT_NAME_BYTES);
        for (size_t i = 0; word && words[i]; i++)
                if (strcmp(words[i], word) == 0)
                        return;
        if (word)
                reader_fault(reader, key, "unknown word '%.64s'", word);
}

static int metric_members_parse(const struct reader *reader, struct metric_spec *metric) {
        static const char *const keys[] = {"name", "goal", "target", "summary", "impute", "impute_while_running", NULL};
        static const char *const impute_words[] = {"latest", "best", "worst", "false", NULL};
        reader_refuse_unknown(reader, keys);
        reader_require(reader, "name");
        const char *goal = reader_text(reader, "goal", LIMIT_NAME_BYTES);
        metric->maximize = goal && strcmp(goal, "maximize") == 0;
        if (goal && !metric->maximize && strcmp(goal, "minimize") != 0)
                reader_fault(reader, "goal", "must be minimize or maximize");
        metric->has_target = reader_number(reader, "target", -__builtin_inf(), __builtin_inf(), &metric->target);
        const char *summary = reader_text(reader, "summary", LIMIT_NAME_BYTES);
        metric->summary_last = summary && strcmp(summary, "last") == 0;
        if (summary && !metric->summary_last && strcmp(summary, "best") != 0)
                reader_fault(reader, "summary", "must be best or last");
        check_word(reader, "impute", impute_words);
        check_word(reader, "impute_while_running", impute_words);
        return copy_text(reader_text(reader, "name", LIMIT_NAME_BYTES), &metric->name);
}

/* Without a metric trials have only the value that their outcome gives; what learns or ranks needs a named one. */
static int metric_parse(const struct reader *reader, struct sweep_spec *spec) {
        const json_t *object = reader_object(reader, "metric");
        int r = 0;
        if (object) {
                struct reader inner;
                reader_init(&inner, object, "/metric", reader->faults);
                r = metric_members_parse(&inner, &spec->metric);
        } else if (!reader_get(reader, "metric") &&
                   (spec->method == METHOD_BAYES || spec->method == METHOD_OFAT || spec->method == METHOD_STAGED)) {
                reader_require(reader, "metric");
        }
        return r == 0 && !spec->metric.name ? copy_text("", &spec->metric.name) : r;
}

/* --- trainer ----------------------------------------------------------------------------------------- */

/* The program of a command that names none: its first word that is no macro. */
static const char *command_program(const json_t *command) {
        for (size_t i = 0; i < json_array_size(command); i++) {
                const char *word = json_string_value(json_array_get(command, i));
                if (word && strncmp(word, "${", 2) != 0)
                        return word;
        }
        return NULL;
}

static int program_parse(const struct reader *reader, const json_t *command, struct sweep_spec *spec) {
        const char *program = reader_text(reader, "program", COMMAND_WORD_BYTES);
        if (strcmp(spec->trainer, "command") != 0)
                return 0;
        if (!reader_get(reader, "program"))
                program = command_program(command);
        if (!program && !reader_get(reader, "program"))
                reader_fault(reader, "program", "is required: workers allow programs by this name");
        return copy_text(program, &spec->program);
}

static int trainer_parse(const struct reader *reader, struct sweep_spec *spec) {
        static const char *const trainers[] = {"distilbert-mrpc", "command", "external"};
        const json_t *command = reader_texts(reader, "command", COMMAND_WORDS_MAX, COMMAND_WORD_BYTES) ? reader_get(reader, "command") : NULL;
        const char *trainer = reader_text(reader, "trainer", LIMIT_NAME_BYTES);
        bool known = false;
        for (size_t i = 0; trainer && i < 3; i++)
                known |= strcmp(trainers[i], trainer) == 0;
        if (trainer && !known)
                reader_fault(reader, "trainer", "must be distilbert-mrpc, command or external");
        if (!reader_get(reader, "trainer")) {
                if (!reader_get(reader, "program") && !reader_get(reader, "command"))
                        reader_fault(reader, "trainer", "is required: distilbert-mrpc, command or external");
                trainer = "command";
                known = reader_get(reader, "program") || reader_get(reader, "command");
        }
        int r = copy_text(known ? trainer : "external", &spec->trainer);
        return r < 0 ? r : program_parse(reader, command, spec);
}

/* --- numbers, objects -------------------------------------------------------------------------------- */

static void numbers_parse(const struct reader *reader, struct sweep_spec *spec) {
        int64_t n;
        spec->max_attempts = DEFAULT_MAX_ATTEMPTS;
        if (reader_integer(reader, "run_cap", 1, RUN_CAP_MAX, &n))
                spec->run_cap = (uint64_t)n;
        spec->repeats = reader_integer(reader, "repeats", 1, LIMIT_REPEATS, &n) ? (unsigned)n : 1;
        if (reader_integer(reader, "max_attempts", 1, ATTEMPTS_MAX, &n))
                spec->max_attempts = (unsigned)n;
        if (reader_integer(reader, "parallelism", 1, PARALLELISM_MAX, &n))
                spec->parallelism = (unsigned)n;
        if (reader_integer(reader, "priority", -PRIORITY_MAX, PRIORITY_MAX, &n))
                spec->priority = (int)n;
        spec->has_seed = reader_integer(reader, "seed", 0, INT64_MAX, &n);
        spec->seed = spec->has_seed ? (uint64_t)n : 0;
        static const char *const durations[] = {"trial_timeout_s", "no_progress_timeout_s", "max_hours"};
        double *const ret[] = {&spec->trial_timeout_s, &spec->no_progress_timeout_s, &spec->max_hours};
        for (size_t i = 0; i < 3; i++)
                if (reader_positive(reader, durations[i], ret[i]) && *ret[i] > SECONDS_MAX)
                        reader_fault(reader, durations[i], "must be at most %g", SECONDS_MAX);
}

/* A new reference to the member, or to a new empty object. */
static int object_take(const struct reader *reader, const char *key, json_t **ret) {
        json_t *object = reader_object(reader, key);
        *ret = object ? json_incref(object) : json_object();
        return *ret ? 0 : -ENOMEM;
}

static void baseline_check(const struct reader *reader, const struct sweep_spec *spec) {
        struct reader inner;
        reader_init(&inner, spec->baseline, "/baseline", reader->faults);
        const char *name;
        json_t *value;
        json_object_foreach(spec->baseline, name, value) {
                parameter_name_check(&inner, name, name);
                if (json_is_null(value))
                        reader_fault(&inner, name, "must not be null");
        }
}

static void fixed_check(const struct reader *reader, const struct sweep_spec *spec) {
        struct reader inner;
        reader_init(&inner, spec->fixed, "/fixed", reader->faults);
        const char *name;
        json_t *value;
        json_object_foreach(spec->fixed, name, value)
                parameter_name_check(&inner, name, name);
}

static int fingerprints_parse(const struct reader *reader, struct sweep_spec *spec) {
        int r = copy_text(reader_text(reader, "model_sha256", LIMIT_NAME_BYTES), &spec->model_sha256);
        return r < 0 ? r : copy_text(reader_text(reader, "data_sha256", LIMIT_NAME_BYTES), &spec->data_sha256);
}

/* --- the whole --------------------------------------------------------------------------------------- */

static int parts_parse(const struct reader *reader, struct sweep_spec *spec) {
        keys_check(reader);
        notes_check(reader);
        numbers_parse(reader, spec);
        notify_parse(reader, spec);
        int method = method_parse(reader);
        spec->method = method < 0 ? METHOD_RANDOM : (enum method)method;
        int r = name_parse(reader, spec);
        if (r == 0)
                r = metric_parse(reader, spec);
        if (r == 0)
                early_terminate_parse(reader, &spec->metric, &spec->early_terminate);
        if (r == 0)
                r = trainer_parse(reader, spec);
        if (r == 0)
                r = fingerprints_parse(reader, spec);
        if (r == 0)
                r = object_take(reader, "fixed", &spec->fixed);
        if (r == 0)
                r = object_take(reader, "baseline", &spec->baseline);
        if (r == 0)
                r = parameters_parse(reader, "parameters", &spec->parameters);
        if (r < 0)
                return r;
        fixed_check(reader, spec);
        baseline_check(reader, spec);
        if (method < 0) /* what the rest must hold depends on it */
                return 0;
        r = stages_parse(reader, spec);
        if (r == 0)
                r = relations_parse(reader, spec);
        if (r == 0)
                r = warm_start_parse(reader, &spec->warm_start);
        return r < 0 ? r : spec_check_names(reader, spec);
}

CLEANUP_DEFINE(struct sweep_spec *, cleanup_spec, sweep_spec_free)

int sweep_spec_parse(json_t *document, struct faults *faults, struct sweep_spec **ret) {
        size_t before = faults->n_total;
        struct reader reader;
        if (!reader_init(&reader, document, "", faults))
                return SPEC_FAULTY;
        _cleanup_(cleanup_spec) struct sweep_spec *spec = calloc(1, sizeof *spec);
        if (!spec)
                return -ENOMEM;
        spec->source = json_incref(document);
        int r = parts_parse(&reader, spec);
        if (r < 0)
                return r;
        if (faults->n_total > before)
                return SPEC_FAULTY;
        *ret = TAKE(spec);
        return 0;
}

void sweep_spec_free(struct sweep_spec *spec) {
        if (!spec)
                return;
        json_decref(spec->source);
        free(spec->name);
        free(spec->metric.name);
        parameters_fini(&spec->parameters);
        free(spec->trainer);
        free(spec->program);
        json_decref(spec->fixed);
        json_decref(spec->baseline);
        level_sets_fini(spec->levels, spec->n_levels);
        for (size_t i = 0; i < spec->n_stages; i++)
                stage_fini(&spec->stages[i]);
        free(spec->stages);
        relations_fini(&spec->relations);
        free(spec->warm_start.sweep);
        json_decref(spec->warm_start.trials);
        free(spec->model_sha256);
        free(spec->data_sha256);
        free(spec);
}
