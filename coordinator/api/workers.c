/* Workers: registering, listing, draining; who is there and who may have which sweep's trials. */
#include <stdio.h>
#include <string.h>

#include "api/core.h"

#define PAGE 64
#define TOO_MANY 3
#define STRAY_GONE_MS 600000 /* an older process that was silent for so long is taken for gone */
#define STRAY_MS 1000 /* apart, two claims of an older process show that it lives */

/* --- in memory ----------------------------------------------------------------------------------------------- */

static void peer_fini(struct peer *peer) {
        worker_row_fini(&peer->row);
        json_decref(peer->trainers);
}

void peers_fini(struct api *api) {
        for (size_t i = 0; i < api->n_peers; i++)
                peer_fini(&api->peers[i]);
        free(api->peers);
        api->peers = NULL;
        api->n_peers = api->cap_peers = 0;
}

/* Takes the row. */
static int peer_add(struct api *api, struct worker_row *row, struct peer **ret) {
        if (api->n_peers == api->cap_peers) {
                size_t cap = api->cap_peers ? api->cap_peers * 2 : 16;
                struct peer *peers = realloc(api->peers, cap * sizeof *peers);
                if (!peers)
                        return -ENOMEM;
                api->peers = peers;
                api->cap_peers = cap;
        }
        json_t *trainers = encode_stored(row->trainers);
        if (!trainers)
                return -ENOMEM;
        size_t at = api->n_peers;
        while (at > 0 && api->peers[at - 1].row.id > row->id) /* most are new, and go to the end */
                at--;
        memmove(api->peers + at + 1, api->peers + at, (api->n_peers++ - at) * sizeof *api->peers);
        api->peers[at] = (struct peer){.row = *row, .trainers = trainers, .seen_wall_ms = row->last_seen_ms, .claims_of = NO_CLAIM_YET};
        *row = (struct worker_row){0};
        *ret = &api->peers[at];
        return health_load(api, *ret);
}

void peer_remove(struct api *api, struct peer *peer) {
        claims_release_worker(api, peer->row.id);
        peer_fini(peer);
        size_t at = (size_t)(peer - api->peers);
        memmove(peer, peer + 1, (--api->n_peers - at) * sizeof *peer);
}

struct peer *peer_by_row(struct api *api, int64_t id) {
        size_t low = 0, high = api->n_peers;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (api->peers[middle].row.id < id)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < api->n_peers && api->peers[low].row.id == id ? &api->peers[low] : NULL;
}

struct peer *peer_find(struct api *api, const char *public_id) {
        for (size_t i = 0; i < api->n_peers; i++)
                if (strcmp(api->peers[i].row.public_id, public_id) == 0)
                        return &api->peers[i];
        return NULL;
}

/* Reads all of them; when they were last seen is kept from before. Who was alive when the coordinator last heard of
 * anybody is given the benefit of its absence. */
int peers_load(struct api *api) {
        struct api before = {.peers = api->peers, .n_peers = api->n_peers, .cap_peers = api->cap_peers};
        api->peers = NULL;
        api->n_peers = api->cap_peers = 0;
        struct worker_row rows[PAGE];
        uint64_t latest = 0;
        int r = store_worker_last_seen(api->store, &latest);
        size_t n = PAGE;
        for (int64_t after = 0; r == 0 && n == PAGE;) {
                n = 0;
                r = store_worker_list(api->store, after, PAGE, rows, &n);
                for (size_t i = 0; i < n; i++) {
                        after = rows[i].id;
                        struct peer *added;
                        if (r == 0)
                                r = peer_add(api, &rows[i], &added);
                        worker_row_fini(&rows[i]);
                }
        }
        for (size_t i = 0; i < api->n_peers; i++) {
                struct peer *peer = &api->peers[i];
                const struct peer *old = peer_by_row(&before, peer->row.id);
                peer->stray_ms = old ? old->stray_ms : 0;
                peer->stray_last_ms = old ? old->stray_last_ms : 0;
                peer->shared_wall_ms = old ? old->shared_wall_ms : 0;
                peer->seen_ms = old ? old->seen_ms : peer->row.last_seen_ms + 2 * api_lease_ms(api) > latest ? api_now(api) : 0;
                if (old) {
                        peer->seen_wall_ms = old->seen_wall_ms;
                        peer->claims_of = old->claims_of;
                        peer->n_waiting = old->n_waiting;
                }
                peer->shown = peer_state(api, peer);
        }
        peers_fini(&before);
        return r;
}

bool peer_shares_name(const struct api *api, const struct peer *peer) {
        return peer->shared_wall_ms && api_now(api) - peer->stray_last_ms < STRAY_GONE_MS && peer_state(api, peer) != WORKER_GONE;
}

