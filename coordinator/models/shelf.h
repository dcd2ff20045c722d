/* Kept models on the disk: paths, manifests, whole folders that come and go by rename. No lock, no state. */
#pragma once
#include "common/digest.h"
#include "models/models.h"

#define SHELF_PLACE_SIZE 64 /* name of a folder in there: a trial's id, or .part-NUMBER */

/* FOLDER/PLACE, and a file in it. Owned; NULL = no memory. */
char *shelf_path(const char *folder, const char *place, const char *name);

/* Every whole model in there; removes what was on its way. visit returns 0 to go on. */
int shelf_scan(const char *folder, int (*visit)(void *data, const struct model *model), void *data, struct error *err);

/* An empty folder for the pieces. */
int shelf_begin(const char *folder, const char *part, struct error *err);

/* The pieces become the model, in place of an earlier one: all of it is on the disk then. */
int shelf_commit(const char *folder, const char *part, const struct model *model, struct error *err);

void shelf_remove(const char *folder, const char *place);
