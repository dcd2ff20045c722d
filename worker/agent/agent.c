/* Everything that happens changes some state and then calls pump, which does whatever is due now; a tick calls it too,
 * so that no wait needs a timer of its own. */
#include "agent/agent.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/allotment.h"
#include "agent/backoff.h"
#include "agent/delivery.h"
#include "agent/loop.h"
#include "agent/registration.h"
#include "agent/selftest.h"
#include "agent/slot.h"
#include "agent/trainer_line.h"
#include "agent/upload.h"
#include "agent/workdir.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/world.h"
#include "net/net.h"
#include "net/token_file.h"
#include "proto/limits.h"

#define TICK_MS 100
#define CLAIM_WAIT_S 30.0
#define CLAIM_SLACK_S 15.0
#define CALL_TIMEOUT_S 15.0
#define CLAIM_PAUSE_MS 500       /* between claims that are answered 204 at once */
#define SUSPECT_MAX 10           /* trials in a row that fail at once, before the worker takes rests */
#define LAST_DELIVERY_MS 17000   /* after a SIGTERM: from then on the outbox waits for the next start */

#define KILLED_TESTS_MAX 5        /* in a row; the next one after 1, 2, 4, 8, 16 s */
#define RETEST_MS 600000         /* after a failed self-test: a machine that was short of something may be well again */
#define UNFIT_HEARTBEAT_S 30     /* between registrations of a worker that must not train, so that it is not taken for gone */

/*   allotting ─▶ testing ─▶ delivering ─▶ registering ─▶ serving ─▶ ending ─▶ over
 *                   ▲                        ▲     └▶ unfit (the self-test failed): registers now and then, takes nothing
 *                   └── ten minutes later ── └───────────┘                                                               */
enum phase { PHASE_ALLOTTING, PHASE_TESTING, PHASE_DELIVERING, PHASE_REGISTERING, PHASE_SERVING, PHASE_UNFIT, PHASE_ENDING, PHASE_OVER };

struct agent {
        const struct agent_options *options;
        const struct world *world;
        uv_loop_t loop;
        uv_timer_t tick;
        uv_signal_t terminate, interrupt, hangup;
        struct loop_host host;
        struct net *net;
        struct workdir *workdir;
        struct delivery *delivery;
        struct uploads *uploads;
        struct allotment *allotment; /* NULL once it is decided */
        struct selftest *selftest;   /* NULL when none is under way */
        bool has_hinted;             /* at the doctor, once */
        struct slot_shared shared;
        unsigned n_slots;            /* 0 until then */

        enum phase phase;
        json_t *registration; /* body */
        char *worker;         /* id, NULL before the first registration */
        bool was_registered;
        bool is_quarantined; /* as the coordinator said last */
        bool shares_name;    /* the same */
        bool is_unfit;       /* the self-test failed: no trials are taken */
        uint64_t retest_ms, heartbeat_ms;
        unsigned n_killed_tests; /* in a row */
        char claim_id[LIMIT_ID_CHARS + 1]; /* empty: the next claim makes a new one */
        struct net_request *request;       /* registration or claim; at most one of them is under way */
        uint64_t request_ms;               /* mono, when it was sent */
        unsigned claimed_slots;            /* asked for by the claim under way */
        struct backoff backoff;            /* of registrations and claims */
        unsigned n_suspect;  /* trials in a row that failed at once */
        struct backoff rest; /* between claims while that goes on: one bad machine must not burn a whole sweep */
        uint64_t n_taken;
        uint64_t idle_since_ms, asked_ms; /* asked: when a claim last came back */
        bool disk_was_short;
        bool got_signal, is_forced;
        uint64_t signal_ms;
        bool is_pumping;
        uint64_t watchdog_ms, told_ms; /* how often the service manager wants to hear of us, 0 = never; when it last did */
        struct error failure; /* code set: agent_run fails with it */
};

static void pump(struct agent *agent);
static void on_freed(void *data);
static void on_ended(void *data, bool suspect);

static void set_phase(struct agent *agent, enum phase phase) {
        agent->phase = phase;
        agent->request = NULL;
        backoff_reset(&agent->backoff);
}

