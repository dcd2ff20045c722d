/* What watchers of /v1/events get: gathered while a turn runs, published after its commit, dropped when it fails.
 *
 * Trials are remembered by id and read again when the turn is over: one event a turn however often one changed. Sweeps
 * and workers change with every trial, and their objects cost several queries, so that each is shown at most every
 * APART_MS; a change of state is shown at once. Points of metrics are encoded where they are accepted.
 *
 * Nothing is gathered while nobody watches. What cannot be told one by one (a turn that changes more than TRIALS_MAX
 * trials, a failure, caches that were dropped) is told as `reset`: load everything again. */
#include <string.h>

#include "api/core.h"

#define TRIALS_MAX 2048
#define NOTES_BYTES_MAX (4u << 20)
#define APART_MS 500

int events_get(struct api *api, struct api_call *call) {
        struct list_query query;
        struct sweep_row row = {0};
        int r = reply_query(call, LIST_EVENTS, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        r = query.sweep ? store_sweep_get(api->store, query.sweep, &row) : 0;
        sweep_row_fini(&row);
        if (r == STORE_NONE)
                return reply_problem(call, 404, "there is no sweep '%s'", query.sweep);
        return r < 0 ? r : reply_text(call, 200, strdup(""), "text/event-stream");
}

/* --- gathering ------------------------------------------------------------------------------------------------- */

static void forget(struct changes *changes) {
        changes->n_trials = 0;
        buf_clear(&changes->notes);
}

static void forget_showings(struct api *api) {
        for (size_t i = 0; i < api->n_lives; i++)
                api->lives[i]->showing.is_changed = api->lives[i]->showing.is_urgent = false;
        for (size_t i = 0; i < api->n_peers; i++) {
                api->peers[i].showing.is_changed = api->peers[i].showing.is_urgent = false;
                api->peers[i].shown = peer_state(api, &api->peers[i]);
        }
}

void events_begin(struct api *api) {
        struct changes *changes = &api->changes;
        bool is_watched = api->config.is_watched && api->config.is_watched(api->config.publish_data);
        if (is_watched != changes->is_watched) {
                forget(changes);
                forget_showings(api);
                changes->is_overrun = false;
                changes->notes.max = NOTES_BYTES_MAX;
        }
        changes->is_watched = is_watched;
}

void events_fini(struct api *api) {
        free(api->changes.trials);
        buf_fini(&api->changes.notes);
}

void events_note_trial(struct api *api, int64_t trial) {
        struct changes *changes = &api->changes;
        if (!changes->is_watched || changes->is_overrun || (changes->n_trials > 0 && changes->trials[changes->n_trials - 1] == trial))
                return;
        if (!changes->trials)
                changes->trials = calloc(TRIALS_MAX, sizeof *changes->trials);
        if (!changes->trials || changes->n_trials == TRIALS_MAX) {
                changes->is_overrun = true;
                return;
        }
        changes->trials[changes->n_trials++] = trial;
}

/* Kept as name, sweep and text, each with its NUL. */
static void note(struct api *api, const char *name, const char *sweep, json_t *body) {
        struct changes *changes = &api->changes;
        struct buf *notes = &changes->notes;
        size_t before = notes->len;
        int r = body ? buf_append(notes, name, strlen(name) + 1) : -ENOMEM;
        if (r == 0)
                r = buf_append(notes, sweep, strlen(sweep) + 1);
        if (r == 0)
                r = json_write(body, notes);
        if (r == 0)
                r = buf_append(notes, "", 1);
        if (r < 0) {
                changes->is_overrun = true;
                notes->len = before;
        }
        json_decref(body);
}

void events_note_point(struct api *api, const struct trial_row *trial, const struct metric_row *point) {
        if (!api->changes.is_watched || api->changes.is_overrun)
                return;
        note(api, "metric", trial->sweep_public_id,
             json_pack("{s:s, s:s, s:s, s:I, s:o, s:f, s:o}", "sweep", trial->sweep_public_id, "trial", trial->public_id, "name", point->name,
                       "step", (json_int_t)point->step, "epoch", point->has_epoch ? json_real(point->epoch) : json_null(), "value",
                       point->value, "time", encode_time(point->time_ms)));
}

void events_note_deleted(struct api *api, const char *sweep) {
        if (api->changes.is_watched && !api->changes.is_overrun)
                note(api, "deleted", sweep, json_pack("{s:s}", "sweep", sweep));
}

void events_note_forgotten(struct api *api, const char *worker) {
        if (api->changes.is_watched && !api->changes.is_overrun)
                note(api, "deleted", "", json_pack("{s:s}", "worker", worker));
}

static void show(const struct api *api, struct showing *showing, bool at_once) {
        showing->is_changed |= api->changes.is_watched;
        showing->is_urgent |= api->changes.is_watched && at_once;
}

void events_note_sweep(struct api *api, struct live *live, bool at_once) {
        show(api, &live->showing, at_once);
}

void events_note_worker(struct api *api, struct peer *peer, bool at_once) {
        if (peer)
                show(api, &peer->showing, at_once);
}

size_t events_mark(const struct api *api) {
        return api->changes.notes.len;
}

/* A trial that was noted in what is undone is shown as it is: that is true, and does no harm. */
void events_undo(struct api *api, size_t mark) {
        if (api->changes.notes.len > mark)
                api->changes.notes.len = mark;
}

void events_drop(struct api *api) {
        forget(&api->changes);
        api->changes.is_overrun = api->changes.is_watched;
}

/* --- publishing ------------------------------------------------------------------------------------------------ */

static void publish(struct api *api, const char *name, const char *sweep, const char *text) {
        api->config.publish(api->config.publish_data, name, sweep, text);
}

/* Takes body. */
static int publish_body(struct api *api, const char *name, const char *sweep, json_t *body) {
        _cleanup_free_ char *text = json_text(body);
        json_decref(body);
        if (!text)
                return -ENOMEM;
        publish(api, name, sweep, text);
        return 0;
}

static void publish_notes(struct api *api) {
        const struct buf *notes = &api->changes.notes;
        for (size_t at = 0; at < notes->len;) {
                const char *name = notes->data + at, *sweep = name + strlen(name) + 1, *text = sweep + strlen(sweep) + 1;
                publish(api, name, sweep, text);
                at = (size_t)(text - notes->data) + strlen(text) + 1;
        }
}

static int compare_ids(const void *a, const void *b) {
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
        return (x > y) - (x < y);
}

static int publish_trials(struct api *api) {
        struct changes *changes = &api->changes;
        if (changes->n_trials > 1)
                qsort(changes->trials, changes->n_trials, sizeof *changes->trials, compare_ids);
        for (size_t i = 0; i < changes->n_trials; i++) {
                struct trial_row row = {0};
                json_t *body = NULL;
                if (i > 0 && changes->trials[i] == changes->trials[i - 1])
                        continue;
                int r = store_trial_load(api->store, changes->trials[i], &row);
                if (r == STORE_NONE) /* deleted with its sweep, or undone */
                        continue;
                if (r == 0)
                        r = encode_trial(api, &row, &body);
                if (r == 0)
                        r = publish_body(api, "trial", row.sweep_public_id, body);
                trial_row_fini(&row);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_due(const struct api *api, const struct showing *showing) {
        return showing->is_changed && (showing->is_urgent || showing->shown_ms == 0 || api_now(api) >= showing->shown_ms + APART_MS);
}

static void shown(const struct api *api, struct showing *showing) {
        *showing = (struct showing){.shown_ms = api_now(api)};
}

static int publish_sweeps(struct api *api) {
        for (size_t i = 0; i < api->n_lives; i++) {
                struct live *live = api->lives[i];
                json_t *body = NULL;
                if (!is_due(api, &live->showing))
                        continue;
                shown(api, &live->showing);
                int r = encode_sweep(api, &live->row, &body);
                if (r == 0)
                        r = publish_body(api, "sweep", live->row.public_id, body);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int publish_workers(struct api *api) {
        for (size_t i = 0; i < api->n_peers; i++) {
                struct peer *peer = &api->peers[i];
                json_t *body = NULL;
                if (peer_state(api, peer) != peer->shown) {
                        peer->shown = peer_state(api, peer);
                        events_note_worker(api, peer, true);
                }
                if (!is_due(api, &peer->showing))
                        continue;
                shown(api, &peer->showing);
                int r = encode_worker(api, peer, &body);
                if (r == 0)
                        r = publish_body(api, "worker", "", body);
                if (r < 0)
                        return r;
        }
        return 0;
}

void events_publish(struct api *api) {
        struct changes *changes = &api->changes;
        if (!changes->is_watched || api->stale)
                return;
        bool reset = changes->is_overrun;
        int r = store_begin(api->store);
        if (!reset)
                publish_notes(api);
        if (!reset && r == 0)
                r = publish_trials(api);
        if (r == 0)
                r = publish_sweeps(api);
        if (r == 0)
                r = publish_workers(api);
        store_rollback(api->store);
        if (reset || r < 0)
                publish(api, "reset", "", "{}");
        if (r < 0)
                log_warning("watchers were told to load everything again", log_s("error", strerror(-r)));
        forget(changes);
        changes->is_overrun = false;
}

uint64_t events_deadline(const struct api *api) {
        uint64_t deadline = API_NEVER, gone_ms = 2 * api_lease_ms(api);
        if (!api->changes.is_watched)
                return API_NEVER;
        for (size_t i = 0; i < api->n_lives; i++) {
                const struct showing *showing = &api->lives[i]->showing;
                if (showing->is_changed && showing->shown_ms + APART_MS < deadline)
                        deadline = showing->is_urgent ? 0 : showing->shown_ms + APART_MS;
        }
        for (size_t i = 0; i < api->n_peers; i++) {
                const struct peer *peer = &api->peers[i];
                uint64_t due = peer->showing.is_changed ? peer->showing.shown_ms + APART_MS
                               : peer->shown != WORKER_GONE && peer->n_waiting == 0 ? peer->seen_ms + gone_ms + 1
                                                                                    : API_NEVER;
                if (due < deadline)
                        deadline = due;
        }
        return deadline;
}
