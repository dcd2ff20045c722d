/* How a learning curve will end, judged by how completed ones went on from the same iteration.
 *
 * The gain from here to the end is regressed on the level here: trials that are behind often have more to gain. Completed
 * trials are those that were not stopped, so mostly good ones; since the level is what they were chosen by, and the
 * regression is conditional on it, that does not bias the line, it only makes its far end uncertain, which keeps trials
 * running. The slope has a prior of one observation at 0; the noise has one of a tenth of the spread of the levels. */
#include <math.h>

#include "sweep/stopping.h"

#define SLOPE_PRIOR 1.0   /* in observations */
#define NOISE_PRIOR 2.0   /* in observations (degrees of freedom) */
#define NOISE_SHARE 0.1   /* of the spread of the levels */
#define MANY_DEGREES 200

double student_cdf(double t, unsigned degrees) {
        if (degrees > MANY_DEGREES)
                return 0.5 * erfc(-t / M_SQRT2);
        double nu = degrees, theta = atan(t / sqrt(nu)), cosine2 = nu / (nu + t * t), term, sum = 0;
        if (degrees % 2 == 1) {
                term = cos(theta);
                for (unsigned k = 1; k + 2 <= degrees; k += 2) {
                        sum += term;
                        term *= cosine2 * (k + 1) / (k + 2);
                }
                return 0.5 + (theta + sin(theta) * sum) / M_PI;
        }
        term = 1;
        for (unsigned k = 0; k + 2 <= degrees; k += 2) {
                sum += term;
                term *= cosine2 * (k + 1) / (k + 2);
        }
        return 0.5 + 0.5 * sin(theta) * sum;
}

struct sums {
        size_t n;
        double x, xx, y, xy, yy; /* level, gain: about the judged trial's level, for their precision */
};

static double level(const struct curve *curve, size_t iteration, bool by_last) {
        return by_last ? curve->points[iteration - 1].value : curve->points[iteration - 1].best;
}

static void add(struct sums *sums, double x, double y) {
        sums->n++;
        sums->x += x;
        sums->xx += x * x;
        sums->y += y;
        sums->xy += x * y;
        sums->yy += y * y;
}

/* The chance that the end lies `ahead` or more below the origin, which is the judged trial's level. */
static double chance_of(const struct sums *sums, double ahead) {
        double n = (double)sums->n, mean_x = sums->x / n, mean_y = sums->y / n;
        double spread2 = sums->xx / n - mean_x * mean_x;
        if (!(spread2 > 0))
                return 1;
        double covariance = sums->xy / n - mean_x * mean_y, variance_y = fmax(sums->yy / n - mean_y * mean_y, 0);
        double z = -mean_x / sqrt(spread2), slope = n * covariance / sqrt(spread2) / (n + SLOPE_PRIOR);
        double residual = fmax(n * variance_y - (n + SLOPE_PRIOR) * slope * slope, 0);
        double noise2 = (residual + NOISE_PRIOR * NOISE_SHARE * NOISE_SHARE * spread2) / (n - 1 + NOISE_PRIOR);
        double deviation = sqrt(noise2 * (1 + 1 / n + z * z / (n + SLOPE_PRIOR)));
        double mean = mean_y + slope * z;
        return student_cdf((-ahead - mean) / deviation, (unsigned)(n - 1 + NOISE_PRIOR));
}

bool forecast_chance(const struct curve_table *table, bool by_last, uint64_t number, unsigned min_trials, double *ret) {
        const struct curve *curve = curve_table_get(table, number);
        struct sums sums = {0};
        double here = level(curve, curve->n, by_last), best = INFINITY;
        for (size_t i = 0; i < table->n; i++) {
                const struct curve *other = &table->items[i];
                if (other == curve || !other->is_complete || other->n == 0)
                        continue;
                double end = level(other, other->n, by_last);
                best = fmin(best, end);
                if (other->n > curve->n) {
                        double there = level(other, curve->n, by_last);
                        add(&sums, there - here, end - there);
                }
        }
        if (sums.n < 2 || sums.n < min_trials)
                return false;
        *ret = chance_of(&sums, here - best);
        return true;
}
