/* sweep-worker: options in, agent_run, exit status out. */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/doctor.h"
#include "agent/launch.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/credential.h"
#include "common/fs.h"
#include "common/log.h"
#include "fetch/fetch.h"
#include "proto/limits.h"

static const struct config_option options_table[] = {
        {"coordinator", CONFIG_TEXT, "URL", "http://127.0.0.1:8484", .help = "the coordinator's address"},
        {"token-file", CONFIG_TEXT, "FILE", NULL, .help = "the worker's token alone, mode 0600"},
        {"ca", CONFIG_TEXT, "FILE", NULL, .help = "certificates to trust for https"},
        {"name", CONFIG_TEXT, "NAME", NULL, .help = "this worker's name, unique among workers (default: the host's name)"},
        {"slots", CONFIG_TEXT, "N|auto", "auto", .help = "trials at a time; auto: what trains most here, measured once"},
        {"threads", CONFIG_TEXT, "N|auto", "auto", .help = "threads of one trial; auto: as slots"},
        {"work-dir", CONFIG_TEXT, "DIR", "./sweep-work", .help = "checkpoints, results and kept models"},
        {"checkpoint-dir", CONFIG_TEXT, "DIR", NULL, .help = "checkpoints here instead, shared with other workers: they go on where one was lost"},
        {"model", CONFIG_TEXT, "DIR", NULL, .help = "the model to fine-tune (default: the installed demo's)"},
        {"data", CONFIG_TEXT, "DIR", NULL, .help = "the sentence pairs (default: the installed demo's)"},
        {"trainer", CONFIG_LIST, "distilbert-mrpc|command", NULL, .help = "serve only this kind; may be repeated (default: all that is set up)"},
        {"allow-command", CONFIG_LIST, "NAME=PATH", NULL, .help = "let sweeps run this program as command NAME; may be repeated"},
        {"command-memory-mb", CONFIG_INTEGER, "N", "0", 0, INT64_MAX >> 20, "memory of its own that each process of such a program may have; 0: no limit"},
        {"command-file-mb", CONFIG_INTEGER, "N", "0", 0, INT64_MAX >> 20, "size of a file that such a program may write; 0: no limit"},
        {"max-trials", CONFIG_INTEGER, "N", "0", 0, INT64_MAX, "end after so many trials; 0: never"},
        {"exit-when-idle", CONFIG_INTEGER, "SECONDS", NULL, 0, 1000000000, "end after so long without a trial"},
        {"keep-models", CONFIG_INTEGER, "N", "1", 0, 1000, "best models kept of each sweep"},
        {"models-max-mb", CONFIG_INTEGER, "N", "4096", 0, INT64_MAX >> 20, "room for the kept models of all sweeps: the oldest go; 0: a thousand models"},
        {"min-free-mb", CONFIG_INTEGER, "N", "1024", 0, INT64_MAX >> 20, "take no trial with less free disk space"},
        {"trainer-program", CONFIG_TEXT, "PATH", NULL, .help = "the training program (default: sweep-trainer beside this one)"},
        {"log-level", CONFIG_TEXT, "LEVEL", "info", .help = "debug, info, warning or error"},
        {"config", CONFIG_TEXT, "FILE", NULL, .help = "read options from here: key = value", .command_line_only = true},
        {"dump-config", CONFIG_FLAG, NULL, NULL, .help = "print the effective configuration and exit", .command_line_only = true},
        {NULL},
};

static const struct config_program program = {
        .name = "sweep-worker",
        .usage = "[OPTION…]\n       sweep-worker doctor|fetch …  (each has its own --help)",
        .summary = "Runs trials for a sweepd coordinator: pulls them, trains, reports. Ends cleanly on SIGTERM.\n"
                   "sweep-worker doctor [OPTION…] says what such a worker would find wrong; sweep-worker fetch NAME… --to DIR fetches models and data.",
        .environment = "SWEEP_WORKER_",
        .options = options_table,
        .max_positional = 1,
};

/* Strings that live as long as the program. */
struct paths {
        char self[PATH_MAX], folder[PATH_MAX], host[256];
        char *token, *ca; /* given by the service manager */
        char *trainer, *demo_model, *demo_data, *model, *data;
        struct agent_command *commands;
        size_t n_commands;
};

