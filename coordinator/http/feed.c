/* Ids count up by one, from the microseconds since 1970 at the start of the process: an id of an earlier process is older
 * than everything here (unless the clock was put back), and it fits the 53 bits of every JSON reader.
 *
 * One lock guards all of it. libmicrohttpd is called under it to suspend and to resume, so that a reader never goes to
 * sleep on an event that was just published; libmicrohttpd calls nothing of ours with its own locks held but the lock of
 * the one response that asks. */
#include "http/feed.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/world.h"
#include "http/clock.h"
#include "http/tokens.h"
#include "proto/limits.h"

#define ENTRIES 32768 /* a power of two */
#define ROUND_MS 50   /* between two rounds of waking */
#define WATCHED_MS 60000
#define BLOCK_BYTES 4096
#define READER_LIFE_MS 120000
#define TOKENS_MS 1000 /* between two looks at the readers' tokens, when nothing happens */
#define RETRY_MS 1000 /* what clients are told to wait before they come back */

struct entry {
        char sweep[LIMIT_ID_CHARS + 1]; /* empty = told to all */
        bool is_worker;                 /* but to readers of one sweep by their token */
        unsigned len;
        char text[]; /* as it goes over the wire */
};

struct reader {
        struct feed *feed;
        struct MHD_Connection *connection;
        struct reader *next, **link;
        char sweep[LIMIT_ID_CHARS + 1]; /* empty = all */
        char head[128];                 /* sent first, and signs of life */
        size_t head_len, head_at;
        uint64_t position; /* id of the entry that it is at */
        size_t at;         /* bytes of it that are sent */
        bool is_waiting;   /* its connection is suspended */
        uint64_t ends_ms;  /* it comes again then, and shows its token again */
        struct token_holder holder; /* with a sweep: workers are none of its business */
        bool is_new;  /* its token may have gone between its check and its coming */
        bool is_over; /* its token no longer counts */
};

struct feed {
        struct feed_config config;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed, ending; /* something to tell, or closed; stopping */
        /* guarded by lock */
        struct entry *entries[ENTRIES]; /* of id: entries[id % ENTRIES], for first ≤ id < next */
        uint64_t first, next;
        size_t bytes;
        uint64_t told; /* next, when the readers were last woken */
        struct reader *readers;
        size_t n_readers;
        uint64_t read_ms; /* when there last was a reader, or one was expected */
        bool closed, stopping;
        uint64_t n_published, n_dropped;
};

/* --- the journal: callers hold the lock ---------------------------------------------------------------- */

static void forget_first(struct feed *feed) {
        struct entry **place = &feed->entries[feed->first++ % ENTRIES];
        feed->bytes -= (*place)->len;
        free(*place);
        *place = NULL;
}

static void forget_all(struct feed *feed) {
        while (feed->first < feed->next)
                forget_first(feed);
}

/* Nobody can resume across this. */
static void gap(struct feed *feed) {
        forget_all(feed);
        feed->first = ++feed->next;
}

static struct entry *entry_new(uint64_t id, const char *name, const char *sweep, const char *text) {
        char head[96];
        int n = snprintf(head, sizeof head, "id: %llu\nevent: %s\ndata: ", (unsigned long long)id, name);
        size_t len = strlen(text);
        if (n < 0 || n >= (int)sizeof head)
                return NULL;
        struct entry *entry = malloc(sizeof *entry + (size_t)n + len + 2);
        if (!entry)
                return NULL;
        snprintf(entry->sweep, sizeof entry->sweep, "%s", sweep);
        entry->is_worker = strcmp(name, "worker") == 0;
        memcpy(entry->text, head, (size_t)n);
        memcpy(entry->text + n, text, len);
        memcpy(entry->text + n + len, "\n\n", 2);
        entry->len = (unsigned)(n + (int)len + 2);
        return entry;
}

