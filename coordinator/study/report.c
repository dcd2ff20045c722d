#include "study/report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/utf8.h"
#include "study/grid.h"
#include "study/page.h"
#include "study/plot.h"
#include "study/trial.h"

#define BEST_SHOWN 20
#define CELL 1024
#define AXES_MAX 12
#define LINES_MAX 2000 /* of the parallel coordinates: the later trials */

/* --- reading the JSON ------------------------------------------------------------------------------- */

static const char *text_at(const json_t *object, const char *key) {
        const char *text = json_string_value(json_object_get(object, key));
        return text ? text : "";
}

static unsigned stage_of(const json_t *trial) {
        return (unsigned)json_integer_value(json_object_get(trial, "stage"));
}

static bool is_imported(const json_t *trial) {
        const char *source = text_at(json_object_get(trial, "proposal"), "source");
        return strcmp(source, "import") == 0 || strcmp(source, "warm_start") == 0;
}

static void describe_params(const json_t *params, const char *prefix, struct buf *out) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)params, key, value) {
                char name[512];
                snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
                if (json_is_object(value) && json_object_size(value) > 0) {
                        describe_params(value, name, out);
                        continue;
                }
                _cleanup_free_ char *text = json_is_real(value) ? NULL : json_text(value);
                if (json_is_real(value))
                        buf_printf(out, "%s%s %.4g", out->len ? ", " : "", name, json_real_value(value));
                else
                        buf_printf(out, "%s%s %s", out->len ? ", " : "", name, text ? text : "?");
        }
}

static void number_text(double value, char ret[static 40]) {
        if (isfinite(value))
                snprintf(ret, 40, "%.6g", value);
        else
                snprintf(ret, 40, "–");
}

/* --- what the sections share ------------------------------------------------------------------------- */

struct report {
        const struct study *study;
        struct page page;
        bool maximize;
        const char *metric;
        const json_t *stages[64]; /* of the stage object: those before, then the present one */
        size_t n_stages;
};

static bool is_better(const struct report *report, double a, double b) {
        return isnan(b) ? isfinite(a) : report->maximize ? a > b : a < b;
}

/* The best trial among those that `wanted` accepts; NULL when none has a value. */
static const json_t *find_best(const struct report *report, bool (*wanted)(const struct report *report, const json_t *trial, unsigned stage), unsigned stage) {
        const json_t *best = NULL;
        size_t i;
        json_t *trial;
        json_array_foreach(report->study->trials, i, trial) {
                if (isfinite(trial_value(trial)) && wanted(report, trial, stage) && (!best || is_better(report, trial_value(trial), trial_value(best))))
                        best = trial;
        }
        return best;
}

static bool is_any(const struct report *report, const json_t *trial, unsigned stage) {
        (void)report, (void)trial, (void)stage;
        return true;
}

static bool is_of_stage(const struct report *report, const json_t *trial, unsigned stage) {
        (void)report;
        return stage_of(trial) == stage && !is_imported(trial);
}

static bool is_before_stage(const struct report *report, const json_t *trial, unsigned stage) {
        (void)report;
        return stage_of(trial) < stage || is_imported(trial);
}

static bool is_baseline(const struct report *report, const json_t *trial, unsigned stage) {
        (void)report, (void)stage;
        return strcmp(text_at(json_object_get(trial, "proposal"), "source"), "baseline") == 0;
}

static const char *method_of_stage(const struct report *report, size_t stage) {
        return stage < report->n_stages ? text_at(report->stages[stage], "method") : "";
}

static bool is_by_hand(const char *method) {
        return strcmp(method, "ofat") == 0 || strcmp(method, "grid") == 0;
}

static bool is_manual(const struct report *report, const json_t *trial, unsigned stage) {
        (void)stage;
        return is_by_hand(method_of_stage(report, stage_of(trial))) && !is_imported(trial);
}

static bool is_searched(const struct report *report, const json_t *trial, unsigned stage) {
        (void)stage;
        return !is_by_hand(method_of_stage(report, stage_of(trial))) && !is_imported(trial);
}

/* --- sections ---------------------------------------------------------------------------------------- */

