/* Draws of the hyperparameters from their posterior, and of which dimensions do nothing at all: a log length scale is either CHAIN_FLAT or
 * drawn. That any number of them does something is equally likely, and which ones, too (Scott & Berger 2010, doi:10.1214/10-AOS792). Without
 * those that do nothing no interval of a share of variance would reach 0, or 1. Metropolis, from a start that is good. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "opt/gp.h"

#define CHAIN_FLAT 20.0

/* data: expects_noise, without a trend. mode: where to start, n_dims + 2 numbers as the draws (see gp.h); ret_thetas: n_draws of them, one after
 * the other. The steps between two draws are bounded by the work that they are. 0 or -ENOMEM. */
int chain_draw(const struct gp_data *data, const double *mode, uint64_t seed, size_t n_draws, double *ret_thetas);
