/* The feed: a bounded journal of events, and the readers of /v1/events that follow it.
 *
 * The core thread appends; libmicrohttpd's thread copies to the readers' sockets; a thread of the feed's own wakes the
 * readers that wait, at most every 50 ms, gives them a sign of life now and then, and ends the streams of those whose tokens no longer count. Readers hold a position in the
 * journal and no copies: one that is so slow that the journal has left it behind is dropped, and comes back by
 * Last-Event-ID. Everything here is safe from any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct feed;
struct MHD_Connection;
struct MHD_Response;
struct token_holder;
struct tokens;

struct feed_config {
        struct tokens *tokens; /* of the readers; NULL = they have none. Outlives the feed */
        size_t max_bytes;      /* of the journal; default 8 MiB */
        size_t max_readers;    /* default 2048 */
        unsigned keepalive_ms; /* default 15000 */
};

/* config NULL = defaults. */
int feed_new(const struct feed_config *config, struct feed **ret, struct error *err);
/* No reader is left: free it after http_close. */
void feed_free(struct feed *feed);

/* --- the core thread's side (api_config) --------------------------------------------------------------- */

void feed_publish(void *feed, const char *name, const char *sweep, const char *text);
/* Does anybody read, or was there a reader in the last minute? When not, nothing need be published, and what was
 * published before is no longer good for resuming. */
bool feed_is_watched(void *feed);

/* --- the server's side --------------------------------------------------------------------------------- */

/* A reader is about to come: from now on the feed is watched. False when there are too many. */
bool feed_expect(struct feed *feed);

/* The answer that streams: the header of the stream, what came after last_event_id (NULL = from now on), then what comes,
 * of one sweep or of all (NULL). Workers belong to no sweep and are told to all but holders of a token for one sweep. The
 * stream ends within a second after the holder's token was revoked or has expired. NULL without memory. */
struct MHD_Response *feed_follow(struct feed *feed, struct MHD_Connection *connection, const char *last_event_id, const char *sweep,
                                 const struct token_holder *holder);

/* Every reader's stream ends, those to come as well. */
void feed_close(struct feed *feed);

struct feed_counts {
        size_t n_readers, n_bytes;
        uint64_t n_published, n_dropped; /* events; readers that were too slow */
};
void feed_count(struct feed *feed, struct feed_counts *ret);
