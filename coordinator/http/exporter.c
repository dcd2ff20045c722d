/* One lock guards all of it. Of a stream that is being read (is_reading) only `export` is the exporter thread's, without the
 * lock; when its connection ends meanwhile (is_gone), that thread frees it. libmicrohttpd is called under the lock to suspend
 * and to resume, as in feed.c and for the same reason. */
#include "http/exporter.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/export.h"
#include "common/log.h"

#define PIECE_BYTES (64u << 10) /* read at a time; and with so much waiting for the socket nothing more is read */
#define BLOCK_BYTES (16u << 10)

struct stream {
        struct exporter *exporter;
        struct MHD_Connection *connection;
        struct api_export *export;
        struct buf ready; /* to be sent from `at` on */
        size_t at;
        bool is_over, is_failed;
        bool is_waiting; /* its connection is suspended */
        bool is_reading, is_gone;
        struct stream *next;
};

struct exporter {
        struct store *store; /* the exporter thread's */
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed; /* a stream came or has room, or stopping */
        /* guarded by lock */
        struct stream *streams; /* the one that was read last comes last */
        size_t n_streams;
        bool closed, stopping;
};

static void stream_free(struct stream *stream) {
        api_export_free(stream->export);
        buf_fini(&stream->ready);
        free(stream);
}

/* --- callers hold the lock ------------------------------------------------------------------------------ */

static void take_out(struct stream *stream) {
        struct stream **link = &stream->exporter->streams;
        while (*link != stream)
                link = &(*link)->next;
        *link = stream->next;
        stream->next = NULL;
        stream->exporter->n_streams--;
}

static void put_last(struct stream *stream) {
        struct stream **link = &stream->exporter->streams;
        while (*link)
                link = &(*link)->next;
        *link = stream;
        stream->exporter->n_streams++;
}

static void wake(struct stream *stream) {
        if (!stream->is_waiting)
                return;
        stream->is_waiting = false;
        MHD_resume_connection(stream->connection);
}

static struct stream *find_hungry(struct exporter *exporter) {
        for (struct stream *stream = exporter->streams; stream && !exporter->closed; stream = stream->next)
                if (!stream->is_over && !stream->is_failed && stream->ready.len - stream->at < PIECE_BYTES)
                        return stream;
        return NULL;
}

/* --- the exporter's thread ------------------------------------------------------------------------------ */

static void take_piece(struct stream *stream, const struct buf *piece, int r) {
        if (r >= 0 && piece->len > 0) {
                buf_consume(&stream->ready, stream->at);
                stream->at = 0;
                if (buf_append(&stream->ready, piece->data, piece->len) < 0)
                        r = -ENOMEM;
        }
        stream->is_over = r == 1;
        stream->is_failed = r < 0;
        if (r < 0)
                log_warning("an export was cut off", log_s("error", r == -ENOENT ? "its sweep was deleted" : strerror(-r)));
        if (r != 0 || stream->ready.len > stream->at)
                wake(stream);
}

static void *run(void *data) {
        struct exporter *exporter = data;
        pthread_mutex_lock(&exporter->lock);
        while (!exporter->stopping) {
                struct stream *stream = find_hungry(exporter);
                if (!stream) {
                        pthread_cond_wait(&exporter->changed, &exporter->lock);
                        continue;
                }
                take_out(stream); /* each in turn */
                put_last(stream);
                stream->is_reading = true;
                pthread_mutex_unlock(&exporter->lock);
                struct buf piece = BUF_INIT(0);
                int r = api_export_read(stream->export, exporter->store, PIECE_BYTES, &piece);
                pthread_mutex_lock(&exporter->lock);
                stream->is_reading = false;
                if (stream->is_gone)
                        stream_free(stream);
                else
                        take_piece(stream, &piece, r);
                buf_fini(&piece);
        }
        pthread_mutex_unlock(&exporter->lock);
        return NULL;
}

/* --- libmicrohttpd's thread ----------------------------------------------------------------------------- */

