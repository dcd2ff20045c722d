/* The heat maps of a grid in the report. */
#pragma once
#include <stdbool.h>
#include <jansson.h>

#include "study/page.h"

struct grid {
        const json_t *trials;   /* all of the sweep: a grid runs none of them again */
        const json_t *of_stage; /* those that it ran itself */
        const char *metric;
        bool maximize;
};

/* One figure, for a grid of two or three parameters with more than one level (three: the one with the fewest levels tells several maps
 * apart); nothing for any other one, with too many levels, or without memory. */
void grid_draw(const struct grid *grid, struct page *page);
