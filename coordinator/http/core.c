/* The core thread. One lock guards everything that other threads touch: the queue of calls, the computed jobs and the
 * flags; the api itself belongs to the thread alone and is called without the lock.
 *
 * No busy loop: a turn that leaves a deadline in the past (work that comes back at once) is followed by a pause of a
 * millisecond, in which calls gather. */
#include "http/core.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/log.h"
#include "http/clock.h"
#include "http/feed.h"
#include "http/prompt.h"
#include "http/proposer.h"

#define TURN_PAUSE_MS 1

struct finished {
        struct plan_job *job;
        struct finished *next;
};

struct core {
        struct api *api; /* the core thread's own */
        struct proposer *proposer;
        struct proposer *explainer; /* questions of people, which no worker waits for */
        size_t max_calls;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        /* guarded by lock */
        struct api_call *first, **last;
        size_t n_calls;
        struct finished *finished;
        bool draining, stopping, healthy, room_short;
        bool is_asked; /* for a turn, by core_has_turned; ends with the turn */
};

/* --- the proposer's side ----------------------------------------------------------------------------- */

static void job_done(void *data, struct plan_job *job) {
        struct core *core = data;
        struct finished *item = malloc(sizeof *item);
        while (!item) { /* a computed job must come back, or its sweep would wait for ever */
                nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
                item = malloc(sizeof *item);
        }
        item->job = job;
        pthread_mutex_lock(&core->lock);
        item->next = core->finished;
        core->finished = item;
        pthread_cond_signal(&core->changed);
        pthread_mutex_unlock(&core->lock);
}

/* Called by the api, on the core thread. With too many jobs ahead this one is computed here: late, but never lost. */
static void submit_job(void *data, struct plan_job *job) {
        struct core *core = data;
        if (proposer_submit(plan_job_is_question(job) ? core->explainer : core->proposer, job) == 0)
                return;
        plan_job_compute(job);
        job_done(core, job);
}

/* --- the core thread --------------------------------------------------------------------------------- */

struct work {
        struct api_call *calls;
        struct finished *finished;
        bool draining, stopping, is_asked;
};

static bool has_work(const struct core *core, bool drained) {
        return core->first || core->finished || core->stopping || core->is_asked || (core->draining && !drained);
}

/* Sleeps until there is something to do, and takes it. */
static struct work wait_for_work(struct core *core, uint64_t deadline_ms, bool drained) {
        uint64_t earliest = clock_mono_ms() + TURN_PAUSE_MS;
        struct timespec until = clock_at(deadline_ms > earliest ? deadline_ms : earliest);
        pthread_mutex_lock(&core->lock);
        int r = 0;
        while (!has_work(core, drained) && r == 0)
                r = deadline_ms == UINT64_MAX ? pthread_cond_wait(&core->changed, &core->lock)
                                              : pthread_cond_timedwait(&core->changed, &core->lock, &until);
        struct work work = {core->first, core->finished, core->draining, core->stopping, core->is_asked};
        core->first = NULL;
        core->last = &core->first;
        core->n_calls = 0;
        core->finished = NULL;
        pthread_mutex_unlock(&core->lock);
        return work;
}

static void give_back_jobs(struct core *core, struct finished *finished) {
        while (finished) {
                struct finished *next = finished->next;
                api_job_done(core->api, finished->job);
                free(finished);
                finished = next;
        }
}

static void note_turn(struct core *core, bool was_asked) {
        bool healthy = api_is_healthy(core->api);
        pthread_mutex_lock(&core->lock);
        if (was_asked)
                core->is_asked = false;
        bool changed = healthy != core->healthy;
        core->healthy = healthy;
        core->room_short = api_is_room_short(core->api);
        pthread_mutex_unlock(&core->lock);
        if (changed && healthy)
                log_info("commits work again");
        else if (changed)
                log_error("commits fail: not ready");
}

static void *run(void *data) {
        struct core *core = data;
        bool drained = false;
        thread_set_prompt(true);
        for (;;) {
                struct work work = wait_for_work(core, api_next_deadline(core->api), drained);
                give_back_jobs(core, work.finished);
                api_turn(core->api, work.calls);
                if (work.draining && !drained) { /* after the turn: what was in hand got its real answer */
                        api_drain(core->api);
                        api_turn(core->api, NULL);
                        drained = true;
                }
                note_turn(core, work.is_asked);
                if (work.stopping)
                        return NULL;
        }
}