void feed_publish(void *data, const char *name, const char *sweep, const char *text) {
        struct feed *feed = data;
        pthread_mutex_lock(&feed->lock);
        struct entry *entry = entry_new(feed->next, name, sweep, text);
        if (!entry) { /* the next reader that looks is behind the journal, and dropped */
                gap(feed);
        } else {
                while (feed->first < feed->next && (feed->bytes + entry->len > feed->config.max_bytes || feed->next - feed->first == ENTRIES))
                        forget_first(feed);
                feed->entries[feed->next++ % ENTRIES] = entry;
                feed->bytes += entry->len;
                feed->n_published++;
        }
        if (feed->n_readers > 0)
                pthread_cond_signal(&feed->changed);
        pthread_mutex_unlock(&feed->lock);
}

bool feed_is_watched(void *data) {
        struct feed *feed = data;
        uint64_t now = clock_mono_ms();
        pthread_mutex_lock(&feed->lock);
        if (feed->n_readers > 0)
                feed->read_ms = now;
        bool watched = feed->read_ms > 0 && now - feed->read_ms < WATCHED_MS;
        if (!watched && feed->read_ms > 0) {
                gap(feed);
                feed->read_ms = 0;
        }
        pthread_mutex_unlock(&feed->lock);
        return watched;
}

/* --- readers ------------------------------------------------------------------------------------------- */

bool feed_expect(struct feed *feed) {
        pthread_mutex_lock(&feed->lock);
        feed->read_ms = clock_mono_ms();
        bool room = feed->n_readers < feed->config.max_readers;
        pthread_mutex_unlock(&feed->lock);
        return room;
}

static size_t copy_some(char *to, size_t room, const char *from, size_t len, size_t *at) {
        size_t n = len - *at < room ? len - *at : room;
        memcpy(to, from + *at, n);
        *at += n;
        return n;
}

/* What there is for it, up to room bytes; 0 = nothing. */
static size_t copy_entries(struct reader *reader, char *to, size_t room) {
        struct feed *feed = reader->feed;
        size_t n = 0;
        while (reader->position < feed->next && n < room) {
                const struct entry *entry = feed->entries[reader->position % ENTRIES];
                bool is_meant = (!*reader->sweep || !*entry->sweep || strcmp(reader->sweep, entry->sweep) == 0) && !(*reader->holder.sweep && entry->is_worker);
                if (is_meant)
                        n += copy_some(to + n, room - n, entry->text, entry->len, &reader->at);
                if (is_meant && reader->at < entry->len)
                        break;
                reader->position++;
                reader->at = 0;
        }
        return n;
}

/* Fills libmicrohttpd's buffer, or puts the connection to sleep. */
static ssize_t read_some(void *cls, uint64_t offset, char *to, size_t room) {
        (void)offset;
        struct reader *reader = cls;
        struct feed *feed = reader->feed;
        ssize_t result = 0;
        pthread_mutex_lock(&feed->lock);
        if (feed->closed || reader->is_over) {
                result = MHD_CONTENT_READER_END_OF_STREAM;
        } else if (reader->at == 0 && reader->head_at == reader->head_len && clock_mono_ms() >= reader->ends_ms) {
                result = MHD_CONTENT_READER_END_OF_STREAM; /* between two events */
        } else if (reader->head_at < reader->head_len) {
                result = (ssize_t)copy_some(to, room, reader->head, reader->head_len, &reader->head_at);
        } else if (reader->position < feed->first) {
                feed->n_dropped++;
                result = MHD_CONTENT_READER_END_WITH_ERROR;
        } else {
                result = (ssize_t)copy_entries(reader, to, room);
                if (result == 0) {
                        reader->is_waiting = true;
                        MHD_suspend_connection(reader->connection);
                }
        }
        pthread_mutex_unlock(&feed->lock);
        if (result == MHD_CONTENT_READER_END_WITH_ERROR)
                log_debug("a reader of events was too slow");
        return result;
}

