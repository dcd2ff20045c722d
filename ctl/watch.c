/* Following a sweep. On a terminal the picture is drawn over itself; elsewhere one line is written whenever something has
 * changed, so that a log of it stays short. */
#include <curl/curl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/rfc3339.h"
#include "common/world.h"
#include "ctl.h"
#include "hints.h"
#include "screen.h"
#include "sweeps.h"
#include "table.h"

#define SILENCE_MAX_S 120 /* without an answer: the coordinator may be restarting */
#define HISTORY_MAX 2048
#define CURVE_POINTS_MAX 1000
#define HEAD_ROWS 11 /* of the picture, above its trials, and a spare one */

/* How many trials there will be, 0 when that is not known. */
static double total_of(const json_t *sweep) {
        const json_t *stage = json_object_get(sweep, "stage"), *cap = json_object_get(sweep, "run_cap");
        const char *method = field_text(sweep, "method");
        if (json_is_integer(cap))
                return json_number_value(cap);
        return method && strcmp(method, "staged") != 0 ? field_number(stage, "total") : 0;
}

/* "running 2, ended 7 of 20, failed 1, best 0.85 (trial 5), eta 3m 20s" */
static void describe(const json_t *sweep, char *ret, size_t size) {
        char value[CELL_BYTES], eta[32] = "", of[48] = "", failed[48] = "", best[CELL_BYTES + 64] = "", left[32], origin[160];
        const json_t *trial = json_object_get(sweep, "best");
        const char *state = field_text(sweep, "state");
        double total = total_of(sweep);
        if (total > 0)
                snprintf(of, sizeof of, " of %.0f", total);
        if (count_of(sweep, "failed") > 0)
                snprintf(failed, sizeof failed, ", failed %.0f", count_of(sweep, "failed"));
        if (json_is_object(trial))
                snprintf(best, sizeof best, ", best %s (trial %.0f%s)", text_of_number(json_object_get(trial, "value"), value, sizeof value),
                         field_number(trial, "number"), *trial_origin(trial, origin, sizeof origin) ? ", not run here" : "");
        if (json_is_number(json_object_get(sweep, "eta_s")))
                snprintf(eta, sizeof eta, ", eta %s", text_of_seconds(field_number(sweep, "eta_s"), left, sizeof left));
        snprintf(ret, size, "%s: running %.0f, queued %.0f, ended %.0f%s%s%s%s", state ? state : "?", count_of(sweep, "running"),
                 count_of(sweep, "queued"), count_ended(sweep), of, failed, best, eta);
}

static void print_stamped(const char *text) {
        char stamp[16];
        time_t now = time(NULL);
        struct tm local;
        strftime(stamp, sizeof stamp, "%H:%M:%S", localtime_r(&now, &local));
        screen_print(stdout, "%s  %s\n", stamp, text);
        fflush(stdout);
}

/* --- the picture ----------------------------------------------------------------------------------- */

/* What the looks before have shown: the best value after each trial that ended. */
struct watched {
        double *best; /* at most HISTORY_MAX */
        size_t n;
        double n_ended; /* at the last look */
        bool is_loaded;
};

static void watched_fini(struct watched *watched) {
        free(watched->best);
}

static void add_best(struct watched *watched, double value) {
        if (watched->n == HISTORY_MAX) { /* every second one goes */
                for (size_t i = 0; i < HISTORY_MAX / 2; i++)
                        watched->best[i] = watched->best[2 * i + 1];
                watched->n = HISTORY_MAX / 2;
        }
        double *longer = watched->best ? watched->best : calloc(HISTORY_MAX, sizeof *longer);
        if (!longer)
                return;
        watched->best = longer;
        watched->best[watched->n++] = value;
}

/* A list that the picture needs. Failure to get it spoils nothing. */
__attribute__((format(printf, 2, 3))) static json_t *get_list(struct ctl *ctl, const char *format, ...) {
        char path[512];
        va_list ap;
        va_start(ap, format);
        vsnprintf(path, sizeof path, format, ap);
        va_end(ap);
        return get_items(ctl, path);
}

static bool maximizes(const json_t *sweep) {
        const char *goal = field_text(json_object_get(json_object_get(sweep, "spec"), "metric"), "goal");
        return goal && strcmp(goal, "maximize") == 0;
}

static int by_finish(const void *a, const void *b) {
        const char *x = field_text(*(json_t *const *)a, "finished"), *y = field_text(*(json_t *const *)b, "finished");
        return strcmp(x ? x : "", y ? y : "");
}

