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
        {"trials", CONFIG_FLAG, NULL, NULL, 0, 0, "print only the trials, with their intermediate values, for sweepctl enqueue", true},
        {"space", CONFIG_FLAG, NULL, NULL, 0, 0, "print only the spec, without the trials", true},
        {0},
};

static const struct config_program program = {
        .name = "sweepd import-optuna",
        .usage = "[OPTION…] FILE.db",
        .summary = "Reads a study from Optuna's SQLite storage (versions 3 to 5) and prints it as a sweep spec: its parameters, its direction, and\n"
                   "its completed and pruned trials as warm_start. 'sweepd import-optuna FILE.db | sweepctl create -' makes a sweep that goes on\n"
                   "from there. With --trials it prints the trials alone, and the intermediate values of each as its series: '… | sweepctl enqueue\n"
                   "SWEEP -' gives them to a sweep that is there, as one made of the spec that --space prints. The file is only read.",
        .options = options,
        .max_positional = 1,
};

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

static int fail(const struct error *err, int code) {
        fprintf(stderr, "%s: %s\n", program.name, err->text);
        return code;
}

static void tell(const struct optuna_tally *tally) {
        const struct {
                uint64_t n;
                const char *what;
        } left_out[] = {{tally->n_failed, "failed"},
                        {tally->n_open, "still running or waiting"},
                        {tally->n_without_value, "without a finite value"},
                        {tally->n_partial, "without some of the parameters"},
                        {tally->n_too_many, "more than a sweep begins with"}};
        fprintf(stderr, "%llu trials taken", (unsigned long long)tally->n_taken);
        if (tally->n_pruned > 0)
                fprintf(stderr, ", %llu of them pruned ones", (unsigned long long)tally->n_pruned);
        if (tally->n_points > 0)
                fprintf(stderr, ", with %llu points of their series", (unsigned long long)tally->n_points);
        if (tally->stride > 1)
                fprintf(stderr, " (one of %llu)", (unsigned long long)tally->stride);
        const char *before = "; left out: ";
        for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
                if (left_out[i].n > 0) {
                        fprintf(stderr, "%s%llu %s", before, (unsigned long long)left_out[i].n, left_out[i].what);
                        before = ", ";
                }
        fputc('\n', stderr);
}

int command_import_optuna(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        _cleanup_json_ json_t *spec = NULL, *trials = NULL;
        struct optuna_tally tally;
        struct error err = {0};
        size_t n;
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        const char *const *words = r == 0 ? config_positional(config, &n) : NULL;
        bool only_trials = r == 0 && config_flag(config, "trials"), only_space = r == 0 && config_flag(config, "space");
        if (r == 0 && n == 0)
                r = error_set(&err, -EINVAL, "expected Optuna's database: FILE.db");
        if (r == 0 && only_trials && only_space)
                r = error_set(&err, -EINVAL, "--trials and --space exclude each other");
        if (r < 0)
                return fail(&err, EXIT_USAGE);
        r = store_read_optuna(words[0], config_text(config, "study"), config_text(config, "metric"), only_trials, &spec, &trials, &tally, &err);
        if (r < 0)
                return fail(&err, EXIT_FAILURE);
        _cleanup_json_ json_t *list = json_pack("{s:O}", "trials", trials);
        if (!only_trials && !only_space)
                json_object_set(spec, "warm_start", trials);
        _cleanup_free_ char *text = json_text(only_trials ? list : spec);
        if (!text || puts(text) < 0 || fflush(stdout) != 0) {
                error_set(&err, -EIO, "cannot write the result");
                return fail(&err, EXIT_FAILURE);
        }
        if (!only_space)
                tell(&tally);
        return EXIT_SUCCESS;
}
