/* Pipes: poll() says that PIPE_BUF bytes fit, so that writing pieces of at most that never blocks, and the descriptor
 * need not be made non-blocking (its flags are shared with whoever else holds it, a terminal for one). */
#include "train/events.h"

#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/utf8.h"

#define MAX_QUEUED (1 << 20) /* bytes; then sending waits for the reader */
#define WAIT_PIECE_MS 100    /* between two looks at the stop flag */
#define LAST_WAIT_MS 1000    /* for a reader that takes nothing, once asked to stop */

struct events {
        int fd;
        const volatile sig_atomic_t *stop;
        struct buf queue;
        int broken; /* the error that ended it, 0 while the reader is there */
};

int events_new(int fd, const volatile sig_atomic_t *stop, struct events **ret) {
        struct events *events = calloc(1, sizeof *events);
        if (!events)
                return -ENOMEM;
        *events = (struct events){.fd = fd, .stop = stop, .queue = BUF_INIT(2 * MAX_QUEUED)};
        *ret = events;
        return 0;
}

void events_free(struct events *events) {
        if (!events)
                return;
        buf_fini(&events->queue);
        free(events);
}

bool events_has_reader(const struct events *events) {
        struct pollfd poller = {.fd = events->fd};
        return !events->broken && !(poll(&poller, 1, 0) > 0 && (poller.revents & (POLLERR | POLLNVAL)));
}

/* Writes one piece when the reader has room within timeout_ms. 1 when it had not. */
static int write_piece(struct events *events, int timeout_ms) {
        struct pollfd poller = {.fd = events->fd, .events = POLLOUT};
        int ready = poll(&poller, 1, timeout_ms);
        if (ready == 0 || (ready < 0 && errno == EINTR))
                return 1;
        size_t len = events->queue.len < PIPE_BUF ? events->queue.len : PIPE_BUF;
        ssize_t written = ready < 0 ? -1 : write(events->fd, events->queue.data, len);
        if (written < 0 && (errno == EINTR || errno == EAGAIN))
                return 1;
        if (written < 0)
                return -errno;
        buf_consume(&events->queue, (size_t)written);
        return 0;
}

/* Sends until at most `rest` bytes wait. patience_ms: how long to wait for a reader that takes nothing; -1: for as long
 * as nobody asks to stop. */
static int drain(struct events *events, size_t rest, int patience_ms) {
        int waited_ms = 0;
        while (events->queue.len > rest) {
                int r = write_piece(events, patience_ms == 0 ? 0 : WAIT_PIECE_MS);
                if (r < 0)
                        return events->broken = r;
                waited_ms = r == 0 ? 0 : waited_ms + WAIT_PIECE_MS;
                int patience = patience_ms < 0 && *events->stop ? LAST_WAIT_MS : patience_ms;
                if (r > 0 && patience >= 0 && waited_ms > patience)
                        return -ETIMEDOUT;
        }
        return 0;
}

/* Takes the reference. */
static int send(struct events *events, json_t *line, bool last) {
        _cleanup_json_ json_t *owned = line;
        if (events->broken)
                return events->broken;
        if (!line)
                return -ENOMEM;
        int r = json_write(line, &events->queue);
        if (r == 0)
                r = buf_puts(&events->queue, "\n");
        if (r < 0)
                return r;
        if (last)
                return drain(events, 0, -1);
        r = drain(events, 0, 0);
        if (r == -ETIMEDOUT)
                r = events->queue.len > MAX_QUEUED ? drain(events, MAX_QUEUED, -1) : 0;
        return r;
}

int events_send_metric(struct events *events, enum metric metric, uint64_t step, double epoch, double value) {
        return send(events,
                    json_pack("{s:s, s:s, s:I, s:f, s:f}", "event", "metric", "name", metric_name(metric), "step", (json_int_t)step,
                              "epoch", epoch, "value", value),
                    false);
}

int events_send_progress(struct events *events, double value) {
        return send(events, json_pack("{s:s, s:f}", "event", "progress", "value", value), false);
}

/* Paths and quoted input may hold anything: what is not UTF-8 becomes question marks. */
static json_t *clean_text(const char *text) {
        char clean[sizeof((struct outcome *)0)->detail];
        size_t len = strnlen(text, sizeof clean);
        memcpy(clean, text, len);
        for (size_t i = utf8_span(clean, len); i < len; i += utf8_span(clean + i, len - i))
                clean[i] = '?';
        return json_stringn(clean, len);
}

int events_send_outcome(struct events *events, const struct outcome *outcome) {
        static const char *const states[] = {"completed", "failed", "released"};
        json_t *line = json_pack("{s:s, s:s}", "event", "outcome", "state", states[outcome->state]);
        if (line && outcome->state == OUTCOME_COMPLETED)
                json_object_set_new(line, "value", json_real(outcome->value));
        if (line && outcome->state == OUTCOME_FAILED) {
                json_object_set_new(line, "reason", json_string(outcome->reason));
                json_object_set_new(line, "detail", clean_text(outcome->detail));
        }
        return send(events, line, true);
}