void peer_claims(struct api *api, struct peer *peer, const char *instance) {
        if (!*instance || !peer->row.instance || strcmp(instance, peer->row.instance) == 0)
                return;
        uint64_t now = api_now(api);
        if (now - peer->stray_last_ms >= STRAY_GONE_MS)
                peer->stray_ms = peer->shared_wall_ms = 0;
        if (!peer->stray_ms) /* perhaps the last words of a dead one, which were long on their way */
                peer->stray_ms = now;
        peer->stray_last_ms = now;
        if (peer->shared_wall_ms || now - peer->stray_ms < STRAY_MS)
                return;
        peer->shared_wall_ms = api_wall(api);
        log_error("two processes work under one worker's name: give each host a name of its own", log_s("worker", peer->row.public_id), log_s("name", peer->row.name));
}

void peer_heard(struct api *api, struct peer *peer) {
        peer->seen_ms = api_now(api);
        peer->seen_wall_ms = api_wall(api);
}

void peer_seen(struct api *api, struct peer *peer) {
        peer_heard(api, peer);
        uint64_t wall = peer->seen_wall_ms;
        uint64_t apart = wall > peer->row.last_seen_ms ? wall - peer->row.last_seen_ms : peer->row.last_seen_ms - wall;
        if (apart >= api_lease_ms(api) / 2 && store_worker_touch(api->store, peer->row.id, wall) == 0)
                peer->row.last_seen_ms = wall;
}

enum worker_state peer_state(const struct api *api, const struct peer *peer) {
        if (peer->n_waiting == 0 && (peer->seen_ms == 0 || api_now(api) - peer->seen_ms > 2 * api_lease_ms(api)))
                return WORKER_GONE;
        if (peer->row.quarantine)
                return WORKER_QUARANTINED;
        return peer->row.draining ? WORKER_DRAINING : WORKER_ACTIVE;
}

/* --- who may have what ----------------------------------------------------------------------------------------- */

static bool offers(const struct peer *peer, const char *trainer) {
        size_t i;
        json_t *item;
        json_array_foreach(peer->trainers, i, item) if (strcmp(json_string_value(item), trainer) == 0) return true;
        return false;
}

static bool differs(const char *wanted, const char *has) {
        return wanted && (!has || strcmp(wanted, has) != 0);
}

const char *peer_excluded(const struct peer *peer, const struct live *live, char text[static 256]) {
        const struct sweep_spec *spec = live->spec;
        char trainer[192];
        snprintf(trainer, sizeof trainer, "%s%s%s", spec->trainer, spec->program ? ":" : "", spec->program ? spec->program : "");
        if (!offers(peer, trainer) && spec->program)
                snprintf(text, 256, "the worker has no trainer '%.90s': its option --allow-command %.80s=PATH gives it one", trainer, spec->program);
        else if (!offers(peer, trainer))
                snprintf(text, 256, "the worker has no trainer '%s'", trainer);
        else if (differs(live->row.model_sha256, peer->row.model_sha256))
                snprintf(text, 256, "the sweep's model is %.64s, the worker's is %.64s", live->row.model_sha256,
                         peer->row.model_sha256 ? peer->row.model_sha256 : "not known");
        else if (differs(live->row.data_sha256, peer->row.data_sha256))
                snprintf(text, 256, "the sweep's data is %.64s, the worker's is %.64s", live->row.data_sha256,
                         peer->row.data_sha256 ? peer->row.data_sha256 : "not known");
        else
                return NULL;
        return text;
}

/* --- bodies ---------------------------------------------------------------------------------------------------- */

static int append_id(void *data, int64_t id, const char *public_id) {
        (void)id;
        return json_array_append_new(data, json_string(public_id)) < 0 ? -ENOMEM : 0;
}

static json_t *list_excluded(struct api *api, const struct peer *peer) {
        json_t *list = json_array();
        char text[256];
        for (size_t i = 0; i < api->n_lives; i++) {
                const struct live *live = api->lives[i];
                bool open = live->row.state == SWEEP_RUNNING || live->row.state == SWEEP_PAUSED;
                if (open && peer_excluded(peer, live, text))
                        json_array_append_new(list, json_pack("{s:s, s:s}", "sweep", live->row.public_id, "why", text));
        }
        return list;
}

