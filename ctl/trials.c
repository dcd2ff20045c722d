/* Commands about trials. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "common/cleanup.h"
#include "common/rfc3339.h"
#include "ctl.h"
#include "screen.h"
#include "table.h"

/* Seconds between two times of an answer, -1 when one is missing. */
static double seconds_between(const json_t *trial, const char *from, const char *to) {
        const char *a = field_text(trial, from), *b = field_text(trial, to);
        uint64_t start, end;
        if (!a || !b || rfc3339_parse(a, &start) < 0 || rfc3339_parse(b, &end) < 0)
                return -1;
        return ((double)end - (double)start) / 1000;
}

static int add_row(struct table *table, const json_t *trial) {
        char number[CELL_BYTES], id[CELL_BYTES], state[CELL_BYTES], value[CELL_BYTES], source[CELL_BYTES], took[CELL_BYTES],
                params[CELL_BYTES];
        const char *reason = field_text(trial, "reason"), *name = field_text(trial, "state");
        snprintf(state, sizeof state, "%s%s%s%s", name ? name : "-", reason ? " (" : "", reason ? reason : "", reason ? ")" : "");
        return table_add(table,
                         (const char *[]){text_of(json_object_get(trial, "number"), number, sizeof number),
                                          text_of(json_object_get(trial, "id"), id, sizeof id), state,
                                          text_of_number(json_object_get(trial, "value"), value, sizeof value),
                                          text_of(json_object_get(json_object_get(trial, "proposal"), "source"), source, sizeof source),
                                          text_of_seconds(seconds_between(trial, "started", "finished"), took, sizeof took),
                                          text_of_params(json_object_get(trial, "params"), params, sizeof params)});
}

int command_trials(struct ctl *ctl) {
        __attribute__((cleanup(table_fini))) struct table table = {0};
        const char *sort = config_text(ctl->config, "sort"), *state = config_text(ctl->config, "state");
        if (sort && strcmp(sort, "created") != 0 && strcmp(sort, "value") != 0 && strcmp(sort, "-value") != 0) {
                fprintf(stderr, "sweepctl: --sort is created, value or -value, not '%s'\n", sort);
                return EXIT_USAGE;
        }
        if (state && strspn(state, "abcdefghijklmnopqrstuvwxyz_") != strlen(state)) {
                fprintf(stderr, "sweepctl: '%s' is no state\n", state);
                return EXIT_USAGE;
        }
        char query[128];
        snprintf(query, sizeof query, "%s%s%s%s%.40s", sort ? "sort=" : "", sort ? sort : "", sort && state ? "&" : "",
                 state ? "state=" : "", state ? state : "");
        _cleanup_free_ char *path = ctl_path("sweeps", ctl->args[0], "/trials");
        _cleanup_json_ json_t *list = NULL;
        int code = path ? ctl_list(ctl, path, query, &list) : EXIT_FAILED;
        if (code != EXIT_FINE)
                return code;
        if (ctl->json) {
                ctl_print_json(list);
                return EXIT_FINE;
        }
        int r = table_init(&table, (const char *[]){">#", "=TRIAL", "STATE", ">VALUE", "SOURCE", ">TIME", "PARAMETERS", NULL});
        size_t i;
        json_t *trial;
        json_array_foreach(json_object_get(list, "items"), i, trial) {
                if (r == 0)
                        r = add_row(&table, trial);
        }
        table_print(&table, stdout);
        return r < 0 ? EXIT_FAILED : EXIT_FINE;
}

static void print_line(FILE *out, const char *name, const json_t *value) {
        char text[4096];
        if (value && !json_is_null(value))
                fprintf(out, "%-12s %s\n", name, text_of(value, text, sizeof text));
}

static void print_params(const json_t *params, const char *prefix, FILE *out) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)params, key, value) {
                char name[256], text[1024];
                snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
                if (json_is_object(value) && json_object_size(value) > 0)
                        print_params(value, name, out);
                else
                        fprintf(out, "  %-24s %s\n", name, text_of(value, text, sizeof text));
        }
}