static void result_row(struct report *report, const char *what, const json_t *trial, double baseline) {
        char value[40], gain[40] = "", number[32] = "–";
        _cleanup_buf_ struct buf params = BUF_INIT(CELL);
        number_text(trial ? trial_value(trial) : NAN, value);
        if (trial) {
                snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(trial, "number")));
                describe_params(json_object_get(trial, "params"), "", &params);
        }
        if (trial && isfinite(baseline))
                snprintf(gain, sizeof gain, "%+.4g", trial_value(trial) - baseline);
        page_row(&report->page, (const char *[]){what, value, gain, number, params.data ? params.data : ""}, 5);
}

static void write_results(struct report *report) {
        const json_t *baseline = find_best(report, is_baseline, 0), *manual = find_best(report, is_manual, 0),
                     *searched = find_best(report, is_searched, 0), *best = find_best(report, is_any, 0);
        double base = baseline ? trial_value(baseline) : NAN;
        page_heading(&report->page, 2, "Result");
        if (!best) {
                page_text(&report->page, "No trial has a value yet.");
                return;
        }
        page_table(&report->page);
        page_row(&report->page, (const char *[]){"", report->metric, "against the baseline", "trial", "configuration"}, 5);
        if (baseline)
                result_row(report, "baseline", baseline, NAN);
        if (manual)
                result_row(report, "manual best", manual, base);
        if (searched)
                result_row(report, "sweep best", searched, base);
        if (best != manual && best != searched)
                result_row(report, "best of all, brought from elsewhere", best, base);
        page_table_end(&report->page);
        page_text(&report->page, "Manual best: the best of the one-factor-at-a-time and grid stages. Sweep best: the best of the stages that chose by "
                                 "themselves. The value is the one that selected the trial: on data that chose nothing it will be lower on average.");
}

/* "learning_rate, dropout and warmup_steps" */
static void join_names(const json_t *names, struct buf *out) {
        size_t n = json_array_size(names);
        for (size_t i = 0; i < n; i++)
                buf_printf(out, "%s%s", i == 0 ? "" : i + 1 == n ? " and " : ", ", json_string_value(json_array_get(names, i)));
}

