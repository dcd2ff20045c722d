/* sweepctl: the command line client. Every command is one row of the table below: its arguments, the options it takes
 * beside the common ones, and the function that does it. */
#include <curl/curl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/nearest.h"
#include "ctl.h"

#define DEFAULT_SERVER "http://127.0.0.1:8484"

static int command_completion(struct ctl *ctl);

static const struct ctl_command commands[] = {
        {"create", "FILE|-", "", false, command_create, "create a sweep from a spec in YAML or JSON"},
        {"check", "FILE|-", "", true, command_check, "find all faults of a spec, without a server"},
        {"list", "", " state limit ", false, command_list, "sweeps"},
        {"show", "SWEEP", "", false, command_show, "one sweep: state, progress, stages, best trial"},
        {"trials", "SWEEP", " sort state limit ", false, command_trials, "trials of a sweep"},
        {"trial", "TRIAL", "", false, command_trial, "one trial"},
        {"best", "SWEEP", "", false, command_best, "the best trial so far"},
        {"watch", "SWEEP", " interval ", false, command_watch, "follow a sweep until it ends (exit 0: finished, 1: cancelled)"},
        {"pause", "SWEEP", "", false, command_pause, "hand out no more trials; running ones end"},
        {"resume", "SWEEP", "", false, command_resume, "go on"},
        {"cancel", "SWEEP", "", false, command_cancel, "stop for good"},
        {"delete", "SWEEP", "", false, command_delete, "forget a sweep that does not run, with all its trials"},
        {"retry", "TRIAL", "", false, command_retry, "run a trial that has ended again, with fresh attempts"},
        {"extend", "SWEEP", " run-cap ", false, command_extend, "change how many trials it may run: --run-cap N"},
        {"edit", "SWEEP [FILE|-]", " set ", false, command_edit, "change the spec: a merge patch in YAML or JSON, --set PATH=VALUE, or $EDITOR"},
        {"history", "SWEEP", " limit ", false, command_history, "what was changed, when and by whom"},
        {"enqueue", "SWEEP FILE|-", " key ", false, command_enqueue, "add configurations, or finished ones with their value: YAML, or JSON of up to 64 MiB"},
        {"import", "SWEEP FILE.csv", " value-column key ", false, command_import, "finished trials from a CSV: ours, W&B's, or any with named columns"},
        {"export", "SWEEP", " format output ", false, command_export, "all trials: --format csv, json, jsonl or tensorboard"},
        {"fetch-model", "SWEEP|TRIAL DIR", "", false, command_fetch_model, "the kept model of a sweep's best trial, or of one trial, as a new folder"},
        {"report", "SWEEP", " output ", false, command_report, "what the sweep found: --output report.html or report.md (default: Markdown on stdout)"},
        {"workers", "", " state limit ", false, command_workers, "workers and what they do"},
        {"drain", "WORKER", " limit ", false, command_drain, "hand a worker (id or name) no more trials"},
        {"undrain", "WORKER", " limit ", false, command_undrain, "hand a drained or quarantined worker trials again"},
        {"forget", "WORKER", " limit ", false, command_forget, "forget a worker that is gone"},
        {"importance", "SWEEP", "", false, command_importance, "which parameters matter, and which cannot be told from noise"},
        {"completion", "bash|zsh", "", true, command_completion, "a completion script for the shell"},
        {"reproduce", "TRIAL", " model data threads ", false, command_reproduce, "what sweep-trainer needs on stdin to run a trial again"},
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static const struct config_option options[] = {
        {"server", CONFIG_TEXT, "URL", NULL, 0, 0, "the coordinator (default $SWEEPD_URL, else " DEFAULT_SERVER ")", true},
        {"token-file", CONFIG_TEXT, "FILE", NULL, 0, 0, "file with the token alone, mode 0600", true},
        {"ca", CONFIG_TEXT, "FILE", NULL, 0, 0, "PEM certificates to trust for https", true},
        {"json", CONFIG_FLAG, NULL, NULL, 0, 0, "print the server's answer", true},
        {"sort", CONFIG_TEXT, "ORDER", NULL, 0, 0, "trials: created, value or -value", true},
        {"state", CONFIG_TEXT, "STATE", NULL, 0, 0, "list, trials, workers: only those in this state", true},
        {"limit", CONFIG_INTEGER, "N", "1000", 1, 1000000, "list, trials, workers, history: at most so many", true},
        {"run-cap", CONFIG_INTEGER, "N", NULL, 1, 1000000000, "extend: the new number", true},
        {"set", CONFIG_LIST, "PATH=VALUE", NULL, 0, 0, "edit: parameters.lr.max=1e-4, stages.1.run_cap=30, …; null takes out", true},
        {"format", CONFIG_TEXT, "FORMAT", "csv", 0, 0, "export: csv, json, jsonl or tensorboard (a folder of event files)", true},
        {"value-column", CONFIG_TEXT, "NAME", NULL, 0, 0, "import: the column of the value (default: the metric's name, else 'value')", true},
        {"key", CONFIG_TEXT, "KEY", NULL, 0, 0, "enqueue, import: sent again with the same key, nothing is taken twice (for a day)", true},
        {"output", CONFIG_TEXT, "FILE", NULL, 0, 0, "report, export: the file to write (-o, too), of a report .html or .md; tensorboard: the new folder", true, 'o'},
        {"interval", CONFIG_INTEGER, "SECONDS", "2", 1, 3600, "watch: time between looks", true},
        {"model", CONFIG_TEXT, "DIR", NULL, 0, 0, "reproduce: the model's folder", true},
        {"data", CONFIG_TEXT, "DIR", NULL, 0, 0, "reproduce: the data's folder", true},
        {"threads", CONFIG_INTEGER, "N", "2", 1, 1024, "reproduce: threads of the trainer", true},
        {0},
};

static const char common_options[] = " server token-file ca json ";

static bool is_listed(const char *list, const char *name) {
        char word[64];
        snprintf(word, sizeof word, " %s ", name);
        return strstr(list, word) != NULL;
}

bool ctl_takes_option(const struct ctl_command *command, const char *name) {
        return is_listed(common_options, name) || is_listed(command->options, name);
}

static int command_completion(struct ctl *ctl) {
        if (ctl->json) {
                fprintf(stderr, "sweepctl: --json is no option of 'completion': a script for a shell is all that it prints\n");
                return EXIT_USAGE;
        }
        return print_completion(ctl->args[0], commands, N_COMMANDS, options);
}

static const struct ctl_command *find_command(const char *name) {
        for (size_t i = 0; i < N_COMMANDS; i++)
                if (strcmp(commands[i].name, name) == 0)
                        return &commands[i];
        return NULL;
}

static int refuse_command(const char *name) {
        struct nearest nearest = {.word = name};
        for (size_t i = 0; i < N_COMMANDS; i++)
                nearest_offer(&nearest, commands[i].name);
        fprintf(stderr, "sweepctl: unknown command '%s'", name);
        if (nearest.name)
                fprintf(stderr, ": did you mean '%s'?\n", nearest.name);
        else
                fprintf(stderr, " (try sweepctl --help)\n");
        return EXIT_USAGE;
}

/* Words of text, without those in brackets where `needed`. */
static size_t count_words(const char *text, bool needed) {
        size_t n = *text && !(needed && *text == '[') ? 1 : 0;
        for (; *text; text++)
                n += *text == ' ' && !(needed && text[1] == '[');
        return n;
}

static int usage(const char *format, const char *what) {
        fprintf(stderr, "sweepctl: ");
        fprintf(stderr, format, what);
        fprintf(stderr, " (try sweepctl --help)\n");
        return EXIT_USAGE;
}

static int check_usage(const struct config *config, const struct ctl_command *command, size_t n_arguments) {
        if (n_arguments < count_words(command->arguments, true) || n_arguments > count_words(command->arguments, false)) {
                fprintf(stderr, "usage: sweepctl %s%s%s\n", command->name, *command->arguments ? " " : "", command->arguments);
                return EXIT_USAGE;
        }
        for (const struct config_option *option = options; option->name; option++)
                if (config_is_set(config, option->name) && !ctl_takes_option(command, option->name)) {
                        fprintf(stderr, "sweepctl: --%s is no option of '%s'\n", option->name, command->name);
                        return EXIT_USAGE;
                }
        return EXIT_FINE;
}

static int run(const struct config *config, const struct ctl_command *command, const char *const *arguments, size_t n_arguments) {
        struct ctl ctl = {.config = config, .json = config_flag(config, "json"), .args = arguments, .n_args = n_arguments};
        struct error err;
        const char *url = config_text(config, "server");
        if (!url)
                url = getenv("SWEEPD_URL");
        if (!command->offline && client_new(url && *url ? url : DEFAULT_SERVER, config_text(config, "token-file"),
                                            config_text(config, "ca"), &ctl.client, &err) < 0)
                return ctl_fail(&err);
        int code = command->run(&ctl);
        client_free(ctl.client);
        if (fflush(stdout) != 0 || ferror(stdout)) {
                fprintf(stderr, "sweepctl: cannot write the result\n");
                return EXIT_FAILED;
        }
        return code;
}

static char *make_summary(void) {
        struct buf text = BUF_INIT(0);
        int r = buf_puts(&text, "The command line client of sweepd, the coordinator of hyperparameter sweeps.\n\ncommands:");
        for (size_t i = 0; r == 0 && i < N_COMMANDS; i++) {
                char left[64];
                snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].arguments);
                r = buf_printf(&text, "\n  %-28s %s", left, commands[i].help);
        }
        if (r < 0)
                buf_fini(&text);
        return text.data;
}

int main(int argc, char **argv) {
        setlocale(LC_CTYPE, "C.UTF-8"); /* widths of characters, whatever the user's language */
        _cleanup_free_ char *summary = make_summary();
        const struct config_program program = {.name = "sweepctl",
                                               .usage = "COMMAND [ARGUMENT…] [OPTION…]",
                                               .summary = summary ? summary : "",
                                               .options = options,
                                               .max_positional = 8};
        struct config *config;
        struct error err;
        size_t n;
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_FINE;
        if (r < 0)
                return usage("%s", err.text);
        const char *const *words = config_positional(config, &n);
        const struct ctl_command *command = n > 0 ? find_command(words[0]) : NULL;
        int code;
        if (!command)
                code = n > 0 ? refuse_command(words[0]) : usage("%s", "a command is needed");
        else
                code = check_usage(config, command, n - 1);
        if (code == EXIT_FINE) {
                curl_global_init(CURL_GLOBAL_DEFAULT);
                code = run(config, command, words + 1, n - 1);
                curl_global_cleanup();
        }
        config_free(config);
        return code;
}
