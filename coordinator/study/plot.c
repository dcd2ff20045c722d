#include "study/plot.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

#define WIDTH 860
#define LEFT 70.0
#define RIGHT 20.0

static const char *const colours[] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"};
#define N_COLOURS (sizeof colours / sizeof *colours)

static int begin(struct buf *svg, double height, const char *label) {
        return buf_printf(svg,
                          "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\" role=\"img\" aria-label=\"%s\" "
                          "font-family=\"sans-serif\" font-size=\"12\"><rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
                          WIDTH, height, WIDTH, height, label);
}

static int end(struct buf *svg) {
        return buf_puts(svg, "</svg>");
}

static int escaped(struct buf *svg, const char *words) {
        int r = 0;
        for (; *words && r == 0; words++)
                r = *words == '<'   ? buf_puts(svg, "&lt;")
                    : *words == '&' ? buf_puts(svg, "&amp;")
                                    : buf_append(svg, (unsigned char)*words < ' ' ? " " : words, 1);
        return r;
}

static int coloured(struct buf *svg, double x, double y, const char *anchor, const char *colour, const char *words) {
        int r = buf_printf(svg, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\">", x, y, anchor, colour);
        if (r == 0)
                r = escaped(svg, words);
        return r < 0 ? r : buf_puts(svg, "</text>\n");
}

static int text(struct buf *svg, double x, double y, const char *anchor, const char *words) {
        return coloured(svg, x, y, anchor, "#333", words);
}

static int number(struct buf *svg, double x, double y, const char *anchor, double value) {
        char words[40];
        snprintf(words, sizeof words, "%.4g", value);
        return text(svg, x, y, anchor, words);
}

static int rule(struct buf *svg, double x1, double y1, double x2, double y2, const char *colour) {
        return buf_printf(svg, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2, colour);
}

/* A range of finite numbers, however large or small. */
struct span {
        double low, high;
};

#define SPAN_EMPTY ((struct span){INFINITY, -INFINITY})

static void span_take(struct span *span, double value) {
        if (isfinite(value)) {
                span->low = fmin(span->low, value);
                span->high = fmax(span->high, value);
        }
}

/* After the last one: a single number needs some room. */
static void span_close(struct span *span) {
        if (span->high > span->low)
                return;
        double middle = isfinite(span->low) ? span->low : 0.5, room = fmax(0.5, 0.01 * fabs(middle));
        span->low = fmax(middle - room, -DBL_MAX);
        span->high = fmin(middle + room, DBL_MAX);
}

/* 0 … 1 */
static double span_part(const struct span *span, double value) {
        double wide = span->high - span->low;
        return isfinite(wide) ? (value - span->low) / wide : (value / 2 - span->low / 2) / (span->high / 2 - span->low / 2);
}

static double span_at(const struct span *span, double part) {
        return span->low * (1 - part) + span->high * part;
}

