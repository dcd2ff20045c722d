/* Specs and messages that are wrong in random places: the decoders answer with faults or accept, and never crash, hang or
 * leave a faulty pointer. Deterministic; run under the sanitizers it is a small fuzzer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/rng.h"
#include "proto/message.h"
#include "proto/spec.h"

#define ROUNDS 4000

static const char *const seeds[] = {
        "{\"method\":\"staged\",\"trainer\":\"external\",\"metric\":{\"name\":\"m\",\"goal\":\"maximize\",\"target\":1},\"fixed\":{\"e\":3},"
        "\"baseline\":{\"lr\":5e-5,\"w.d\":0.0,\"s\":0,\"k\":1},\"parameters\":{\"lr\":{\"distribution\":\"log_uniform_values\",\"min\":1e-5,"
        "\"max\":5e-5},\"w\":{\"parameters\":{\"d\":{\"min\":0.0,\"max\":0.1}}},\"s\":{\"distribution\":\"q_uniform\",\"min\":0,\"max\":500,"
        "\"q\":10}},\"stages\":[{\"method\":\"ofat\",\"levels\":{\"lr\":[2e-5,2e-4],\"k\":[2]}},{\"method\":\"grid\",\"select_top\":3,"
        "\"values\":{\"lr\":[1e-5]}},{\"method\":\"bayes\",\"run_cap\":20,\"warm_start\":true}]}",
        "{\"method\":\"grid\",\"program\":\"t\",\"command\":[\"${program}\"],\"parameters\":{\"a\":{\"values\":[1,\"x\",null]},\"b\":"
        "{\"parameters\":{\"c\":{\"value\":{\"d\":1}},\"e\":{\"min\":1,\"max\":3}}}},\"tags\":[\"t\"],\"seed\":1,\"run_cap\":3}",
        "{\"method\":\"random\",\"trainer\":\"external\",\"parameters\":{\"a\":{\"values\":[1,2],\"probabilities\":[0.5,0.5]},\"b\":"
        "{\"distribution\":\"q_beta\",\"a\":1,\"b\":2,\"q\":0.1},\"c\":{\"distribution\":\"log_normal\",\"mu\":1,\"sigma\":2}}}",
        "{\"lease\":\"l\",\"seq\":1,\"metrics\":[{\"name\":\"m\",\"step\":1,\"epoch\":1,\"value\":2,\"time\":\"2026-01-31T12:00:00Z\"}],"
        "\"progress\":0.5,\"outcome\":{\"state\":\"failed\",\"reason\":\"io\",\"detail\":\"d\"}}",
        "{\"trials\":[{\"params\":{\"x\":1},\"value\":0.5},{\"params\":{}}]}",
        "{\"name\":\"w\",\"instance\":\"i\",\"slots\":1,\"trainers\":[\"external\"],\"model\":{\"sha256\":\"a\"},\"data\":null,\"facts\":{}}",
};

/* A value that a hurried person or a hostile client might put anywhere. */
static json_t *odd_value(struct rng *rng) {
        static const char *const texts[] = {"null",  "true",  "-1",     "0",       "1e308",        "-1e308",          "\"\"",      "\"grid\"",
                                            "[]",    "{}",    "[[[]]]", "\"a.b\"", "\"\\u0000\"", "9007199254740993", "1e-320",    "\"staged\"",
                                            "{\"parameters\":{}}", "{\"x\":{\"min\":0,\"max\":1}}", "[1,2,3]", "\"log_uniform\"", "2.5", "1000000000000"};
        const char *text = texts[rng_below(rng, sizeof texts / sizeof *texts)];
        json_t *value = NULL;
        json_read(text, strlen(text), &value, NULL);
        return value;
}

