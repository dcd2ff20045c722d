/* Sources: transformers.optimization (4.30) for the curves, transformers.Trainer for the step counts. The order of
 * operations follows the originals, so that results agree to the last bit or two. */
#include "train/schedule.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

static const char *const kind_names[] = {
        [SCHEDULE_LINEAR] = "linear",
        [SCHEDULE_COSINE] = "cosine",
        [SCHEDULE_COSINE_WITH_RESTARTS] = "cosine_with_restarts",
        [SCHEDULE_POLYNOMIAL] = "polynomial",
        [SCHEDULE_CONSTANT] = "constant",
        [SCHEDULE_CONSTANT_WITH_WARMUP] = "constant_with_warmup",
};

int schedule_kind_parse(const char *text, enum schedule_kind *ret) {
        for (size_t i = 0; i < sizeof kind_names / sizeof *kind_names; i++) {
                if (strcmp(text, kind_names[i]) == 0) {
                        *ret = (enum schedule_kind)i;
                        return 0;
                }
        }
        return -EINVAL;
}

/* Steps as doubles: differences may be negative, since the functions are defined past the end and for warmup > total. */
static double linear(double step, double warmup, double total) {
        return fmax(0.0, (total - step) / fmax(1.0, total - warmup));
}

static double cosine(double step, double warmup, double total) {
        double progress = (step - warmup) / fmax(1.0, total - warmup);
        return fmax(0.0, 0.5 * (1.0 + cos(M_PI * progress)));
}

static double cosine_with_restarts(double step, double warmup, double total) {
        double progress = (step - warmup) / fmax(1.0, total - warmup);
        return progress >= 1.0 ? 0.0 : fmax(0.0, 0.5 * (1.0 + cos(M_PI * fmod(progress, 1.0))));
}

static double polynomial(double step, double warmup, double total, double rate) {
        double end = SCHEDULE_POLYNOMIAL_END;
        if (step > total || total <= warmup)
                return end / rate;
        double remaining = 1.0 - (step - warmup) / (total - warmup);
        return ((rate - end) * remaining + end) / rate;
}

double schedule_factor(const struct schedule *schedule, uint64_t step) {
        double s = (double)step, warmup = (double)schedule->warmup_steps, total = (double)schedule->total_steps;
        if (schedule->kind == SCHEDULE_CONSTANT)
                return 1.0;
        if (s < warmup)
                return s / fmax(1.0, warmup);
        switch (schedule->kind) {
        case SCHEDULE_LINEAR:
                return linear(s, warmup, total);
        case SCHEDULE_COSINE:
                return cosine(s, warmup, total);
        case SCHEDULE_COSINE_WITH_RESTARTS:
                return cosine_with_restarts(s, warmup, total);
        case SCHEDULE_POLYNOMIAL:
                return polynomial(s, warmup, total, schedule->learning_rate);
        case SCHEDULE_CONSTANT:
        case SCHEDULE_CONSTANT_WITH_WARMUP:
                break;
        }
        return 1.0;
}

uint64_t schedule_warmup_from_ratio(uint64_t total_steps, double ratio) {
        return (uint64_t)ceil((double)total_steps * ratio);
}

uint64_t schedule_steps_per_epoch(uint64_t batches, uint64_t accumulation) {
        uint64_t steps = batches / accumulation;
        return steps > 0 ? steps : 1;
}

uint64_t schedule_total_steps(uint64_t steps_per_epoch, double epochs) {
        return (uint64_t)ceil(epochs * (double)steps_per_epoch);
}