const char *trial_origin(const json_t *trial, char *text, size_t size) {
        const json_t *proposal = json_object_get(trial, "proposal");
        const char *source = field_text(proposal, "source"), *sweep = field_text(proposal, "sweep");
        *text = 0;
        if (source && strcmp(source, "import") == 0)
                snprintf(text, size, "not run here: evaluated elsewhere and imported");
        else if (source && strcmp(source, "warm_start") == 0 && sweep)
                snprintf(text, size, "not run here: trial %.0f of sweep %s, brought by the warm start", field_number(proposal, "number"), sweep);
        else if (source && strcmp(source, "warm_start") == 0)
                snprintf(text, size, "not run here: the sweep's warm start told its value");
        return text;
}

void print_trial(const json_t *trial, FILE *out) {
        static const char *const fields[] = {"id",     "sweep", "number",   "state",   "value",   "reason",   "detail", "attempt",
                                             "worker", "progress", "created", "started", "finished", NULL};
        for (const char *const *field = fields; *field; field++)
                print_line(out, *field, json_object_get(trial, *field));
        if (json_is_integer(json_object_get(trial, "stage")))
                fprintf(out, "%-12s %.0f\n", "stage", field_number(trial, "stage") + 1); /* people count from one, as in `show` and the history */
        char took[64];
        if (seconds_between(trial, "started", "finished") >= 0)
                fprintf(out, "%-12s %s\n", "time", text_of_seconds(seconds_between(trial, "started", "finished"), took, sizeof took));
        print_line(out, "proposal", json_object_get(trial, "proposal"));
        char origin[160];
        if (*trial_origin(trial, origin, sizeof origin))
                fprintf(out, "%-12s %s\n", "origin", origin);
        fprintf(out, "params\n");
        print_params(json_object_get(trial, "params"), "", out);
}

/* One GET that prints either the answer or the trial. */
int command_trial(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        _cleanup_free_ char *path = ctl_path("trials", ctl->args[0], "");
        int code = path ? ctl_call(ctl, "GET", path, NULL, false, NULL, &answer) : EXIT_FAILED;
        if (code != EXIT_FINE)
                return code;
        if (ctl->json)
                ctl_print_json(answer.body);
        else
                print_trial(answer.body, stdout);
        return EXIT_FINE;
}

/* Repeating it changes nothing, so that it may be asked again. */
int command_retry(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        _cleanup_free_ char *path = ctl_path("trials", ctl->args[0], "/retry");
        int code = path ? ctl_call(ctl, "POST", path, NULL, false, NULL, &answer) : EXIT_FAILED;
        if (code != EXIT_FINE)
                return code;
        const char *state = field_text(answer.body, "state");
        if (ctl->json)
                ctl_print_json(answer.body);
        else
                screen_print(stdout, "%s  %s\n", ctl->args[0], state ? state : "?");
        return EXIT_FINE;
}

/* The trials of a file: one configuration, {"trials":[…]}, or just the list. New reference; NULL for what the server will not like. */
static json_t *list_trials(struct document *document) {
        json_t *value = document->value, *list = json_object_get(value, "trials");
        if (json_is_array(value)) {
                document->wrapped_in = "/trials";
                return json_array_size(value) > 0 ? json_incref(value) : NULL;
        }
        if (json_is_array(list) && json_array_size(list) > 0 && json_object_size(value) == 1)
                return json_incref(list);
        if (list || !json_is_object(value))
                return NULL;
        document->wrapped_in = "/trials/0";
        return json_pack("[O]", value);
}

static void tell_refusal(void *data, const struct answer *refusal) {
        ctl_print_problem(refusal, data);
}

