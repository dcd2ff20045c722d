/* POST /v1/claims: handing out trials, and the claims that wait for one.
 *
 * Every claim is parked first and served at the end of the turn, in order of arrival: one path for those that find work
 * at once and those that wait, and nobody overtakes. Claims are tried again when something may have changed
 * (api->wake), and end with 204 when their time is over. A claim with wait_s 0 is tried at least once; when its proposal
 * has to be computed it stays until the computation is back. */
#include <string.h>

#include "api/core.h"
#include "sweep/order.h"

#define COMPUTE_GRACE_MS 30000 /* how long a claim outlives its wait_s for a proposal that is being computed */
#define MAX_ROUNDS 4           /* of one turn: granting may finish a sweep, which answers other claims */

enum pick { PICK_TRIAL, PICK_NOTHING, PICK_COMPUTING };

/* --- one sweep ------------------------------------------------------------------------------------------------- */

static int take_queued(struct api *api, struct live *live, const struct peer *peer, struct trial_row *ret) {
        if (live->n_queued == 0)
                return STORE_NONE;
        uint64_t now = api_wall(api), lease = api_lease_ms(api);
        return store_trial_next_queued(api->store, live->row.id, peer->row.id, now > lease ? now - lease : 0, now,
                                       health_elsewhere(api, peer, live), ret);
}

static int take_proposal(struct api *api, struct live *live, const json_t *params, const json_t *proposal, unsigned stage,
                         struct trial_row *ret) {
        const struct trial_seed seed = {.origin = ORIGIN_PROPOSED, .stage = stage, .params = params, .proposal = proposal};
        return move_create(api, live, &seed, ret);
}

/* A sweep that cannot be planned has nothing to hand out; it stops nobody else. */
static int propose(struct api *api, struct live *live, enum pick *ret, struct trial_row *ret_row) {
        enum plan_answer answer;
        _cleanup_json_ json_t *params = NULL, *proposal = NULL;
        unsigned stage;
        struct plan_job *job = NULL;
        struct error err = {0};
        *ret = PICK_NOTHING;
        if (plan_next(live->plan, &answer, &params, &proposal, &stage, &job, &err) < 0)
                return live_unplanned(live, &err);
        switch (answer) {
        case PLAN_TRIAL:
                *ret = PICK_TRIAL;
                return take_proposal(api, live, params, proposal, stage, ret_row);
        case PLAN_JOB:
                *ret = PICK_COMPUTING;
                live_submit(api, live, job);
                return 0;
        case PLAN_PAUSE:
                return live_pause_after_stage(api, live);
        default:
                if (live->job)
                        *ret = PICK_COMPUTING;
                else
                        live->is_idle = live->n_queued == 0;
                return 0;
        }
}

static int pick_from(struct api *api, struct live *live, const struct peer *peer, enum pick *ret, struct trial_row *ret_row) {
        *ret = PICK_NOTHING;
        if (live->is_idle || !order_has_room(live->spec->parallelism, live->n_running))
                return 0;
        int r = take_queued(api, live, peer, ret_row);
        if (r == 0)
                *ret = PICK_TRIAL;
        if (r != STORE_NONE)
                return r;
        return propose(api, live, ret, ret_row);
}

/* --- all sweeps ------------------------------------------------------------------------------------------------ */

static int list_candidates(struct api *api, const struct parked *claim, const struct peer *peer, struct candidate **ret, size_t *ret_n) {
        struct candidate *list = calloc(api->n_lives + 1, sizeof *list);
        if (!list)
                return -ENOMEM;
        size_t n = 0;
        char text[256];
        for (size_t i = 0; i < api->n_lives; i++) {
                struct live *live = api->lives[i];
                if (live->row.state == SWEEP_RUNNING && (claim->sweep == 0 || claim->sweep == live->row.id) &&
                    !peer_excluded(peer, live, text))
                        list[n++] = (struct candidate){live->row.id, live->row.priority, live->n_running, live->n_served, live};
        }
        order_candidates(list, n);
        *ret = list;
        *ret_n = n;
        return 0;
}

/* While a sweep computes, sweeps of the same priority may serve; lower ones wait with it. */
static int pick(struct api *api, const struct parked *claim, const struct peer *peer, enum pick *ret, struct live **ret_live,
                struct trial_row *ret_row) {
        _cleanup_free_ struct candidate *candidates = NULL;
        size_t n;
        int r = list_candidates(api, claim, peer, &candidates, &n);
        enum pick result = PICK_NOTHING;
        int computing_at = 0;
        for (size_t i = 0; r == 0 && i < n; i++) {
                if (result == PICK_COMPUTING && candidates[i].priority < computing_at)
                        break;
                enum pick one;
                r = pick_from(api, candidates[i].owner, peer, &one, ret_row);
                if (r < 0 || one == PICK_NOTHING)
                        continue;
                result = one;
                *ret_live = candidates[i].owner;
                computing_at = candidates[i].priority;
                if (one == PICK_TRIAL)
                        break;
        }
        *ret = result;
        return r;
}

