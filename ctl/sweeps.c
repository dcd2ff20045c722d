/* Commands about sweeps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "ctl.h"
#include "hints.h"
#include "screen.h"
#include "proto/spec.h"
#include "sweeps.h"
#include "table.h"

double count_of(const json_t *sweep, const char *state) {
        return field_number(json_object_get(sweep, "counts"), state);
}

double count_ended(const json_t *sweep) {
        return count_of(sweep, "completed") + count_of(sweep, "stopped") + count_of(sweep, "failed") + count_of(sweep, "cancelled");
}

static int add_row(struct table *table, const json_t *sweep) {
        char id[CELL_BYTES], name[CELL_BYTES], method[CELL_BYTES], state[CELL_BYTES], running[32], ended[32], cap[CELL_BYTES],
                best[CELL_BYTES], eta[32];
        json_t *eta_s = json_object_get(sweep, "eta_s");
        snprintf(running, sizeof running, "%.0f", count_of(sweep, "running"));
        snprintf(ended, sizeof ended, "%.0f", count_ended(sweep));
        return table_add(
                table,
                (const char *[]){text_of(json_object_get(sweep, "id"), id, sizeof id), text_of(json_object_get(sweep, "name"), name, 48),
                                 text_of(json_object_get(sweep, "method"), method, sizeof method),
                                 text_of(json_object_get(sweep, "state"), state, sizeof state), running, ended,
                                 text_of(json_object_get(sweep, "run_cap"), cap, sizeof cap),
                                 text_of_number(json_object_get(json_object_get(sweep, "best"), "value"), best, sizeof best),
                                 text_of_seconds(json_is_number(eta_s) ? json_number_value(eta_s) : -1, eta, sizeof eta)});
}

int command_list(struct ctl *ctl) {
        __attribute__((cleanup(table_fini))) struct table table = {0};
        _cleanup_json_ json_t *list = NULL;
        const char *state = config_text(ctl->config, "state");
        char query[64] = "";
        if (state && strspn(state, "abcdefghijklmnopqrstuvwxyz_") != strlen(state)) {
                fprintf(stderr, "sweepctl: '%s' is no state\n", state);
                return EXIT_USAGE;
        }
        if (state)
                snprintf(query, sizeof query, "state=%.40s", state);
        int code = ctl_list(ctl, "/v1/sweeps", query, &list);
        if (code != EXIT_FINE)
                return code;
        if (ctl->json) {
                ctl_print_json(list);
                return EXIT_FINE;
        }
        int r = table_init(&table,
                           (const char *[]){"=SWEEP", "NAME", "METHOD", "STATE", ">RUNNING", ">ENDED", ">CAP", ">BEST", ">ETA", NULL});
        size_t i;
        json_t *sweep;
        json_array_foreach(json_object_get(list, "items"), i, sweep) {
                if (r == 0)
                        r = add_row(&table, sweep);
        }
        table_print(&table, stdout);
        return r < 0 ? EXIT_FAILED : EXIT_FINE;
}

int get_sweep(struct ctl *ctl, const char *id, const char *rest, struct answer *ret) {
        _cleanup_free_ char *path = ctl_path("sweeps", id, rest);
        return path ? ctl_call(ctl, "GET", path, NULL, false, NULL, ret) : EXIT_FAILED;
}

/* "learning_rate 0.083, dropout 0.003": the factors that were changed alone, by impact. */
static void print_impacts(const json_t *impacts, FILE *out) {
        char name[CELL_BYTES], value[32];
        size_t i;
        json_t *impact;
        json_array_foreach(impacts, i, impact) {
                snprintf(value, sizeof value, "%.4g", field_number(impact, "impact"));
                fprintf(out, "%s%s %s", i == 0 ? "             impacts: " : ", ", text_of(json_object_get(impact, "parameter"), name, sizeof name), value);
        }
        if (i > 0)
                fputc('\n', out);
}

