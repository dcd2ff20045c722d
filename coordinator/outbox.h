/* The database's outbox for the notifier: joins coordinator/notify, which may not see the store, with coordinator/store, and counts
 * what comes of its messages. */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

#include "common/buf.h"
#include "notify/notify.h"

struct store;

struct outbox {
        struct store *store; /* of its own (store_open_beside): the notifier's thread alone uses it */
        _Atomic uint64_t n_delivered, n_put_off, n_given_up; /* attempts, since the process began; read by any thread */
};

struct notify_outbox outbox_for_notifier(struct outbox *outbox); /* which outlives the notifier */

/* For http_config.measure: the counters as OpenMetrics text. data: the outbox. */
void outbox_measure(void *data, struct buf *buf);
