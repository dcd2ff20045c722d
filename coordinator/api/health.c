/* Workers that are not in order: quarantine and its end, and forgetting those that are gone.
 *
 * What failed at whom stands in the attempts; sweep/blame.h has the rule. A worker is judged when a trial of it fails and,
 * since it takes somebody else's success to blame it, when a trial succeeds anywhere. Quarantine is written with the worker: neither
 * a restart of the coordinator nor one of the worker ends it, a person does. */
#include <stdio.h>
#include <string.h>

#include "api/core.h"

#define DETAIL_BYTES 200 /* of a line about the last failure, in the words of a quarantine */

/* --- who is to blame ------------------------------------------------------------------------------------------- */

int health_load(struct api *api, struct peer *peer) {
        struct failed_row rows[BLAME_CASES_MAX];
        size_t n = 0;
        int r = store_worker_failures(api->store, peer->row.id, peer->row.trusted_ms, BLAME_CASES_MAX, rows, &n);
        peer->n_failed = 0;
        for (size_t i = 0; i < n && r == 0; i++)
                peer->n_failed += blame_fits(rows[i].reason);
        return r;
}

static int save(struct api *api, struct peer *peer) {
        events_note_worker(api, peer, true);
        api->wake = true;
        return store_worker_update(api->store, &peer->row);
}

static int forgive(struct api *api, struct peer *peer) {
        peer->row.trusted_ms = api_wall(api);
        peer->n_failed = 0;
        return store_worker_update(api->store, &peer->row);
}

static int find_cases(struct api *api, const struct peer *peer, struct blame_case cases[static BLAME_CASES_MAX], size_t *ret_n) {
        struct failed_row rows[BLAME_CASES_MAX];
        size_t n = 0;
        int r = store_worker_failures(api->store, peer->row.id, peer->row.trusted_ms, BLAME_CASES_MAX, rows, &n);
        for (size_t i = 0; i < n && r == 0; i++) {
                size_t same = 0;
                while (same < i && rows[same].sweep != rows[i].sweep)
                        same++;
                cases[i] = (struct blame_case){rows[i].reason, rows[i].failed_elsewhere, rows[i].succeeded_elsewhere,
                                               same < i && cases[same].sweep_succeeds};
                if (same == i)
                        r = store_worker_others_succeed(api->store, peer->row.id, rows[i].sweep, rows[0].ended_ms, &cases[i].sweep_succeeds);
        }
        *ret_n = n;
        return r;
}

/* At most DETAIL_BYTES of a line, whole characters. */
static void append_line(struct buf *text, const char *before, const char *line, size_t len) {
        if (len > DETAIL_BYTES)
                for (len = DETAIL_BYTES; len > 0 && ((unsigned char)line[len] & 0xc0) == 0x80; len--)
                        ;
        if (len > 0 && buf_puts(text, before) == 0)
                buf_append(text, line, len);
}

/* Of what was said on the last failure: the first line has the fact, the last one mostly the program's own words. */
static void append_detail(struct buf *text, const char *detail) {
        size_t first = strcspn(detail, "\n\r"), end = strlen(detail);
        append_line(text, "; last: ", detail, first);
        while (end > first && strchr(" \n\r", detail[end - 1]))
                end--;
        size_t begin = end;
        while (begin > first && !strchr("\n\r", detail[begin - 1]))
                begin--;
        append_line(text, " ", detail + begin, end - begin);
}

static int judge(struct api *api, struct peer *peer) {
        struct blame_case cases[BLAME_CASES_MAX];
        struct blame blame;
        size_t n = 0;
        int r = find_cases(api, peer, cases, &n);
        if (r < 0 || !blame_judge(cases, n, &blame))
                return r;
        _cleanup_free_ char *last = NULL;
        r = store_worker_last_failure(api->store, peer->row.id, peer->row.trusted_ms, &last);
        if (r < 0)
                return r;
        char words[160], elsewhere[64] = "others of their sweeps succeed on other workers";
        if (blame.n_succeeded > 0)
                snprintf(elsewhere, sizeof elsewhere, "%zu of them succeeded on other workers", blame.n_succeeded);
        snprintf(words, sizeof words, "%zu trials failed here since one succeeded (mostly %s), and %s", blame.n_trials,
                 failure_reason_name(blame.reason), elsewhere);
        _cleanup_buf_ struct buf text = BUF_INIT(1024);
        if (buf_puts(&text, words) < 0)
                return -ENOMEM;
        append_detail(&text, last ? last : "");
        free(peer->row.quarantine);
        peer->row.quarantine = TAKE(text.data);
        peer->row.quarantined_ms = api_wall(api);
        api->counts.quarantines++;
        log_warning("worker quarantined: it gets no more trials", log_s("worker", peer->row.public_id), log_s("name", peer->row.name),
                    log_s("why", peer->row.quarantine));
        return save(api, peer);
}