/* What repeats said of each finalist, and of the winner. */
static void print_confirmation(const json_t *confirmation, FILE *out) {
        char mean[CELL_BYTES], sd[64];
        size_t i;
        json_t *finalist, *winner = json_object_get(confirmation, "winner"), *confidence = json_object_get(confirmation, "confidence");
        json_array_foreach(json_object_get(confirmation, "finalists"), i, finalist) {
                sd[0] = 0;
                if (json_is_number(json_object_get(finalist, "sd")))
                        snprintf(sd, sizeof sd, " ± %.3g", field_number(finalist, "sd"));
                fprintf(out, "             as trial %.0f: %s%s over %.0f fresh seeds\n", field_number(finalist, "trial"),
                       text_of_number(json_object_get(finalist, "mean"), mean, sizeof mean), sd, field_number(finalist, "n"));
        }
        if (json_is_number(winner)) {
                fprintf(out, "             winner: as trial %.0f", json_number_value(winner));
                if (json_is_number(confidence))
                        fprintf(out, ", with a confidence of %.0f %%", 100 * json_number_value(confidence));
                fputc('\n', out);
        }
}

static void print_stage(const json_t *stage, bool is_over, FILE *out) {
        char text[512];
        const char *method = field_text(stage, "method");
        bool is_list = method && (strcmp(method, "grid") == 0 || strcmp(method, "ofat") == 0);
        fprintf(out, "stage        %.0f, %s", field_number(stage, "index") + 1, text_of(json_object_get(stage, "method"), text, sizeof text));
        if (json_is_number(json_object_get(stage, "total")))
                fprintf(out, ", %.0f of %.0f proposed", field_number(stage, "proposed"), field_number(stage, "total"));
        else
                fprintf(out, ", %.0f proposed", field_number(stage, "proposed"));
        if (is_over && is_list && field_number(stage, "proposed") < field_number(stage, "total"))
                fprintf(out, " (what was known already is not run again)");
        size_t i;
        json_t *name;
        json_array_foreach(json_object_get(stage, "selected"), i, name)
                fprintf(out, "%s%s", i == 0 ? ", varies " : ", ", text_of(name, text, sizeof text));
        fputc('\n', out);
        print_impacts(json_object_get(stage, "impacts"), out);
        print_confirmation(json_object_get(stage, "confirmation"), out);
}

/* Those that have ended, and the present one. */
static void print_stages(const json_t *stage, FILE *out) {
        size_t i;
        json_t *before;
        json_array_foreach(json_object_get(stage, "before"), i, before)
                print_stage(before, true, out);
        if (json_is_object(stage))
                print_stage(stage, false, out);
}

/* A person asks why nothing happens. */
static void print_hints(struct ctl *ctl, const json_t *sweep, FILE *out) {
        char text[1024];
        if (hint_waiting(ctl, sweep, text, sizeof text))
                fprintf(out, "waiting      %s\n", text);
        if (hint_paused(sweep, text, sizeof text))
                fprintf(out, "paused       %s\n", text);
        if (hint_failed(ctl, sweep, text, sizeof text))
                fprintf(out, "failed       %s\n", text);
}

static void print_sweep(struct ctl *ctl, const json_t *sweep, FILE *out) {
        static const char *const fields[] = {"id", "name", "method", "state", "run_cap", "seed", "created", NULL};
        char text[1024];
        for (const char *const *field = fields; *field; field++)
                if (json_object_get(sweep, *field))
                        fprintf(out, "%-12s %s\n", *field, text_of(json_object_get(sweep, *field), text, sizeof text));
        const char *state;
        json_t *n;
        fprintf(out, "trials      ");
        json_object_foreach(json_object_get(sweep, "counts"), state, n) {
                fprintf(out, " %s %s", text_of(n, text, sizeof text), state);
        }
        fputc('\n', out);
        if (json_is_number(json_object_get(sweep, "eta_s")))
                fprintf(out, "eta          %s\n", text_of_seconds(field_number(sweep, "eta_s"), text, sizeof text));
        print_stages(json_object_get(sweep, "stage"), out);
        print_hints(ctl, sweep, out);
        json_t *best = json_object_get(sweep, "best");
        if (!json_is_object(best))
                return;
        char value[CELL_BYTES];
        fprintf(out, "best         %s in trial %.0f (%s)\n", text_of_number(json_object_get(best, "value"), value, sizeof value),
               field_number(best, "number"), text_of(json_object_get(best, "id"), text, sizeof text));
        if (*trial_origin(best, text, sizeof text))
                fprintf(out, "             %s\n", text);
        fprintf(out, "             %s\n", text_of_params(json_object_get(best, "params"), text, sizeof text));
}

