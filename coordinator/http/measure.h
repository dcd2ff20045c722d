/* What the server counts, and GET /metrics: the api's part, ours, and the end mark. The server thread's own. */
#pragma once
#include <stdbool.h>

#include "common/metrics.h"
#include "proto/route.h"

#define N_CODES 17

struct measures {
        struct histogram seconds[N_ROUTES + 1]; /* from the first header to the answer; the last is of no route */
        uint64_t codes[N_ROUTES + 1][N_CODES];
};

void measure_answer(struct measures *measures, enum route route, int status, double seconds);

struct http;
/* The whole text after what the api wrote; the caller frees it. NULL without memory. */
char *measure_text(struct http *http, const char *of_api);
