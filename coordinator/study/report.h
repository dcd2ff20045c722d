/* The report of a sweep: what was asked, what each stage found, in words, tables and plots, in one self-contained file.
 *
 * Pure: JSON as the contract shows it in, text out. */
#pragma once
#include <jansson.h>

#include "common/buf.h"

#define STUDY_CURVES_MAX 5 /* trials whose curves are shown */

struct study {
        const json_t *sweep;  /* as GET /v1/sweeps/{id} */
        const json_t *trials; /* array, in order of number, each as GET /v1/trials/{id} */
        const json_t *history; /* array, items as of GET /v1/sweeps/{id}/history */
        const json_t *curves; /* {metric: [{"trial": number, "points": [[step, value], …]}, …]} of the best trials, best first */
        const char *time;     /* now, RFC 3339 */
        bool is_html;         /* else Markdown */
};

/* 0, -ENOMEM, or -EFBIG when out's cap is reached. */
int study_report(const struct study *study, struct buf *out);
