/* What the model needs to know of a dimension beyond opt.h: its levels, and its coordinate inside the kernel. */
#pragma once
#include "opt/opt.h"

/* Has a dimension finitely many values, or values on a lattice? */
bool dim_is_discrete(const struct opt_dim *dim);

/* The value n_steps levels away (n_steps may be negative), kept inside the bounds. Discrete numeric dimensions only. */
double dim_neighbour(const struct opt_dim *dim, double value, double n_steps);

/* The nearest value that may be proposed: bounds and lattice applied, a held dimension at its value. */
double dim_snap(const struct opt_dim *dim, double value);

/* The kernel's coordinate: the unit coordinate of a numeric value, the index of a choice. Evidence is not snapped: it counts
 * where it is, off the lattice and beyond the bounds too. */
double dim_feature(const struct opt_dim *dim, double value);

/* The k-th of a dimension's opt_dim_cardinality values; the index-th point of a finite space, in mixed radix. */
double dim_level(const struct opt_dim *dim, uint64_t k);
void space_point(const struct opt_space *space, uint64_t index, double *x);

/* Choices that may be drawn at all (probability > 0). */
bool dim_choice_allowed(const struct opt_dim *dim, size_t choice);