/* --- one claim ------------------------------------------------------------------------------------------------- */

static json_t *encode_claimed(struct api *api, const struct live *live, const struct trial_row *row, const char *lease) {
        const struct sweep_spec *spec = live->spec;
        json_t *metric = *spec->metric.name ? json_pack("{s:s, s:s}", "name", spec->metric.name, "goal",
                                                        spec->metric.maximize ? "maximize" : "minimize")
                                            : NULL; /* left out without one */
        return json_pack("{s:s, s:s, s:I, s:i, s:s, s:o, s:o, s:s, s:o, s:O, s:I, s:o, s:o*}", "id", row->public_id, "sweep",
                         row->sweep_public_id, "number", (json_int_t)row->number, "attempt", (int)row->attempt, "lease", lease, "lease_s",
                         json_number(api->config.lease_s, 1), "params", encode_stored(row->params), "trainer", spec->trainer, "program",
                         encode_text(spec->program), "fixed", spec->fixed, "seed", (json_int_t)plan_trial_seed(live->row.seed, row->number),
                         "resume", encode_stored(row->resume), "metric", metric);
}

static int lease_one(struct api *api, struct parked *claim, const struct peer *peer, int64_t *claim_row, json_t *trials, enum pick *ret) {
        struct trial_row row = {0};
        struct live *live = NULL;
        int r = pick(api, claim, peer, ret, &live, &row);
        if (r == 0 && *ret == PICK_TRIAL) {
                char lease[LEASE_CHARS + 1];
                if (*claim_row == 0)
                        r = store_claim_insert(api->store, peer->row.id, claim->message.claim_id, api_wall(api), claim_row);
                if (r == 0)
                        r = move_lease(api, live, &row, peer, *claim_row, lease);
                json_t *trial = r == 0 ? encode_claimed(api, live, &row, lease) : NULL;
                if (r == 0 && json_array_append_new(trials, trial) < 0)
                        r = -ENOMEM;
        }
        trial_row_fini(&row);
        return r;
}

/* As many trials as there are, up to the claim's slots. PICK_TRIAL when the answer stands. */
static int grant(struct api *api, struct parked *claim, const struct peer *peer, enum pick *ret) {
        _cleanup_json_ json_t *trials = json_array(), *body = NULL;
        int64_t claim_row = 0;
        enum pick last = PICK_NOTHING;
        int r = trials ? 0 : -ENOMEM;
        for (unsigned i = 0; i < claim->message.slots && r == 0; i++) {
                r = lease_one(api, claim, peer, &claim_row, trials, &last);
                if (last != PICK_TRIAL)
                        break;
        }
        if (r < 0)
                return r;
        if (claim_row == 0) {
                *ret = last;
                return 0;
        }
        body = json_pack("{s:O}", "trials", trials);
        _cleanup_free_ char *text = body ? json_text(body) : NULL;
        r = text ? store_claim_set_answer(api->store, claim_row, text) : -ENOMEM;
        *ret = PICK_TRIAL;
        return r < 0 ? r : reply_text(claim->call, 200, TAKE(text), NULL);
}

static int answer_nothing(struct api_call *call, int sweep_state) {
        int r = reply_empty(call);
        if (sweep_state >= 0)
                snprintf(call->response.sweep_state, sizeof call->response.sweep_state, "%s",
                         sweep_state_name((enum sweep_state)sweep_state));
        return r;
}

/* What the other call of the same claim got: 1 when there is such an answer. */
static int answer_repeated(struct api *api, struct parked *claim) {
        char *answer = NULL;
        int r = store_claim_find(api->store, claim->worker, claim->message.claim_id, &answer);
        if (r != 0)
                return r < 0 ? r : 0;
        return reply_text(claim->call, 200, answer, NULL) < 0 ? -ENOMEM : 1;
}

