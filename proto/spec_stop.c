/* `early_terminate` of a sweep spec. hyperband has Weights & Biases' keys, defaults and meaning; the others are ours. */
#include <string.h>

#include "proto/limits.h"
#include "proto/spec_parts.h"

#define ITERATIONS_MAX 1000000000
#define BANDS_MAX 1000
#define TRIALS_MAX 1000000
#define DEFAULT_ETA 3
#define ETA_MAX 1e6
#define DEFAULT_MIN_TRIALS 5
#define DEFAULT_THRESHOLD 0.05

static const char *const type_names[N_STOP_TYPES] = {
        [STOP_HYPERBAND] = "hyperband", [STOP_ASHA] = "asha", [STOP_MEDIAN] = "median", [STOP_CURVE] = "curve",
};

static const char *const keys_of[N_STOP_TYPES][8] = {
        [STOP_HYPERBAND] = {"type", "min_iter", "max_iter", "s", "eta", "strict"},
        [STOP_ASHA] = {"type", "min_iter", "max_iter", "eta"},
        [STOP_MEDIAN] = {"type", "min_iter", "min_trials"},
        [STOP_CURVE] = {"type", "min_iter", "min_trials", "threshold"},
};

static enum stop_type type_parse(const struct reader *reader) {
        reader_require(reader, "type");
        const char *name = reader_text(reader, "type", LIMIT_NAME_BYTES);
        for (int i = STOP_HYPERBAND; name && i < N_STOP_TYPES; i++)
                if (strcmp(type_names[i], name) == 0)
                        return (enum stop_type)i;
        if (name)
                reader_fault(reader, "type", "must be hyperband, asha, median or curve");
        return STOP_NEVER;
}

static void numbers_parse(const struct reader *reader, struct stop_rule *rule) {
        int64_t n;
        if (reader_integer(reader, "min_iter", 1, ITERATIONS_MAX, &n))
                rule->min_iter = (uint64_t)n;
        if (reader_integer(reader, "max_iter", 1, ITERATIONS_MAX, &n))
                rule->max_iter = (uint64_t)n;
        if (reader_integer(reader, "s", 1, BANDS_MAX, &n))
                rule->s = (unsigned)n;
        if (reader_integer(reader, "min_trials", 1, TRIALS_MAX, &n))
                rule->min_trials = (unsigned)n;
        reader_number(reader, "eta", 1, ETA_MAX, &rule->eta);
        if (!(rule->eta > 1))
                reader_fault(reader, "eta", "must be > 1");
        reader_boolean(reader, "strict", &rule->strict);
        reader_number(reader, "threshold", 0, 1, &rule->threshold);
}

/* Both ways to give the bands may stand side by side; max_iter wins, as in W&B. */
static void hyperband_check(const struct reader *reader, const struct stop_rule *rule) {
        if (!reader_get(reader, "max_iter")) {
                if (reader_get(reader, "s"))
                        reader_fault(reader, "s", "needs max_iter");
                if (!reader_get(reader, "min_iter"))
                        reader_fault(reader, "min_iter", "is required: min_iter, or max_iter and s");
        } else if (!reader_get(reader, "s")) {
                reader_fault(reader, "s", "is required beside max_iter");
        } else if (rule->max_iter > 0 && (double)rule->max_iter / rule->eta < 1) {
                reader_fault(reader, "max_iter", "leaves no band: max_iter / eta must be at least 1");
        }
}

void early_terminate_parse(const struct reader *reader, const struct metric_spec *metric, struct stop_rule *ret) {
        const json_t *object = reader_object(reader, "early_terminate");
        if (!object)
                return;
        if (!*metric->name)
                reader_fault(reader, "metric", "is required: early_terminate judges its series");
        char pointer[POINTER_SIZE];
        struct reader inner;
        reader_init(&inner, object, pointer_join(pointer, sizeof pointer, reader->pointer, "early_terminate"), reader->faults);
        struct stop_rule rule = {.type = type_parse(&inner),
                                 .eta = DEFAULT_ETA,
                                 .strict = true,
                                 .min_trials = DEFAULT_MIN_TRIALS,
                                 .threshold = DEFAULT_THRESHOLD};
        if (rule.type == STOP_NEVER)
                return;
        reader_refuse_unknown(&inner, keys_of[rule.type]);
        numbers_parse(&inner, &rule);
        if (rule.type == STOP_HYPERBAND)
                hyperband_check(&inner, &rule);
        else if (rule.min_iter == 0)
                rule.min_iter = 1;
        if (rule.type == STOP_ASHA && rule.max_iter > 0 && rule.max_iter <= rule.min_iter)
                reader_fault(&inner, "max_iter", "must be above min_iter");
        *ret = rule;
}
