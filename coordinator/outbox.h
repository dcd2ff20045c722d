/* The database's outbox for the notifier: joins coordinator/notify, which may not see the store, with coordinator/store. */
#pragma once
#include "notify/notify.h"

struct store;

/* store: one of its own (store_open_beside), used by no other thread, that outlives the outbox. */
struct notify_outbox outbox_of(struct store *store);
