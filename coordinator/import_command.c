/* sweepd import-optuna: reads a file and writes a spec; whoever creates the sweep is asked by the coordinator as for any other. */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/json.h"
#include "store/optuna.h"

static const struct config_option options[] = {
        {"study", CONFIG_TEXT, "NAME", NULL, 0, 0, "which study of the file; needed when it holds several", true},
        {"metric", CONFIG_TEXT, "NAME", "value", 0, 0, "what the value shall be called", true},
        {"trials", CONFIG_FLAG, NULL, NULL, 0, 0, "print only the finished trials, for sweepctl enqueue", true},
        {0},
};

static const struct config_program program = {
        .name = "sweepd import-optuna",
        .usage = "[OPTION…] FILE.db",
        .summary = "Reads a study from Optuna's SQLite storage (versions 3 to 5) and prints it as a sweep spec: its parameters, its direction, and\n"
                   "its completed trials as warm_start. 'sweepd import-optuna FILE.db | sweepctl create -' makes a sweep that goes on from there;\n"
                   "with --trials, '… | sweepctl enqueue SWEEP -' gives the evidence to a sweep that is there. The file is only read.",
        .options = options,
        .max_positional = 1,
};

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

static int fail(const struct error *err, int code) {
        fprintf(stderr, "%s: %s\n", program.name, err->text);
        return code;
}

static void tell(const struct optuna_tally *tally) {
        fprintf(stderr, "%llu trials taken", (unsigned long long)tally->n_taken);
        if (tally->n_unfinished > 0)
                fprintf(stderr, "; %llu not completed (failed, pruned, running)", (unsigned long long)tally->n_unfinished);
        if (tally->n_without_value > 0)
                fprintf(stderr, "; %llu without a finite value", (unsigned long long)tally->n_without_value);
        if (tally->n_partial > 0)
                fprintf(stderr, "; %llu without some of the parameters", (unsigned long long)tally->n_partial);
        if (tally->n_too_many > 0)
                fprintf(stderr, "; %llu more than the %d that a sweep begins with", (unsigned long long)tally->n_too_many, OPTUNA_TRIALS_MAX);
        fputc('\n', stderr);
}

int command_import_optuna(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        _cleanup_json_ json_t *spec = NULL;
        struct optuna_tally tally;
        struct error err = {0};
        size_t n;
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        const char *const *words = r == 0 ? config_positional(config, &n) : NULL;
        if (r == 0 && n == 0)
                r = error_set(&err, -EINVAL, "expected Optuna's database: FILE.db");
        if (r < 0)
                return fail(&err, EXIT_USAGE);
        r = store_read_optuna(words[0], config_text(config, "study"), config_text(config, "metric"), &spec, &tally, &err);
        if (r < 0)
                return fail(&err, EXIT_FAILURE);
        _cleanup_json_ json_t *trials = json_pack("{s:O}", "trials", json_object_get(spec, "warm_start"));
        _cleanup_free_ char *text = json_text(config_flag(config, "trials") ? trials : spec);
        if (!text || puts(text) < 0 || fflush(stdout) != 0) {
                error_set(&err, -EIO, "cannot write the result");
                return fail(&err, EXIT_FAILURE);
        }
        tell(&tally);
        return EXIT_SUCCESS;
}