/* libmicrohttpd has ended the answer. */
static void reader_free(void *cls) {
        struct reader *reader = cls;
        struct feed *feed = reader->feed;
        pthread_mutex_lock(&feed->lock);
        *reader->link = reader->next;
        if (reader->next)
                reader->next->link = reader->link;
        feed->n_readers--;
        feed->read_ms = clock_mono_ms();
        pthread_mutex_unlock(&feed->lock);
        free(reader);
}

/* Where the reader goes on. False when that is not in the journal. */
static bool find_position(const struct feed *feed, const char *last_event_id, uint64_t *ret) {
        char *end;
        *ret = feed->next;
        if (!last_event_id || !*last_event_id)
                return true;
        unsigned long long last = strtoull(last_event_id, &end, 10);
        if (*end || last_event_id[0] < '0' || last_event_id[0] > '9' || last + 1 < feed->first || last + 1 > feed->next)
                return false;
        *ret = last + 1;
        return true;
}

struct MHD_Response *feed_follow(struct feed *feed, struct MHD_Connection *connection, const char *last_event_id, const char *sweep,
                                 const struct token_holder *holder) {
        struct reader *reader = calloc(1, sizeof *reader);
        if (!reader)
                return NULL;
        reader->feed = feed;
        reader->connection = connection;
        reader->ends_ms = clock_mono_ms() + READER_LIFE_MS;
        reader->holder = *holder;
        reader->is_new = true;
        snprintf(reader->sweep, sizeof reader->sweep, "%s", sweep ? sweep : "");
        struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_some, reader, reader_free);
        if (!response) {
                free(reader);
                return NULL;
        }
        pthread_mutex_lock(&feed->lock);
        bool found = find_position(feed, last_event_id, &reader->position);
        /* An id without data sets what the client resumes from, before the first event has come. */
        int n = snprintf(reader->head, sizeof reader->head, "retry: %d\nid: %llu\n%s\n", RETRY_MS, (unsigned long long)reader->position - 1,
                         found ? "" : "event: reset\ndata: {}\n");
        reader->head_len = (size_t)n;
        reader->next = feed->readers;
        reader->link = &feed->readers;
        if (reader->next)
                reader->next->link = &reader->next;
        feed->readers = reader;
        feed->n_readers++;
        pthread_mutex_unlock(&feed->lock);
        return response;
}

/* --- waking -------------------------------------------------------------------------------------------- */

static void wake_all(struct feed *feed, bool sign_of_life) {
        for (struct reader *reader = feed->readers; reader; reader = reader->next) {
                if (!reader->is_waiting)
                        continue;
                if (sign_of_life) { /* it waits, so all of what it is meant to get is sent */
                        reader->head_len = (size_t)snprintf(reader->head, sizeof reader->head, ":\nid: %llu\n\n",
                                                            (unsigned long long)reader->position - 1);
                        reader->head_at = 0;
                }
                reader->is_waiting = false;
                MHD_resume_connection(reader->connection);
        }
        feed->told = feed->next;
}

/* Ends the streams whose tokens no longer count: all are looked at when the tokens have changed. What cannot be looked up now is
 * looked up next time. Called with the lock held, which is free while the tokens are asked whether they have changed. */
static void check_readers(struct feed *feed, int64_t *seen) {
        struct tokens *tokens = feed->config.tokens;
        if (!tokens || feed->n_readers == 0)
                return;
        pthread_mutex_unlock(&feed->lock);
        int64_t revision = tokens_revision(tokens);
        uint64_t now_ms = world_wall_ms(world_real());
        pthread_mutex_lock(&feed->lock);
        bool all_known = true;
        for (struct reader *reader = feed->readers; reader; reader = reader->next) {
                struct token_holder *holder = &reader->holder;
                bool has_expired = holder->expires_ms > 0 && holder->expires_ms <= now_ms;
                if (!*holder->hash || reader->is_over || (!has_expired && !reader->is_new && revision == *seen))
                        continue;
                int r = tokens_holds(tokens, holder, now_ms);
                reader->is_new = r < 0;
                reader->is_over = r == TOKENS_UNKNOWN;
                all_known = all_known && r >= 0;
                if (reader->is_over && reader->is_waiting) {
                        reader->is_waiting = false;
                        MHD_resume_connection(reader->connection);
                }
        }
        if (all_known && revision >= 0)
                *seen = revision;
}