static double impact_of(const json_t *impact, const char *key) {
        const json_t *value = json_object_get(impact, key);
        return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Trials by something that they have in common. */
struct tally {
        double n, mean, squares, best; /* squares: of the distances from the mean */
};

struct tallies {
        json_t *places; /* of each key among the items, in the order in which they came */
        struct tally *items;
};

static void tallies_fini(struct tallies *tallies) {
        json_decref(tallies->places);
        free(tallies->items);
}

/* Room for one key a trial; false without memory. */
static bool tallies_init(struct tallies *tallies, const struct report *report) {
        *tallies = (struct tallies){json_object(), calloc(json_array_size(report->study->trials) + 1, sizeof(struct tally))};
        return tallies->places && tallies->items;
}

static void tallies_add(struct tallies *tallies, const struct report *report, const char *key, double value) {
        json_t *place = json_object_get(tallies->places, key);
        size_t i = place ? (size_t)json_integer_value(place) : json_object_size(tallies->places);
        if (!place && json_object_set_new(tallies->places, key, json_integer((json_int_t)i)) < 0)
                return;
        struct tally *tally = &tallies->items[i];
        double before = tally->mean;
        tally->n++;
        tally->mean += value / tally->n - before / tally->n;
        tally->squares += (value - before) * (value - tally->mean);
        tally->best = !place || is_better(report, value, tally->best) ? value : tally->best;
}

/* How far trials of one configuration lie apart: the pooled deviation of those that were run more than once. */
struct spread {
        size_t n, n_configurations; /* trials, and what they have in common */
        double sd;
};

static struct spread measure_spread(const struct report *report) {
        _cleanup_(tallies_fini) struct tallies tallies;
        struct spread spread = {0};
        double squares = 0;
        size_t i;
        json_t *trial;
        if (!tallies_init(&tallies, report))
                return spread;
        json_array_foreach(report->study->trials, i, trial) {
                _cleanup_free_ char *key = isfinite(trial_value(trial)) && !is_imported(trial) ? json_text(json_object_get(trial, "params")) : NULL;
                if (key)
                        tallies_add(&tallies, report, key, trial_value(trial));
        }
        for (i = 0; i < json_object_size(tallies.places); i++) {
                if (tallies.items[i].n < 2)
                        continue;
                spread.n += (size_t)tallies.items[i].n;
                spread.n_configurations++;
                squares += tallies.items[i].squares;
        }
        if (spread.n > 0)
                spread.sd = sqrt(squares / (double)(spread.n - spread.n_configurations));
        return spread;
}

/* The difference of two draws has √2 times the deviation of one, and 95 of 100 such differences are below 1.96 times that. */
static void write_noise(struct report *report) {
        struct spread spread = measure_spread(report);
        if (spread.n == 0)
                page_text(&report->page, "No configuration was run twice, so that the noise of a single trial is not known: a small impact may be chance.");
        else if (isfinite(spread.sd))
                page_text(&report->page, "Noise: %zu trials of %zu configurations that were run more than once have a standard deviation of %.3g, so that an "
                                         "impact below about %.3g may be chance.",
                          spread.n, spread.n_configurations, spread.sd, 1.96 * sqrt(2) * spread.sd);
}

static void write_impacts(struct report *report, unsigned index, const json_t *impacts) {
        size_t n = json_array_size(impacts);
        _cleanup_free_ struct plot_bar *bars = calloc(n + 1, sizeof *bars);
        _cleanup_buf_ struct buf svg = BUF_INIT(1u << 20);
        const json_t *baseline = find_best(report, is_baseline, index);
        if (!bars || n == 0)
                return;
        page_table(&report->page);
        page_row(&report->page, (const char *[]){"factor", "impact", "lowest", "highest"}, 4);
        for (size_t i = 0; i < n; i++) {
                const json_t *impact = json_array_get(impacts, i);
                char size[40], low[40], high[40];
                number_text(impact_of(impact, "impact"), size);
                number_text(impact_of(impact, "low"), low);
                number_text(impact_of(impact, "high"), high);
                page_row(&report->page, (const char *[]){text_at(impact, "parameter"), size, low, high}, 4);
                bars[i] = (struct plot_bar){text_at(impact, "parameter"), impact_of(impact, "low"), impact_of(impact, "high")};
        }
        page_table_end(&report->page);
        const json_t *first = json_array_get(impacts, 0), *last = json_array_get(impacts, n - 1);
        page_text(&report->page,
                  "Impact is the range of %s over a factor's levels and the baseline, all else at the baseline. %s matters most: it alone moves %s by "
                  "%.4g; %s moves it by %.4g.",
                  report->metric, text_at(first, "parameter"), report->metric, impact_of(first, "impact"), text_at(last, "parameter"),
                  impact_of(last, "impact"));
        write_noise(report);
        if (plot_bars(&svg, report->metric, bars, n, baseline ? trial_value(baseline) : NAN) == 0)
                page_figure(&report->page, svg.data, "What each factor alone does; the line is the baseline");
}

static void write_confirmation(struct report *report, const json_t *confirmation) {
        const json_t *finalists = json_object_get(confirmation, "finalists"), *winner = json_object_get(confirmation, "winner"),
                     *confidence = json_object_get(confirmation, "confidence");
        if (json_array_size(finalists) == 0)
                return;
        page_table(&report->page);
        page_row(&report->page, (const char *[]){"configuration of trial", "mean", "standard deviation", "trials", "chance of being the best", "configuration"}, 6);
        for (size_t i = 0; i < json_array_size(finalists); i++) {
                const json_t *finalist = json_array_get(finalists, i);
                char number[32], mean[40], sd[40], n[32], chance[40] = "–";
                _cleanup_buf_ struct buf params = BUF_INIT(CELL);
                snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(finalist, "trial")));
                number_text(impact_of(finalist, "mean"), mean);
                number_text(impact_of(finalist, "sd"), sd);
                snprintf(n, sizeof n, "%lld", (long long)json_integer_value(json_object_get(finalist, "n")));
                if (isfinite(impact_of(finalist, "chance_of_best")))
                        snprintf(chance, sizeof chance, "%.0f %%", 100 * impact_of(finalist, "chance_of_best"));
                describe_params(json_object_get(finalist, "params"), "", &params);
                page_row(&report->page, (const char *[]){number, mean, sd, n, chance, params.data ? params.data : ""}, 6);
        }
        page_table_end(&report->page);
        if (json_is_integer(winner) && json_is_number(confidence))
                page_text(&report->page, "The winner is the configuration of trial %lld, with a confidence of %.0f %%. Only these trials with fresh seeds decide: "
                                         "what the search saw of its best configurations is flattered by the choice.",
                          (long long)json_integer_value(winner), 100 * json_number_value(confidence));
        else if (json_is_integer(winner))
                page_text(&report->page, "The configuration of trial %lld is ahead; there are too few trials with fresh seeds for a confidence.",
                          (long long)json_integer_value(winner));
}