/* Once, at the first look: the trials that ended before. */
static void load_history(struct ctl *ctl, const json_t *sweep, struct watched *watched) {
        _cleanup_json_ json_t *items = get_list(ctl, "/v1/sweeps/%s/trials?state=completed&limit=1000", ctl->args[0]);
        size_t i, n = 0;
        json_t *item;
        json_t **order = calloc(json_array_size(items) + 1, sizeof *order);
        watched->is_loaded = true;
        if (!order)
                return;
        json_array_foreach(items, i, item)
                order[n++] = item;
        qsort(order, n, sizeof *order, by_finish);
        for (i = 0; i < n; i++) {
                double value = field_number(order[i], "value"), last = watched->n > 0 ? watched->best[watched->n - 1] : value;
                add_best(watched, (maximizes(sweep) ? value > last : value < last) ? value : last);
        }
        free(order);
}

static void watch_best(struct ctl *ctl, const json_t *sweep, struct watched *watched) {
        const json_t *best = json_object_get(sweep, "best");
        double value = field_number(best, "value");
        bool has_news = count_ended(sweep) > watched->n_ended;
        if (!watched->is_loaded) {
                load_history(ctl, sweep, watched);
                has_news = watched->n == 0 || watched->best[watched->n - 1] != value; /* of more trials than were asked for */
        }
        if (json_is_object(best) && has_news)
                add_best(watched, value);
        watched->n_ended = count_ended(sweep);
}

/* "worker name" of an id. */
static const char *name_of(const json_t *workers, const char *id) {
        size_t i;
        json_t *worker;
        json_array_foreach(workers, i, worker) {
                const char *other = field_text(worker, "id");
                if (id && other && strcmp(id, other) == 0)
                        return field_text(worker, "name");
        }
        return id;
}

/* The curve of a running trial: the sweep's metric, or while that has no two points, its training loss. Returns how many. */
static size_t get_curve(struct ctl *ctl, const char *trial, const char *metric, double ret[static CURVE_POINTS_MAX], double *ret_last) {
        const char *const names[] = {metric, "train/loss"};
        for (size_t k = 0; k < 2; k++) {
                _cleanup_free_ char *name = names[k] ? curl_easy_escape(NULL, names[k], 0) : NULL;
                _cleanup_json_ json_t *points = name ? get_list(ctl, "/v1/trials/%s/metrics?name=%s&limit=%d", trial, name, CURVE_POINTS_MAX) : NULL;
                size_t n = json_array_size(points);
                if (n > CURVE_POINTS_MAX)
                        n = CURVE_POINTS_MAX;
                for (size_t i = 0; i < n; i++)
                        ret[i] = field_number(json_array_get(points, i), "value");
                if (n > 0 && k == 0)
                        *ret_last = ret[n - 1];
                if (n > 1)
                        return n;
        }
        return 0;
}

static void draw_trials(struct ctl *ctl, const json_t *sweep, size_t rows, size_t columns, bool colours, FILE *out) {
        __attribute__((cleanup(table_fini))) struct table table = {0};
        static double curve[CURVE_POINTS_MAX];
        _cleanup_json_ json_t *trials = get_list(ctl, "/v1/sweeps/%s/trials?state=running&limit=%zu", ctl->args[0], rows);
        _cleanup_json_ json_t *workers = json_array_size(trials) > 0 ? get_list(ctl, "/v1/workers?limit=1000") : NULL;
        const char *metric = field_text(json_object_get(json_object_get(sweep, "spec"), "metric"), "name");
        size_t i, curve_columns = columns > 120 ? 30 : 16;
        json_t *trial;
        int r = table_init(&table, (const char *[]){">#", "WORKER", "PROGRESS", ">TIME", ">VALUE", "CURVE", "PARAMETERS", NULL});
        json_array_foreach(trials, i, trial) {
                char number[CELL_BYTES], progress[64] = "", bar[64], time_text[32], last_text[32] = "", spark[4 * SPARKLINE_COLUMNS_MAX] = "", params[CELL_BYTES];
                double last = NAN;
                uint64_t started;
                const char *id = field_text(trial, "id"), *since = field_text(trial, "started");
                if (json_is_number(json_object_get(trial, "progress")))
                        snprintf(progress, sizeof progress, "%s %3.0f%%", screen_bar(field_number(trial, "progress"), 10, bar, sizeof bar),
                                 100 * field_number(trial, "progress"));
                size_t n = id ? get_curve(ctl, id, metric, curve, &last) : 0;
                screen_sparkline(curve, n, curve_columns, spark, sizeof spark);
                if (!isnan(last))
                        snprintf(last_text, sizeof last_text, "%.6g", last);
                double seconds = since && rfc3339_parse(since, &started) == 0 ? (double)(int64_t)(world_wall_ms(world_real()) - started) / 1000 : -1;
                const char *worker = name_of(workers, field_text(trial, "worker"));
                if (r == 0)
                        r = table_add(&table, (const char *[]){text_of(json_object_get(trial, "number"), number, sizeof number), worker ? worker : "-", progress,
                                                               text_of_seconds(seconds, time_text, sizeof time_text), last_text, spark,
                                                               text_of_params(json_object_get(trial, "params"), params, sizeof params)});
        }
        if (i > 0) {
                fputc('\n', out);
                table_print_fitted(&table, out, columns, colours);
        }
}

