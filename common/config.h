/* The options of one program, as one table. Precedence: defaults < file (--config) < environment < command line.
 * An unknown option, key or value is an error that names it. Secrets never come this way: only paths of files do. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/error.h"

enum config_type {
        CONFIG_TEXT,
        CONFIG_INTEGER, /* low … high */
        CONFIG_FLAG,    /* no argument on the command line; true|false in a file */
        CONFIG_LIST,    /* may be given again and again; in a file, one line each */
};

struct config_option {
        const char *name;     /* long option without the dashes, and key in a file */
        enum config_type type;
        const char *argument; /* what --help shows: "FILE" */
        const char *fallback; /* default as text, NULL = unset */
        int64_t low, high;    /* of CONFIG_INTEGER */
        const char *help;     /* one line */
        bool command_line_only;
        char letter;          /* short for it on the command line: 'o' for -o; 0 = none */
};

struct config_program {
        const char *name;        /* "sweepd" */
        const char *usage;       /* shown after "usage: NAME " */
        const char *summary;     /* one or two lines for --help */
        const char *environment; /* prefix: "SWEEPD_" makes --listen also SWEEPD_LISTEN; NULL = none */
        const struct config_option *options; /* ended by an entry without name; --help and --version are added */
        int max_positional;
};

struct config;

/* Parses everything. 0 and a new *ret · CONFIG_DONE when --help or --version was answered on stdout (exit 0) ·
 * negative with a text for people (exit 2). program outlives the configuration. */
#define CONFIG_DONE 1
int config_parse(const struct config_program *program, int argc, char **argv, struct config **ret, struct error *err);
void config_free(struct config *config);

/* Queries by option name; asking for a name that is not in the table is a bug and aborts. */
const char *config_text(const struct config *config, const char *name); /* NULL when unset */
int64_t config_integer(const struct config *config, const char *name);
bool config_flag(const struct config *config, const char *name);
bool config_is_set(const struct config *config, const char *name); /* by file, environment or command line */
const char *const *config_list(const struct config *config, const char *name, size_t *ret_n);
const char *const *config_positional(const struct config *config, size_t *ret_n);

/* The effective configuration in the file's own format. */
void config_dump(const struct config *config, FILE *out);
