#include "study/grid.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/utf8.h"
#include "study/plot.h"
#include "study/trial.h"

#define FACTORS_MAPPED 3 /* the third is told apart by several maps */
#define LEVELS_MAPPED 24 /* of a column or a line */
#define MAPS_MAX 6

/* A parameter that a grid varied. */
struct factor {
        const char *name;
        json_t *levels; /* [value, …] in order */
        bool are_numbers;
        char labels[LEVELS_MAPPED][40];
        const char *label[LEVELS_MAPPED];
        size_t n;
};

static size_t level_of(const struct factor *factor, const json_t *value) {
        size_t i = 0;
        while (i < factor->n && !json_same(json_array_get(factor->levels, i), value))
                i++;
        return i;
}

static void swap_levels(json_t *levels, size_t i, size_t j) {
        json_t *a = json_incref(json_array_get(levels, i)), *b = json_incref(json_array_get(levels, j));
        json_array_set_new(levels, i, b);
        json_array_set_new(levels, j, a);
}

/* The levels of one parameter in a stage: numbers by size, others as they came. False with more than can be mapped, or without memory. */
static bool factor_fill(struct factor *factor, const struct grid *grid, const char *name) {
        size_t i;
        json_t *trial;
        *factor = (struct factor){.name = name, .levels = json_array(), .are_numbers = true};
        json_array_foreach(grid->of_stage, i, trial) {
                json_t *value = json_get_dotted(json_object_get(trial, "params"), name);
                if (!value || level_of(factor, value) < factor->n)
                        continue;
                if (factor->n == LEVELS_MAPPED || json_array_append(factor->levels, value) < 0)
                        return false;
                factor->are_numbers = factor->are_numbers && json_is_number(value);
                factor->n++;
        }
        for (size_t a = 1; factor->are_numbers && a < factor->n; a++)
                for (size_t b = a; b > 0 && json_number_value(json_array_get(factor->levels, b)) < json_number_value(json_array_get(factor->levels, b - 1)); b--)
                        swap_levels(factor->levels, b, b - 1);
        for (size_t k = 0; k < factor->n; k++) {
                const json_t *level = json_array_get(factor->levels, k);
                _cleanup_free_ char *text = json_is_string(level) ? strdup(json_string_value(level)) : json_text(level);
                if (json_is_real(level))
                        snprintf(factor->labels[k], sizeof factor->labels[k], "%.4g", json_real_value(level));
                else
                        utf8_copy(factor->labels[k], 16, text ? text : "");
                factor->label[k] = factor->labels[k];
        }
        return true;
}

/* Does the trial have what the grid held fixed? */
static bool is_alike(const json_t *trial, const json_t *of_stage, const json_t *names, const struct factor *factors, size_t n_factors) {
        const char *name;
        json_t *unused;
        json_object_foreach((json_t *)names, name, unused) {
                bool is_varied = false;
                for (size_t k = 0; k < n_factors; k++)
                        is_varied |= strcmp(factors[k].name, name) == 0;
                const json_t *mine = json_get_dotted(json_object_get(trial, "params"), name), *held = json_get_dotted(json_object_get(of_stage, "params"), name);
                if (!is_varied && (mine || held) && !json_same(mine, held))
                        return false;
        }
        return true;
}

/* Means of the trials with each combination of levels, those of other stages and from elsewhere too: a grid runs none of them again. */
static void fill_cells(const struct grid *grid, const json_t *first, const json_t *names, const struct factor *factors, size_t n_factors, double *cells,
                       double *counts) {
        size_t i;
        json_t *trial;
        json_array_foreach(grid->trials, i, trial) {
                size_t place = 0, stride = 1;
                bool is_there = isfinite(trial_value(trial)) && is_alike(trial, first, names, factors, n_factors);
                for (size_t k = 0; k < n_factors && is_there; k++) {
                        size_t level = level_of(&factors[k], json_get_dotted(json_object_get(trial, "params"), factors[k].name));
                        is_there = level < factors[k].n;
                        place += stride * level;
                        stride *= factors[k].n;
                }
                if (!is_there)
                        continue;
                double share = 1 / ++counts[place];
                cells[place] = counts[place] == 1 ? trial_value(trial) : cells[place] * (1 - share) + trial_value(trial) * share;
        }
}

static void draw_maps(const struct grid *grid, struct page *page, const json_t *first, const json_t *names, const struct factor *factors, size_t n_factors) {
        size_t n_maps = n_factors == 3 ? factors[2].n : 1, n_cells = factors[0].n * factors[1].n;
        struct plot_map maps[MAPS_MAX];
        char titles[MAPS_MAX][200], caption[200];
        _cleanup_buf_ struct buf svg = BUF_INIT(2u << 20);
        _cleanup_free_ double *cells = calloc(2 * n_maps * n_cells + 1, sizeof *cells);
        if (!cells || n_maps > MAPS_MAX)
                return;
        double *counts = cells + n_maps * n_cells;
        for (size_t i = 0; i < n_maps * n_cells; i++)
                cells[i] = NAN;
        fill_cells(grid, first, names, factors, n_factors, cells, counts);
        for (size_t i = 0; i < n_maps; i++) {
                if (n_factors == 3)
                        snprintf(titles[i], sizeof titles[i], "%s %s", factors[2].name, factors[2].label[i]);
                maps[i] = (struct plot_map){.title = n_factors == 3 ? titles[i] : NULL,
                                            .names = {factors[0].name, factors[1].name},
                                            .labels = {factors[0].label, factors[1].label},
                                            .n = {factors[0].n, factors[1].n},
                                            .value = cells + i * n_cells};
        }
        snprintf(caption, sizeof caption, "The grid: %.100s for each combination, the better the darker; dashed where there is no value", grid->metric);
        if (plot_maps(&svg, grid->metric, maps, n_maps, grid->maximize) == 0)
                page_figure(page, svg.data, caption);
}

static void swap_factors(struct factor *a, struct factor *b) {
        struct factor kept = *a;
        *a = *b;
        *b = kept;
}

void grid_draw(const struct grid *grid, struct page *page) {
        struct factor factors[FACTORS_MAPPED] = {0};
        _cleanup_json_ json_t *names = json_object();
        const json_t *first = NULL;
        size_t i, n = 0;
        bool is_mapped = true;
        json_t *trial, *unused;
        const char *name;
        json_array_foreach(grid->of_stage, i, trial) {
                trial_names(names, "", json_object_get(trial, "params"));
                first = first ? first : trial;
        }
        json_object_foreach(names, name, unused) {
                struct factor factor;
                bool fits = factor_fill(&factor, grid, name);
                if (fits && factor.n > 1 && n < FACTORS_MAPPED && is_mapped) {
                        factors[n++] = factor;
                        continue;
                }
                is_mapped = is_mapped && fits && factor.n <= 1;
                json_decref(factor.levels);
        }
        for (size_t a = 1; a < n; a++) /* columns have the most levels, of those that are short to write */
                for (size_t b = a; b > 0 && factors[b].n > factors[b - 1].n; b--)
                        swap_factors(&factors[b], &factors[b - 1]);
        if (n >= 2 && factors[1].are_numbers && !factors[0].are_numbers && factors[1].n * 2 >= factors[0].n)
                swap_factors(&factors[0], &factors[1]);
        for (size_t k = 0; k < n; k++) /* they stand elsewhere now */
                for (size_t l = 0; l < factors[k].n; l++)
                        factors[k].label[l] = factors[k].labels[l];
        if (is_mapped && n >= 2)
                draw_maps(grid, page, first, names, factors, n);
        for (size_t k = 0; k < n; k++)
                json_decref(factors[k].levels);
}
