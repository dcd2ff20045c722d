/* Distribution functions and their inverses, as far as the search space needs them. Accurate to about 1e-14 relative. */
#pragma once

/* Standard normal density, distribution, and quantile (p in (0, 1); 0 and 1 give the infinities). */
double normal_pdf(double x);
double normal_cdf(double x);
double normal_quantile(double p);

/* Regularised incomplete beta function I_x(a, b), a, b > 0, and its inverse in x. */
double beta_cdf(double x, double a, double b);
double beta_quantile(double p, double a, double b);