static void begin_ending(struct agent *agent) {
        if (agent->phase == PHASE_ENDING)
                return;
        net_cancel(agent->request);
        set_phase(agent, PHASE_ENDING);
        if (agent->allotment)
                allotment_cancel(agent->allotment);
        if (agent->selftest)
                selftest_cancel(agent->selftest);
}

static void retry_later(struct agent *agent, const char *what, const struct net_answer *answer) {
        double wait_s = backoff_fail(&agent->backoff, world_mono_ms(agent->world), answer ? answer->retry_after_s : 0);
        log_warning(what, log_i("status", answer ? answer->status : 0), log_s("why", answer ? net_why(answer) : ""), log_f("again_in_s", wait_s));
        if (!agent->has_hinted && agent->phase == PHASE_REGISTERING)
                log_info("'sweep-worker doctor' with the same options says what is wrong and what to do");
        agent->has_hinted = true;
}

/* --- slots -------------------------------------------------------------------------------------------- */

static int open_slots(struct agent *agent, const struct division *chosen, struct error *err) {
        struct slot_shared *shared = &agent->shared;
        *shared = (struct slot_shared){
                .options = agent->options,
                .threads = chosen->threads,
                .world = agent->world,
                .loop = &agent->loop,
                .net = agent->net,
                .workdir = agent->workdir,
                .delivery = agent->delivery,
                .uploads = agent->uploads,
                .data = agent,
                .freed = on_freed,
                .ended = on_ended,
        };
        shared->slots = calloc(chosen->slots, sizeof *shared->slots);
        if (!shared->slots)
                return error_set(err, -ENOMEM, "out of memory");
        for (; shared->n_slots < chosen->slots; shared->n_slots++)
                if (slot_new(shared, &shared->slots[shared->n_slots]) < 0)
                        return error_set(err, -ENOMEM, "out of memory");
        agent->n_slots = chosen->slots;
        return 0;
}

/* --- self-test ---------------------------------------------------------------------------------------- */

/* NULL: nothing is wrong. */
static int say_unfit(struct agent *agent, const char *why) {
        agent->is_unfit = why != NULL;
        agent->retest_ms = world_mono_ms(agent->world) + RETEST_MS;
        if (!why) {
                json_object_del(agent->registration, "unfit");
                return 0;
        }
        char words[SELFTEST_WORDS];
        snprintf(words, sizeof words, "%s", why);
        for (char *c = words; *c; c++)
                if ((unsigned char)*c < ' ' || *c == 0x7f)
                        *c = ' ';
        log_error("this machine must not train: no trials are taken", log_s("why", words), log_i("tested_again_in_s", RETEST_MS / 1000));
        return json_object_set_new(agent->registration, "unfit", text_for_report(words, SELFTEST_WORDS, 0));
}

static void on_tested(void *data, const char *unfit, bool was_killed) {
        struct agent *agent = data;
        registration_add_numerics(agent->registration, selftest_told(agent->selftest));
        selftest_free(TAKE(agent->selftest));
        if (agent->phase != PHASE_TESTING) { /* a signal came */
                pump(agent);
                return;
        }
        if (was_killed && agent->n_killed_tests < KILLED_TESTS_MAX) {
                unsigned wait_s = 1u << agent->n_killed_tests++;
                log_warning("the self-test was killed with signal 9: tested again", log_i("in_s", wait_s));
                agent->retest_ms = world_mono_ms(agent->world) + 1000 * wait_s;
                return;
        }
        agent->n_killed_tests = 0;
        if (say_unfit(agent, unfit) < 0) {
                error_set(&agent->failure, -ENOMEM, "out of memory");
                begin_ending(agent);
        } else
                set_phase(agent, PHASE_DELIVERING);
        pump(agent);
}

static void start_testing(struct agent *agent) {
        struct selftest_plan plan = {
                .loop = &agent->loop,
                .world = agent->world,
                .options = agent->options,
                .threads = agent->shared.threads,
                .folder = workdir_path(agent->workdir),
                .data = agent,
                .done = on_tested,
        };
        struct error err;
        set_phase(agent, PHASE_TESTING);
        if (selftest_start(&plan, &agent->selftest, &err) < 0)
                on_tested(agent, err.text, false);
}