static void write_gain(struct report *report, unsigned index) {
        const json_t *best = find_best(report, is_of_stage, index), *before = find_best(report, is_before_stage, index);
        _cleanup_buf_ struct buf params = BUF_INIT(CELL);
        if (!best) {
                page_text(&report->page, "No trial of this stage has a value.");
                return;
        }
        describe_params(json_object_get(best, "params"), "", &params);
        page_text(&report->page, "Its best is %.6g, trial %lld: %s.", trial_value(best), (long long)json_integer_value(json_object_get(best, "number")),
                  params.data ? params.data : "no parameters");
        if (!before)
                return;
        double gain = report->maximize ? trial_value(best) - trial_value(before) : trial_value(before) - trial_value(best);
        if (gain > 0)
                page_text(&report->page, "That is %.4g better than anything before it (%.6g).", gain, trial_value(before));
        else
                page_text(&report->page, "Nothing in it was better than what was known before (%.6g).", trial_value(before));
}

/* Adds to the table what each level of the factor did on average, over the levels of the others. */
static void write_levels_of(struct report *report, unsigned index, const char *name, bool *is_begun) {
        _cleanup_(tallies_fini) struct tallies tallies;
        const char *level;
        size_t i;
        json_t *trial, *place;
        if (!tallies_init(&tallies, report))
                return;
        json_array_foreach(report->study->trials, i, trial) {
                const json_t *choice = json_get_dotted(json_object_get(trial, "params"), name);
                _cleanup_buf_ struct buf text = BUF_INIT(CELL);
                _cleanup_json_ json_t *alone = choice ? json_pack("{s:O}", name, choice) : NULL;
                if (!alone || !isfinite(trial_value(trial)) || !is_of_stage(report, trial, index))
                        continue;
                describe_params(alone, "", &text);
                if (text.data)
                        tallies_add(&tallies, report, text.data, trial_value(trial));
        }
        json_object_foreach(tallies.places, level, place) {
                const struct tally *tally = &tallies.items[json_integer_value(place)];
                char n[32], mean[40], best[40];
                if (!*is_begun) {
                        page_table(&report->page);
                        page_row(&report->page, (const char *[]){"level", "trials", "mean", "best"}, 4);
                        *is_begun = true;
                }
                snprintf(n, sizeof n, "%.0f", tally->n);
                number_text(tally->mean, mean);
                number_text(tally->best, best);
                page_row(&report->page, (const char *[]){level, n, mean, best}, 4);
        }
}

static void write_levels(struct report *report, unsigned index, const json_t *names) {
        bool is_begun = false;
        for (size_t k = 0; k < json_array_size(names); k++)
                if (json_is_string(json_array_get(names, k)))
                        write_levels_of(report, index, json_string_value(json_array_get(names, k)), &is_begun);
        if (is_begun)
                page_table_end(&report->page);
}

/* --- stages ------------------------------------------------------------------------------------------ */

/* The heat maps of a grid. */
static void write_maps(struct report *report, unsigned index) {
        _cleanup_json_ json_t *of_stage = json_array();
        size_t i;
        json_t *trial;
        json_array_foreach(report->study->trials, i, trial)
                if (is_of_stage(report, trial, index))
                        json_array_append(of_stage, trial);
        const struct grid grid = {report->study->trials, of_stage, report->metric, report->maximize};
        grid_draw(&grid, &report->page);
}