/* One line, cut to the terminal, its label in a colour. */
static void put_line(FILE *out, size_t columns, bool colours, const char *colour, const char *label, const char *text) {
        char cut[1024];
        size_t taken = screen_width(label);
        screen_fit(text, columns > taken ? columns - taken : 0, cut, sizeof cut);
        fprintf(out, "%s%s%s", colours ? colour : "", label, colours && *colour ? SCREEN_PLAIN : "");
        screen_print(out, "%s\n", cut);
}

static void draw_progress(const json_t *sweep, size_t columns, bool colours, FILE *out) {
        char text[1024], bar[4 * 128];
        const json_t *stage = json_object_get(sweep, "stage");
        double total = total_of(sweep), stage_total = field_number(stage, "total");
        double share = total > 0 ? count_ended(sweep) / total : stage_total > 0 ? field_number(stage, "proposed") / stage_total : -1;
        size_t width = columns > 100 ? 50 : columns > 60 ? columns / 2 : 10;
        describe(sweep, text, sizeof text);
        if (share >= 0) {
                char percent[64];
                snprintf(percent, sizeof percent, " %.0f%%%s", 100 * (share < 1 ? share : 1), total > 0 ? "" : " of this stage proposed");
                put_line(out, columns, colours, "\033[36m", screen_bar(share, width, bar, sizeof bar), percent);
        }
        put_line(out, columns, colours, "", "", text);
}

static void draw_stage(const json_t *sweep, size_t columns, bool colours, FILE *out) {
        const json_t *stage = json_object_get(sweep, "stage");
        const char *method = field_text(sweep, "method"), *own = field_text(stage, "method");
        char text[256];
        size_t n = json_array_size(json_object_get(json_object_get(sweep, "spec"), "stages"));
        if (!method || strcmp(method, "staged") != 0 || !own)
                return;
        int used = snprintf(text, sizeof text, "%.0f of %zu, %s", field_number(stage, "index") + 1, n, own);
        if (json_is_number(json_object_get(stage, "total")))
                snprintf(text + used, sizeof text - (size_t)used, ", %.0f of %.0f proposed", field_number(stage, "proposed"), field_number(stage, "total"));
        put_line(out, columns, colours, "\033[1m", "stage    ", text);
}

static void draw_best(const json_t *sweep, const struct watched *watched, size_t columns, bool colours, FILE *out) {
        const json_t *best = json_object_get(sweep, "best");
        char text[1024], value[CELL_BYTES], spark[4 * SPARKLINE_COLUMNS_MAX], params[CELL_BYTES];
        if (!json_is_object(best))
                return;
        snprintf(text, sizeof text, "%s in trial %.0f: %s", text_of_number(json_object_get(best, "value"), value, sizeof value), field_number(best, "number"),
                 text_of_params(json_object_get(best, "params"), params, sizeof params));
        put_line(out, columns, colours, "\033[1m", "best     ", text);
        if (watched->n < 2)
                return;
        screen_sparkline(watched->best, watched->n, columns > 40 ? columns / 2 : 12, spark, sizeof spark);
        snprintf(text, sizeof text, "%s  %.6g → %.6g", spark, watched->best[0], watched->best[watched->n - 1]);
        put_line(out, columns, colours, "\033[1m", "so far   ", text);
}

/* Why it does not get on. */
static void draw_hints(struct ctl *ctl, const json_t *sweep, size_t columns, bool colours, FILE *out) {
        char text[1024];
        if (hint_waiting(ctl, sweep, text, sizeof text))
                put_line(out, columns, colours, "\033[33m", "waiting  ", text);
        if (hint_paused(sweep, text, sizeof text))
                put_line(out, columns, colours, "\033[33m", "paused   ", text);
        if (hint_failed(ctl, sweep, text, sizeof text))
                put_line(out, columns, colours, "\033[31m", "failed   ", text);
}