static void *run(void *data) {
        struct feed *feed = data;
        int64_t tokens_seen = -1;
        pthread_mutex_lock(&feed->lock);
        uint64_t life_ms = clock_mono_ms() + feed->config.keepalive_ms;
        while (!feed->stopping) {
                uint64_t look_ms = clock_mono_ms() + TOKENS_MS;
                struct timespec until = clock_at(look_ms < life_ms ? look_ms : life_ms);
                int r = 0;
                while (!feed->stopping && feed->told == feed->next && r == 0)
                        r = pthread_cond_timedwait(&feed->changed, &feed->lock, &until);
                if (feed->stopping)
                        break;
                check_readers(feed, &tokens_seen); /* before they are told anything */
                uint64_t now = clock_mono_ms();
                bool sign_of_life = now >= life_ms;
                if (sign_of_life || feed->told != feed->next)
                        wake_all(feed, sign_of_life);
                if (sign_of_life)
                        life_ms = now + feed->config.keepalive_ms;
                struct timespec pause = clock_at(now + ROUND_MS);
                for (r = 0; !feed->stopping && r == 0;)
                        r = pthread_cond_timedwait(&feed->ending, &feed->lock, &pause);
        }
        pthread_mutex_unlock(&feed->lock);
        return NULL;
}

/* --- life ---------------------------------------------------------------------------------------------- */

int feed_new(const struct feed_config *config, struct feed **ret, struct error *err) {
        struct feed *feed = calloc(1, sizeof *feed);
        if (!feed)
                return error_set(err, -ENOMEM, "out of memory");
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        if (config)
                feed->config = *config;
        if (feed->config.max_bytes == 0)
                feed->config.max_bytes = 8u << 20;
        if (feed->config.max_readers == 0)
                feed->config.max_readers = 2048;
        if (feed->config.keepalive_ms == 0)
                feed->config.keepalive_ms = 15000;
        feed->first = feed->next = feed->told = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
        pthread_mutex_init(&feed->lock, NULL);
        condition_init(&feed->changed);
        condition_init(&feed->ending);
        int r = pthread_create(&feed->thread, NULL, run, feed);
        if (r != 0) {
                pthread_cond_destroy(&feed->changed);
                pthread_cond_destroy(&feed->ending);
                pthread_mutex_destroy(&feed->lock);
                free(feed);
                return error_set(err, -r, "cannot start the feed's thread");
        }
        *ret = feed;
        return 0;
}

void feed_close(struct feed *feed) {
        pthread_mutex_lock(&feed->lock);
        feed->closed = true;
        wake_all(feed, false);
        pthread_mutex_unlock(&feed->lock);
}

void feed_free(struct feed *feed) {
        if (!feed)
                return;
        pthread_mutex_lock(&feed->lock);
        feed->stopping = true;
        pthread_cond_signal(&feed->changed);
        pthread_cond_signal(&feed->ending);
        pthread_mutex_unlock(&feed->lock);
        pthread_join(feed->thread, NULL);
        forget_all(feed);
        pthread_cond_destroy(&feed->changed);
        pthread_cond_destroy(&feed->ending);
        pthread_mutex_destroy(&feed->lock);
        free(feed);
}

void feed_count(struct feed *feed, struct feed_counts *ret) {
        pthread_mutex_lock(&feed->lock);
        *ret = (struct feed_counts){feed->n_readers, feed->bytes, feed->n_published, feed->n_dropped};
        pthread_mutex_unlock(&feed->lock);
}
