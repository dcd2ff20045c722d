/* Caps and defaults of the wire contract. */
#pragma once
#include <stdint.h>

#define LIMIT_BODY_BYTES (8u << 20)      /* default; configurable */
#define LIMIT_ID_CHARS 40
#define LIMIT_NAME_BYTES 128             /* of sweeps, workers, metrics, parameters */
#define LIMIT_DESCRIPTION_BYTES (64u << 10)
#define LIMIT_IDEMPOTENCY_KEY_BYTES 255
#define LIMIT_POINTS_PER_REPORT 1000
#define LIMIT_DETAIL_BYTES (16u << 10)
#define LIMIT_RESUME_BYTES (4u << 10)
#define LIMIT_LIST_DEFAULT 100
#define LIMIT_LIST_MAX 1000
#define LIMIT_WAIT_S 60.0
#define LIMIT_SLOTS 1024                 /* of a registration and of a claim */
#define LIMIT_WORKERS 10000              /* that are known */
#define LIMIT_UNFIT_BYTES 1024           /* what a worker says of itself */
#define LIMIT_PARAMETERS 256
#define LIMIT_CHOICES 10000              /* of one categorical */
#define LIMIT_STAGES 32
#define LIMIT_REPEATS 1000
#define LIMIT_TOP_K 100
#define DEFAULT_TOP_K 3
#define DEFAULT_CONFIRM_REPEATS 5
#define LIMIT_ENQUEUE_ITEMS 10000        /* of one POST …/trials */
#define LIMIT_ENQUEUE_POINTS 20000       /* of all its series: others wait while they are stored */
#define LIMIT_MODEL_FILES 16             /* of one kept model */
#define LIMIT_MODEL_NAME_BYTES 64
#define LIMIT_MODEL_BYTES (INT64_C(1) << 40)
#define RUN_CAP_MAX INT64_C(1000000000)
#define PRIORITY_MAX 1000
#define LIMIT_FAULTS 100                 /* reported at once */

#define DEFAULT_MAX_ATTEMPTS 3
#define DEFAULT_LEASE_S 60
#define KEPT_KEYS_S (24 * 3600)          /* idempotency keys and claim ids */
#define FORGET_WORKERS_S (14 * 24 * 3600) /* after they were last seen */