static void write_stage(struct report *report, unsigned index, const json_t *stage) {
        static const struct {
                const char *method, *title;
        } titles[] = {{"ofat", "one factor at a time"}, {"grid", "grid"}, {"bayes", "Bayesian optimisation"}, {"random", "random search"},
                      {"sobol", "Sobol sequence"},      {"confirm", "confirmation"}};
        const char *method = text_at(stage, "method");
        char title[128];
        snprintf(title, sizeof title, "Stage %u: %s", index + 1, method);
        for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
                if (strcmp(titles[i].method, method) == 0)
                        snprintf(title, sizeof title, "Stage %u: %s", index + 1, titles[i].title);
        page_heading(&report->page, 3, title);
        size_t counts[3] = {0}, i; /* all, with a value, failed */
        json_t *trial;
        json_array_foreach(report->study->trials, i, trial) {
                if (!is_of_stage(report, trial, index))
                        continue;
                counts[0]++;
                counts[1] += isfinite(trial_value(trial));
                counts[2] += strcmp(text_at(trial, "state"), "failed") == 0;
        }
        page_text(&report->page, "%zu trials, %zu with a value, %zu failed.", counts[0], counts[1], counts[2]);
        double total = json_number_value(json_object_get(stage, "total"));
        if (is_by_hand(method) && index + 1 < report->n_stages && total > (double)counts[0])
                page_text(&report->page, "%.0f of its %.0f configurations had been evaluated before.", total - (double)counts[0], total);
        const json_t *selected = json_object_get(stage, "selected"), *impacts = json_object_get(stage, "impacts");
        if (json_array_size(selected) > 0) {
                _cleanup_buf_ struct buf names = BUF_INIT(CELL);
                join_names(selected, &names);
                page_text(&report->page, "It varied %s: of the factors it could vary, those with the largest impact when changed alone. All others stayed at "
                                         "the baseline.",
                          names.data ? names.data : "");
        }
        if (json_array_size(impacts) > 0)
                write_impacts(report, index, impacts);
        if (strcmp(method, "grid") == 0) {
                write_levels(report, index, selected);
                write_maps(report, index);
        }
        if (strcmp(method, "confirm") == 0)
                write_confirmation(report, json_object_get(stage, "confirmation"));
        else
                write_gain(report, index);
}

static void write_history(struct report *report) {
        size_t n = json_array_size(report->study->trials), i;
        _cleanup_free_ double *values = calloc(n + 1, sizeof *values);
        _cleanup_free_ unsigned *stages = calloc(n + 1, sizeof *stages);
        _cleanup_buf_ struct buf svg = BUF_INIT(4u << 20);
        if (!values || !stages)
                return;
        json_t *trial;
        json_array_foreach(report->study->trials, i, trial) {
                values[i] = trial_value(trial);
                stages[i] = stage_of(trial);
        }
        const char *names[64];
        for (size_t k = 0; k < report->n_stages; k++)
                names[k] = text_at(report->stages[k], "method");
        if (n > 0 && plot_history(&svg, report->metric, values, stages, n, names, report->n_stages, report->maximize) == 0)
                page_figure(&report->page, svg.data, report->n_stages > 1 ? "Every trial in order, coloured by stage, and the best so far" : "Every trial in order, and the best so far");
}

/* --- curves of the best trials ------------------------------------------------------------------------- */

static bool curve_fill(struct plot_curve *curve, const json_t *item) {
        const json_t *points = json_object_get(item, "points");
        size_t i;
        json_t *point;
        snprintf(curve->name, sizeof curve->name, "trial %lld", (long long)json_integer_value(json_object_get(item, "trial")));
        curve->step = calloc(json_array_size(points) + 1, sizeof *curve->step);
        curve->value = calloc(json_array_size(points) + 1, sizeof *curve->value);
        if (!curve->step || !curve->value)
                return false;
        json_array_foreach(points, i, point) {
                curve->step[curve->n] = json_number_value(json_array_get(point, 0));
                curve->value[curve->n++] = json_number_value(json_array_get(point, 1));
        }
        return curve->n > 1;
}