static void draw_all(struct ctl *ctl, const json_t *sweep, const struct watched *watched, FILE *out) {
        size_t columns = screen_columns(stdout), rows = screen_rows(stdout);
        bool colours = screen_has_colours(stdout);
        char name[CELL_BYTES], title[CELL_BYTES + 64];
        columns = columns > 20 ? columns : 80;
        snprintf(title, sizeof title, "%s  (%s)", text_of(json_object_get(sweep, "name"), name, sizeof name), ctl->args[0]);
        put_line(out, columns, colours, "\033[1m", "", title);
        draw_progress(sweep, columns, colours, out);
        draw_stage(sweep, columns, colours, out);
        draw_best(sweep, watched, columns, colours, out);
        draw_hints(ctl, sweep, columns, colours, out);
        if (rows > HEAD_ROWS)
                draw_trials(ctl, sweep, rows - HEAD_ROWS, columns, colours, out);
}

/* Over the picture before: each line to its end, then what is left below; so nothing flickers. */
static void draw(struct ctl *ctl, const json_t *sweep, struct watched *watched) {
        _cleanup_free_ char *picture = NULL;
        size_t len = 0;
        watch_best(ctl, sweep, watched);
        FILE *out = open_memstream(&picture, &len);
        if (!out)
                return;
        draw_all(ctl, sweep, watched, out);
        fclose(out);
        fputs("\033[H", stdout);
        for (const char *line = picture, *end; line && (end = strchr(line, '\n')); line = end + 1)
                printf("%.*s\033[K\n", (int)(end - line), line);
        fputs("\033[J", stdout);
        fflush(stdout);
}

/* Elsewhere than on a terminal. */
static void print_hints(struct ctl *ctl, const json_t *sweep) {
        char hint[1024], text[1100];
        if (hint_waiting(ctl, sweep, hint, sizeof hint)) {
                snprintf(text, sizeof text, "waiting: %s", hint);
                print_stamped(text);
        }
        if (hint_paused(sweep, hint, sizeof hint))
                print_stamped(hint);
}

/* --- looking --------------------------------------------------------------------------------------- */

static void show(struct ctl *ctl, const struct answer *answer, struct watched *watched, char *last, size_t size) {
        char text[1024];
        if (!ctl->json && isatty(STDOUT_FILENO)) {
                draw(ctl, answer->body, watched);
                return;
        }
        describe(answer->body, text, sizeof text);
        if (strncmp(text, last, size - 1) == 0)
                return;
        snprintf(last, size, "%s", text);
        if (ctl->json) {
                ctl_print_json(answer->body);
                fflush(stdout);
        } else {
                print_stamped(text);
                print_hints(ctl, answer->body);
        }
}

int command_watch(struct ctl *ctl) {
        unsigned interval = (unsigned)config_integer(ctl->config, "interval"), silence = 0;
        char last[1024] = "";
        __attribute__((cleanup(watched_fini))) struct watched watched = {0};
        _cleanup_free_ char *path = ctl_path("sweeps", ctl->args[0], "");
        if (!path)
                return EXIT_FAILED;
        if (!ctl->json && isatty(STDOUT_FILENO))
                fputs("\033[2J", stdout);
        while (true) {
                __attribute__((cleanup(answer_fini))) struct answer answer = {0};
                struct error err;
                bool heard = client_request(ctl->client, "GET", path, NULL, false, &answer, &err) == 0;
                if (!heard || answer.status >= 500) {
                        silence += interval;
                        if (silence > SILENCE_MAX_S || !*last)
                                return heard ? get_sweep(ctl, ctl->args[0], "", &answer) : ctl_fail(&err);
                        sleep(interval);
                        continue;
                }
                if (answer.status != 200) {
                        answer_fini(&answer);
                        return get_sweep(ctl, ctl->args[0], "", &answer); /* tells why */
                }
                silence = 0;
                show(ctl, &answer, &watched, last, sizeof last);
                if (!*last)
                        last[0] = ' ', last[1] = 0; /* seen once */
                const char *state = field_text(answer.body, "state");
                if (state && (strcmp(state, "finished") == 0 || strcmp(state, "cancelled") == 0)) {
                        if (!ctl->json && isatty(STDOUT_FILENO))
                                printf("\nnext:  sweepctl best %s\n       sweepctl report %s -o study.html\n", ctl->args[0], ctl->args[0]);
                        return strcmp(state, "finished") == 0 ? EXIT_FINE : EXIT_FAILED;
                }
                sleep(interval);
        }
}
