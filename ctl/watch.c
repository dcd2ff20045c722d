/* Following a sweep. On a terminal the picture is drawn over itself; elsewhere one line is written whenever something has
 * changed, so that a log of it stays short. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "ctl.h"
#include "sweeps.h"
#include "table.h"

#define SILENCE_MAX_S 120 /* without an answer: the coordinator may be restarting */
#define TRIALS_SHOWN 12
#define BAR_CHARS 30

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
        char value[CELL_BYTES], eta[32] = "", of[48] = "", failed[48] = "", best[CELL_BYTES + 48] = "", left[32];
        const json_t *trial = json_object_get(sweep, "best");
        const char *state = field_text(sweep, "state");
        double total = total_of(sweep);
        if (total > 0)
                snprintf(of, sizeof of, " of %.0f", total);
        if (count_of(sweep, "failed") > 0)
                snprintf(failed, sizeof failed, ", failed %.0f", count_of(sweep, "failed"));
        if (json_is_object(trial))
                snprintf(best, sizeof best, ", best %s (trial %.0f)", text_of_number(json_object_get(trial, "value"), value, sizeof value),
                         field_number(trial, "number"));
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
        printf("%s  %s\n", stamp, text);
        fflush(stdout);
}

static void draw_bar(double done, double total) {
        int full = (int)(BAR_CHARS * (done < total ? done / total : 1));
        putchar('[');
        for (int i = 0; i < BAR_CHARS; i++)
                putchar(i < full ? '#' : '.');
        printf("] %.0f%%\n", 100 * (done < total ? done / total : 1));
}

static void draw_trials(const json_t *trials) {
        __attribute__((cleanup(table_fini))) struct table table = {0};
        int r = table_init(&table, (const char *[]){">#", "STATE", ">PROGRESS", ">VALUE", "SOURCE", "PARAMETERS", NULL});
        size_t i;
        json_t *trial;
        json_array_foreach(trials, i, trial) {
                char number[CELL_BYTES], state[CELL_BYTES], progress[32] = "", value[CELL_BYTES], source[CELL_BYTES], params[100];
                if (json_is_number(json_object_get(trial, "progress")))
                        snprintf(progress, sizeof progress, "%.0f%%", 100 * field_number(trial, "progress"));
                if (r == 0)
                        r = table_add(&table, (const char *[]){text_of(json_object_get(trial, "number"), number, sizeof number),
                                                               text_of(json_object_get(trial, "state"), state, sizeof state), progress,
                                                               text_of_number(json_object_get(trial, "value"), value, sizeof value),
                                                               text_of(json_object_get(json_object_get(trial, "proposal"), "source"),
                                                                       source, sizeof source),
                                                               text_of_params(json_object_get(trial, "params"), params, sizeof params)});
        }
        table_print(&table, stdout);
}

/* Running trials. Failure to get them spoils nothing. */
static json_t *get_running(struct ctl *ctl, const char *id) {
        struct answer answer = {0};
        struct error err;
        _cleanup_free_ char *path = NULL;
        json_t *items = NULL;
        if (asprintf(&path, "/v1/sweeps/%s/trials?state=running&limit=%d", id, TRIALS_SHOWN) >= 0 &&
            client_request(ctl->client, "GET", path, NULL, false, &answer, &err) == 0)
                items = json_incref(json_object_get(answer.body, "items"));
        answer_fini(&answer);
        return items;
}

static void draw(struct ctl *ctl, const json_t *sweep) {
        char text[1024], name[CELL_BYTES];
        _cleanup_json_ json_t *running = get_running(ctl, ctl->args[0]);
        describe(sweep, text, sizeof text);
        printf("\033[H\033[2J%s (%s)\n%s\n", text_of(json_object_get(sweep, "name"), name, sizeof name), ctl->args[0], text);
        if (total_of(sweep) > 0)
                draw_bar(count_ended(sweep), total_of(sweep));
        const json_t *best = json_object_get(sweep, "best");
        if (json_is_object(best))
                printf("best: %s\n", text_of_params(json_object_get(best, "params"), text, sizeof text));
        if (json_array_size(running) > 0) {
                putchar('\n');
                draw_trials(running);
        }
        fflush(stdout);
}

static void show(struct ctl *ctl, const struct answer *answer, char *last, size_t size) {
        char text[1024];
        if (!ctl->json && isatty(STDOUT_FILENO)) {
                draw(ctl, answer->body);
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
        }
}

int command_watch(struct ctl *ctl) {
        unsigned interval = (unsigned)config_integer(ctl->config, "interval"), silence = 0;
        char last[1024] = "";
        _cleanup_free_ char *path = ctl_path("sweeps", ctl->args[0], "");
        if (!path)
                return EXIT_FAILED;
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
                show(ctl, &answer, last, sizeof last);
                if (!*last)
                        last[0] = ' ', last[1] = 0; /* seen once */
                const char *state = field_text(answer.body, "state");
                if (state && (strcmp(state, "finished") == 0 || strcmp(state, "cancelled") == 0))
                        return strcmp(state, "finished") == 0 ? EXIT_FINE : EXIT_FAILED;
                sleep(interval);
        }
}