static void paths_fini(struct paths *paths) {
        free(paths->token);
        free(paths->ca);
        free(paths->trainer);
        free(paths->demo_model);
        free(paths->demo_data);
        free(paths->model);
        free(paths->data);
        for (size_t i = 0; i < paths->n_commands; i++) {
                free(paths->commands[i].name);
                free(paths->commands[i].path);
        }
        free(paths->commands);
}

static int find_self(struct paths *paths, struct error *err) {
        ssize_t n = readlink("/proc/self/exe", paths->self, sizeof paths->self - 1);
        if (n < 0)
                return error_set(err, -errno, "cannot find this program: %s", strerror(errno));
        paths->self[n] = 0;
        memcpy(paths->folder, paths->self, (size_t)n + 1);
        *strrchr(paths->folder, '/') = 0;
        if (gethostname(paths->host, sizeof paths->host - 1) < 0 || !paths->host[0])
                snprintf(paths->host, sizeof paths->host, "worker");
        return 0;
}

static bool exists(const char *path) {
        return path && access(path, F_OK) == 0;
}

/* A count or "auto" (0). */
static int read_count(const char *name, const char *text, unsigned max, unsigned *ret, struct error *err) {
        char *end;
        errno = 0;
        unsigned long n = strcmp(text, "auto") == 0 ? 0 : strtoul(text, &end, 10);
        if (strcmp(text, "auto") != 0 && (errno || *end || n < 1 || n > max || text[0] == '-'))
                return error_set(err, -EINVAL, "--%s: expected auto or a whole number from 1 to %u, got '%s'", name, max, text);
        *ret = (unsigned)n;
        return 0;
}

static int check_program(const char *path, struct error *err) {
        struct stat st;
        if (path[0] != '/')
                return error_set(err, -EINVAL, "%s: give the absolute path of a program", path);
        if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || access(path, X_OK) < 0)
                return error_set(err, -ENOENT, "%s is not a program that can be run", path);
        return 0;
}

static int add_command(struct paths *paths, const char *text, struct error *err) {
        const char *equals = strchr(text, '=');
        if (!equals || equals == text || !equals[1] || equals - text > LIMIT_NAME_BYTES - 8)
                return error_set(err, -EINVAL, "--allow-command: expected NAME=PATH, got '%s'", text);
        struct agent_command command = {strndup(text, (size_t)(equals - text)), realpath(equals + 1, NULL)};
        struct agent_command *commands = realloc(paths->commands, (paths->n_commands + 1) * sizeof *commands);
        if (commands) {
                paths->commands = commands;
                commands[paths->n_commands++] = command;
        }
        if (!commands || !command.name)
                return error_set(err, -ENOMEM, "out of memory");
        return command.path ? check_program(command.path, err) : error_set(err, -ENOENT, "--allow-command: no such program: %s", equals + 1);
}

/* Which kinds of trainer are served: those asked for, else the built-in one and every allowed command. */
static int choose_trainers(const struct config *config, struct paths *paths, struct agent_options *ret, struct error *err) {
        size_t n_kinds, n_allowed;
        const char *const *kinds = config_list(config, "trainer", &n_kinds), *const *allowed = config_list(config, "allow-command", &n_allowed);
        bool wants_commands = n_kinds == 0;
        ret->serves_distilbert = n_kinds == 0;
        for (size_t i = 0; i < n_kinds; i++) {
                if (strcmp(kinds[i], "distilbert-mrpc") == 0)
                        ret->serves_distilbert = true;
                else if (strcmp(kinds[i], "command") == 0)
                        wants_commands = true;
                else
                        return error_set(err, -EINVAL, "--trainer: expected distilbert-mrpc or command, got '%s'", kinds[i]);
        }
        int r = 0;
        for (size_t i = 0; r == 0 && wants_commands && i < n_allowed; i++)
                r = add_command(paths, allowed[i], err);
        if (r == 0 && wants_commands && n_kinds > 0 && n_allowed == 0)
                r = error_set(err, -EINVAL, "--trainer command needs --allow-command NAME=PATH");
        ret->commands = paths->commands;
        ret->n_commands = paths->n_commands;
        return r;
}