static void on_allotted(void *data, const struct division *chosen, json_t *measured) {
        struct agent *agent = data;
        allotment_free(TAKE(agent->allotment));
        if (!chosen) { /* a signal came */
                json_decref(measured);
                return;
        }
        int r = registration_divide(agent->registration, chosen, measured);
        if (r == 0)
                r = open_slots(agent, chosen, &agent->failure);
        else
                error_set(&agent->failure, r, "out of memory");
        if (r < 0)
                begin_ending(agent);
        else if (agent->options->serves_distilbert)
                start_testing(agent);
        else
                set_phase(agent, PHASE_DELIVERING);
}

static int start_allotting(struct agent *agent, struct error *err) {
        struct allotment_plan plan = {
                .loop = &agent->loop,
                .world = agent->world,
                .options = agent->options,
                .folder = workdir_path(agent->workdir),
                .registration = agent->registration,
                .data = agent,
                .done = on_allotted,
        };
        return allotment_new(&plan, &agent->allotment, err);
}

/* --- registration ----------------------------------------------------------------------------------- */

static bool is_refusal(int status) {
        return status >= 400 && status < 500 && status != 408 && status != 409 && status != 425 && status != 429;
}

/* With the first field that is wrong, if it says so. */
static void take_refusal(struct agent *agent, const struct net_answer *answer) {
        const json_t *field = json_array_get(json_object_get(answer->body, "errors"), 0);
        const char *pointer = json_string_value(json_object_get(field, "pointer"));
        const char *detail = json_string_value(json_object_get(field, "detail"));
        const char *remedy = answer->status == 401   ? "; --token-file FILE holds one, 'sweepd token create --role worker' makes it"
                             : answer->status == 403 ? "; it needs a token of role worker"
                                                     : "";
        error_set(&agent->failure, -EACCES, "the coordinator refuses this worker (%d): %s%s%s%s%s%s", answer->status, net_why(answer),
                  pointer ? ": " : "", pointer ? pointer : "", detail ? " " : "", detail ? detail : "", remedy);
}

/* Says why this worker gets no trials, or that it gets some again. */
static void note_quarantine(struct agent *agent, const json_t *registered) {
        const char *reason = json_string_value(json_object_get(json_object_get(registered, "quarantine"), "why"));
        if (reason)
                log_error("the coordinator gives this worker no trials until somebody undrains it", log_s("worker", agent->worker), log_s("why", reason));
        else if (agent->is_quarantined)
                log_info("the coordinator gives this worker trials again", log_s("worker", agent->worker));
        agent->is_quarantined = reason != NULL;
}

static void on_registered(void *data, const struct net_answer *answer) {
        struct agent *agent = data;
        agent->request = NULL;
        const char *id = json_string_value(json_object_get(answer->body, "id"));
        if (answer->status >= 200 && answer->status < 300 && id) {
                free(agent->worker);
                agent->worker = strdup(id);
                log_info("registered", log_s("worker", id), log_s("name", agent->options->name), log_i("slots", agent->n_slots),
                         log_i("threads", agent->shared.threads));
                if (!agent->was_registered)
                        agent->idle_since_ms = world_mono_ms(agent->world);
                agent->was_registered = true;
                if (agent->is_unfit) {
                        double lease_s = json_number_value(json_object_get(answer->body, "lease_s"));
                        agent->heartbeat_ms = world_mono_ms(agent->world) + (uint64_t)(1000 * (lease_s > 0 && lease_s < UNFIT_HEARTBEAT_S ? lease_s : UNFIT_HEARTBEAT_S));
                        set_phase(agent, PHASE_UNFIT);
                } else {
                        note_quarantine(agent, answer->body);
                        set_phase(agent, PHASE_SERVING);
                }
        } else if (is_refusal(answer->status) && !agent->was_registered) {
                take_refusal(agent, answer);
                begin_ending(agent);
        } else
                retry_later(agent, "cannot register", answer);
        pump(agent);
}

static void send_registration(struct agent *agent) {
        if (net_send(agent->net, "POST", "/v1/workers", agent->registration, CALL_TIMEOUT_S, on_registered, agent, &agent->request) < 0)
                retry_later(agent, "cannot send the registration", NULL);
}

