/* Normal and beta distributions over libm's erfc and lgamma. Quantiles start from a rough guess and are polished against
 * the distribution function, so there are no tables of coefficients to trust. */
#include "opt/quantile.h"

#include <math.h>

double normal_pdf(double x) {
        return exp(-0.5 * x * x) * (0.5 * M_2_SQRTPI * M_SQRT1_2);
}

double normal_cdf(double x) {
        return 0.5 * erfc(-x * M_SQRT1_2);
}

double normal_quantile(double p) {
        if (p <= 0)
                return -INFINITY;
        if (p >= 1)
                return INFINITY;
        if (p > 0.5)
                return -normal_quantile(1 - p);
        /* Abramowitz & Stegun 26.2.23, |error| < 4.5e-4, then Halley's method on the distribution function. */
        double t = sqrt(-2 * log(p));
        double x = (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
        for (int i = 0; i < 3; i++) {
                double step = (normal_cdf(x) - p) / normal_pdf(x);
                x -= step / (1 + 0.5 * x * step);
        }
        return x;
}

static double not_zero(double value) {
        return fabs(value) < 1e-300 ? 1e-300 : value;
}

/* The continued fraction of DLMF 8.17.22, 1/(1 + d_1/(1 + d_2/(1 + …))), by the modified Lentz method. */
static double beta_fraction(double x, double a, double b) {
        double f = 1, c = 1, d = 0;
        for (int i = 0; i < 500; i++) {
                double m = i / 2, numerator; /* m counts pairs of terms */
                if (i == 0)
                        numerator = 1;
                else if (i % 2 == 0)
                        numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
                else
                        numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
                d = 1 / not_zero(1 + numerator * d);
                c = not_zero(1 + numerator / c);
                f *= c * d;
                if (i > 0 && fabs(c * d - 1) < 1e-15)
                        break;
        }
        return f - 1;
}

/* lgamma writes the global signgam. */
static double log_gamma(double x) {
        int sign;
        return lgamma_r(x, &sign);
}

double beta_cdf(double x, double a, double b) {
        if (x <= 0)
                return 0;
        if (x >= 1)
                return 1;
        if (x > (a + 1) / (a + b + 2))
                return 1 - beta_cdf(1 - x, b, a);
        double front = log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log1p(-x);
        return exp(front) * beta_fraction(x, a, b) / a;
}

double beta_quantile(double p, double a, double b) {
        if (p <= 0)
                return 0;
        if (p >= 1)
                return 1;
        double low = 0, high = 1, x = 0.5;
        for (int i = 0; i < 200 && high - low > 1e-16 * x; i++) {
                if (beta_cdf(x, a, b) < p)
                        low = x;
                else
                        high = x;
                /* Towards zero the scale is unknown, so that the middle is a geometric one there. */
                x = low > 0 ? 0.5 * (low + high) : high * 0.0625;
                if (high < 1e-300)
                        return 0;
        }
        return x;
}
