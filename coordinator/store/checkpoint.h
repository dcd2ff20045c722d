/* Private to the store: takes the write-ahead log back into the database, beside the commits. */
#pragma once
#include "store/statement.h"

struct checkpointer;

struct checkpoint_config {
        int log_pages;    /* so long the log gets */
        int little_pages; /* so much of it a commit takes back itself */
        /* The database could not be synced: nothing may be written to it any more by this process. On the thread that saw it. */
        void (*lost)(void *data);
        void *lost_data;
};

/* From now on no commit of the store does more of this than its end. Has a connection of its own. */
int checkpointer_new(struct store *store, const struct checkpoint_config *config, struct checkpointer **ret, struct error *err);
/* A thread that copies whenever that is wanted. Else somebody else does (the simulator, at instants that it draws). */
int checkpointer_start(struct checkpointer *checkpointer, struct error *err);
bool checkpointer_wants_copy(struct checkpointer *checkpointer);
void checkpointer_copy(struct checkpointer *checkpointer);
/* Before the store's connection is closed. */
void checkpointer_free(struct checkpointer *checkpointer);