/* --- claims ----------------------------------------------------------------------------------------- */

static struct slot *find_idle(struct agent *agent) {
        for (unsigned i = 0; i < agent->n_slots; i++)
                if (slot_state(agent->shared.slots[i]) == SLOT_IDLE)
                        return agent->shared.slots[i];
        return NULL;
}

static unsigned count_idle(const struct agent *agent) {
        unsigned n = 0;
        for (unsigned i = 0; i < agent->n_slots; i++)
                n += slot_state(agent->shared.slots[i]) == SLOT_IDLE;
        return n;
}

static bool holds_lease(const struct agent *agent, const char *lease) {
        for (unsigned i = 0; i < agent->n_slots; i++) {
                const char *held = slot_lease(agent->shared.slots[i]);
                if (held && strcmp(held, lease) == 0)
                        return true;
        }
        return false;
}

static bool uses_trial(void *data, const char *trial) {
        const struct agent *agent = data;
        for (unsigned i = 0; i < agent->n_slots; i++)
                if (slot_uses(agent->shared.slots[i], trial))
                        return true;
        return false;
}

static void take_trial(struct agent *agent, json_t *trial) {
        const char *id = json_string_value(json_object_get(trial, "id")), *lease = json_string_value(json_object_get(trial, "lease"));
        struct slot *slot = find_idle(agent);
        if (!workdir_accepts_id(id) || !lease || !json_is_object(json_object_get(trial, "params"))) {
                log_error("a claimed trial is malformed", log_s("trial", id));
                return;
        }
        if (holds_lease(agent, lease))
                return; /* told twice */
        if (!slot) {
                log_error("more trials than asked for: this one runs out of its lease", log_s("trial", id));
                return;
        }
        agent->n_taken++;
        slot_take(slot, trial);
}

/* Two hosts with one name lose each other's leases whenever one of them starts: said plainly, once. */
static void note_shared_name(struct agent *agent, bool shares) {
        if (shares && !agent->shares_name)
                log_error("another process works under this worker's name: give each host a name of its own (--name)", log_s("name", agent->options->name),
                          log_s("worker", agent->worker));
        else if (!shares && agent->shares_name)
                log_info("this worker has its name to itself again", log_s("name", agent->options->name));
        agent->shares_name = shares;
}

static void on_claimed(void *data, const struct net_answer *answer) {
        struct agent *agent = data;
        agent->request = NULL;
        uint64_t now_ms = agent->asked_ms = world_mono_ms(agent->world);
        int status = answer->status;
        if (status == 200 || status == 204) {
                size_t i;
                json_t *trial;
                agent->claim_id[0] = 0;
                backoff_reset(&agent->backoff);
                delivery_hurry(agent->delivery);
                note_shared_name(agent, answer->name_shared);
                json_array_foreach(json_object_get(answer->body, "trials"), i, trial) take_trial(agent, trial);
                bool got_none = json_array_size(json_object_get(answer->body, "trials")) == 0;
                bool is_quarantined = answer->worker_state && strcmp(answer->worker_state, "quarantined") == 0;
                if (is_quarantined != agent->is_quarantined)
                        set_phase(agent, PHASE_REGISTERING); /* the answer says why */
                if (got_none && now_ms - agent->request_ms < CLAIM_PAUSE_MS)
                        agent->backoff.due_ms = now_ms + CLAIM_PAUSE_MS;
        } else if (status == 404 || status == 410) {
                log_warning("the coordinator does not know this worker: registering again", log_i("status", status));
                set_phase(agent, PHASE_REGISTERING);
        } else {
                retry_later(agent, "a claim got no answer", answer);
        }
        pump(agent);
}

/* How long the worker may still stay idle, in seconds. */
static double idle_left_s(const struct agent *agent, uint64_t now_ms) {
        if (agent->options->exit_when_idle_s < 0)
                return 1e9;
        double left_s = agent->options->exit_when_idle_s - (double)(now_ms - agent->idle_since_ms) / 1000;
        return left_s > 0 ? left_s : 0;
}

