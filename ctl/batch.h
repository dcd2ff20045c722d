/* Many trials in several requests, so that nobody else waits long for any of them. Each has an Idempotency-Key that is made of one key for
 * all and of its place: the same trials sent again with the same key are taken once, whatever became of the answers. */
#pragma once
#include "ctl.h"

#define BATCH_FILE_BYTES (64u << 20) /* the most that a file of trials may have, CSV or JSON */
#define BATCH_TRIALS 100 /* a request: one or two hundredths of a second of the one thread that answers everybody */

/* POSTs the trials (an array) to path in order, with the key of --key or a new one, until one request is not answered with 201; then how
 * many were taken and how to go on is told on stderr. What was refused is shown to tell first, with pointers as if all had been one request
 * ("/trials/N/…" counts all trials); with --json it was printed. ret_items: new, all trials that were created. */
int batch_send(struct ctl *ctl, const char *path, const json_t *trials, void (*tell)(void *data, const struct answer *refusal), void *data,
               json_t **ret_items);
