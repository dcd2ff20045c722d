/* sweepd backup | check | dump: they only read the database, and may run beside its server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/json.h"
#include "store/upkeep.h"

#define FAULTS_SHOWN 20 /* of a kind */

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

static int fail(const struct config_program *program, const struct error *err, int code) {
        fprintf(stderr, "%s: %s\n", program->name, err->text);
        return code;
}

/* Parses; the one positional argument (NULL when it may be left out and is). 0, or the exit code in *ret_code and 1. */
static int parse(const struct config_program *program, int argc, char **argv, const char *argument, struct config **ret_config,
                 const char **ret_argument, int *ret_code) {
        struct error err = {0};
        int r = config_parse(program, argc, argv, ret_config, &err);
        size_t n = 0;
        const char *const *list = r == 0 ? config_positional(*ret_config, &n) : NULL;
        if (r == 0 && argument && n == 0)
                r = error_set(&err, -EINVAL, "expected %s", argument);
        if (r == 0) {
                *ret_argument = n > 0 ? list[0] : NULL;
                return 0;
        }
        *ret_code = r == CONFIG_DONE ? EXIT_SUCCESS : fail(program, &err, EXIT_USAGE);
        return 1;
}

#define DATABASE_OPTION {"database", CONFIG_TEXT, "FILE", "./sweepd.db", 0, 0, "the SQLite database", false}

/* --- backup -------------------------------------------------------------------------------------------------- */

static const struct config_option backup_options[] = {DATABASE_OPTION, {0}};

static const struct config_program backup_program = {
        .name = "sweepd backup",
        .usage = "[--database FILE] COPY",
        .summary = "Copies the database as of one moment to COPY, which is replaced once the copy is whole, checked and on disk.\n"
                   "The server may be running. To restore: stop the server, put COPY in the database's place, remove FILE-wal and FILE-shm.",
        .environment = "SWEEPD_",
        .options = backup_options,
        .max_positional = 1,
};

int command_backup(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        const char *to;
        int code;
        if (parse(&backup_program, argc, argv, "the file to write: COPY", &config, &to, &code) != 0)
                return code;
        struct error err = {0};
        const char *database = config_text(config, "database");
        if (store_backup(database, to, &err) < 0)
                return fail(&backup_program, &err, EXIT_FAILURE);
        printf("%s is a copy of %s\n", to, database);
        return EXIT_SUCCESS;
}

/* --- check --------------------------------------------------------------------------------------------------- */

static const struct config_option check_options[] = {
        DATABASE_OPTION,
        {"all", CONFIG_FLAG, NULL, NULL, 0, 0, "print every fault, not only the first 20 of a kind", true},
        {0},
};

static const struct config_program check_program = {
        .name = "sweepd check",
        .usage = "[OPTION…] [FILE]",
        .summary = "Looks for everything that cannot be in a sound database: broken pages and references, leases without trials, states\n"
                   "against history, counters against rows, unreadable specs. Changes nothing and says what would be repaired. Ends with 1\n"
                   "when something is wrong. FILE is --database when left out; the server may be running.",
        .environment = "SWEEPD_",
        .options = check_options,
        .max_positional = 1,
};

static void print_fault(void *data, const struct store_fault_text *fault) {
        uint64_t *n_shown = data;
        ++*n_shown;
        printf("%s\n    %s%s\n", fault->what, fault->repair ? "repair: " : "no repair: ",
               fault->repair ? fault->repair : "go back to a backup");
}

int command_check(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        const char *path;
        int code;
        if (parse(&check_program, argc, argv, NULL, &config, &path, &code) != 0)
                return code;
        if (!path)
                path = config_text(config, "database");
        struct error err = {0};
        struct store_checked checked;
        uint64_t n_shown = 0;
        if (store_check(path, config_flag(config, "all") ? UINT64_MAX : FAULTS_SHOWN, print_fault, &n_shown, &checked, &err) < 0)
                return fail(&check_program, &err, EXIT_FAILURE);
        if (checked.n_faults > n_shown)
                printf("and %llu more of these kinds (--all)\n", (unsigned long long)(checked.n_faults - n_shown));
        if (checked.n_faults > 0)
                printf("%s: %llu faults\n", path, (unsigned long long)checked.n_faults);
        else
                printf("%s: sound (version %lld, %llu sweeps, %llu trials, %llu attempts, %llu metric points)\n", path,
                       (long long)checked.version, (unsigned long long)checked.n_sweeps, (unsigned long long)checked.n_trials,
                       (unsigned long long)checked.n_attempts, (unsigned long long)checked.n_points);
        return checked.n_faults > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* --- dump ---------------------------------------------------------------------------------------------------- */

static const struct config_option dump_options[] = {
        DATABASE_OPTION,
        {"sweep", CONFIG_TEXT, "ID", NULL, 0, 0, "only what belongs to this sweep", true},
        {"metrics", CONFIG_FLAG, NULL, NULL, 0, 0, "metric points, too", true},
        {0},
};

static const struct config_program dump_program = {
        .name = "sweepd dump",
        .usage = "[OPTION…] [FILE]",
        .summary = "Prints the rows of a database as JSON lines: sweeps, workers, trials, attempts, history (what proposals are made from,\n"
                   "in order), changes (what people did), webhooks (what they are still to be told). Without secrets. FILE is --database when left out; the server may be running.",
        .environment = "SWEEPD_",
        .options = dump_options,
        .max_positional = 1,
};

static int print_row(void *data, const json_t *row) {
        struct buf *line = data;
        buf_clear(line);
        int r = json_write(row, line);
        if (r == 0)
                r = buf_puts(line, "\n");
        if (r < 0)
                return r;
        return fwrite(line->data, 1, line->len, stdout) == line->len ? 0 : -EIO;
}

int command_dump(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        _cleanup_buf_ struct buf line = BUF_INIT(0);
        const char *path;
        int code;
        if (parse(&dump_program, argc, argv, NULL, &config, &path, &code) != 0)
                return code;
        if (!path)
                path = config_text(config, "database");
        struct error err = {0};
        int r = store_dump(path, config_text(config, "sweep"), config_flag(config, "metrics"), print_row, &line, &err);
        if (r == 0 && fflush(stdout) != 0)
                r = error_set(&err, -errno, "cannot write: %s", strerror(errno));
        return r < 0 ? fail(&dump_program, &err, EXIT_FAILURE) : EXIT_SUCCESS;
}
