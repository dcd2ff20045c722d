/* Endings on their way to the coordinator, one small file each, so that they outlive this process and any outage.
 *
 * A parcel is {"trial","sweep","reports":[report bodies, in order]}: the last body holds the outcome, those before it are
 * metrics that were not acknowledged. Delivering a parcel twice is harmless: every body has its own seq. */
#pragma once
#include <jansson.h>
#include <stddef.h>

#include "common/error.h"

#define OUTBOX_PARCELS_MAX 256
#define OUTBOX_PARCEL_BYTES_MAX (64u << 20) /* all points that a reporter lets wait, with the longest names */

/* Writes the parcel under a name made of its trial and lease; the name (allocated) is its handle. -ENOSPC when the outbox is full. */
int outbox_put(const char *folder, const json_t *parcel, char **ret_name, struct error *err);

void outbox_remove(const char *folder, const char *name);

/* {"NAME": parcel, …} of what lies there. What cannot be read is set aside with a log line. New reference, NULL = out of memory. */
json_t *outbox_load(const char *folder);
