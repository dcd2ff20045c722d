/* Finds and reads the golden vectors, which live outside the repository. */
#pragma once
#include <jansson.h>

/* The JSON file `name` of the folder of golden vectors (SWEEPD_SHARED, or "shared" beside the checkout); NULL when it
 * is not there. New reference. */
json_t *golden_read(const char *name);