static unsigned slots_to_claim(struct agent *agent) {
        unsigned n = count_idle(agent);
        uint64_t max = agent->options->max_trials;
        if (max && max - agent->n_taken < n)
                n = (unsigned)(max - agent->n_taken);
        if (n == 0)
                return 0;
        bool is_short = workdir_is_short(agent->workdir);
        if (is_short != agent->disk_was_short)
                log_warning(is_short ? "the disk is short: no trials are taken" : "there is disk space again", log_s("path", agent->options->work_dir));
        agent->disk_was_short = is_short;
        if (is_short) {
                workdir_prune(agent->workdir, uses_trial, agent);
                agent->asked_ms = world_mono_ms(agent->world); /* nothing to wait for: it counts as idle time */
        }
        return is_short ? 0 : n;
}

/* A claim is sent again under its id until it is answered: a lost answer gives the same trials. */
static void send_claim(struct agent *agent, uint64_t now_ms) {
        if (!agent->claim_id[0]) {
                if (!backoff_is_due(&agent->rest, now_ms))
                        return;
                agent->claimed_slots = slots_to_claim(agent);
                if (agent->claimed_slots == 0)
                        return;
                world_make_id(agent->world, "c_", 26, agent->claim_id);
        }
        double left_s = idle_left_s(agent, now_ms), wait_s = left_s < CLAIM_WAIT_S ? left_s : CLAIM_WAIT_S;
        _cleanup_json_ json_t *body = json_pack("{s:s, s:s, s:i, s:f}", "worker", agent->worker, "claim_id", agent->claim_id, "slots",
                                                (int)agent->claimed_slots, "wait_s", wait_s);
        agent->request_ms = now_ms;
        if (!body || net_send(agent->net, "POST", "/v1/claims", body, wait_s + CLAIM_SLACK_S, on_claimed, agent, &agent->request) < 0)
                retry_later(agent, "cannot send a claim", NULL);
}

/* --- ending ----------------------------------------------------------------------------------------- */

static void on_second_signal(struct agent *agent) {
        log_warning("second signal: ending at once");
        for (unsigned i = 0; i < agent->n_slots; i++)
                slot_abandon(agent->shared.slots[i]);
        agent->is_forced = true;
        error_set(&agent->failure, -EINTR, "ended by a second signal");
        uv_stop(&agent->loop);
}

static void on_signal(uv_signal_t *handle, int signal) {
        struct agent *agent = handle->data;
        if (agent->got_signal) {
                on_second_signal(agent);
                return;
        }
        log_info("ending: trials are saved and given back", log_i("signal", signal));
        agent->got_signal = true;
        notify_service_manager("STOPPING=1");
        agent->signal_ms = world_mono_ms(agent->world);
        begin_ending(agent);
        for (unsigned i = 0; i < agent->n_slots; i++)
                slot_release(agent->shared.slots[i]);
        delivery_hurry(agent->delivery);
        pump(agent);
}

static bool is_done(struct agent *agent, uint64_t now_ms) {
        if (agent->allotment || agent->selftest || count_idle(agent) < agent->n_slots)
                return false;
        size_t n = delivery_count(agent->delivery);
        if (agent->failure.code)
                return true;
        if (n == 0) /* models that are not sent yet wait for the next start, if there is a hurry */
                return agent->got_signal || uploads_count(agent->uploads) == 0 || uploads_are_stuck(agent->uploads);
        bool gives_up = agent->got_signal && (delivery_is_stuck(agent->delivery) || now_ms - agent->signal_ms > LAST_DELIVERY_MS);
        if (gives_up)
                log_warning("the coordinator is away: results wait in the outbox for the next start", log_i("results", n));
        return gives_up;
}

/* --- the pump --------------------------------------------------------------------------------------- */

static bool has_served_enough(struct agent *agent, uint64_t now_ms) {
        uint64_t max = agent->options->max_trials;
        if (max && agent->n_taken >= max)
                return true;
        if (count_idle(agent) < agent->n_slots || delivery_count(agent->delivery) > 0)
                agent->idle_since_ms = now_ms;
        return agent->asked_ms >= agent->idle_since_ms && agent->asked_ms > 0 && idle_left_s(agent, now_ms) <= 0;
}