int encode_worker(struct api *api, const struct peer *peer, json_t **ret) {
        _cleanup_json_ json_t *trials = json_array();
        int r = trials ? store_trial_each_running(api->store, peer->row.id, append_id, trials) : -ENOMEM;
        if (r < 0)
                return r;
        const struct worker_row *row = &peer->row;
        json_t *quarantine = row->quarantine ? json_pack("{s:s, s:o, s:s}", "why", row->quarantine, "since", encode_time(row->quarantined_ms),
                                                         "by", row->unfit ? "worker" : "coordinator")
                                             : json_null();
        json_t *worker = json_pack("{s:s, s:s, s:i, s:o, s:s, s:O, s:o, s:o, s:O, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", row->public_id, "name",
                                   row->name, "slots", (int)row->slots, "lease_s", json_number(api->config.lease_s, 1), "state",
                                   worker_state_name(peer_state(api, peer)), "trials", trials, "last_seen", encode_time(peer->seen_wall_ms),
                                   "instance", encode_text(row->instance), "trainers", peer->trainers, "model", encode_stored(row->model),
                                   "data", encode_stored(row->data), "facts", encode_stored(row->facts), "registered",
                                   encode_time(row->registered_ms), "excluded", list_excluded(api, peer), "quarantine", quarantine,
                                   "name_shared_since", peer_shares_name(api, peer) ? encode_time(peer->shared_wall_ms) : json_null());
        if (!worker)
                return -ENOMEM;
        *ret = worker;
        return 0;
}

/* --- handlers -------------------------------------------------------------------------------------------------- */

static int replace(char **text, const char *with, int *r) {
        free(*text);
        *text = with ? strdup(with) : NULL;
        if (with && !*text)
                *r = -ENOMEM;
        return *r;
}

static int replace_json(char **text, const json_t *with, int *r) {
        free(*text);
        *text = with ? json_text(with) : NULL;
        if (with && !*text)
                *r = -ENOMEM;
        return *r;
}

/* What a worker said of itself holds until it says otherwise; what the coordinator found stays, whatever it says. */
static int fill_row(struct worker_row *row, const struct worker_registration *message, uint64_t now_ms) {
        int r = 0;
        row->slots = message->slots;
        replace(&row->instance, message->instance, &r);
        replace_json(&row->trainers, message->trainers_json, &r);
        replace_json(&row->model, message->model, &r);
        replace_json(&row->data, message->data, &r);
        replace_json(&row->facts, message->facts, &r);
        replace(&row->model_sha256, message->model_sha256, &r);
        replace(&row->data_sha256, message->data_sha256, &r);
        if (message->unfit && !row->unfit)
                row->quarantined_ms = now_ms;
        if (message->unfit || row->unfit)
                replace(&row->quarantine, message->unfit, &r);
        row->unfit = message->unfit != NULL;
        return r;
}

static int register_new(struct api *api, const struct worker_registration *message, struct peer **ret) {
        char id[ID_CHARS + 2];
        world_make_id(api->world, "w", ID_CHARS, id);
        struct worker_row row = {
                .public_id = strdup(id), .name = strdup(message->name), .registered_ms = api_wall(api), .last_seen_ms = api_wall(api), .trusted_ms = api_wall(api)};
        int r = row.public_id && row.name ? fill_row(&row, message, api_wall(api)) : -ENOMEM;
        if (r == 0)
                r = store_worker_insert(api->store, &row, &row.id);
        if (r == 0)
                r = peer_add(api, &row, ret);
        worker_row_fini(&row);
        return r;
}