/* PREFIX/bin/sweep-worker has its demo in PREFIX/share/sweepd/demo. */
static int find_demo(struct paths *paths, struct error *err) {
        _cleanup_free_ char *root = fs_join(paths->folder, "../share/sweepd/demo");
        const char *share = getenv("SWEEPD_SHARE_DIR");
        if (!exists(root)) {
                free(root);
                root = fs_join(share && *share ? share : SWEEPD_SHARE_DIR, "demo");
        }
        paths->demo_model = root ? fs_join(root, "model") : NULL;
        paths->demo_data = root ? fs_join(root, "data") : NULL;
        if (!paths->demo_model || !paths->demo_data)
                return error_set(err, -ENOMEM, "out of memory");
        return 0;
}

static int find_folder(const char *name, const char *given, char **ret, struct error *err) {
        *ret = realpath(given, NULL);
        return *ret ? 0 : error_set(err, -errno, "--%s: cannot find %s: %s", name, given, strerror(errno));
}

static int find_training(const struct config *config, struct paths *paths, struct agent_options *ret, struct error *err) {
        const char *model = config_text(config, "model"), *data = config_text(config, "data"), *trainer = config_text(config, "trainer-program");
        if (!ret->serves_distilbert)
                return 0;
        ret->is_demo = !model && !data;
        if (!ret->is_demo && (!model || !data))
                return error_set(err, -EINVAL, "give both --model and --data, or none of them for the demo");
        int r = find_demo(paths, err);
        if (r == 0)
                r = find_folder("model", model ? model : paths->demo_model, &paths->model, err);
        if (r == 0)
                r = find_folder("data", data ? data : paths->demo_data, &paths->data, err);
        if (r < 0)
                return r;
        ret->model_dir = paths->model;
        ret->data_dir = paths->data;
        _cleanup_free_ char *beside = fs_join(paths->folder, "sweep-trainer"), *built = fs_join(paths->folder, "trainer/sweep-trainer");
        if (!trainer)
                trainer = exists(beside) || !exists(built) ? beside : built; /* the build folder has it one level down */
        paths->trainer = trainer ? realpath(trainer, NULL) : NULL;
        if (!paths->trainer)
                return error_set(err, -ENOENT, "cannot find the training program %s", trainer);
        ret->trainer_program = paths->trainer;
        return check_program(paths->trainer, err);
}

static int read_options(const struct config *config, struct paths *paths, struct agent_options *ret, struct error *err) {
        paths->token = credential_path("sweep-worker", "token");
        paths->ca = credential_path("sweep-worker", "ca");
        *ret = (struct agent_options){
                .coordinator = config_text(config, "coordinator"),
                .token_file = config_text(config, "token-file") ? config_text(config, "token-file") : paths->token,
                .ca_file = config_text(config, "ca") ? config_text(config, "ca") : paths->ca,
                .name = config_text(config, "name") ? config_text(config, "name") : paths->host,
                .work_dir = config_text(config, "work-dir"),
                .checkpoint_dir = config_text(config, "checkpoint-dir"),
                .max_trials = (uint64_t)config_integer(config, "max-trials"),
                .exit_when_idle_s = config_text(config, "exit-when-idle") ? (double)config_integer(config, "exit-when-idle") : -1,
                .keep_models = (unsigned)config_integer(config, "keep-models"),
                .models_max_bytes = (uint64_t)config_integer(config, "models-max-mb") << 20,
                .min_free_bytes = (uint64_t)config_integer(config, "min-free-mb") << 20,
                .launcher = paths->self,
                .command_memory_mb = (uint64_t)config_integer(config, "command-memory-mb"),
                .command_file_mb = (uint64_t)config_integer(config, "command-file-mb"),
        };
        int r = read_count("slots", config_text(config, "slots"), LIMIT_SLOTS, &ret->slots, err);
        if (r == 0)
                r = read_count("threads", config_text(config, "threads"), 1024, &ret->threads, err);
        if (r == 0)
                r = choose_trainers(config, paths, ret, err);
        return r;
}