/* Fills libmicrohttpd's buffer, or puts the connection to sleep. */
static ssize_t read_some(void *cls, uint64_t offset, char *to, size_t room) {
        (void)offset;
        struct stream *stream = cls;
        struct exporter *exporter = stream->exporter;
        pthread_mutex_lock(&exporter->lock);
        size_t n = stream->ready.len - stream->at;
        n = n < room ? n : room;
        ssize_t result = (ssize_t)n;
        if (exporter->closed || stream->is_failed) {
                result = MHD_CONTENT_READER_END_WITH_ERROR; /* no last chunk: the client sees that something is missing */
        } else if (n > 0) {
                memcpy(to, stream->ready.data + stream->at, n);
                stream->at += n;
                pthread_cond_signal(&exporter->changed);
        } else if (stream->is_over) {
                result = MHD_CONTENT_READER_END_OF_STREAM;
        } else {
                stream->is_waiting = true;
                MHD_suspend_connection(stream->connection);
        }
        pthread_mutex_unlock(&exporter->lock);
        return result;
}

/* libmicrohttpd has ended the answer. */
static void end_stream(void *cls) {
        struct stream *stream = cls;
        struct exporter *exporter = stream->exporter;
        pthread_mutex_lock(&exporter->lock);
        take_out(stream);
        bool is_mine = !stream->is_reading;
        stream->is_gone = true;
        pthread_mutex_unlock(&exporter->lock);
        if (is_mine)
                stream_free(stream);
}

struct MHD_Response *exporter_send(struct exporter *exporter, struct MHD_Connection *connection, struct api_export *export) {
        struct stream *stream = calloc(1, sizeof *stream);
        if (!stream)
                return NULL;
        stream->exporter = exporter;
        stream->connection = connection;
        pthread_mutex_lock(&exporter->lock);
        bool has_room = exporter->n_streams < EXPORTS_MAX;
        struct MHD_Response *response =
                has_room ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_some, stream, end_stream) : NULL;
        if (response) {
                stream->export = export;
                put_last(stream);
                pthread_cond_signal(&exporter->changed);
        }
        pthread_mutex_unlock(&exporter->lock);
        if (!response)
                free(stream);
        return response;
}

/* --- life ----------------------------------------------------------------------------------------------- */

int exporter_new(struct store *store, struct exporter **ret, struct error *err) {
        struct exporter *exporter = calloc(1, sizeof *exporter);
        if (!exporter)
                return error_set(err, -ENOMEM, "out of memory");
        exporter->store = store;
        pthread_mutex_init(&exporter->lock, NULL);
        pthread_cond_init(&exporter->changed, NULL);
        int r = pthread_create(&exporter->thread, NULL, run, exporter);
        if (r != 0) {
                pthread_cond_destroy(&exporter->changed);
                pthread_mutex_destroy(&exporter->lock);
                free(exporter);
                return error_set(err, -r, "cannot start the exporter's thread");
        }
        *ret = exporter;
        return 0;
}

void exporter_close(struct exporter *exporter) {
        pthread_mutex_lock(&exporter->lock);
        exporter->closed = true;
        for (struct stream *stream = exporter->streams; stream; stream = stream->next)
                wake(stream);
        pthread_mutex_unlock(&exporter->lock);
}

size_t exporter_count(struct exporter *exporter) {
        pthread_mutex_lock(&exporter->lock);
        size_t n = exporter->n_streams;
        pthread_mutex_unlock(&exporter->lock);
        return n;
}

void exporter_free(struct exporter *exporter) {
        if (!exporter)
                return;
        pthread_mutex_lock(&exporter->lock);
        exporter->stopping = true;
        pthread_cond_signal(&exporter->changed);
        pthread_mutex_unlock(&exporter->lock);
        pthread_join(exporter->thread, NULL);
        pthread_cond_destroy(&exporter->changed);
        pthread_mutex_destroy(&exporter->lock);
        free(exporter);
}
