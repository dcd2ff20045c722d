#include "agent/selftest.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/command.h"
#include "agent/process.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"

#define PATIENCE_MS 120000 /* it takes half a second, more on a machine that swaps */

/* The kernels of AVX-512, of AVX2 and of plain C with any OpenBLAS core, number of threads and way of products differ by less than
 * 1e-6 from these, in bfloat16 by up to 0.011: its roundings fall one way or the other, so that its numbers here are the middle of
 * what was seen. tests/data and build/tests/golden_replay hold the same kernels to PyTorch. */
#define TOLERANCE_F32 1e-5
#define TOLERANCE_BF16 0.05
#define FLOOR 0.5 /* errors of smaller numbers are taken as if they were so large */

static const struct {
        const char *name;
        double value;
} expected[] = {
        {"f32 loss 1", 0.667295621},
        {"f32 gradient norm 1", 2.15441628},
        {"f32 loss 2", 0.452133955},
        {"f32 gradient norm 2", 1.70498196},
        {"f32 loss 3", 0.412916242},
        {"f32 gradient norm 3", 1.53534029},
        {"f32 loss 4", 0.250603928},
        {"f32 gradient norm 4", 1.36319746},
        {"f32 logit 0", -1.28648365},
        {"f32 logit 1", 0.797250867},
        {"f32 logit 2", -1.17043424},
        {"f32 logit 3", -1.17607248},
        {"f32 logit 4", 0.301066518},
        {"f32 logit 5", -1.35155785},
        {"bf16 loss 1", 0.66725},
        {"bf16 gradient norm 1", 2.1464},
        {"bf16 loss 2", 0.45135},
        {"bf16 gradient norm 2", 1.6942},
        {"bf16 loss 3", 0.41284},
        {"bf16 gradient norm 3", 1.5734},
        {"bf16 loss 4", 0.25261},
        {"bf16 gradient norm 4", 1.3434},
        {"bf16 logit 0", -1.2562},
        {"bf16 logit 1", 0.80973},
        {"bf16 logit 2", -1.1329},
        {"bf16 logit 3", -1.1563},
        {"bf16 logit 4", 0.28104},
        {"bf16 logit 5", -1.3309},
};
#define N_EXPECTED (sizeof expected / sizeof *expected)

struct selftest {
        struct selftest_plan plan;
        struct process *process;
        json_t *told; /* NULL: nothing yet */
        uint64_t started_ms;
        bool is_late;
};

static const char *word(const json_t *told, const char *name) {
        const char *text = json_string_value(json_object_get(told, name));
        return text ? text : "not told";
}

bool selftest_judge(const json_t *told, char ret_words[static SELFTEST_WORDS]) {
        const json_t *numbers = json_object_get(told, "numbers");
        char what[192] = "";
        for (size_t i = 0; i < N_EXPECTED && !what[0]; i++) {
                const json_t *number = json_object_get(numbers, expected[i].name);
                double value = json_number_value(number), wanted = expected[i].value;
                double tolerance = (strncmp(expected[i].name, "bf16", 4) == 0 ? TOLERANCE_BF16 : TOLERANCE_F32) * fmax(fabs(wanted), FLOOR);
                if (!json_is_number(number))
                        snprintf(what, sizeof what, "the trainer does not tell its %s: it is of another build", expected[i].name);
                else if (!(fabs(value - wanted) <= tolerance))
                        snprintf(what, sizeof what, "%s is %.9g and should be %.9g", expected[i].name, value, wanted);
        }
        if (!what[0] && !json_is_true(json_object_get(told, "repeats")))
                snprintf(what, sizeof what, "the same step gave other bits the second time: memory or processor");
        if (!what[0])
                return true;
        snprintf(ret_words, SELFTEST_WORDS, "self-test: %s (kernels %.24s, products %.48s and %.48s, BLAS core %.24s, %.80s)", what, word(told, "kernels"),
                 word(told, "f32"), word(told, "bf16"), word(told, "core"), word(told, "blas"));
        return false;
}

static void on_line(void *data, const char *text, size_t len) {
        struct selftest *selftest = data;
        _cleanup_json_ json_t *line = NULL;
        if (!text || selftest->told || json_read(text, len, &line, NULL) < 0)
                return;
        if (strcmp(word(line, "event"), "selftest") == 0)
                selftest->told = TAKE(line);
}

static void on_end(void *data, const struct process_end *end) {
        struct selftest *selftest = data;
        char words[SELFTEST_WORDS];
        size_t len = strlen(end->stderr_tail), shown = len < 200 ? len : 200;
        bool is_fit = false;
        selftest->process = NULL;
        if (selftest->is_late)
                snprintf(words, sizeof words, "self-test: the trainer did not end within %d s", PATIENCE_MS / 1000);
        else if (end->signal || end->exit_status || !selftest->told)
                snprintf(words, sizeof words, "self-test: the trainer ended with %s %d%s: %s", end->signal ? "signal" : "status",
                         end->signal ? end->signal : end->exit_status, selftest->told ? "" : " and told no numbers", end->stderr_tail + len - shown);
        else
                is_fit = selftest_judge(selftest->told, words);
        if (is_fit)
                log_info("self-test passed", log_s("kernels", word(selftest->told, "kernels")), log_s("f32", word(selftest->told, "f32")), log_s("bf16", word(selftest->told, "bf16")),
                         log_s("core", word(selftest->told, "core")), log_f("seconds", (double)(world_mono_ms(selftest->plan.world) - selftest->started_ms) / 1000));
        selftest->plan.done(selftest->plan.data, is_fit ? NULL : words, end->signal == SIGKILL && !selftest->is_late);
}

const json_t *selftest_told(const struct selftest *selftest) {
        return selftest ? selftest->told : NULL;
}

int selftest_start(const struct selftest_plan *plan, struct selftest **ret, struct error *err) {
        _cleanup_words_ struct words argv = {0}, variables = {0};
        struct selftest *selftest = calloc(1, sizeof *selftest);
        char *input = strdup("");
        if (!selftest || !input) {
                free(selftest);
                free(input);
                return error_set(err, -ENOMEM, "out of memory");
        }
        *selftest = (struct selftest){.plan = *plan, .started_ms = world_mono_ms(plan->world)};
        int r = command_add_launcher(&argv, plan->options->launcher);
        if (r == 0)
                r = words_add(&argv, "%s", plan->options->trainer_program);
        if (r == 0)
                r = words_add(&argv, "selftest");
        if (r == 0)
                r = words_add(&argv, "--threads");
        if (r == 0)
                r = words_add(&argv, "%u", plan->threads);
        if (r == 0)
                r = command_add_environment(&variables, plan->threads);
        struct process_events events = {.data = selftest, .line = on_line, .end = on_end};
        if (r == 0)
                r = process_start(plan->loop, &argv, &variables, plan->folder, TAKE(input), &events, &selftest->process, err);
        else
                error_set(err, r, "out of memory");
        free(input);
        if (r < 0) {
                free(selftest);
                return r;
        }
        *ret = selftest;
        return 0;
}

void selftest_free(struct selftest *selftest) {
        if (!selftest)
                return;
        json_decref(selftest->told);
        free(selftest);
}

void selftest_pump(struct selftest *selftest) {
        if (!selftest->process || selftest->is_late || world_mono_ms(selftest->plan.world) - selftest->started_ms < PATIENCE_MS)
                return;
        selftest->is_late = true;
        process_signal(selftest->process, SIGKILL);
}

void selftest_cancel(struct selftest *selftest) {
        if (selftest->process)
                process_signal(selftest->process, SIGKILL);
}
