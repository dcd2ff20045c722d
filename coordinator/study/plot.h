/* Plots as SVG text: fixed size, no scripts, colours that the colour-blind tell apart (Okabe and Ito). 0, -ENOMEM or -EFBIG. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

/* Values in order (NAN = none) as dots, coloured by group, and the best so far as a line. A legend names the groups, where there are several. */
int plot_history(struct buf *svg, const char *metric, const double *values, const unsigned *groups, size_t n, const char *const *group_names,
                 size_t n_groups, bool maximize);

/* Curves over steps, each with its name in a legend. */
struct plot_curve {
        char name[40];
        double *step, *value; /* [n], by step */
        size_t n;
};
int plot_curves(struct buf *svg, const char *metric, const struct plot_curve *curves, size_t n);

/* Horizontal bars from low to high, with their names; `at` is marked by a line. */
struct plot_bar {
        const char *name;
        double low, high;
};
int plot_bars(struct buf *svg, const char *metric, const struct plot_bar *bars, size_t n, double at);

/* Heat maps over two parameters, side by side, all with one scale: the better the darker. Labels in order of the levels, the first ones on the left and at
 * the bottom. */
struct plot_map {
        const char *title;                  /* "c 3", or NULL */
        const char *names[2];               /* of columns and lines */
        const char *const *labels[2];
        size_t n[2];
        const double *value; /* n[1] × n[0], NAN = none */
};
int plot_maps(struct buf *svg, const char *metric, const struct plot_map *maps, size_t n, bool maximize);

/* One axis a parameter and one for the metric, a line a trial, the better the darker and the nearer to the eye. Positions are 0 … 1; labels stand at
 * both ends. */
struct plot_axis {
        const char *name;
        char low[40], high[40];
        const double *position; /* [n_lines], NAN = no value */
};
int plot_parallel(struct buf *svg, const struct plot_axis *axes, size_t n_axes, size_t n_lines, bool maximize);
