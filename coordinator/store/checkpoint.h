/* Private to the store: the thread that takes the write-ahead log back into the database. */
#pragma once
#include "store/statement.h"

struct checkpointer;

/* From now on no commit of the store does more of this than its end. Has a connection of its own. */
int checkpointer_new(struct store *store, struct checkpointer **ret, struct error *err);
/* Before the store's connection is closed. */
void checkpointer_free(struct checkpointer *checkpointer);
