/* A new folder, whole or not at all: it is filled beside its target under another name, and renamed. */
#pragma once
#include "common/error.h"

/* *ret: the folder to fill, "TARGET.part-XXXXXX"; the caller frees it, after place_commit or place_discard. -EEXIST: target is there and
 * is not an empty folder. */
int place_make(const char *target, char **ret, struct error *err);

/* Makes it the target, durable with all that is in it. On failure it is still there. */
int place_commit(const char *place, const char *target, struct error *err);

/* Removes it with all that is in it. */
void place_discard(const char *place);