/* --- from other threads ------------------------------------------------------------------------------ */

int core_new(const struct core_config *config, struct store *store, const struct world *world, struct core **ret, struct error *err) {
        struct core *core = calloc(1, sizeof *core);
        if (!core)
                return error_set(err, -ENOMEM, "out of memory");
        core->last = &core->first;
        core->max_calls = config->max_calls;
        core->healthy = true;
        pthread_mutex_init(&core->lock, NULL);
        condition_init(&core->changed);
        int r = proposer_new(job_done, core, &core->proposer, err);
        if (r == 0)
                r = proposer_new(job_done, core, &core->explainer, err);
        if (r < 0)
                goto fail;
        struct api_config api_config = {
                .lease_s = config->lease_s,
                .max_parked = config->max_parked,
                .min_free_bytes = config->min_free_bytes,
                .free_bytes = config->free_bytes,
                .free_data = config->free_data,
                .webhooks = config->webhooks,
                .submit_job = submit_job,
                .job_data = core,
                .publish = feed_publish,
                .is_watched = feed_is_watched,
                .publish_data = config->feed,
                .models = config->models,
        };
        r = api_new(&api_config, store, world, &core->api, err);
        if (r < 0)
                goto fail;
        r = pthread_create(&core->thread, NULL, run, core);
        if (r != 0) {
                r = error_set(err, -r, "cannot start the core thread");
                goto fail;
        }
        *ret = core;
        return 0;
fail:
        if (core->api)
                api_free(core->api);
        proposer_free(core->proposer, 1000);
        proposer_free(core->explainer, 1000);
        free(core);
        return r;
}

bool core_has_room(struct core *core) {
        pthread_mutex_lock(&core->lock);
        bool room = core->n_calls < core->max_calls;
        pthread_mutex_unlock(&core->lock);
        return room;
}

bool core_push(struct core *core, struct api_call *call) {
        pthread_mutex_lock(&core->lock);
        bool room = core->n_calls < core->max_calls;
        if (room) {
                call->next = NULL;
                *core->last = call;
                core->last = &call->next;
                core->n_calls++;
                pthread_cond_signal(&core->changed);
        }
        pthread_mutex_unlock(&core->lock);
        return room;
}

bool core_is_room_short(struct core *core) {
        pthread_mutex_lock(&core->lock);
        bool room_short = core->room_short;
        pthread_mutex_unlock(&core->lock);
        return room_short;
}

void core_count(struct core *core, struct core_counts *ret) {
        size_t unused;
        proposer_count(core->proposer, &ret->n_jobs, &ret->proposal_s);
        proposer_count(core->explainer, &unused, &ret->explanation_s);
        pthread_mutex_lock(&core->lock);
        ret->n_calls = core->n_calls;
        ret->max_calls = core->max_calls;
        pthread_mutex_unlock(&core->lock);
}

bool core_is_ready(struct core *core) {
        pthread_mutex_lock(&core->lock);
        bool ready = core->healthy && !core->draining;
        pthread_mutex_unlock(&core->lock);
        return ready;
}

bool core_has_turned(struct core *core) {
        pthread_mutex_lock(&core->lock);
        bool has_turned = !core->is_asked;
        core->is_asked = true;
        pthread_cond_signal(&core->changed);
        pthread_mutex_unlock(&core->lock);
        return has_turned;
}

int core_free(struct core *core, unsigned timeout_ms) {
        if (!core)
                return 0;
        pthread_mutex_lock(&core->lock);
        core->draining = core->stopping = true;
        pthread_cond_signal(&core->changed);
        pthread_mutex_unlock(&core->lock);
        pthread_join(core->thread, NULL);
        if (proposer_free(core->proposer, timeout_ms) < 0 || proposer_free(core->explainer, timeout_ms) < 0)
                return -ETIMEDOUT;
        api_free(core->api);
        for (struct finished *item = core->finished, *next; item; item = next) {
                next = item->next;
                plan_job_free(item->job);
                free(item);
        }
        pthread_cond_destroy(&core->changed);
        pthread_mutex_destroy(&core->lock);
        free(core);
        return 0;
}