static int fail(const struct error *err, int status) {
        fprintf(stderr, "sweep-worker: %s\n", err->text);
        return status;
}

static int run(const struct config *config) {
        struct paths paths = {0};
        struct agent_options options;
        struct error err = {0};
        enum log_level level;
        int status = 2;
        int r = log_level_parse(config_text(config, "log-level"), &level);
        if (r < 0)
                error_set(&err, r, "--log-level: expected debug, info, warning or error");
        else
                log_set_level(level);
        if (r == 0)
                r = find_self(&paths, &err);
        if (r == 0)
                r = read_options(config, &paths, &options, &err);
        if (r == 0) {
                status = 1; /* from here on it is not the way it was called */
                r = find_training(config, &paths, &options, &err);
        }
        if (r == 0 && options.is_demo)
                log_info("no --model and --data: serving the demo's", log_s("model", options.model_dir), log_s("data", options.data_dir));
        if (r == 0)
                r = agent_run(&options, &err);
        paths_fini(&paths);
        return r == 0 ? 0 : fail(&err, status);
}

/* --- doctor ------------------------------------------------------------------------------------------ */

#define OPTIONS_MAX 64

/* The worker's own options, and --json. */
static void make_doctor_options(struct config_option ret[static OPTIONS_MAX]) {
        size_t n = 0;
        for (const struct config_option *o = options_table; o->name && n < OPTIONS_MAX - 2; o++)
                if (strcmp(o->name, "dump-config") != 0)
                        ret[n++] = *o;
        ret[n++] = (struct config_option){"json", CONFIG_FLAG, .help = "print {\"ok\",\"checks\":[{\"check\",\"verdict\",\"detail\",\"remedy\"}]}", .command_line_only = true};
        ret[n] = (struct config_option){0};
}

static int doctor(const struct config *config) {
        struct paths paths = {0};
        struct agent_options options;
        struct error err = {0}, fault = {0};
        int r = find_self(&paths, &err);
        if (r == 0)
                r = read_options(config, &paths, &options, &err);
        if (r == 0)
                find_training(config, &paths, &options, &fault);
        int status = r == 0 ? agent_doctor(&options, &fault, config_flag(config, "json")) : fail(&err, 2);
        paths_fini(&paths);
        return status;
}

static int doctor_main(int argc, char **argv) {
        struct config_option options[OPTIONS_MAX];
        make_doctor_options(options);
        const struct config_program program = {
                .name = "sweep-worker doctor",
                .usage = "[OPTION…]",
                .summary = "Looks at all that a worker with these options would need: coordinator, certificate, token, clock, disk, cores, BLAS,\n"
                           "model, data. One line a check: ok, warning or wrong, and what to do. Changes nothing; the worker may be running. Ends\n"
                           "with 1 when something is wrong.",
                .environment = "SWEEP_WORKER_",
                .options = options,
        };
        struct config *config;
        struct error err;
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return 0;
        if (r < 0) {
                fprintf(stderr, "sweep-worker doctor: %s\n", err.text);
                return 2;
        }
        int status = doctor(config);
        config_free(config);
        return status;
}

int main(int argc, char **argv) {
        if (argc > 1 && strcmp(argv[1], "doctor") == 0)
                return doctor_main(argc - 1, argv + 1);
        if (argc > 1 && strcmp(argv[1], LAUNCH_WORD) == 0)
                return launch_exec(argc, argv);
        if (argc > 1 && strcmp(argv[1], "fetch") == 0)
                return fetch_main(argc - 1, argv + 1);
        struct config *config;
        struct error err;
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return 0;
        if (r < 0)
                return fail(&err, 2);
        size_t n_words;
        const char *const *words = config_positional(config, &n_words);
        int status = 0;
        if (n_words > 0) {
                error_set(&err, -EINVAL, "unknown subcommand '%s'", words[0]);
                status = fail(&err, 2);
        } else if (config_flag(config, "dump-config"))
                config_dump(config, stdout);
        else
                status = run(config);
        config_free(config);
        return status;
}