/* Names with their colours, from left to right. */
static int legend(struct buf *svg, double y, const char *const *names, size_t n) {
        double x = LEFT;
        int r = 0;
        for (size_t i = 0; i < n && r == 0; i++) {
                r = buf_printf(svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", x + 4, y - 4, colours[i % N_COLOURS]);
                if (r == 0)
                        r = text(svg, x + 12, y, "start", names[i]);
                x += 30 + 7 * (double)strlen(names[i]);
        }
        return r;
}

/* Five lines across, with their values. */
static int scale_of_values(struct buf *svg, double top, double bottom, const struct span *span) {
        int r = 0;
        for (int tick = 0; tick <= 4 && r == 0; tick++) {
                double y = bottom - (bottom - top) * tick / 4;
                r = rule(svg, LEFT, y, WIDTH - RIGHT, y, "#e5e5e5");
                if (r == 0)
                        r = number(svg, LEFT - 8, y + 4, "end", span_at(span, tick / 4.0));
        }
        return r;
}

int plot_history(struct buf *svg, const char *metric, const double *values, const unsigned *groups, size_t n, const char *const *group_names,
                 size_t n_groups, bool maximize) {
        struct span span = SPAN_EMPTY;
        double height = 330, top = 30, bottom = height - 40, best = NAN;
        for (size_t i = 0; i < n; i++)
                span_take(&span, values[i]);
        span_close(&span);
        int r = begin(svg, height, "value of each trial, and the best so far");
        if (r == 0 && n_groups > 1)
                r = legend(svg, 16, group_names, n_groups);
        if (r == 0)
                r = scale_of_values(svg, top, bottom, &span);
        double step = (WIDTH - LEFT - RIGHT) / (n > 1 ? (double)(n - 1) : 1);
        for (size_t i = 0; i < n && r == 0; i++)
                if (isfinite(values[i]))
                        r = buf_printf(svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\" fill-opacity=\"0.8\"/>\n", LEFT + step * (double)i,
                                       bottom - (bottom - top) * span_part(&span, values[i]), colours[groups[i] % N_COLOURS]);
        if (r == 0)
                r = buf_puts(svg, "<polyline fill=\"none\" stroke=\"#222\" stroke-width=\"1.5\" points=\"");
        for (size_t i = 0; i < n && r == 0; i++) {
                if (!isfinite(values[i]))
                        continue;
                double next = isnan(best) || (maximize ? values[i] > best : values[i] < best) ? values[i] : best;
                double x = LEFT + step * (double)i, y = bottom - (bottom - top) * span_part(&span, next);
                if (isnan(best))
                        r = buf_printf(svg, "%.1f,%.1f ", x, y);
                else if (next != best)
                        r = buf_printf(svg, "%.1f,%.1f %.1f,%.1f ", x, bottom - (bottom - top) * span_part(&span, best), x, y);
                best = next;
        }
        if (r == 0 && isfinite(best))
                r = buf_printf(svg, "%.1f,%.1f", WIDTH - RIGHT, bottom - (bottom - top) * span_part(&span, best));
        if (r == 0)
                r = buf_puts(svg, "\"/>\n");
        if (r == 0)
                r = text(svg, LEFT, height - 10, "start", "trials in order");
        if (r == 0)
                r = text(svg, WIDTH - RIGHT, height - 10, "end", metric);
        return r < 0 ? r : end(svg);
}

static int draw_curve(struct buf *svg, const struct plot_curve *curve, const char *colour, const struct span *steps, const struct span *values, double top,
                      double bottom) {
        int r = buf_printf(svg, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", colour);
        for (size_t i = 0; i < curve->n && r == 0; i++)
                if (isfinite(curve->value[i]))
                        r = buf_printf(svg, "%.1f,%.1f ", LEFT + (WIDTH - LEFT - RIGHT) * span_part(steps, curve->step[i]),
                                       bottom - (bottom - top) * span_part(values, curve->value[i]));
        return r < 0 ? r : buf_puts(svg, "\"/>\n");
}

int plot_curves(struct buf *svg, const char *metric, const struct plot_curve *curves, size_t n) {
        struct span steps = SPAN_EMPTY, values = SPAN_EMPTY;
        double height = 330, top = 30, bottom = height - 40;
        const char *names[N_COLOURS] = {0};
        for (size_t k = 0; k < n; k++) {
                if (k < N_COLOURS)
                        names[k] = curves[k].name;
                for (size_t i = 0; i < curves[k].n; i++)
                        if (isfinite(curves[k].value[i])) {
                                span_take(&values, curves[k].value[i]);
                                span_take(&steps, curves[k].step[i]);
                        }
        }
        span_close(&values);
        span_close(&steps);
        int r = begin(svg, height, "curves of trials over their steps");
        if (r == 0)
                r = legend(svg, 16, names, n < N_COLOURS ? n : N_COLOURS);
        if (r == 0)
                r = scale_of_values(svg, top, bottom, &values);
        for (size_t k = 0; k < n && r == 0; k++)
                r = draw_curve(svg, &curves[k], colours[k % N_COLOURS], &steps, &values, top, bottom);
        if (r == 0)
                r = number(svg, LEFT, height - 22, "middle", steps.low);
        if (r == 0)
                r = number(svg, WIDTH - RIGHT, height - 22, "end", steps.high);
        if (r == 0)
                r = text(svg, (LEFT + WIDTH - RIGHT) / 2, height - 10, "middle", "step");
        if (r == 0)
                r = text(svg, WIDTH - RIGHT, 16, "end", metric);
        return r < 0 ? r : end(svg);
}

int plot_bars(struct buf *svg, const char *metric, const struct plot_bar *bars, size_t n, double at) {
        struct span span = SPAN_EMPTY;
        double row = 26, left = 190, wide = WIDTH - left - 90, height = 50 + row * (double)n;
        span_take(&span, at);
        for (size_t i = 0; i < n; i++) {
                span_take(&span, bars[i].low);
                span_take(&span, bars[i].high);
        }
        span_close(&span);
        int r = begin(svg, height, "what each factor alone does to the metric");
        for (size_t i = 0; i < n && r == 0; i++) {
                double y = 12 + row * (double)i;
                r = text(svg, left - 8, y + 14, "end", bars[i].name);
                if (r < 0 || !isfinite(bars[i].low))
                        continue;
                r = buf_printf(svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", left + wide * span_part(&span, bars[i].low),
                               y, fmax(wide * (span_part(&span, bars[i].high) - span_part(&span, bars[i].low)), 1), row - 8, colours[0]);
                if (r == 0)
                        r = number(svg, left + wide * span_part(&span, bars[i].high) + 6, y + 14, "start", bars[i].high - bars[i].low);
        }
        if (r == 0 && isfinite(at))
                r = rule(svg, left + wide * span_part(&span, at), 4, left + wide * span_part(&span, at), height - 30, "#d55e00");
        if (r == 0)
                r = number(svg, left, height - 12, "start", span.low);
        if (r == 0)
                r = number(svg, WIDTH - 90, height - 12, "end", span.high);
        if (r == 0)
                r = text(svg, (left + WIDTH - 90) / 2, height - 12, "middle", metric);
        return r < 0 ? r : end(svg);
}

/* Cividis-like, and dark where it matters on white: from sand over grey to dark blue, as `share` goes from 0 (worst) to 1 (best). */
static void shade(double share, char ret[static 8]) {
        double light = 1 - share, red = light < 0.5 ? 240 * light : 120 + 230 * (light - 0.5), green = 50 + 160 * light,
               blue = light < 0.5 ? 110 + 20 * light : 120 - 60 * (light - 0.5);
        snprintf(ret, 8, "#%02x%02x%02x", (unsigned)fmin(red, 255) & 255, (unsigned)green & 255, (unsigned)blue & 255);
}

#define LAYERS 8 /* drawn from the worst to the best, so that these are not hidden */

static int draw_line(struct buf *svg, const struct plot_axis *axes, size_t n_axes, size_t i, double share, double top, double bottom, double gap) {
        char colour[8];
        shade(share, colour);
        int r = buf_printf(svg, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" stroke-opacity=\"%s\" points=\"", colour, share > 0.9 ? "2" : "1",
                           share > 0.9 ? "0.9" : "0.6");
        for (size_t k = 0; k < n_axes && r == 0; k++)
                if (isfinite(axes[k].position[i]))
                        r = buf_printf(svg, "%.1f,%.1f ", LEFT + gap * (double)k, bottom - (bottom - top) * fmin(fmax(axes[k].position[i], -0.05), 1.05));
        return r < 0 ? r : buf_puts(svg, "\"/>\n");
}

int plot_parallel(struct buf *svg, const struct plot_axis *axes, size_t n_axes, size_t n_lines, bool maximize) {
        double height = 380, top = 40, bottom = height - 40, gap = n_axes > 1 ? (WIDTH - 2 * LEFT) / (double)(n_axes - 1) : 0;
        const double *metric = axes[n_axes - 1].position;
        int r = begin(svg, height, "parameters and value of each trial");
        for (int layer = 0; layer < LAYERS; layer++)
                for (size_t i = 0; i < n_lines && r == 0; i++) {
                        double share = maximize ? metric[i] : 1 - metric[i];
                        if (isfinite(share) && (int)fmin(fmax(share, 0) * LAYERS, LAYERS - 1) == layer)
                                r = draw_line(svg, axes, n_axes, i, share, top, bottom, gap);
                }
        for (size_t k = 0; k < n_axes && r == 0; k++) {
                double x = LEFT + gap * (double)k;
                r = rule(svg, x, top, x, bottom, "#333");
                if (r == 0)
                        r = text(svg, x, k % 2 ? top - 22 : top - 8, "middle", axes[k].name);
                if (r == 0)
                        r = text(svg, x + 4, bottom + 14, "middle", axes[k].low);
                if (r == 0)
                        r = text(svg, x + 4, top + 10, "start", axes[k].high);
        }
        return r < 0 ? r : end(svg);
}

#define MAP_LEFT 110.0   /* of each map: its lines' labels */
#define MAP_TOP 44.0     /* title and the name of the lines */
#define MAP_BOTTOM 46.0  /* columns' labels and their name */
#define MAP_ROW 32.0
#define CELL_OF_NUMBER 50.0 /* a cell so wide tells its value */
#define SCALE_STEPS 24
#define LETTER 7.0 /* width of one, about */
#define FEW_COLUMNS 8

static double share_of(const struct span *span, double value, bool maximize) {
        double part = span_part(span, value);
        return maximize ? part : 1 - part;
}

/* What a pointer or a screen reader is told of a cell. */
static int cell_words(struct buf *svg, const struct plot_map *map, size_t column, size_t line, double value) {
        int r = buf_puts(svg, "<title>");
        for (int axis = 0; axis < 2 && r == 0; axis++) {
                r = escaped(svg, map->names[axis]);
                if (r == 0)
                        r = buf_puts(svg, " ");
                if (r == 0)
                        r = escaped(svg, map->labels[axis][axis == 0 ? column : line]);
                if (r == 0)
                        r = buf_puts(svg, axis == 0 ? ", " : ": ");
        }
        return r < 0 ? r : buf_printf(svg, "%.6g</title>", value);
}

static int draw_cell(struct buf *svg, const struct plot_map *map, size_t column, size_t line, double x, double y, double wide, double share) {
        double value = map->value[line * map->n[0] + column];
        char colour[8], words[40];
        if (!isfinite(value))
                return buf_printf(svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"#ccc\" stroke-dasharray=\"3\"/>\n",
                                  x + 1, y + 1, wide - 2, MAP_ROW - 2);
        shade(share, colour);
        int r = buf_printf(svg, "<g><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>", x + 1, y + 1, wide - 2, MAP_ROW - 2, colour);
        if (r == 0)
                r = cell_words(svg, map, column, line, value);
        snprintf(words, sizeof words, "%.4g", value);
        if (r == 0 && wide >= CELL_OF_NUMBER)
                r = coloured(svg, x + wide / 2, y + MAP_ROW / 2 + 4, "middle", share > 0.45 ? "#fff" : "#222", words);
        return r < 0 ? r : buf_puts(svg, "</g>\n");
}

static int draw_map(struct buf *svg, const struct plot_map *map, double left, double top, double wide, const struct span *span, bool maximize) {
        double cell = (wide - MAP_LEFT) / (double)map->n[0], bottom = top + MAP_TOP + MAP_ROW * (double)map->n[1];
        int r = map->title ? text(svg, left + MAP_LEFT, top + 16, "start", map->title) : 0;
        if (r == 0)
                r = text(svg, left + 8, top + MAP_TOP - 10, "start", map->names[1]);
        for (size_t line = 0; line < map->n[1] && r == 0; line++) {
                double y = bottom - MAP_ROW * (double)(line + 1);
                r = text(svg, left + MAP_LEFT - 8, y + MAP_ROW / 2 + 4, "end", map->labels[1][line]);
                for (size_t column = 0; column < map->n[0] && r == 0; column++)
                        r = draw_cell(svg, map, column, line, left + MAP_LEFT + cell * (double)column, y, cell,
                                      share_of(span, map->value[line * map->n[0] + column], maximize));
        }
        size_t longest = 0;
        for (size_t column = 0; column < map->n[0]; column++)
                longest = strlen(map->labels[0][column]) > longest ? strlen(map->labels[0][column]) : longest;
        /* Of many labels those that fit beside each other; of few all, cut. */
        bool is_cut = map->n[0] <= FEW_COLUMNS;
        size_t every = is_cut ? 1 : 1 + (size_t)(LETTER * (double)longest / cell), room = is_cut ? (size_t)(cell / LETTER) : longest;
        for (size_t column = 0; column < map->n[0] && r == 0; column += every) {
                char label[40];
                utf8_copy(label, room + 1 < sizeof label ? room + 1 : sizeof label, map->labels[0][column]);
                r = text(svg, left + MAP_LEFT + cell * ((double)column + 0.5), bottom + 16, "middle", label);
        }
        return r < 0 ? r : text(svg, left + MAP_LEFT + (wide - MAP_LEFT) / 2, bottom + 34, "middle", map->names[0]);
}

int plot_maps(struct buf *svg, const char *metric, const struct plot_map *maps, size_t n, bool maximize) {
        size_t columns = n < 3 ? n : 3, lines = (n + columns - 1) / columns, n_rows = 0;
        struct span span = SPAN_EMPTY;
        for (size_t i = 0; i < n; i++) {
                n_rows = maps[i].n[1] > n_rows ? maps[i].n[1] : n_rows;
                for (size_t k = 0; k < maps[i].n[0] * maps[i].n[1]; k++)
                        span_take(&span, maps[i].value[k]);
        }
        span_close(&span);
        double wide = (WIDTH - RIGHT) / (double)columns, high = MAP_TOP + MAP_BOTTOM + MAP_ROW * (double)n_rows, height = high * (double)lines + 40;
        int r = begin(svg, height, "heat maps of the grid: value for each pair of levels");
        for (size_t i = 0; i < n && r == 0; i++)
                r = draw_map(svg, &maps[i], wide * (double)(i % columns), high * (double)(i / columns), wide, &span, maximize);
        for (int step = 0; step < SCALE_STEPS && r == 0; step++) { /* from low to high values */
                double part = (step + 0.5) / SCALE_STEPS;
                char colour[8];
                shade(maximize ? part : 1 - part, colour);
                r = buf_printf(svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"8.5\" height=\"12\" fill=\"%s\"/>\n", MAP_LEFT + 60 + 8 * step, height - 24, colour);
        }
        if (r == 0)
                r = number(svg, MAP_LEFT + 52, height - 14, "end", span.low);
        if (r == 0)
                r = number(svg, MAP_LEFT + 68 + 8 * SCALE_STEPS, height - 14, "start", span.high);
        if (r == 0)
                r = text(svg, WIDTH - RIGHT, height - 14, "end", metric);
        return r < 0 ? r : end(svg);
}
