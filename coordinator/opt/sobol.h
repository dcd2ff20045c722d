/* The Sobol sequence below opt_sobol (space.c): plain points for tests, scrambled coordinates in the unit interval. Pure. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Coordinate `dim` (below 128) of the unscrambled point `index`, as a 32-bit binary fraction. Not in Gray code order. */
uint32_t sobol_point(size_t dim, uint32_t index);

/* The scrambled coordinate in (0, 1). The sequence repeats after 2^32 points. */
double sobol_scrambled(uint64_t seed, size_t dim, uint64_t index);