#define LABEL_COLUMNS 13 /* what stands before a value */

/* What a person reads, in the terminal's width. */
static int print_in_width(struct ctl *ctl, const json_t *object, void (*print)(struct ctl *ctl, const json_t *object, FILE *out)) {
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        if (!out) {
                fprintf(stderr, "sweepctl: out of memory\n");
                return EXIT_FAILED;
        }
        print(ctl, object, out);
        fclose(out);
        screen_print_wrapped(stdout, text, LABEL_COLUMNS, screen_columns(stdout));
        return EXIT_FINE;
}

int command_show(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        int code = get_sweep(ctl, ctl->args[0], "", &answer);
        if (code != EXIT_FINE)
                return code;
        if (!ctl->json)
                return print_in_width(ctl, answer.body, print_sweep);
        ctl_print_json(answer.body);
        return EXIT_FINE;
}

/* The value of the best trial was the luckiest of all; what the model expects of which configuration is told beside it. */
static void print_recommended(const json_t *best, FILE *out) {
        const json_t *recommended = json_object_get(best, "recommended"), *posterior = json_object_get(best, "posterior");
        const char *detail = field_text(best, "detail");
        if (json_is_object(recommended) && json_is_object(posterior))
                fprintf(out, "recommended  trial %.0f, expected %.6g (95 %%: %.6g to %.6g)\n", field_number(recommended, "number"), field_number(posterior, "mean"),
                       field_number(posterior, "low"), field_number(posterior, "high"));
        if (detail && *detail)
                fprintf(out, "             %s\n", detail);
        if (json_is_object(json_object_get(best, "confirmation")))
                fprintf(out, "confirmed\n");
        print_confirmation(json_object_get(best, "confirmation"), out);
}

static void print_best(struct ctl *ctl, const json_t *best, FILE *out) {
        (void)ctl;
        print_trial(json_object_get(best, "trial"), out);
        print_recommended(best, out);
}

int command_best(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        int code = get_sweep(ctl, ctl->args[0], "/best", &answer);
        if (code != EXIT_FINE)
                return code;
        const json_t *trial = json_object_get(answer.body, "trial");
        if (ctl->json) {
                ctl_print_json(answer.body);
        } else if (json_is_object(trial)) {
                return print_in_width(ctl, answer.body, print_best);
        } else {
                fprintf(stderr, "sweepctl: no trial has a value yet\n");
                return EXIT_FAILED;
        }
        return EXIT_FINE;
}

/* --- writing --------------------------------------------------------------------------------------- */

static int print_changed(const struct ctl *ctl, const struct answer *answer) {
        char id[CELL_BYTES], name[CELL_BYTES], state[CELL_BYTES];
        if (ctl->json)
                ctl_print_json(answer->body);
        else
                printf("%s  %s  %s\n", text_of(json_object_get(answer->body, "id"), id, sizeof id),
                       text_of(json_object_get(answer->body, "state"), state, sizeof state),
                       text_of(json_object_get(answer->body, "name"), name, sizeof name));
        return EXIT_FINE;
}

int command_create(struct ctl *ctl) {
        __attribute__((cleanup(document_fini))) struct document document = {0};
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        struct error err;
        if (document_read(ctl->args[0], DOCUMENT_BYTES_MAX, &document, &err) < 0)
                return ctl_fail(&err);
        document_print_warnings(&document, stderr);
        int code = ctl_call(ctl, "POST", "/v1/sweeps", document.value, true, &document, &answer);
        return code == EXIT_FINE ? print_changed(ctl, &answer) : code;
}