/* All leases of a process that is no more. */
static int lose_leases(struct api *api, int64_t worker) {
        for (size_t i = 0; i < api->leases.n;) {
                const struct lease lease = api->leases.items[i];
                if (lease.worker != worker) {
                        i++;
                        continue;
                }
                int r = move_lease_over(api, &lease, LEASE_TAKEN); /* takes it out of the table */
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_other_process(const char *before, const char *now) {
        return before && now ? strcmp(before, now) != 0 : before != now;
}

static int register_again(struct api *api, struct peer *peer, const struct worker_registration *message) {
        bool other = is_other_process(peer->row.instance, message->instance);
        if (other && peer_state(api, peer) != WORKER_GONE)
                /* a restart looks like this; hosts that share a name are told apart by going on both */
                log_info("another process took over this worker's name", log_s("worker", peer->row.public_id), log_s("name", peer->row.name),
                         log_i("last_seen_s", (int64_t)((api_now(api) - peer->seen_ms) / 1000)));
        int r = other ? lose_leases(api, peer->row.id) : 0;
        if (r < 0)
                return r;
        if (other) {
                claims_release_worker(api, peer->row.id);
                peer->stray_ms = peer->shared_wall_ms = 0;
        }
        if (other || !message->instance)
                peer->row.draining = false;
        r = fill_row(&peer->row, message, api_wall(api));
        peer->row.last_seen_ms = api_wall(api);
        peer->row.forgotten = false;
        if (r == 0)
                r = store_worker_update(api->store, &peer->row);
        json_t *trainers = r == 0 ? encode_stored(peer->row.trainers) : NULL;
        if (!trainers)
                return r < 0 ? r : -ENOMEM;
        json_decref(peer->trainers);
        peer->trainers = trainers;
        return health_judge(api, peer); /* it may have said that it is unfit while it was quarantined, and now says that it is fit */
}

/* 0 and the worker, which may have been forgotten meanwhile · STORE_NONE · negative. */
static int find_name(struct api *api, const char *name, struct peer **ret) {
        for (size_t i = 0; i < api->n_peers; i++)
                if (strcmp(api->peers[i].row.name, name) == 0) {
                        *ret = &api->peers[i];
                        return 0;
                }
        struct worker_row row = {0};
        int r = store_worker_find_name(api->store, name, &row);
        int room = r < 0 ? r : health_make_room(api);
        if (r == 0)
                r = room == 0 ? peer_add(api, &row, ret) : room < 0 ? room : TOO_MANY;
        else if (room != 0)
                r = room < 0 ? room : TOO_MANY;
        worker_row_fini(&row);
        return r;
}

int reply_worker(struct api *api, struct api_call *call, int status, const struct peer *peer) {
        json_t *body = NULL;
        int r = encode_worker(api, peer, &body);
        return r < 0 ? r : reply_json(call, status, body);
}

int workers_register(struct api *api, struct api_call *call) {
        struct worker_registration message;
        struct faults faults = {0};
        int r = reply_decoded(call, worker_registration_decode(call->request.body, &faults, &message), &faults);
        if (r != 0)
                return r < 0 ? r : 0;
        struct peer *peer = NULL;
        r = find_name(api, message.name, &peer);
        bool is_new = r == STORE_NONE;
        if (r == STORE_NONE)
                r = register_new(api, &message, &peer);
        else if (r == 0)
                r = register_again(api, peer, &message);
        bool is_unfit = message.unfit != NULL;
        worker_registration_fini(&message);
        if (r == TOO_MANY) {
                reply_unavailable(call, "too many workers are registered");
                return 0;
        }
        if (r < 0)
                return r;
        peer->seen_ms = api_now(api);
        peer->seen_wall_ms = api_wall(api);
        api->wake = true;
        events_note_worker(api, peer, true);
        log_info("worker registered", log_s("worker", peer->row.public_id), log_s("name", peer->row.name), log_i("slots", peer->row.slots));
        if (is_unfit)
                log_warning("worker says that it is not fit: it gets no trials", log_s("worker", peer->row.public_id), log_s("name", peer->row.name),
                            log_s("why", peer->row.quarantine));
        return reply_worker(api, call, is_new ? 201 : 200, peer);
}

int peer_of_path(struct api *api, struct api_call *call, struct peer **ret) {
        struct faults faults = {0};
        int r = reply_decoded(call, empty_decode(call->request.body, &faults), &faults);
        if (r != 0)
                return r;
        *ret = peer_find(api, call->request.id);
        if (*ret)
                return 0;
        r = reply_problem(call, 404, "there is no worker '%s'", call->request.id);
        return r < 0 ? r : ANSWERED;
}

int workers_drain(struct api *api, struct api_call *call) {
        struct peer *peer;
        int r = peer_of_path(api, call, &peer);
        if (r != 0)
                return r < 0 ? r : 0;
        peer->row.draining = true;
        r = store_worker_update(api->store, &peer->row);
        events_note_worker(api, peer, true);
        return r < 0 ? r : reply_worker(api, call, 200, peer);
}

int workers_list(struct api *api, struct api_call *call) {
        struct list_query query;
        int r = reply_query(call, LIST_WORKERS, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        int64_t fields[CURSOR_FIELDS] = {LIST_WORKERS, 0, query.state}, from[CURSOR_FIELDS] = {0};
        char tail[129];
        if (query.after) {
                if (!cursor_decode(query.after, from, tail) || from[0] != LIST_WORKERS || from[2] != query.state)
                        return reply_fault(call, "/after", "is no cursor of this list");
                fields[1] = from[1];
        }
        _cleanup_json_ json_t *items = json_array();
        bool more = false;
        for (size_t i = 0; items && i < api->n_peers && !more; i++) {
                const struct peer *peer = &api->peers[i];
                if (peer->row.id <= fields[1] || (query.state >= 0 && (int)peer_state(api, peer) != query.state))
                        continue;
                if (json_array_size(items) == query.limit) {
                        more = true;
                        break;
                }
                json_t *item = NULL;
                r = encode_worker(api, peer, &item);
                if (r < 0)
                        return r;
                json_array_append_new(items, item);
                from[1] = peer->row.id;
        }
        fields[1] = from[1];
        return reply_page(call, TAKE(items), more ? cursor_encode(fields, "") : NULL);
}