int command_enqueue(struct ctl *ctl) {
        __attribute__((cleanup(document_fini))) struct document document = {0};
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        struct error err;
        _cleanup_free_ char *path = ctl_path("sweeps", ctl->args[0], "/trials");
        if (!path)
                return EXIT_FAILED;
        int r = document_read(ctl->args[1], BATCH_FILE_BYTES, &document, &err);
        if (r < 0) {
                ctl_fail(&err);
                if (r == -EFBIG)
                        fprintf(stderr, "  → the trials may stand in several files, each of which is a list\n");
                return EXIT_FAILED;
        }
        document_print_warnings(&document, stderr);
        _cleanup_json_ json_t *trials = list_trials(&document), *created = NULL;
        if (!trials) { /* for the server's words */
                _cleanup_json_ json_t *body = json_is_array(document.value) ? json_pack("{s:O}", "trials", document.value) : json_incref(document.value);
                return ctl_call(ctl, "POST", path, body, true, &document, &answer);
        }
        int code = batch_send(ctl, path, trials, tell_refusal, &document, &created);
        if (code != EXIT_FINE)
                return code;
        if (ctl->json) {
                _cleanup_json_ json_t *whole = json_pack("{s:O}", "items", created);
                ctl_print_json(whole);
                return whole ? EXIT_FINE : EXIT_FAILED;
        }
        size_t i;
        json_t *trial;
        json_array_foreach(created, i, trial) {
                char params[CELL_BYTES];
                printf("%s  %s\n", field_text(trial, "id"), text_of_params(json_object_get(trial, "params"), params, sizeof params));
        }
        return EXIT_FINE;
}

/* --- reproduce ------------------------------------------------------------------------------------- */

static json_t *text_or_null(const char *text) {
        return text ? json_string(text) : json_null();
}

/* What a worker tells its trainer for this trial, without the folders of that worker. */
static json_t *trainer_input(const struct ctl *ctl, const json_t *trial, const json_t *spec) {
        json_t *metric = json_object_get(spec, "metric"), *fixed = json_object_get(spec, "fixed");
        const char *name = field_text(metric, "name"), *goal = field_text(metric, "goal");
        return json_pack("{s:o, s:o, s:{s:s, s:s}, s:O, s:o, s:O, s:I, s:n, s:n}", "model", text_or_null(config_text(ctl->config, "model")),
                         "data", text_or_null(config_text(ctl->config, "data")), "metric", "name", name ? name : "", "goal",
                         goal ? goal : "minimize", "params", json_object_get(trial, "params"), "fixed",
                         fixed ? json_incref(fixed) : json_object(), "seed", json_object_get(trial, "seed"), "threads",
                         (json_int_t)config_integer(ctl->config, "threads"), "checkpoint_dir", "output_dir");
}

int command_reproduce(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer trial = {0}, sweep = {0};
        _cleanup_free_ char *trial_path = ctl_path("trials", ctl->args[0], "");
        int code = trial_path ? ctl_call(ctl, "GET", trial_path, NULL, false, NULL, &trial) : EXIT_FAILED;
        if (code != EXIT_FINE)
                return code;
        const char *id = field_text(trial.body, "sweep");
        _cleanup_free_ char *sweep_path = ctl_path("sweeps", id ? id : "", "");
        code = sweep_path ? ctl_call(ctl, "GET", sweep_path, NULL, false, NULL, &sweep) : EXIT_FAILED;
        if (code != EXIT_FINE)
                return code;
        if (!json_is_integer(json_object_get(trial.body, "seed"))) {
                fprintf(stderr, "sweepctl: this server does not tell a trial's seed\n");
                return EXIT_FAILED;
        }
        _cleanup_json_ json_t *input = trainer_input(ctl, trial.body, json_object_get(sweep.body, "spec"));
        if (!input)
                return EXIT_FAILED;
        ctl_print_json(input);
        if (!config_text(ctl->config, "model") || !config_text(ctl->config, "data"))
                fprintf(stderr, "sweepctl: model and data are null; --model DIR and --data DIR fill them in\n");
        return EXIT_FINE;
}
