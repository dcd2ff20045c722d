/* `import`: a CSV of finished trials becomes evidence of a sweep. Three kinds of files are understood by their columns:
 *
 *   ours       export --format csv: `params.NAME`, `value`, `state`
 *   W&B's      "Export table" of a project: NAME or config.NAME, the metric by its name, `State`
 *   others     NAME, and the metric by its name or as `value`
 *
 * A row without a value, or whose state is not a completed one, is passed over and counted; so are columns that are no
 * parameter of the sweep. Nothing is guessed: a row with a wrong value is told by its line, and the server refuses its whole request. */
#include <csv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "ctl.h"
#include "proto/spec.h"
#include "screen.h"

#define COLUMNS_MAX 4096

enum column_kind { COLUMN_IGNORED, COLUMN_PARAMETER, COLUMN_VALUE, COLUMN_STATE };

struct column {
        enum column_kind kind;
        char *name;                        /* of a parameter, or as written */
        const struct parameter *parameter; /* NULL for a name that only levels or the baseline have */
};

struct import {
        const struct sweep_spec *spec;
        const char *file, *value_column;
        struct column columns[COLUMNS_MAX];
        size_t n_columns, column; /* of the row that is being read */
        size_t line;              /* rows read, the header included */
        json_t *params, *value;   /* of the row */
        bool is_stopped, is_other_state; /* of the row */
        bool is_full;
        json_t *trials;           /* {"params","value","state"}, all rows */
        size_t *lines;            /* of each trial */
        size_t n_lines, cap_lines;
        size_t n_without_value, n_other_state;
        bool out_of_memory;
};

/* --- columns --------------------------------------------------------------------------------------- */

static bool has_levels(const struct sweep_spec *spec, const char *name) {
        for (size_t s = 0; s < spec->n_stages; s++)
                for (size_t i = 0; i < spec->stages[s].n_levels; i++)
                        if (strcmp(spec->stages[s].levels[i].name, name) == 0)
                                return true;
        return false;
}

static const struct parameter *find_parameter(const struct sweep_spec *spec, const char *name) {
        const struct parameter *parameter = parameter_find(&spec->parameters, name);
        for (size_t s = 0; !parameter && s < spec->n_stages; s++)
                parameter = parameter_find(&spec->stages[s].parameters, name);
        return parameter;
}

static bool is_parameter(const struct import *import, const char *name) {
        return find_parameter(import->spec, name) || has_levels(import->spec, name) || json_object_get(import->spec->baseline, name);
}

static const char *without_prefix(const char *name) {
        static const char *const prefixes[] = {"params.", "config.", "params_"};
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
                if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
                        return name + strlen(prefixes[i]);
        return name;
}

static void add_column(struct import *import, const char *text) {
        if (import->n_columns == COLUMNS_MAX) {
                import->is_full = true;
                return;
        }
        struct column *column = &import->columns[import->n_columns++];
        const char *bare = is_parameter(import, text) ? text : without_prefix(text);
        if (import->value_column && strcmp(text, import->value_column) == 0) {
                column->kind = COLUMN_VALUE;
                bare = text;
        } else if (is_parameter(import, bare))
                column->kind = COLUMN_PARAMETER;
        else if (strcasecmp(text, "state") == 0 || strcasecmp(text, "status") == 0)
                column->kind = COLUMN_STATE;
        else
                bare = text;
        column->name = strdup(bare);
        column->parameter = column->kind == COLUMN_PARAMETER ? find_parameter(import->spec, bare) : NULL;
        import->out_of_memory |= !column->name;
}

/* Which column holds the value: the one asked for, else the metric's name, else `value`. */
static void choose_value_column(struct import *import) {
        const char *wanted[] = {import->value_column, import->spec->metric.name, "value"};
        size_t first = import->value_column ? 0 : 1, end = import->value_column ? 1 : 3;
        for (size_t w = first; w < end; w++)
                for (size_t i = 0; wanted[w] && *wanted[w] && i < import->n_columns; i++)
                        if (strcmp(import->columns[i].name, wanted[w]) == 0) {
                                import->columns[i].kind = COLUMN_VALUE;
                                import->value_column = import->columns[i].name;
                                return;
                        }
}

/* --- cells ----------------------------------------------------------------------------------------- */

