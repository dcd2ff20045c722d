/* What one training is asked to do: the JSON object on sweep-trainer's standard input, checked. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "train/metrics.h"
#include "train/settings.h"

#define JOB_MAX_BYTES (1 << 20)
#define JOB_MAX_THREADS 1024

struct job {
        json_t *object; /* owns every text below */
        const char *model, *data;
        const char *checkpoint_dir, *output_dir; /* NULL: none */
        enum metric metric;                      /* the sweep's */
        bool maximize;
        struct settings settings; /* seed resolved; what the model decides is not */
        int threads;
};

/* Parses and checks everything that needs no file. -EINVAL: bad_config, the text names the key; -ENOMEM. */
int job_read(const char *text, size_t len, struct job *ret, struct error *err);
void job_fini(struct job *job);
