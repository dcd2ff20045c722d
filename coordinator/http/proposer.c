#include "http/proposer.h"

#include <pthread.h>
#include <stdlib.h>

#include "http/clock.h"

#define JOBS_MAX 1024

struct proposer {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed; /* a job came, stopping, or ended */
        struct plan_job *jobs[JOBS_MAX]; /* ring, guarded by lock */
        size_t first, n;
        bool stopping, ended;
        struct histogram seconds; /* guarded by lock */
        void (*done)(void *data, struct plan_job *job);
        void *data;
};

static struct plan_job *take(struct proposer *proposer) {
        struct plan_job *job = proposer->jobs[proposer->first];
        proposer->first = (proposer->first + 1) % JOBS_MAX;
        proposer->n--;
        return job;
}

static void *run(void *data) {
        struct proposer *proposer = data;
        pthread_mutex_lock(&proposer->lock);
        while (!proposer->stopping) {
                if (proposer->n == 0) {
                        pthread_cond_wait(&proposer->changed, &proposer->lock);
                        continue;
                }
                struct plan_job *job = take(proposer);
                pthread_mutex_unlock(&proposer->lock);
                double begun_s = metrics_now_s();
                plan_job_compute(job);
                double took_s = metrics_now_s() - begun_s;
                proposer->done(proposer->data, job);
                pthread_mutex_lock(&proposer->lock);
                histogram_add(&proposer->seconds, &histogram_seconds, took_s);
        }
        proposer->ended = true;
        pthread_cond_signal(&proposer->changed);
        pthread_mutex_unlock(&proposer->lock);
        return NULL;
}

int proposer_new(void (*done)(void *data, struct plan_job *job), void *data, struct proposer **ret, struct error *err) {
        struct proposer *proposer = calloc(1, sizeof *proposer);
        if (!proposer)
                return error_set(err, -ENOMEM, "out of memory");
        proposer->done = done;
        proposer->data = data;
        pthread_mutex_init(&proposer->lock, NULL);
        condition_init(&proposer->changed);
        int r = pthread_create(&proposer->thread, NULL, run, proposer);
        if (r != 0) {
                free(proposer);
                return error_set(err, -r, "cannot start the proposer's thread");
        }
        *ret = proposer;
        return 0;
}

int proposer_submit(struct proposer *proposer, struct plan_job *job) {
        pthread_mutex_lock(&proposer->lock);
        bool room = proposer->n < JOBS_MAX;
        if (room)
                proposer->jobs[(proposer->first + proposer->n++) % JOBS_MAX] = job;
        pthread_cond_signal(&proposer->changed);
        pthread_mutex_unlock(&proposer->lock);
        return room ? 0 : -EAGAIN;
}

void proposer_count(struct proposer *proposer, size_t *ret_waiting, struct histogram *ret_seconds) {
        pthread_mutex_lock(&proposer->lock);
        *ret_waiting = proposer->n;
        *ret_seconds = proposer->seconds;
        pthread_mutex_unlock(&proposer->lock);
}

int proposer_free(struct proposer *proposer, unsigned timeout_ms) {
        if (!proposer)
                return 0;
        struct timespec until = clock_at(clock_mono_ms() + timeout_ms);
        pthread_mutex_lock(&proposer->lock);
        proposer->stopping = true;
        pthread_cond_signal(&proposer->changed);
        int r = 0;
        while (!proposer->ended && r == 0)
                r = pthread_cond_timedwait(&proposer->changed, &proposer->lock, &until);
        bool ended = proposer->ended;
        pthread_mutex_unlock(&proposer->lock);
        if (!ended)
                return -ETIMEDOUT;
        pthread_join(proposer->thread, NULL);
        while (proposer->n > 0)
                plan_job_free(take(proposer));
        pthread_cond_destroy(&proposer->changed);
        pthread_mutex_destroy(&proposer->lock);
        free(proposer);
        return 0;
}
