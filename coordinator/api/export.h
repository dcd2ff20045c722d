/* An export while it is sent: pages of trials as text, made by whoever sends it, beside the core thread.
 *
 * It promises every trial that the sweep had when it was asked for, once, in order of number, each as of the moment its page
 * was read. A page is one short transaction: a reader that takes hours neither blocks the writer nor keeps its log from
 * being checkpointed. A sweep that is deleted meanwhile ends the export in a failure. */
#pragma once
#include <stddef.h>

#include "common/buf.h"

struct store;
struct api_export;

/* Appends what comes next until it is `enough` bytes or some work is done (which may have given none). 0 = more follows;
 * 1 = that was all; negative: it cannot go on. Any thread, one at a time, with a store of its own. */
int api_export_read(struct api_export *export, struct store *store, size_t enough, struct buf *out);

void api_export_free(struct api_export *export);