/* Takes the body. Repeating the same change changes nothing, so that it may be asked again. */
static int change(struct ctl *ctl, json_t *body) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        _cleanup_json_ json_t *owned = body;
        _cleanup_free_ char *path = ctl_path("sweeps", ctl->args[0], "");
        int code = path && body ? ctl_call(ctl, "PATCH", path, body, false, NULL, &answer) : EXIT_FAILED;
        return code == EXIT_FINE ? print_changed(ctl, &answer) : code;
}

int command_pause(struct ctl *ctl) {
        return change(ctl, json_pack("{s:s}", "state", "paused"));
}

int command_resume(struct ctl *ctl) {
        return change(ctl, json_pack("{s:s}", "state", "running"));
}

int command_cancel(struct ctl *ctl) {
        return change(ctl, json_pack("{s:s}", "state", "cancelled"));
}

int command_delete(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        _cleanup_free_ char *path = ctl_path("sweeps", ctl->args[0], "");
        int code = path ? ctl_call(ctl, "DELETE", path, NULL, false, NULL, &answer) : EXIT_FAILED;
        if (code == EXIT_FINE)
                print_gone(ctl, ctl->args[0], "deleted");
        return code;
}

int command_extend(struct ctl *ctl) {
        if (!config_is_set(ctl->config, "run-cap")) {
                fprintf(stderr, "sweepctl: extend needs --run-cap N\n");
                return EXIT_USAGE;
        }
        return change(ctl, json_pack("{s:I}", "run_cap", (json_int_t)config_integer(ctl->config, "run-cap")));
}

/* Into a file beside path that becomes path when all is there. */
static int export_to_file(struct ctl *ctl, const char *source, const char *path, bool ends_line) {
        _cleanup_free_ char *temporary = NULL;
        struct error err;
        if (asprintf(&temporary, "%s.part-XXXXXX", path) < 0)
                return EXIT_FAILED;
        int fd = mkstemp(temporary);
        FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
        if (!out) {
                error_set(&err, -errno, "cannot create a file beside %s: %s", path, strerror(errno));
                if (fd >= 0)
                        close(fd), unlink(temporary);
                return ctl_fail(&err);
        }
        int code = ctl_copy(ctl, source, out);
        if (code == EXIT_FINE && ends_line)
                putc('\n', out);
        bool is_written = !ferror(out) && fchmod(fd, 0644) == 0;
        is_written = fclose(out) == 0 && is_written;
        if (code == EXIT_FINE && !is_written)
                code = error_set(&err, -EIO, "cannot write %s", temporary);
        if (code == EXIT_FINE)
                code = fs_commit(temporary, path, &err);
        if (code != EXIT_FINE)
                unlink(temporary);
        return code < 0 ? ctl_fail(&err) : code;
}

int command_export(struct ctl *ctl) {
        static const char *const formats[] = {"csv", "json", "jsonl", "tensorboard", NULL};
        const char *format = config_text(ctl->config, "format"), *output = config_text(ctl->config, "output"), *const *known = formats;
        char rest[64];
        while (*known && strcmp(*known, format) != 0)
                known++;
        if (!*known) {
                fprintf(stderr, "sweepctl: --format is csv, json, jsonl or tensorboard, not '%s'\n", format);
                return EXIT_USAGE;
        }
        if (strcmp(format, "tensorboard") == 0 && output)
                return export_tensorboard(ctl, ctl->args[0], output);
        if (strcmp(format, "tensorboard") == 0) {
                fprintf(stderr, "sweepctl: --format tensorboard needs --output DIR, a folder that is not there yet\n");
                return EXIT_USAGE;
        }
        bool is_json = ctl->json || strcmp(format, "json") == 0;
        snprintf(rest, sizeof rest, "/export?format=%s", is_json ? "json" : format);
        _cleanup_free_ char *path = ctl_path("sweeps", ctl->args[0], rest);
        if (!path)
                return EXIT_FAILED;
        if (output)
                return export_to_file(ctl, path, output, is_json);
        int code = ctl_copy(ctl, path, stdout);
        if (code == EXIT_FINE && is_json)
                putchar('\n');
        return code;
}

