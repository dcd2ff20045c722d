/* Functions drawn from a Gaussian process' posterior, to be evaluated anywhere: a sum of random cosines is a draw from the
 * prior, and a correction through the data makes it one from the posterior (Wilson et al. 2020, arXiv:2002.09309: Matheron's
 * rule). Many functions share their cosines, and an evaluation at many points is two matrix products. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "opt/gp.h"
#include "opt/opt.h"

struct paths;

/* n_paths functions of this gp, which outlives them. theta: the gp's. 0 or -ENOMEM. */
int paths_new(const struct opt_space *space, const struct gp_data *data, const struct gp *gp, const double *theta, size_t n_paths,
              uint64_t seed, struct paths **ret);
void paths_free(struct paths *paths);

/* Values at m points (m × n_dims features): m × n_paths, row after row. 0 or -ENOMEM. */
int paths_evaluate(const struct paths *paths, size_t m, const double *points, double *ret);
