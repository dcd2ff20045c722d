#include "sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"
#include "plan/plan.h"
#include "store/checkpoint.h"
#include "store/statement.h"
#include "store/store.h"

#define START_MS UINT64_C(1800000000000)
#define TURNS_A_CRASH 60
#define HEALING_S 200000 /* simulated: much longer than anything that waits */

struct event {
        uint64_t at_ms, order;
        void (*act)(struct sim *sim, void *owner, uint64_t incarnation, size_t index);
        void *owner;
        uint64_t incarnation;
        size_t index;
};

/* One arrival of an op at the coordinator. */
struct shipment {
        struct api_call call;
        struct sim *sim;
        struct op *op;
        bool answer_is_lost, has_hung_up;
        struct shipment *next; /* all that are inside the coordinator */
};

/* An answer under way. */
struct delivery {
        int status;
        json_t *body;
};

bool sim_has(const struct sim *sim, enum hazard hazard) {
        return !sim->is_healing && (sim->options.hazards >> hazard & 1);
}

void sim_complain(struct sim *sim, const char *format, ...) {
        if (sim->result->failed)
                return;
        sim->result->failed = true;
        sim->result->kind = format;
        char text[900];
        va_list ap;
        va_start(ap, format);
        vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        snprintf(sim->result->complaint, sizeof sim->result->complaint, "step %llu, %.3f s: %s", (unsigned long long)sim->result->steps,
                 (double)sim->now_ms / 1000, text);
        sim_say(sim, "COMPLAINT %s", text);
}

void sim_say(struct sim *sim, const char *format, ...) {
        if (!sim->options.verbose)
                return;
        va_list ap;
        va_start(ap, format);
        printf("%6llu %10.3f  ", (unsigned long long)sim->result->steps, (double)sim->now_ms / 1000);
        vprintf(format, ap);
        putchar('\n');
        va_end(ap);
}

void sim_quiet(struct sim *sim, bool quiet) {
        sim->disk.is_quiet = quiet;
        memory_pause(quiet);
}

/* --- the world ------------------------------------------------------------------------------------------- */

static uint64_t world_wall(void *data) {
        struct sim *sim = data;
        return START_MS + sim->now_ms + (uint64_t)sim->wall_offset_ms;
}

static uint64_t world_mono(void *data) {
        struct sim *sim = data;
        return sim->now_ms + sim->mono_offset_ms;
}

static void world_random(void *data, void *ret, size_t len) {
        struct sim *sim = data;
        for (size_t i = 0; i < len; i++)
                ((unsigned char *)ret)[i] = (unsigned char)(rng_mix(sim->random++) >> 13);
}

/* --- events ---------------------------------------------------------------------------------------------- */