static bool ends_with(const char *text, const char *end) {
        size_t n = strlen(text), m = strlen(end);
        return n > m && strcmp(text + n - m, end) == 0;
}

/* On a terminal, without the plots and what stands under them: each is a line of some ten thousand characters. */
static void print_report(const char *text) {
        bool is_read = isatty(STDOUT_FILENO);
        unsigned n_skipped = 0;
        for (const char *line = text, *end; line && *line; line = *end ? end + 1 : end) {
                end = strchrnul(line, '\n');
                if (is_read && strncmp(line, "![", 2) == 0)
                        n_skipped = 4; /* the plot, its caption, and the empty line after each */
                if (n_skipped > 0)
                        n_skipped--;
                else if (is_read)
                        screen_print(stdout, "%.*s\n", (int)(end - line), line);
                else
                        printf("%.*s\n", (int)(end - line), line);
        }
        if (is_read)
                fprintf(stderr, "sweepctl: --output report.html or report.md has the plots, too\n");
}

int command_report(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        const char *path = config_text(ctl->config, "output");
        bool is_html = path && ends_with(path, ".html");
        struct error err;
        if (path && !is_html && !ends_with(path, ".md")) {
                fprintf(stderr, "sweepctl: --output FILE ends in .html or .md, not as '%s'\n", path);
                return EXIT_USAGE;
        }
        int code = get_sweep(ctl, ctl->args[0], is_html ? "/report?format=html" : "/report?format=md", &answer);
        if (code != EXIT_FINE)
                return code;
        if (path && fs_write_atomic(path, answer.text.data, answer.text.len, 0644, &err) < 0)
                return ctl_fail(&err);
        if (ctl->json) { /* the server's answer is no JSON */
                _cleanup_json_ json_t *told = json_pack("{s:s, s:s*, s:s*}", "format", is_html ? "html" : "md", "output", path, "report", path ? NULL : answer.text.data);
                ctl_print_json(told);
        } else if (!path)
                print_report(answer.text.data);
        return EXIT_FINE;
}

/* --- importance ------------------------------------------------------------------------------------ */

static int print_importance(const json_t *answer) {
        __attribute__((cleanup(table_fini))) struct table table = {0};
        int r = table_init(&table, (const char *[]){"PARAMETER", ">SHARE", ">90 % FROM", ">TO", "VERDICT", NULL});
        size_t i;
        json_t *item;
        json_array_foreach(json_object_get(answer, "parameters"), i, item) {
                char share[32], low[32], high[32];
                snprintf(share, sizeof share, "%.2f", field_number(item, "share"));
                snprintf(low, sizeof low, "%.2f", field_number(item, "low"));
                snprintf(high, sizeof high, "%.2f", field_number(item, "high"));
                if (r == 0)
                        r = table_add(&table, (const char *[]){field_text(item, "parameter"), share, low, high, field_text(item, "verdict")});
        }
        if (i > 0)
                table_print(&table, stdout);
        json_array_foreach(json_object_get(answer, "ofat"), i, item)
                screen_print(stdout, "%s%-24s impact %.6g\n", i == 0 ? "\none factor at a time:\n" : "", field_text(item, "parameter"), field_number(item, "impact"));
        const char *detail = field_text(answer, "detail");
        screen_print(stdout, "%s%s\n", i > 0 ? "\n" : "", detail ? detail : "");
        return r < 0 ? EXIT_FAILED : EXIT_FINE;
}

int command_importance(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        int code = get_sweep(ctl, ctl->args[0], "/importance", &answer);
        if (code != EXIT_FINE)
                return code;
        if (!ctl->json)
                return print_importance(answer.body);
        ctl_print_json(answer.body);
        return EXIT_FINE;
}