/* A figure for each metric that has more than single points. */
static void write_curves(struct report *report) {
        const char *metric;
        json_t *list, *item;
        json_object_foreach((json_t *)report->study->curves, metric, list) {
                struct plot_curve curves[STUDY_CURVES_MAX] = {0};
                _cleanup_buf_ struct buf svg = BUF_INIT(1u << 20);
                char caption[256];
                size_t i, n = 0;
                json_array_foreach(list, i, item) {
                        if (n == STUDY_CURVES_MAX)
                                break;
                        if (curve_fill(&curves[n], item)) {
                                n++;
                                continue;
                        }
                        free(curves[n].step);
                        free(curves[n].value);
                        curves[n] = (struct plot_curve){0};
                }
                snprintf(caption, sizeof caption, "%.200s of the best trials", metric);
                if (n > 0 && plot_curves(&svg, metric, curves, n) == 0)
                        page_figure(&report->page, svg.data, caption);
                for (i = 0; i < n; i++) {
                        free(curves[i].step);
                        free(curves[i].value);
                }
        }
}

/* --- parallel coordinates ------------------------------------------------------------------------------ */

struct axis {
        char name[128];
        double *position; /* [n], owned */
        struct plot_axis plot;
};

static double coordinate_of(const json_t *value, json_t *choices, bool *ret_is_choice) {
        if (json_is_number(value))
                return json_number_value(value);
        if (!value)
                return NAN;
        *ret_is_choice = true;
        _cleanup_free_ char *text = json_is_string(value) ? strdup(json_string_value(value)) : json_text(value);
        json_t *known = text ? json_object_get(choices, text) : NULL;
        if (text && !known) {
                known = json_integer((json_int_t)json_object_size(choices));
                json_object_set_new(choices, text, known);
        }
        return known ? (double)json_integer_value(known) : NAN;
}

/* Positions 0 … 1 on a linear scale, or a logarithmic one where positive values span a factor of 20. False when nothing varies. */
static bool axis_fill(struct axis *axis, const json_t *trials, const char *name, size_t first, size_t n) {
        _cleanup_json_ json_t *choices = json_object();
        double low = INFINITY, high = -INFINITY;
        bool is_choice = false;
        axis->position = calloc(n + 1, sizeof *axis->position);
        if (!axis->position || !choices)
                return false;
        for (size_t i = 0; i < n; i++) {
                const json_t *trial = json_array_get(trials, first + i);
                double x = name ? coordinate_of(json_get_dotted(json_object_get(trial, "params"), name), choices, &is_choice) : trial_value(trial);
                axis->position[i] = x;
                if (isfinite(x)) {
                        low = fmin(low, x);
                        high = fmax(high, x);
                }
        }
        if (!(high > low))
                return false;
        bool is_log = name && !is_choice && low > 0 && high / low >= 20;
        for (size_t i = 0; i < n; i++) {
                double x = axis->position[i];
                axis->position[i] = is_log ? (log(x) - log(low)) / (log(high) - log(low)) : isfinite(high - low) ? (x - low) / (high - low) : (x / 2 - low / 2) / (high / 2 - low / 2);
        }
        snprintf(axis->plot.low, sizeof axis->plot.low, "%.4g", low);
        snprintf(axis->plot.high, sizeof axis->plot.high, "%.4g%s", high, is_log ? " (log)" : "");
        const char *choice;
        json_t *place;
        json_object_foreach(choices, choice, place) {
                char *label = json_integer_value(place) == 0 ? axis->plot.low : (double)json_integer_value(place) == high ? axis->plot.high : NULL;
                if (is_choice && label)
                        utf8_copy(label, sizeof axis->plot.low, choice);
        }
        return true;
}

static void write_parallel(struct report *report) {
        const json_t *trials = report->study->trials;
        size_t all = json_array_size(trials), n = all < LINES_MAX ? all : LINES_MAX, n_axes = 0;
        struct axis axes[AXES_MAX + 1] = {0};
        struct plot_axis plots[AXES_MAX + 1];
        _cleanup_json_ json_t *names = json_object();
        _cleanup_buf_ struct buf svg = BUF_INIT(8u << 20);
        for (size_t i = all - n; i < all; i++)
                trial_names(names, "", json_object_get(json_array_get(trials, i), "params"));
        const char *name;
        json_t *unused;
        json_object_foreach(names, name, unused) {
                if (n_axes == AXES_MAX)
                        break;
                struct axis *axis = &axes[n_axes];
                snprintf(axis->name, sizeof axis->name, "%s", name);
                if (axis_fill(axis, trials, name, all - n, n)) {
                        n_axes++;
                } else {
                        free(axis->position);
                        axis->position = NULL;
                }
        }
        bool is_worth_it = n_axes > 0 && axis_fill(&axes[n_axes], trials, NULL, all - n, n);
        utf8_copy(axes[n_axes].name, sizeof axes->name, report->metric);
        for (size_t k = 0; k <= n_axes; k++) {
                plots[k] = axes[k].plot;
                plots[k].name = axes[k].name;
                plots[k].position = axes[k].position;
        }
        if (is_worth_it && plot_parallel(&svg, plots, n_axes + 1, n, report->maximize) == 0)
                page_figure(&report->page, svg.data, "Parameters that varied and the value of each trial: the darker, the better");
        for (size_t k = 0; k <= n_axes; k++)
                free(axes[k].position);
}