static bool is_before(const struct event *a, const struct event *b) {
        return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void push(struct sim *sim, struct event event) {
        if (sim->n_events == sim->cap_events) {
                sim->cap_events = sim->cap_events ? sim->cap_events * 2 : 256;
                sim->events = realloc(sim->events, sim->cap_events * sizeof *sim->events);
                if (!sim->events)
                        abort();
        }
        size_t i = sim->n_events++;
        for (; i > 0 && is_before(&event, &sim->events[(i - 1) / 2]); i = (i - 1) / 2)
                sim->events[i] = sim->events[(i - 1) / 2];
        sim->events[i] = event;
}

static struct event pop(struct sim *sim) {
        struct event first = sim->events[0], last = sim->events[--sim->n_events];
        size_t i = 0;
        for (;;) {
                size_t child = 2 * i + 1;
                if (child >= sim->n_events)
                        break;
                if (child + 1 < sim->n_events && is_before(&sim->events[child + 1], &sim->events[child]))
                        child++;
                if (!is_before(&sim->events[child], &last))
                        break;
                sim->events[i] = sim->events[child];
                i = child;
        }
        sim->events[i] = last;
        return first;
}

void sim_post(struct sim *sim, double delay_s, void (*act)(struct sim *sim, void *owner, uint64_t incarnation, size_t index), void *owner,
              uint64_t incarnation, size_t index) {
        push(sim, (struct event){sim->now_ms + (uint64_t)(delay_s * 1000), sim->n_posted++, act, owner, incarnation, index});
}

/* --- the network ----------------------------------------------------------------------------------------- */

static double latency(struct sim *sim) {
        if (sim_has(sim, HAZARD_DELAY) && rng_below(&sim->net, 12) == 0)
                return rng_uniform(&sim->net) * 20;
        return (double)(rng_below(&sim->net, 4) * 5) / 1000; /* few different moments: requests meet in one turn */
}

static void op_over(struct sim *sim, struct op *op, int status, json_t *body) {
        if (op->is_over)
                return;
        op->is_over = true;
        op->answered(sim, op, status, body);
}

static void try_again(struct sim *sim, void *owner, uint64_t tries, size_t index);

/* An answer arrives. 503 means try again, as the silence does. */
static void receive(struct sim *sim, void *owner, uint64_t incarnation, size_t index) {
        struct op *op = owner;
        struct delivery *delivery = (struct delivery *)index;
        (void)incarnation;
        if (delivery->status == 503 && !op->is_over)
                sim_post(sim, 0.5 + rng_uniform(&sim->net) * 2, try_again, op, op->tries, 0);
        else
                op_over(sim, op, delivery->status, delivery->body);
        json_decref(delivery->body);
        free(delivery);
}

static void shipment_free(struct sim *sim, struct shipment *shipment) {
        for (struct shipment **link = &sim->shipments; *link; link = &(*link)->next)
                if (*link == shipment) {
                        *link = shipment->next;
                        break;
                }
        api_call_fini(&shipment->call);
        free(shipment);
}

/* The coordinator answers: from here on it must keep its word. A dead one says nothing. */
static void answered(struct api_call *call) {
        struct shipment *shipment = call->transport;
        struct sim *sim = shipment->sim;
        struct op *op = shipment->op;
        if (sim->disk.is_down) {
                shipment_free(sim, shipment);
                return;
        }
        sim_quiet(sim, true);
        if (sim->told_in_turn++ == 0)
                disk_mark_told(&sim->disk);
        const struct api_response *response = &call->response;
        char *text = response->text  ? strndup(response->text, response->text_len)
                     : response->body ? json_text(response->body)
                                      : strdup("");
        oracle_told(sim, op, response->status, text);
        if (!shipment->answer_is_lost && !shipment->has_hung_up) {
                struct delivery *delivery = calloc(1, sizeof *delivery);
                delivery->status = response->status;
                if (text[0] && response->status != 503)
                        json_read(text, strlen(text), &delivery->body, NULL);
                sim_post(sim, latency(sim), receive, op, 0, (size_t)delivery);
        }
        free(text);
        shipment_free(sim, shipment);
        sim_quiet(sim, false);
}

static bool is_waiting(const struct api_call *call) {
        return !((struct shipment *)call->transport)->has_hung_up;
}

static void hang_up(struct sim *sim, void *owner, uint64_t number, size_t index) {
        (void)index;
        struct op *op = owner;
        for (struct shipment *shipment = sim->shipments; shipment; shipment = shipment->next)
                if (shipment->op == op && op->tries == number)
                        shipment->has_hung_up = true;
}

/* A request arrives. */
static void arrive(struct sim *sim, void *owner, uint64_t incarnation, size_t answer_is_lost) {
        (void)incarnation;
        struct op *op = owner;
        if (!sim->is_up)
                return; /* connection refused: the client's patience ends */
        struct shipment *shipment = calloc(1, sizeof *shipment);
        shipment->sim = sim;
        shipment->op = op;
        shipment->answer_is_lost = answer_is_lost;
        shipment->call = (struct api_call){.done = answered, .is_waiting = is_waiting, .transport = shipment};
        struct api_request *request = &shipment->call.request;
        request->route = op->route;
        snprintf(request->id, sizeof request->id, "%s", op->id);
        request->body = op->body ? json_deep_copy(op->body) : NULL;
        request->query = op->query ? json_deep_copy(op->query) : json_object();
        request->token = "";
        if (op->key) {
                request->idempotency_key = strdup(op->key);
                request->body_sha256 = strdup(op->digest);
        }
        shipment->next = sim->shipments;
        sim->shipments = shipment;
        *sim->arrived_end = &shipment->call;
        sim->arrived_end = &shipment->call.next;
}

static void ship(struct sim *sim, struct op *op) {
        op->tries++;
        bool request_is_lost = sim_has(sim, HAZARD_DROP) && rng_below(&sim->net, 14) == 0;
        bool answer_is_lost = sim_has(sim, HAZARD_DROP) && rng_below(&sim->net, 14) == 0;
        if (!request_is_lost)
                sim_post(sim, latency(sim), arrive, op, 0, answer_is_lost);
        if (sim_has(sim, HAZARD_DUPLICATE) && rng_below(&sim->net, 12) == 0)
                sim_post(sim, rng_below(&sim->net, 3) == 0 ? rng_uniform(&sim->net) * 300 : latency(sim), arrive, op, 0, true);
        if (op->hangs_up_early && sim_has(sim, HAZARD_CUT))
                sim_post(sim, rng_uniform(&sim->net) * op->patience_s, hang_up, op, op->tries, 0);
        double patience = op->patience_s * (sim_has(sim, HAZARD_DELAY) && rng_below(&sim->net, 10) == 0 ? 0.05 : 1);
        sim_post(sim, patience, try_again, op, op->tries, 0);
}

static void try_again(struct sim *sim, void *owner, uint64_t tries, size_t index) {
        (void)index;
        struct op *op = owner;
        if (op->is_over || op->tries != tries)
                return;
        hang_up(sim, op, tries, 0);
        if (op->tries < 40 || sim->is_healing)
                ship(sim, op);
        else
                op_over(sim, op, 0, NULL); /* the client gives up */
}

struct op *sim_send(struct sim *sim, enum route route, const char *id, json_t *body, bool keyed, double patience_s,
                    void (*answered_cb)(struct sim *sim, struct op *op, int status, json_t *body), void *owner, uint64_t incarnation,
                    size_t index) {
        struct op *op = calloc(1, sizeof *op);
        op->number = ++sim->n_ops;
        op->route = route;
        snprintf(op->id, sizeof op->id, "%s", id ? id : "");
        op->body = body;
        if (keyed && asprintf(&op->key, "key-%llu", (unsigned long long)op->number) < 0)
                abort();
        char *text = body ? json_text(body) : NULL;
        if (op->key)
                digest_bytes(text ? text : "", text ? strlen(text) : 0, op->digest);
        sim_say(sim, "op %llu: %s %s %s", (unsigned long long)op->number, route_info(route)->method, op->id, text ? text : "");
        free(text);
        op->patience_s = patience_s;
        op->answered = answered_cb;
        op->owner = owner;
        op->incarnation = incarnation;
        op->index = index;
        op->next = sim->ops;
        sim->ops = op;
        op->hangs_up_early = route == ROUTE_CLAIM && sim_has(sim, HAZARD_CUT) && rng_below(&sim->net, 6) == 0;
        oracle_sent(sim, op);
        ship(sim, op);
        return op;
}

static void ops_free(struct sim *sim) {
        for (struct op *op = sim->ops, *next; op; op = next) {
                next = op->next;
                json_decref(op->body);
                json_decref(op->query);
                free(op->key);
                free(op->first_text);
                free(op);
        }
}

/* --- the coordinator's life ------------------------------------------------------------------------------- */

static void compute(struct sim *sim, void *owner, uint64_t incarnation, size_t index) {
        (void)incarnation, (void)index;
        for (size_t i = 0; i < sim->n_jobs; i++)
                if (sim->jobs[i] == owner) {
                        sim->jobs[i] = sim->jobs[--sim->n_jobs];
                        plan_job_compute(owner);
                        api_job_done(sim->api, owner);
                        return;
                }
}

static void submit(void *data, struct plan_job *job) {
        struct sim *sim = data;
        if (sim->n_jobs == sizeof sim->jobs / sizeof sim->jobs[0])
                abort();
        sim->jobs[sim->n_jobs++] = job;
        memory_pause(true);
        sim_post(sim, rng_below(&sim->net, 4) ? rng_uniform(&sim->net) : rng_uniform(&sim->net) * 60, compute, job, 0, 0);
        memory_pause(false);
}

static void arm_crash(struct sim *sim) {
        bool mortal = sim_has(sim, HAZARD_KILL) || sim_has(sim, HAZARD_POWER);
        double rate = sim->options.crash_rate / TURNS_A_CRASH;
        sim->disk.crash_in = mortal && rng_uniform(&sim->fate) < rate ? 1 + rng_below(&sim->fate, rng_below(&sim->fate, 4) ? 12 : 60) : 0;
        sim->disk.crash_after = rng_below(&sim->fate, 2);
}

static void choose_faults(struct sim *sim) {
        static const struct {
                enum hazard hazard;
                unsigned fault;
        } table[] = {{HAZARD_EIO, DISK_EIO_READ}, {HAZARD_EIO, DISK_EIO_WRITE}, {HAZARD_FULL, DISK_FULL}, {HAZARD_SYNC, DISK_EIO_SYNC}};
        if (sim->now_ms < sim->fault_until_ms)
                return;
        sim->disk.faults = 0;
        if (rng_below(&sim->fate, 80) != 0)
                return;
        size_t i = rng_below(&sim->fate, 4);
        if (!sim_has(sim, table[i].hazard))
                return;
        sim->disk.faults = table[i].fault;
        sim->disk.fault_share = rng_below(&sim->fate, 2) ? 1 : rng_uniform(&sim->fate) * 0.3;
        sim->fault_until_ms = sim->now_ms + rng_below(&sim->fate, 8000);
}

static void open_coordinator(struct sim *sim, void *owner, uint64_t incarnation, size_t index);

/* The database could not be synced: the real process ends there and then. */
static void lost_sync(void *data) {
        struct sim *sim = data;
        sim->result->lost_syncs++;
        if (sim->options.defect != DEFECT_FAILED_SYNC)
                sim->disk.is_down = true;
}

/* Half of all lives have a checkpointer, half let SQLite do it in its commits. The log is short, so that it comes to that often. */
static int open_checkpointer(struct sim *sim, struct error *err) {
        int pages = (int)(8 + rng_below(&sim->fate, 200)), little = (int)rng_below(&sim->fate, 30);
        bool aside = rng_below(&sim->fate, 2);
        sqlite3_wal_autocheckpoint(sim->store->db, pages);
        const struct checkpoint_config config = {.log_pages = pages, .little_pages = little, .lost = lost_sync, .lost_data = sim};
        return aside ? checkpointer_new(sim->store, &config, &sim->store->checkpointer, err) : 0;
}

static bool is_watched(void *sim) {
        (void)sim;
        return true;
}

static bool try_open(struct sim *sim) {
        struct error err = {0};
        int r = store_open(sim->path, &sim->store, &err);
        if (r == 0)
                r = open_checkpointer(sim, &err);
        if (r == 0) {
                sim->life++;
                sim->copy_is_posted = sim->copy_is_due = false;
                const struct api_config config = {
                        .lease_s = sim->lease_s, .submit_job = submit, .job_data = sim, .publish = watcher_told, .is_watched = is_watched, .publish_data = sim};
                watcher_lost(sim->watcher);
                r = api_new(&config, sim->store, &sim->world, &sim->api, &err);
        }
        if (r < 0) {
                store_close(sim->store);
                sim->store = NULL;
        }
        if (r < 0)
                sim_say(sim, "cannot open: %s", err.text);
        return r == 0;
}

/* No answer leaves a process that is no more. */
static void close_coordinator(struct sim *sim) {
        bool was_down = sim->disk.is_down;
        sim->disk.is_down = true;
        if (sim->api)
                api_free(sim->api);
        while (sim->arrived) {
                struct api_call *call = sim->arrived;
                sim->arrived = call->next;
                shipment_free(sim, call->transport);
        }
        sim->arrived_end = &sim->arrived;
        while (sim->shipments)
                shipment_free(sim, sim->shipments);
        while (sim->n_jobs > 0)
                plan_job_free(sim->jobs[--sim->n_jobs]);
        sim->disk.is_down = was_down;
        store_close(sim->store);
        sim->api = NULL;
        sim->store = NULL;
        sim->is_up = false;
}

/* What is left after the crash is what was told, or that and the whole of what was being committed. */
static void compare_states(struct sim *sim, enum crash_kind kind) {
        static const char *const prefixes[] = {[CRASH_KILL] = "now/", [CRASH_POWER] = "told/"}; /* which it is most often */
        if (sim->commit_failed || sim->result->failed)
                return;
        uint64_t mine = oracle_digest(sim, sim->path);
        bool is_one = false;
        for (int i = 0; i < 2 && !is_one; i++) {
                char path[128];
                snprintf(path, sizeof path, "%s%s", prefixes[i == 0 ? kind : kind == CRASH_KILL ? CRASH_POWER : CRASH_KILL], sim->path);
                is_one = oracle_digest(sim, path) == mine;
        }
        if (!is_one)
                sim_complain(sim, "after a %s the database is neither what it was when somebody was told of success nor that and what was being "
                                  "committed",
                             kind == CRASH_POWER ? "power cut" : "kill");
}

static void crash(struct sim *sim) {
        enum crash_kind kind = sim_has(sim, HAZARD_POWER) && (!sim_has(sim, HAZARD_KILL) || rng_below(&sim->fate, 2)) ? CRASH_POWER : CRASH_KILL;
        sim_say(sim, "crash: %s", kind == CRASH_POWER ? "power" : "kill");
        sim->result->crashes++;
        sim->result->power_cuts += kind == CRASH_POWER;
        sim->disk.is_down = true;
        close_coordinator(sim);
        disk_reboot(&sim->disk, kind);
        sim_quiet(sim, true);
        compare_states(sim, kind);
        disk_forget(&sim->disk, "told/");
        disk_forget(&sim->disk, "now/");
        sim_quiet(sim, false);
        sim->commit_failed = false;
        if (kind == CRASH_POWER && rng_below(&sim->fate, 2)) /* another boot, another monotonic clock */
                sim->mono_offset_ms = rng_below(&sim->fate, 1u << 30);
        sim_post(sim, rng_below(&sim->fate, 3) ? rng_uniform(&sim->fate) * 3 : rng_uniform(&sim->fate) * 200, open_coordinator, NULL, 0, 0);
}

static void restart(struct sim *sim) {
        sim_say(sim, "restart");
        sim->result->restarts++;
        sim->disk.faults = 0;
        sim->fault_until_ms = 0;
        api_drain(sim->api);
        api_turn(sim->api, NULL);
        sim->told_in_turn = 0;
        disk_mark_told(&sim->disk);
        arm_crash(sim); /* the last connection takes the log back and deletes it */
        close_coordinator(sim);
        if (sim->disk.is_down) {
                crash(sim);
                return;
        }
        sim->disk.crash_in = 0;
        disk_mark_told(&sim->disk);
        sim->commit_failed = false;
        sim_post(sim, rng_uniform(&sim->fate) * 3, open_coordinator, NULL, 0, 0);
}

static void open_coordinator(struct sim *sim, void *owner, uint64_t incarnation, size_t index) {
        (void)owner, (void)incarnation, (void)index;
        sim->disk.faults = 0;
        bool mortal = sim_has(sim, HAZARD_KILL) || sim_has(sim, HAZARD_POWER);
        sim->disk.crash_in = mortal && rng_below(&sim->fate, 8) == 0 ? 1 + rng_below(&sim->fate, 12) : 0;
        sim->disk.crash_after = rng_below(&sim->fate, 2);
        bool opened = try_open(sim);
        if (sim->disk.is_down) { /* a crash while it recovered */
                crash(sim);
                return;
        }
        sim->disk.crash_in = 0;
        if (!opened) {
                sim_complain(sim, "the coordinator does not start");
                return;
        }
        sim->is_up = true;
        disk_mark_told(&sim->disk);
        sim_quiet(sim, true);
        oracle_check(sim, sim->result->crashes % 4 == 0);
        sim_quiet(sim, false);
}

/* --- turns ------------------------------------------------------------------------------------------------ */

static bool needs_turn(const struct sim *sim) {
        return sim->is_up && (sim->arrived || api_next_deadline(sim->api) <= sim->now_ms + sim->mono_offset_ms);
}

static void copy_inside(void *data) {
        struct sim *sim = data;
        sim_say(sim, "the log is copied in the middle of a turn");
        sim->copy_is_due = false;
        sim->result->copies++;
        sim->result->copies_crossed++;
        checkpointer_copy(sim->store->checkpointer);
        sim->result->copies_crashed += sim->disk.is_down;
}

/* The checkpointer's thread wakes up a little later. */
static void post_copy(struct sim *sim);

/* with_copy: the checkpointer gets the processor in the middle of it, if it comes to that. */
static void turn(struct sim *sim, bool with_copy) {
        struct api_call *calls = sim->arrived;
        sim->arrived = NULL;
        sim->arrived_end = &sim->arrived;
        sim->told_in_turn = 0;
        sim->result->turns++;
        choose_faults(sim);
        arm_crash(sim);
        bool starves = sim_has(sim, HAZARD_MEMORY) && rng_below(&sim->fate, 50) == 0;
        if (starves)
                memory_arm(1 + rng_below(&sim->fate, rng_below(&sim->fate, 2) ? 60 : 1500), rng_below(&sim->fate, 4) == 0);
        uint64_t faults_before = sim->disk.n_faults;
        if (with_copy) {
                sim->disk.interrupt_in = 1 + rng_below(&sim->fate, 12);
                sim->disk.interrupt = copy_inside;
                sim->disk.interrupt_data = sim;
        }
        api_turn(sim->api, calls);
        sim->disk.interrupt_in = 0;
        bool starved = memory_disarm();
        sim->result->starved += starved;
        sim->result->faults += sim->disk.n_faults - faults_before;
        if (sim->disk.is_down) {
                if (!sim->is_copying)
                        crash(sim);
                return;
        }
        sim->disk.crash_in = 0;
        if (api_is_healthy(sim->api)) {
                sim_quiet(sim, true);
                watcher_compare(sim);
                if (sim->options.verbose > 2)
                        oracle_check(sim, false);
                sim_quiet(sim, false);
        }
        if (sim->disk.n_faults > faults_before || starved)
                sim->commit_failed = true; /* frames of a commit that failed may come back whole */
        disk_mark_told(&sim->disk);
        if (sim->is_copying)
                return;
        post_copy(sim);
        bool mortal = sim_has(sim, HAZARD_KILL) || sim_has(sim, HAZARD_POWER);
        if (mortal && rng_uniform(&sim->fate) < sim->options.crash_rate / TURNS_A_CRASH / 4)
                crash(sim);
        else if (sim_has(sim, HAZARD_RESTART) && rng_below(&sim->fate, 700) == 0)
                restart(sim);
}

/* --- the checkpointer's thread ------------------------------------------------------------------------------ */

static void copy_falls_due(struct sim *sim, void *owner, uint64_t life, size_t index) {
        (void)owner, (void)index;
        if (life != sim->life)
                return;
        sim->copy_is_posted = false;
        sim->copy_is_due = true;
}

static void post_copy(struct sim *sim) {
        if (!sim->store->checkpointer || sim->copy_is_posted || sim->copy_is_due || !checkpointer_wants_copy(sim->store->checkpointer))
                return;
        sim->copy_is_posted = true;
        sim_post(sim, rng_below(&sim->fate, 3) ? rng_uniform(&sim->fate) * 0.02 : rng_uniform(&sim->fate) * 10, copy_falls_due, NULL, sim->life, 0);
}

static void arm_copy(struct sim *sim) {
        bool mortal = sim_has(sim, HAZARD_KILL) || sim_has(sim, HAZARD_POWER);
        sim->disk.crash_in = mortal && rng_uniform(&sim->fate) < sim->options.crash_rate / TURNS_A_CRASH ? 1 + rng_below(&sim->fate, 60) : 0;
        sim->disk.crash_after = rng_below(&sim->fate, 2);
        if (sim_has(sim, HAZARD_SYNC) && rng_below(&sim->fate, 16) == 0) {
                sim->disk.faults = DISK_EIO_SYNC;
                sim->disk.fault_share = 1;
                sim->fault_until_ms = sim->now_ms;
        }
}

static void turn_inside(void *data) {
        struct sim *sim = data;
        if (!needs_turn(sim))
                return;
        sim_say(sim, "a turn in the middle of a copy");
        sim->result->copies_crossed++;
        turn(sim, false);
        if (!sim->disk.is_down)
                arm_copy(sim);
}

/* Alone, or with a turn in its middle. */
static void copy_log(struct sim *sim) {
        sim_say(sim, "the log is copied");
        sim->copy_is_due = false;
        sim->result->copies++;
        uint64_t faults_before = sim->disk.n_faults;
        arm_copy(sim);
        sim->disk.interrupt_in = rng_below(&sim->fate, 4) ? 1 + rng_below(&sim->fate, 30) : 0;
        sim->disk.interrupt = turn_inside;
        sim->disk.interrupt_data = sim;
        sim->is_copying = true;
        checkpointer_copy(sim->store->checkpointer);
        sim->is_copying = false;
        sim->disk.interrupt_in = 0;
        sim->result->faults += sim->disk.n_faults - faults_before;
        if (sim->disk.is_down) {
                sim->result->copies_crashed++;
                crash(sim);
                return;
        }
        sim->disk.crash_in = 0;
        post_copy(sim);
}

/* All that happens at the next moment, and a turn after it. */
static bool advance(struct sim *sim) {
        uint64_t next = sim->n_events > 0 ? sim->events[0].at_ms : UINT64_MAX;
        if (sim->is_up) {
                uint64_t deadline = api_next_deadline(sim->api);
                uint64_t mine = deadline == UINT64_MAX                ? UINT64_MAX
                                : deadline <= sim->mono_offset_ms ? 0
                                                                   : deadline - sim->mono_offset_ms;
                if (mine <= sim->now_ms)
                        mine = sim->now_ms + 1; /* as the core thread does */
                if (mine < next)
                        next = mine;
        }
        if (next == UINT64_MAX)
                return false;
        if (next > sim->now_ms)
                sim->now_ms = next;
        while (sim->n_events > 0 && sim->events[0].at_ms <= sim->now_ms && !sim->result->failed) {
                struct event event = pop(sim);
                sim->result->steps++;
                event.act(sim, event.owner, event.incarnation, event.index);
        }
        /* A copy that is due comes alone, with the next turn in its middle, or in the middle of that turn. */
        if (sim->copy_is_due && sim->is_up && !sim->result->failed && rng_below(&sim->fate, 2) && (needs_turn(sim) || rng_below(&sim->fate, 4) == 0))
                copy_log(sim);
        if (needs_turn(sim) && !sim->result->failed) {
                turn(sim, sim->copy_is_due && rng_below(&sim->fate, 2));
                if (sim_has(sim, HAZARD_CLOCK) && rng_below(&sim->fate, 400) == 0) {
                        sim->wall_offset_ms = (int64_t)rng_below(&sim->fate, 4 * 3600000) - 2 * 3600000;
                        sim_say(sim, "the wall clock jumps to %lld ms", (long long)sim->wall_offset_ms);
                }
        }
        return true;
}

/* Nothing goes wrong any more: everything must come to its end. */
static void heal(struct sim *sim) {
        sim_say(sim, "healing");
        sim->is_healing = true;
        sim->disk.faults = 0;
        sim->disk.crash_in = 0;
        fleet_heal(sim);
        people_heal(sim);
        uint64_t until = sim->now_ms + (uint64_t)HEALING_S * 1000, checked = 0;
        while (!sim->result->failed && advance(sim)) {
                if (!sim->is_up || sim->result->turns < checked + 20)
                        continue;
                checked = sim->result->turns;
                sim_quiet(sim, true);
                bool at_rest = oracle_at_rest(sim);
                sim_quiet(sim, false);
                if (at_rest)
                        return;
                if (sim->now_ms > until) {
                        sim_quiet(sim, true);
                        oracle_blame_endless(sim);
                        return;
                }
        }
}

void sim_run(const struct sim_options *options, struct sim_result *ret) {
        *ret = (struct sim_result){0};
        struct sim *sim = calloc(1, sizeof *sim);
        sim->options = *options;
        sim->result = ret;
        rng_init(&sim->rng, options->seed, 1);
        rng_init(&sim->net, options->seed, 2);
        rng_init(&sim->fate, options->seed, 3);
        rng_init(&sim->people, options->seed, 4);
        sim->random = rng_mix(options->seed ^ 0x5eed);
        sim->world = (struct world){world_wall, world_mono, world_random, sim};
        sim->arrived_end = &sim->arrived;
        sim->now_ms = 1000;
        sim->lease_s = (double)(10 + rng_below(&sim->rng, 60));
        snprintf(sim->folder, sizeof sim->folder, "/tmp/sim-XXXXXX");
        if (!mkdtemp(sim->folder))
                abort();
        if (chdir(sim->folder) < 0)
                abort();
        /* The same name in every history. The lock file is a real one, and an empty file stands for the database. */
        snprintf(sim->path, sizeof sim->path, "sweepd.db");
        fs_write_atomic(sim->path, "", 0, 0600, NULL);
        log_set_level(options->verbose > 1 ? LOG_DEBUG : LOG_ERROR + 1);
        defect_set(options->defect);
        disk_init(&sim->disk, options->seed);
        sim->disk.lies = options->defect == DEFECT_SYNC_LIES;
        disk_use(&sim->disk);
        sim->oracle = oracle_new();
        sim->watcher = watcher_new();
        open_coordinator(sim, NULL, 0, 0);
        fleet_init(sim);
        people_init(sim);
        while (!ret->failed && ret->steps < options->steps && advance(sim))
                continue;
        if (!ret->failed)
                heal(sim);
        if (!ret->failed) {
                sim_quiet(sim, true);
                oracle_check(sim, true);
                oracle_check_end(sim);
                sim_quiet(sim, false);
        }
        close_coordinator(sim);
        while (sim->n_events > 0) {
                struct event event = pop(sim);
                if (event.act == receive) {
                        json_decref(((struct delivery *)event.index)->body);
                        free((struct delivery *)event.index);
                }
        }
        ops_free(sim);
        fleet_fini(sim);
        people_fini(sim);
        oracle_free(sim->oracle);
        watcher_free(sim->watcher);
        disk_fini(&sim->disk);
        free(sim->events);
        fs_remove_tree(sim->folder, NULL);
        defect_set(DEFECT_NONE);
        free(sim);
}