/* Walks to a random place and changes what is there. */
static void mutate(json_t *node, struct rng *rng, int depth) {
        size_t n = json_is_object(node) ? json_object_size(node) : json_array_size(node);
        if (n == 0)
                return;
        size_t pick = rng_below(rng, n), i = 0;
        json_t *child = json_array_get(node, pick);
        const char *key = NULL;
        for (void *it = json_object_iter(node); it && !key; it = json_object_iter_next(node, it))
                if (i++ == pick) {
                        key = json_object_iter_key(it);
                        child = json_object_iter_value(it);
                }
        bool deeper = (json_is_object(child) || json_is_array(child)) && rng_below(rng, 4) > 0 && depth < 10;
        if (deeper)
                mutate(child, rng, depth + 1);
        else if (!key)
                json_array_set_new(node, pick, odd_value(rng));
        else if (rng_below(rng, 3) == 0)
                json_object_set_new(node, rng_below(rng, 2) ? "a.b" : "lr", odd_value(rng));
        else if (rng_below(rng, 4) == 0)
                json_object_del(node, key);
        else
                json_object_set_new(node, key, odd_value(rng));
}

/* What every faulty answer must be: at least one fault, each a pointer with a reason in UTF-8. */
static void check_faults(const struct faults *faults) {
        assert_true(faults->n_total >= 1 && faults->n >= 1);
        for (size_t i = 0; i < faults->n; i++) {
                _cleanup_json_ json_t *detail = json_string(faults->items[i].detail);
                assert_non_null(detail);
                assert_true(faults->items[i].pointer[0] == 0 || faults->items[i].pointer[0] == '/');
        }
}

/* What every accepted spec must hold for the coordinator to run it. */
static void check_spec(const struct sweep_spec *spec) {
        assert_non_null(spec->name);
        assert_non_null(spec->metric.name);
        assert_non_null(spec->trainer);
        assert_true(spec->n_stages >= 1 && json_is_object(spec->fixed) && json_is_object(spec->baseline));
        for (size_t i = 0; i < spec->n_stages; i++)
                assert_true(spec->stages[i].method != METHOD_STAGED);
        for (size_t i = 0; i < spec->parameters.n; i++) {
                const struct parameter *parameter = &spec->parameters.items[i];
                assert_true((parameter->distribution == DIST_CONSTANT) == (parameter->value != NULL));
                assert_true((parameter->distribution == DIST_CATEGORICAL) == (parameter->values != NULL));
        }
}

static void decode_all(json_t *document) {
        struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        if (sweep_spec_parse(document, &faults, &spec) == 0)
                check_spec(spec);
        else
                check_faults(&faults);
        sweep_spec_free(spec);
        faults_fini(&faults);
        struct report report = {0};
        if (report_decode(document, &faults, &report) != 0)
                check_faults(&faults);
        report_fini(&report);
        faults_fini(&faults);
        struct enqueue_request enqueue = {0};
        if (enqueue_request_decode(document, &faults, &enqueue) != 0)
                check_faults(&faults);
        enqueue_request_fini(&enqueue);
        faults_fini(&faults);
        struct worker_registration registration = {0};
        if (worker_registration_decode(document, &faults, &registration) != 0)
                check_faults(&faults);
        worker_registration_fini(&registration);
        faults_fini(&faults);
}

static void wrong_documents_end_in_faults(void **state) {
        (void)state;
        for (size_t s = 0; s < sizeof seeds / sizeof *seeds; s++) {
                for (uint64_t round = 0; round < ROUNDS; round++) {
                        struct rng rng;
                        rng_init(&rng, round, s);
                        json_t *document = NULL;
                        assert_int_equal(json_read(seeds[s], strlen(seeds[s]), &document, NULL), 0);
                        for (uint64_t n = 1 + rng_below(&rng, 4); n > 0; n--)
                                mutate(document, &rng, 0);
                        decode_all(document);
                        json_decref(document);
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(wrong_documents_end_in_faults)};
        return cmocka_run_group_tests_name("proto/mutation", tests, NULL, NULL);
}