/* Tries a claim: 1 when it is answered, 0 when it goes on waiting. */
static int serve(struct api *api, struct parked *claim) {
        struct live *live = NULL;
        int r = claim->is_repeated ? answer_repeated(api, claim) : 0;
        if (r != 0)
                return r;
        r = claim->sweep ? live_get(api, claim->sweep, &live) : 0;
        if (r < 0)
                return r;
        if (r == STORE_NONE || (claim->call->is_waiting && !claim->call->is_waiting(claim->call)))
                return answer_nothing(claim->call, -1) < 0 ? -ENOMEM : 1;
        if (live && (live->row.state == SWEEP_FINISHED || live->row.state == SWEEP_CANCELLED))
                return answer_nothing(claim->call, (int)live->row.state) < 0 ? -ENOMEM : 1;
        struct peer *peer = peer_by_row(api, claim->worker);
        enum pick result = PICK_NOTHING;
        bool is_welcome = peer && !peer->row.draining && !peer->row.quarantine;
        if (is_welcome && !api->is_room_short)
                r = grant(api, claim, peer, &result);
        if (r < 0)
                return r;
        claim->is_fresh = false;
        claim->is_computing = result == PICK_COMPUTING;
        uint64_t deadline = claim->deadline_ms + (claim->is_computing ? COMPUTE_GRACE_MS : 0);
        if (result == PICK_TRIAL) {
                api->wake |= claim->is_repeated; /* the other call is answered at once */
                return 1;
        }
        if (api_now(api) < deadline)
                return 0;
        if (answer_nothing(claim->call, -1) < 0)
                return -ENOMEM;
        if (peer && !is_welcome)
                snprintf(claim->call->response.worker_state, sizeof claim->call->response.worker_state, "%s",
                         worker_state_name(peer->row.quarantine ? WORKER_QUARANTINED : WORKER_DRAINING));
        return 1;
}

/* An answer is filled in: does its worker share its name? peer: NULL when it is gone. */
static void tell_shared(const struct api *api, struct api_call *call, const struct peer *peer) {
        call->response.name_shared = peer && peer_shares_name(api, peer);
}

struct service {
        struct parked *claim;
        int result; /* of serve */
};

static int serve_unit(struct api *api, void *data) {
        struct service *service = data;
        service->result = serve(api, service->claim);
        if (service->result == 1)
                tell_shared(api, service->claim->call, peer_by_row(api, service->claim->worker));
        return service->result < 0 ? service->result : 0;
}

/* The same as a unit of its own: when it fails only it is undone, and its client tries again. */
static int try_claim(struct api *api, struct parked *claim) {
        struct service service = {claim, 0};
        int r = api_unit(api, serve_unit, &service);
        if (r == UNIT_FAILED)
                reply_unavailable(claim->call, "the coordinator cannot write now: try again");
        return r != 0 ? r : service.result;
}

/* --- all that wait --------------------------------------------------------------------------------------------- */

static bool is_due(const struct api *api, const struct parked *claim) {
        return claim->is_fresh || api_now(api) >= claim->deadline_ms + (claim->is_computing ? COMPUTE_GRACE_MS : 0);
}

/* Before its answer is sent: its worker was there until now, unless it hung up. */
static void end_wait(struct api *api, const struct parked *claim) {
        struct peer *peer = peer_by_row(api, claim->worker);
        if (!peer || peer->n_waiting == 0)
                return;
        peer->n_waiting--;
        if (claim->call->is_waiting && !claim->call->is_waiting(claim->call))
                return;
        peer_heard(api, peer);
}

static int serve_all(struct api *api, bool all) {
        size_t kept = 0, i = 0;
        int r = 0;
        for (; i < api->n_parked && r >= 0; i++) {
                struct parked *claim = &api->parked[i];
                r = all || is_due(api, claim) ? try_claim(api, claim) : 0;
                if (r == 1) {
                        end_wait(api, claim);
                        api_answer(api, claim->call);
                } else
                        api->parked[kept++] = *claim;
        }
        for (; i < api->n_parked; i++)
                api->parked[kept++] = api->parked[i];
        api->n_parked = kept;
        return r < 0 ? r : 0;
}