int health_judge(struct api *api, struct peer *peer) {
        return peer->n_failed >= BLAME_TRIALS && !peer->row.quarantine ? judge(api, peer) : 0;
}

static int judge_suspects(struct api *api) {
        int r = 0;
        for (size_t i = 0; i < api->n_peers && r == 0; i++)
                r = health_judge(api, &api->peers[i]);
        return r;
}

int health_note_end(struct api *api, int64_t worker, const struct ending *ending) {
        struct peer *peer = peer_by_row(api, worker);
        if (ending->has_value) {
                int r = peer && peer->n_failed > 0 ? forgive(api, peer) : 0;
                return r < 0 ? r : judge_suspects(api);
        }
        if (!peer || ending->reason < 0 || !blame_fits((enum failure_reason)ending->reason))
                return 0;
        peer->n_failed++;
        return health_judge(api, peer);
}

/* More workers than a trial has attempts need not be counted. */
unsigned health_elsewhere(const struct api *api, const struct peer *peer, const struct live *live) {
        char text[256];
        unsigned n = 0;
        for (size_t i = 0; peer->n_failed > 0 && i < api->n_peers && n < live->spec->max_attempts; i++) {
                const struct peer *other = &api->peers[i];
                bool asks = other != peer && (other->claims_of == 0 || other->claims_of == live->row.id);
                n += asks && peer_state(api, other) == WORKER_ACTIVE && !peer_excluded(other, live, text);
        }
        return n;
}

/* --- what people do -------------------------------------------------------------------------------------------- */

int workers_undrain(struct api *api, struct api_call *call) {
        struct peer *peer;
        int r = peer_of_path(api, call, &peer);
        if (r != 0)
                return r < 0 ? r : 0;
        if (peer->row.unfit)
                return reply_problem(call, 409, "the worker itself says that it is not fit (%s): repair it and start it again", peer->row.quarantine);
        if (peer->row.quarantine)
                log_info("quarantine lifted", log_s("worker", peer->row.public_id), log_s("name", peer->row.name));
        peer->row.draining = false;
        free(peer->row.quarantine);
        peer->row.quarantine = NULL;
        peer->row.quarantined_ms = 0;
        r = forgive(api, peer);
        if (r == 0)
                r = save(api, peer);
        return r < 0 ? r : reply_worker(api, call, 200, peer);
}

static bool holds_leases(const struct api *api, const struct peer *peer) {
        for (size_t i = 0; i < api->leases.n; i++)
                if (api->leases.items[i].worker == peer->row.id)
                        return true;
        return false;
}

static int forget(struct api *api, struct peer *peer) {
        int r = store_worker_forget(api->store, peer->row.id);
        if (r < 0)
                return r;
        log_info("worker forgotten", log_s("worker", peer->row.public_id), log_s("name", peer->row.name));
        events_note_forgotten(api, peer->row.public_id);
        peer_remove(api, peer);
        return 0;
}

int workers_forget(struct api *api, struct api_call *call) {
        struct peer *peer;
        int r = peer_of_path(api, call, &peer);
        if (r != 0)
                return r < 0 ? r : 0;
        if (peer_state(api, peer) != WORKER_GONE || holds_leases(api, peer))
                return reply_problem(call, 409, "the worker '%s' is there: only one that is gone can be forgotten", peer->row.name);
        r = forget(api, peer);
        return r < 0 ? r : reply_empty(call);
}

/* --- what time does -------------------------------------------------------------------------------------------- */

int health_forget_old(struct api *api) {
        uint64_t wall = api_wall(api), kept = (uint64_t)FORGET_WORKERS_S * 1000;
        for (size_t i = api->n_peers; i-- > 0;) {
                struct peer *peer = &api->peers[i];
                if (peer_state(api, peer) != WORKER_GONE || peer->seen_wall_ms + kept > wall || holds_leases(api, peer))
                        continue;
                int r = forget(api, peer);
                if (r < 0)
                        return r;
        }
        return 0;
}

int health_make_room(struct api *api) {
        struct peer *oldest = NULL;
        if (api->n_peers < LIMIT_WORKERS)
                return 0;
        for (size_t i = 0; i < api->n_peers; i++) {
                struct peer *peer = &api->peers[i];
                bool is_gone = peer_state(api, peer) == WORKER_GONE && !holds_leases(api, peer);
                if (is_gone && (!oldest || peer->seen_wall_ms < oldest->seen_wall_ms))
                        oldest = peer;
        }
        return oldest ? forget(api, oldest) : STORE_NONE;
}