static void step(struct agent *agent) {
        uint64_t now_ms = world_mono_ms(agent->world);
        bool may_call = !agent->request && backoff_is_due(&agent->backoff, now_ms);
        switch (agent->phase) {
        case PHASE_ALLOTTING:
                allotment_pump(agent->allotment);
                break;
        case PHASE_TESTING: /* or about to be tested again */
                if (agent->selftest)
                        selftest_pump(agent->selftest);
                else if (now_ms >= agent->retest_ms)
                        start_testing(agent);
                break;
        case PHASE_UNFIT:
                if (idle_left_s(agent, now_ms) <= 0) {
                        error_set(&agent->failure, -EIO, "this machine must not train: %s", json_string_value(json_object_get(agent->registration, "unfit")));
                        begin_ending(agent);
                } else if (now_ms >= agent->retest_ms)
                        start_testing(agent);
                else if (now_ms >= agent->heartbeat_ms)
                        set_phase(agent, PHASE_REGISTERING);
                break;
        case PHASE_DELIVERING:
                if (delivery_count(agent->delivery) == 0)
                        set_phase(agent, PHASE_REGISTERING);
                break;
        case PHASE_REGISTERING:
                if (may_call)
                        send_registration(agent);
                break;
        case PHASE_SERVING:
                if (has_served_enough(agent, now_ms))
                        begin_ending(agent);
                else if (may_call)
                        send_claim(agent, now_ms);
                break;
        case PHASE_ENDING:
                if (agent->allotment)
                        allotment_pump(agent->allotment);
                if (is_done(agent, now_ms)) {
                        agent->phase = PHASE_OVER;
                        uv_stop(&agent->loop);
                }
                break;
        case PHASE_OVER:
                break;
        }
}

/* Phases follow each other without waiting for the tick. */
static void pump(struct agent *agent) {
        if (agent->is_pumping || agent->is_forced)
                return;
        agent->is_pumping = true;
        enum phase before;
        do {
                before = agent->phase;
                for (unsigned i = 0; i < agent->n_slots; i++)
                        slot_pump(agent->shared.slots[i]);
                delivery_pump(agent->delivery);
                if (!agent->got_signal && agent->phase >= PHASE_SERVING)
                        uploads_pump(agent->uploads);
                step(agent);
        } while (agent->phase != before);
        agent->is_pumping = false;
}

static void on_tick(uv_timer_t *timer) {
        struct agent *agent = timer->data;
        pump(agent);
        uint64_t now = world_mono_ms(agent->world);
        if (agent->watchdog_ms > 0 && now - agent->told_ms >= agent->watchdog_ms / 3) {
                agent->told_ms = now;
                notify_service_manager("WATCHDOG=1");
        }
}

static void on_freed(void *data) {
        struct agent *agent = data;
        workdir_prune(agent->workdir, uses_trial, agent);
        pump(agent);
}

static void on_ended(void *data, bool suspect) {
        struct agent *agent = data;
        agent->n_suspect = suspect ? agent->n_suspect + 1 : 0;
        if (!suspect)
                backoff_reset(&agent->rest);
        if (agent->n_suspect < SUSPECT_MAX)
                return;
        double rest_s = backoff_fail(&agent->rest, world_mono_ms(agent->world), 0);
        log_error("one trial after the other fails at once: is this machine in order?", log_i("in_a_row", agent->n_suspect), log_f("rest_s", rest_s));
}

/* --- life ------------------------------------------------------------------------------------------- */

static int open_net(struct agent *agent, const char *instance, struct error *err) {
        char *token = NULL;
        int r = agent->options->token_file ? token_file_read(agent->options->token_file, &token, err) : 0;
        if (r == 0) {
                struct net_options options = {.base_url = agent->options->coordinator,
                                              .token = token,
                                              .ca_file = agent->options->ca_file,
                                              .instance = instance,
                                              .user_agent = "sweep-worker/" SWEEPD_VERSION};
                r = net_new(&options, &agent->host.host, &agent->net, err);
        }
        token_free(token);
        agent->host.net = agent->net;
        return r;
}