static int settle_all(struct api *api, void *unused) {
        (void)unused;
        for (size_t i = 0; i < api->n_lives; i++) {
                int r = api->lives[i]->is_unsettled ? live_settle(api, api->lives[i]) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

int claims_wake(struct api *api) {
        int r = 0;
        for (int round = 0; round < MAX_ROUNDS && r >= 0; round++) {
                r = api_unit(api, settle_all, NULL);
                bool all = api->wake;
                api->wake = false;
                if (r >= 0)
                        r = serve_all(api, all);
                if (!api->wake || api->turn_failed)
                        break;
        }
        return r;
}

uint64_t claims_deadline(const struct api *api) {
        uint64_t deadline = API_NEVER;
        for (size_t i = 0; i < api->n_parked; i++) {
                const struct parked *claim = &api->parked[i];
                uint64_t mine = claim->deadline_ms + (claim->is_computing ? COMPUTE_GRACE_MS : 0);
                if (mine < deadline)
                        deadline = mine;
        }
        return deadline;
}

void claims_refuse_all(struct api *api, const char *detail) {
        for (size_t i = 0; i < api->n_parked; i++) {
                end_wait(api, &api->parked[i]);
                reply_unavailable(api->parked[i].call, detail);
                api_answer(api, api->parked[i].call);
        }
        api->n_parked = 0;
}

static void unpark(struct api *api, size_t i) {
        memmove(api->parked + i, api->parked + i + 1, (--api->n_parked - i) * sizeof *api->parked);
}

static void release_at(struct api *api, size_t i) {
        answer_nothing(api->parked[i].call, -1);
        end_wait(api, &api->parked[i]);
        api_answer(api, api->parked[i].call);
        unpark(api, i);
}

void claims_forget(struct api *api, const struct api_call *call) {
        for (size_t i = api->n_parked; i-- > 0;)
                if (api->parked[i].call == call) {
                        end_wait(api, &api->parked[i]);
                        unpark(api, i);
                }
}

void claims_release_worker(struct api *api, int64_t worker) {
        for (size_t i = 0; i < api->n_parked;)
                if (api->parked[i].worker == worker)
                        release_at(api, i);
                else
                        i++;
}

/* --- the handler ----------------------------------------------------------------------------------------------- */

/* Does the client ask again while its first call still waits? Whichever of the calls it listens to has its answer. */
static bool mark_repeated(struct api *api, int64_t worker, const char *claim_id) {
        bool found = false;
        for (size_t i = 0; i < api->n_parked; i++)
                if (api->parked[i].worker == worker && strcmp(api->parked[i].message.claim_id, claim_id) == 0)
                        found = api->parked[i].is_repeated = true;
        return found;
}

static int park(struct api *api, struct peer *peer, const struct parked *claim) {
        if (api->n_parked >= api->config.max_parked) {
                reply_unavailable(claim->call, "too many claims are waiting");
                return 0;
        }
        if (api->n_parked == api->cap_parked) {
                size_t cap = api->cap_parked ? api->cap_parked * 2 : 64;
                struct parked *parked = realloc(api->parked, cap * sizeof *parked);
                if (!parked)
                        return -ENOMEM;
                api->parked = parked;
                api->cap_parked = cap;
        }
        api->parked[api->n_parked++] = *claim;
        peer->n_waiting++;
        return HANDLER_PARKED;
}

static int find_sweep(struct api *api, struct api_call *call, const char *public_id, int64_t *ret) {
        struct sweep_row row = {0};
        int r = store_sweep_get(api->store, public_id, &row);
        if (r == STORE_NONE)
                return reply_problem(call, 404, "there is no sweep '%s'", public_id) < 0 ? -ENOMEM : ANSWERED;
        if (r < 0)
                return r;
        *ret = row.id;
        enum sweep_state state = row.state;
        sweep_row_fini(&row);
        if (state == SWEEP_FINISHED || state == SWEEP_CANCELLED)
                return answer_nothing(call, (int)state) < 0 ? -ENOMEM : ANSWERED;
        return 0;
}

/* A claim that was answered before gets the same answer. 0 when it was not. */
static int answer_again(struct api *api, struct api_call *call, const struct peer *peer, const char *claim_id) {
        char *answer = NULL;
        int r = store_claim_find(api->store, peer->row.id, claim_id, &answer);
        if (r != 0)
                return r < 0 ? r : 0;
        return reply_text(call, 200, answer, NULL) < 0 ? -ENOMEM : ANSWERED;
}

int claims_post(struct api *api, struct api_call *call) {
        struct parked claim = {.call = call, .is_fresh = true};
        struct faults faults = {0};
        int r = reply_decoded(call, claim_request_decode(call->request.body, &faults, &claim.message), &faults);
        if (r != 0)
                return r < 0 ? r : 0;
        struct peer *peer = peer_find(api, claim.message.worker);
        if (!peer)
                return reply_problem(call, 404, "there is no worker '%s': register first", claim.message.worker);
        peer_seen(api, peer);
        peer_claims(api, peer, call->request.instance);
        r = answer_again(api, call, peer, claim.message.claim_id);
        if (r == 0 && claim.message.sweep)
                r = find_sweep(api, call, claim.message.sweep, &claim.sweep);
        if (r == ANSWERED)
                tell_shared(api, call, peer);
        if (r != 0)
                return r < 0 ? r : 0;
        claim.worker = peer->row.id;
        peer->claims_of = claim.sweep;
        claim.deadline_ms = call->deadline_ms = api_now(api) + (uint64_t)(claim.message.wait_s * 1000);
        claim.is_repeated = mark_repeated(api, claim.worker, claim.message.claim_id);
        return park(api, peer, &claim);
}