/* The choice whose text the cell is: as written in JSON, or a string as it stands. New reference or NULL. */
static json_t *choice_of(const json_t *values, const char *text) {
        struct error err;
        _cleanup_json_ json_t *parsed = NULL;
        for (size_t i = 0; i < json_array_size(values); i++) {
                json_t *choice = json_array_get(values, i);
                if (json_is_string(choice) && strcmp(json_string_value(choice), text) == 0)
                        return json_incref(choice);
        }
        if (json_read(text, strlen(text), &parsed, &err) < 0)
                parsed = strcmp(text, "True") == 0 ? json_true() : strcmp(text, "False") == 0 ? json_false() : NULL;
        for (size_t i = 0; parsed && i < json_array_size(values); i++) {
                json_t *choice = json_array_get(values, i);
                if (json_equal(choice, parsed) ||
                    (json_is_number(choice) && json_is_number(parsed) && json_number_value(choice) == json_number_value(parsed)))
                        return json_incref(choice);
        }
        return NULL;
}

static json_t *cell_value(const struct column *column, const char *text) {
        struct error err;
        json_t *value = NULL;
        if (column->parameter && column->parameter->values && (value = choice_of(column->parameter->values, text)))
                return value;
        if (json_read(text, strlen(text), &value, &err) == 0) {
                bool is_whole = json_is_real(value) && column->parameter && column->parameter->integer;
                double number = json_number_value(value);
                if (!is_whole)
                        return value;
                json_decref(value);
                return json_number(number, true);
        }
        return json_string(text); /* not UTF-8: NULL */
}

static bool is_completed(const char *state) {
        return strcasecmp(state, "completed") == 0 || strcasecmp(state, "finished") == 0 || strcasecmp(state, "complete") == 0;
}

/* Ended early, with the value that it had: ours, Optuna's. */
static bool is_stopped(const char *state) {
        return strcasecmp(state, "stopped") == 0 || strcasecmp(state, "pruned") == 0;
}

static void take_cell(void *text, size_t len, void *data) {
        struct import *import = data;
        struct error err;
        _cleanup_free_ char *copy = malloc(len + 1);
        if (!copy) {
                import->out_of_memory = true;
                return;
        }
        memcpy(copy, text ? text : "", len); /* no NUL behind it, nor a text at all where the cell is empty */
        copy[len] = 0;
        if (import->line == 0) {
                add_column(import, copy);
                return;
        }
        if (import->column >= import->n_columns || !*copy) {
                import->column++;
                return;
        }
        const struct column *column = &import->columns[import->column++];
        if (column->kind == COLUMN_STATE) {
                import->is_stopped = is_stopped(copy);
                import->is_other_state = !import->is_stopped && !is_completed(copy);
        } else if (column->kind == COLUMN_VALUE && (json_read(copy, strlen(copy), &import->value, &err) < 0 || !json_is_number(import->value))) {
                json_decref(import->value);
                import->value = NULL;
        } else if (column->kind == COLUMN_PARAMETER && json_set_dotted(import->params, column->name, cell_value(column, copy)) < 0)
                import->out_of_memory = true;
}

static void end_row(int terminator, void *data) {
        (void)terminator;
        struct import *import = data;
        if (import->line++ == 0) {
                choose_value_column(import);
        } else if (import->is_other_state) {
                import->n_other_state++;
        } else if (!import->value) {
                import->n_without_value++;
        } else {
                if (import->n_lines == import->cap_lines) {
                        import->cap_lines = import->cap_lines ? 2 * import->cap_lines : 256;
                        size_t *lines = realloc(import->lines, import->cap_lines * sizeof *lines);
                        if (!lines) {
                                import->out_of_memory = true;
                                return;
                        }
                        import->lines = lines;
                }
                import->lines[import->n_lines++] = import->line;
                import->out_of_memory |=
                        json_array_append_new(import->trials, json_pack("{s:O, s:O, s:s*}", "params", import->params, "value", import->value, "state",
                                                                        import->is_stopped ? "stopped" : NULL)) < 0;
        }
        json_decref(import->params);
        json_decref(import->value);
        import->params = json_object();
        import->value = NULL;
        import->column = 0;
        import->is_other_state = import->is_stopped = false;
}

static void import_fini(struct import *import) {
        for (size_t i = 0; i < import->n_columns; i++)
                free(import->columns[i].name);
        json_decref(import->params);
        json_decref(import->value);
        json_decref(import->trials);
        free(import->lines);
}

static int read_rows(struct import *import, struct error *err) {
        _cleanup_buf_ struct buf text = BUF_INIT(BATCH_FILE_BYTES);
        struct csv_parser parser;
        int r = fs_read(import->file, &text, err);
        if (r < 0)
                return r;
        if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI) != 0)
                return error_set(err, -ENOMEM, "out of memory");
        size_t mark = text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* Excel's */
        size_t n = csv_parse(&parser, text.data + mark, text.len - mark, take_cell, end_row, import);
        if (n < text.len - mark || csv_fini(&parser, take_cell, end_row, import) != 0)
                r = error_set(err, -EINVAL, "%s:%zu: %s", import->file, import->line + 1, csv_strerror(csv_error(&parser)));
        csv_free(&parser);
        if (r == 0 && import->out_of_memory)
                r = error_set(err, -ENOMEM, "out of memory, or text that is not UTF-8");
        if (r == 0 && import->is_full)
                r = error_set(err, -E2BIG, "%s: more than %d columns", import->file, COLUMNS_MAX);
        return r;
}

