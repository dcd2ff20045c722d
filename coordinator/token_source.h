/* The database's tokens for the HTTP server: joins coordinator/http, which may not see the store, with coordinator/store. */
#pragma once
#include "http/tokens.h"

struct store;

/* store: one of its own (store_open_beside), used by no other thread, that outlives the source. */
struct token_source token_source_of(struct store *store);