/* --- tables at the end ---------------------------------------------------------------------------------- */

struct ranked {
        const json_t *trial;
        double key;
        size_t index;
};

static int by_key(const void *a, const void *b) {
        const struct ranked *x = a, *y = b;
        if (x->key != y->key)
                return x->key > y->key ? -1 : 1;
        return x->index < y->index ? -1 : 1;
}

static void write_best(struct report *report) {
        size_t n = json_array_size(report->study->trials), found = 0;
        _cleanup_free_ struct ranked *ranked = calloc(n + 1, sizeof *ranked);
        for (size_t i = 0; ranked && i < n; i++) {
                const json_t *trial = json_array_get(report->study->trials, i);
                if (isfinite(trial_value(trial)))
                        ranked[found++] = (struct ranked){trial, report->maximize ? trial_value(trial) : -trial_value(trial), i};
        }
        if (found == 0)
                return;
        qsort(ranked, found, sizeof *ranked, by_key);
        page_heading(&report->page, 2, "Best trials");
        page_table(&report->page);
        page_row(&report->page, (const char *[]){"trial", report->metric, "stage", "proposed by", "configuration"}, 5);
        for (size_t i = 0; i < found && i < BEST_SHOWN; i++) {
                char value[40], number[32], stage[32];
                _cleanup_buf_ struct buf params = BUF_INIT(CELL);
                number_text(trial_value(ranked[i].trial), value);
                snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(ranked[i].trial, "number")));
                snprintf(stage, sizeof stage, "%u", stage_of(ranked[i].trial) + 1);
                describe_params(json_object_get(ranked[i].trial, "params"), "", &params);
                page_row(&report->page,
                         (const char *[]){number, value, stage, text_at(json_object_get(ranked[i].trial, "proposal"), "source"), params.data ? params.data : ""}, 5);
        }
        page_table_end(&report->page);
}

static void write_failures(struct report *report) {
        bool is_begun = false;
        size_t i;
        json_t *trial;
        json_array_foreach(report->study->trials, i, trial) {
                if (strcmp(text_at(trial, "state"), "failed") != 0)
                        continue;
                if (!is_begun) {
                        page_heading(&report->page, 2, "Failed trials");
                        page_table(&report->page);
                        page_row(&report->page, (const char *[]){"trial", "reason", "detail", "configuration"}, 4);
                }
                is_begun = true;
                char number[32], detail[201];
                _cleanup_buf_ struct buf params = BUF_INIT(CELL);
                snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(trial, "number")));
                utf8_copy(detail, sizeof detail, text_at(trial, "detail"));
                describe_params(json_object_get(trial, "params"), "", &params);
                page_row(&report->page, (const char *[]){number, text_at(trial, "reason"), detail, params.data ? params.data : ""}, 4);
        }
        if (is_begun)
                page_table_end(&report->page);
}