static void start_handles(struct agent *agent) {
        uv_timer_init(&agent->loop, &agent->tick);
        uv_signal_init(&agent->loop, &agent->terminate);
        uv_signal_init(&agent->loop, &agent->interrupt);
        uv_signal_init(&agent->loop, &agent->hangup);
        agent->tick.data = agent->terminate.data = agent->interrupt.data = agent->hangup.data = agent;
        uv_timer_start(&agent->tick, on_tick, 0, TICK_MS);
        uv_signal_start(&agent->terminate, on_signal, SIGTERM);
        uv_signal_start(&agent->interrupt, on_signal, SIGINT);
        uv_signal_start(&agent->hangup, on_signal, SIGHUP);
}

static int set_up(struct agent *agent, struct error *err) {
        const struct workdir_options folder = {
                .path = agent->options->work_dir,
                .shared = agent->options->checkpoint_dir,
                .keep_models = agent->options->keep_models,
                .models_max_bytes = agent->options->models_max_bytes,
                .min_free_bytes = agent->options->min_free_bytes,
        };
        char instance[INSTANCE_SIZE];
        world_make_id(agent->world, "i_", 26, instance);
        int r = workdir_open(&folder, &agent->workdir, err);
        if (r == 0)
                r = open_net(agent, instance, err);
        if (r == 0 && delivery_new(agent->net, agent->world, workdir_outbox(agent->workdir), &agent->delivery) < 0)
                r = error_set(err, -ENOMEM, "out of memory");
        if (r == 0 && uploads_new(agent->net, agent->world, &agent->loop, workdir_models(agent->workdir), agent->delivery, &agent->uploads) < 0)
                r = error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = registration_make(agent->options, instance, &agent->registration, err);
        return r == 0 ? start_allotting(agent, err) : r;
}

static void tear_down(struct agent *agent) {
        for (unsigned i = 0; i < agent->shared.n_slots; i++)
                if (!agent->is_forced) /* after a second signal a trainer may still refer to its slot */
                        slot_free(agent->shared.slots[i]);
        free(agent->shared.slots);
        if (!agent->is_forced) {
                allotment_free(agent->allotment);
                selftest_free(agent->selftest);
        }
        uploads_free(agent->uploads);
        delivery_free(agent->delivery);
        net_free(agent->net);
        loop_host_close(&agent->host);
        uv_close((uv_handle_t *)&agent->tick, NULL);
        uv_close((uv_handle_t *)&agent->terminate, NULL);
        uv_close((uv_handle_t *)&agent->interrupt, NULL);
        uv_close((uv_handle_t *)&agent->hangup, NULL);
        if (!agent->is_forced) {
                uv_run(&agent->loop, UV_RUN_DEFAULT); /* lets the handles close */
                uv_loop_close(&agent->loop);
        }
        workdir_close(agent->workdir);
        json_decref(agent->registration);
        free(agent->worker);
}

int agent_run(const struct agent_options *options, struct error *err) {
        static struct agent memory; /* libuv's handles must not move, and after a second signal some live until exit */
        struct agent *agent = &memory;
        *agent = (struct agent){.options = options, .world = world_real()};
        signal(SIGPIPE, SIG_IGN);
        signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write(), not the end of the worker */
        if (uv_loop_init(&agent->loop) < 0)
                return error_set(err, -ENOMEM, "the event loop does not start");
        loop_host_init(&agent->host, &agent->loop);
        start_handles(agent);
        uint64_t seed;
        agent->world->random_bytes(agent->world->data, &seed, sizeof seed);
        backoff_init(&agent->backoff, seed, 0.25, 10);
        backoff_init(&agent->rest, rng_mix(seed), 1, 60);
        int r = set_up(agent, err);
        if (r == 0) {
                log_info("started", log_s("coordinator", options->coordinator), log_s("name", options->name), log_i("undelivered", delivery_count(agent->delivery)));
                workdir_prune(agent->workdir, uses_trial, agent);
                agent->watchdog_ms = notify_watchdog_us() / 1000;
                notify_service_manager("READY=1"); /* whether the coordinator is there or not: it is waited for */
                uv_run(&agent->loop, UV_RUN_DEFAULT);
                r = agent->failure.code;
                if (r < 0)
                        error_set(err, r, "%s", agent->failure.text);
        }
        tear_down(agent);
        return r;
}