/* --- sending ----------------------------------------------------------------------------------------- */

/* Faults with the lines of the file. */
static void print_faults(void *data, const struct answer *refusal) {
        const struct import *import = data;
        size_t i;
        json_t *fault;
        const char *detail = field_text(refusal->body, "detail");
        screen_print(stderr, "sweepctl: %s\n", detail ? detail : "refused");
        json_array_foreach(json_object_get(refusal->body, "errors"), i, fault) {
                const char *pointer = field_text(fault, "pointer"), *text = field_text(fault, "detail");
                size_t item = 0;
                int at = 0;
                if (!pointer || !text)
                        continue;
                if (sscanf(pointer, "/trials/%zu%n", &item, &at) == 1 && item < import->n_lines)
                        screen_print(stderr, "%s:%zu: %s: %s\n", import->file, import->lines[item], pointer + at, text);
                else
                        screen_print(stderr, "  %s: %s\n", pointer, text);
        }
}

static const char *plural(size_t n) {
        return n == 1 ? "" : "s";
}

/* A column of our own exports is no misspelt parameter. */
static bool is_of_export(const char *name) {
        static const char *const names[] = {"number", "id", "attempt", "worker", "stage", "reason", "detail", "source", "progress", "created", "started", "finished"};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

static void print_summary(const struct import *import) {
        printf("%zu trial%s imported", json_array_size(import->trials), plural(json_array_size(import->trials)));
        if (import->n_other_state > 0)
                printf(", %zu row%s not completed", import->n_other_state, plural(import->n_other_state));
        if (import->n_without_value > 0)
                printf(", %zu without %s", import->n_without_value, import->value_column);
        printf("\n");
        size_t n = 0;
        for (size_t i = 0; i < import->n_columns; i++)
                if (import->columns[i].kind == COLUMN_IGNORED && !is_of_export(import->columns[i].name))
                        fprintf(stderr, "%s%s", n++ ? ", " : "sweepctl: columns that are no parameters: ", import->columns[i].name);
        if (n > 0)
                fprintf(stderr, "\n");
}

static int import_file(struct ctl *ctl, const struct sweep_spec *spec, const char *path) {
        _cleanup_free_ struct import *import = calloc(1, sizeof *import);
        struct error err;
        if (!import)
                return EXIT_FAILED;
        *import = (struct import){.spec = spec,
                                  .file = ctl->args[1],
                                  .value_column = config_text(ctl->config, "value-column"),
                                  .params = json_object(),
                                  .trials = json_array()};
        int code = EXIT_FINE;
        if (read_rows(import, &err) < 0)
                code = ctl_fail(&err);
        bool has_value = false;
        for (size_t i = 0; i < import->n_columns; i++)
                has_value |= import->columns[i].kind == COLUMN_VALUE;
        if (code == EXIT_FINE && !has_value) {
                if (import->value_column)
                        fprintf(stderr, "sweepctl: %s has no column '%s'\n", import->file, import->value_column);
                else
                        fprintf(stderr, "sweepctl: %s has no column '%s' nor 'value': --value-column NAME says which\n", import->file, spec->metric.name);
                code = EXIT_FAILED;
        }
        _cleanup_json_ json_t *created = NULL;
        if (code == EXIT_FINE)
                code = batch_send(ctl, path, import->trials, print_faults, import, &created);
        if (code == EXIT_FINE && ctl->json) {
                _cleanup_json_ json_t *whole = json_pack("{s:O}", "items", created);
                if (!whole)
                        code = EXIT_FAILED;
                else
                        ctl_print_json(whole);
        } else if (code == EXIT_FINE)
                print_summary(import);
        import_fini(import);
        return code;
}

int command_import(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        _cleanup_free_ char *sweep_path = ctl_path("sweeps", ctl->args[0], ""), *path = ctl_path("sweeps", ctl->args[0], "/trials");
        int code = sweep_path && path ? ctl_call(ctl, "GET", sweep_path, NULL, false, NULL, &answer) : EXIT_FAILED;
        if (code != EXIT_FINE)
                return code;
        if (sweep_spec_parse(json_object_get(answer.body, "spec"), &faults, &spec) != 0) {
                faults_fini(&faults);
                fprintf(stderr, "sweepctl: the server's spec is not understood: another version?\n");
                return EXIT_FAILED;
        }
        code = import_file(ctl, spec, path);
        sweep_spec_free(spec);
        return code;
}