/* Every different machine that evaluated a trial, once. */
static void write_machines(struct report *report) {
        _cleanup_json_ json_t *seen = json_object();
        size_t i;
        json_t *trial;
        json_array_foreach(report->study->trials, i, trial) {
                static const char *const parts[] = {"facts", "model", "data"};
                const json_t *evaluator = json_object_get(trial, "evaluator");
                _cleanup_buf_ struct buf text = BUF_INIT(16 * CELL);
                if (!json_is_object(evaluator))
                        continue;
                buf_printf(&text, "%s", text_at(evaluator, "worker"));
                for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
                        _cleanup_buf_ struct buf part = BUF_INIT(4 * CELL);
                        _cleanup_json_ json_t *told = json_copy(json_object_get(evaluator, parts[k]));
                        if (told)
                                json_object_del(told, "measured"); /* how it divided its cores */
                        describe_params(told, "", &part);
                        if (part.len > 0)
                                buf_printf(&text, "%s%s%s%s", k == 0 ? ": " : "; ", k == 0 ? "" : parts[k], k == 0 ? "" : ": ", part.data);
                }
                const char *line = text.data ? text.data : "";
                if (json_object_get(seen, line))
                        continue;
                json_object_set_new(seen, line, json_true());
                page_item(&report->page, "%s", line);
        }
        if (json_object_size(seen) == 0)
                page_text(&report->page, "No worker said what it is.");
}

static void write_changes(struct report *report) {
        size_t i;
        json_t *item;
        if (json_array_size(report->study->history) == 0)
                return;
        page_heading(&report->page, 3, "What was done to it");
        page_table(&report->page);
        page_row(&report->page, (const char *[]){"time", "who", "after trials", "what"}, 4);
        json_array_foreach(report->study->history, i, item) {
                char trials[32];
                bool is_ours = json_is_null(json_object_get(item, "who"));
                snprintf(trials, sizeof trials, "%lld", (long long)json_integer_value(json_object_get(item, "trials")));
                page_row(&report->page, (const char *[]){text_at(item, "time"), is_ours ? "sweepd" : text_at(item, "who"), trials, text_at(item, "text")}, 4);
        }
        page_table_end(&report->page);
}

static void write_setup(struct report *report) {
        const json_t *sweep = report->study->sweep;
        _cleanup_free_ char *spec = json_dumps(json_object_get(sweep, "spec"), JSON_INDENT(2) | JSON_REAL_PRECISION(15));
        page_heading(&report->page, 2, "How it was made");
        page_text(&report->page, "Sweep %s, created %s, seed %lld, sweepd %s; this report: %s.", text_at(sweep, "id"), text_at(sweep, "created"),
                  (long long)json_integer_value(json_object_get(sweep, "seed")), SWEEPD_VERSION, report->study->time);
        page_heading(&report->page, 3, "Who evaluated it");
        write_machines(report);
        write_changes(report);
        page_heading(&report->page, 3, "The spec");
        page_code(&report->page, spec ? spec : "");
}

static void find_stages(struct report *report) {
        const json_t *stage = json_object_get(report->study->sweep, "stage"), *before = json_object_get(stage, "before");
        for (size_t i = 0; i < json_array_size(before) && report->n_stages < 63; i++)
                report->stages[report->n_stages++] = json_array_get(before, i);
        if (json_is_object(stage))
                report->stages[report->n_stages++] = stage;
}

int study_report(const struct study *study, struct buf *out) {
        const json_t *metric = json_object_get(json_object_get(study->sweep, "spec"), "metric");
        struct report report = {
                .study = study,
                .page = {.out = out, .is_html = study->is_html},
                .maximize = strcmp(text_at(metric, "goal"), "maximize") == 0,
                .metric = *text_at(metric, "name") ? text_at(metric, "name") : "value",
        };
        find_stages(&report);
        page_begin(&report.page, text_at(study->sweep, "name"));
        const char *description = text_at(json_object_get(study->sweep, "spec"), "description");
        if (*description)
                page_text(&report.page, "%s", description);
        page_text(&report.page, "%zu trials, %s; the sweep is %s. The goal is to %s %s.", json_array_size(study->trials), text_at(study->sweep, "method"),
                  text_at(study->sweep, "state"), report.maximize ? "maximise" : "minimise", report.metric);
        write_results(&report);
        write_history(&report);
        write_parallel(&report);
        write_curves(&report);
        if (report.n_stages > 0)
                page_heading(&report.page, 2, "Stage by stage");
        for (size_t i = 0; i < report.n_stages; i++)
                write_stage(&report, (unsigned)i, report.stages[i]);
        write_best(&report);
        write_failures(&report);
        write_setup(&report);
        page_end(&report.page);
        return report.page.r;
}
