#include "train/saver.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/world.h"

/* idle → reading → syncing → done → idle; the last move is saver_finish's. */
enum stage { STAGE_IDLE, STAGE_READING, STAGE_SYNCING, STAGE_DONE };

struct saver {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        _Atomic uint64_t hurry_ms; /* when the sync is called off */

        /* guarded by lock */
        enum stage stage;
        bool closing;
        struct saver_work work;
        int result;
        struct error error;
        uint64_t started_ms, took_ms;
};

static uint64_t now_ms(void) {
        return world_mono_ms(world_real());
}

static void set_stage(struct saver *saver, enum stage stage) {
        pthread_mutex_lock(&saver->lock);
        saver->stage = stage;
        pthread_cond_broadcast(&saver->changed);
        pthread_mutex_unlock(&saver->lock);
}

static void on_arrays_read(void *data) {
        set_stage(data, STAGE_SYNCING);
}

static bool is_in_a_hurry(void *data) {
        struct saver *saver = data;
        return now_ms() >= atomic_load(&saver->hurry_ms);
}

static int do_work(struct saver *saver, const struct saver_work *work, struct error *err) {
        const struct checkpoint_pace pace = {.data = saver, .arrays_read = on_arrays_read, .in_a_hurry = is_in_a_hurry};
        int r = work->best ? best_keep(work->folders, work->model, work->best_step, err) : 0;
        if (r == 0 && work->checkpoint)
                r = checkpoint_save(work->folders->checkpoint, &work->content, &pace, err);
        if (r == 0 && work->checkpoint && work->folders->output)
                best_prune(work->folders, work->newest_best_step, work->previous_best_step);
        return r;
}

static void *run(void *data) {
        struct saver *saver = data;
        pthread_mutex_lock(&saver->lock);
        for (;;) {
                while (saver->stage != STAGE_READING && !saver->closing)
                        pthread_cond_wait(&saver->changed, &saver->lock);
                if (saver->stage != STAGE_READING)
                        break;
                struct saver_work work = saver->work;
                struct error error = {0};
                pthread_mutex_unlock(&saver->lock);
                int r = do_work(saver, &work, &error);
                pthread_mutex_lock(&saver->lock);
                saver->result = r;
                saver->error = error;
                saver->took_ms = now_ms() - saver->started_ms;
                saver->stage = STAGE_DONE;
                pthread_cond_broadcast(&saver->changed);
        }
        pthread_mutex_unlock(&saver->lock);
        return NULL;
}

/* Signals are for the thread that trains: its reads and waits end by them. */
static int start_thread(struct saver *saver) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int code = pthread_create(&saver->thread, NULL, run, saver);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -code;
}

int saver_new(struct saver **ret, struct error *err) {
        struct saver *saver = calloc(1, sizeof *saver);
        if (!saver)
                return error_set(err, -ENOMEM, "out of memory");
        pthread_mutex_init(&saver->lock, NULL);
        pthread_cond_init(&saver->changed, NULL);
        atomic_init(&saver->hurry_ms, UINT64_MAX);
        int r = start_thread(saver);
        if (r < 0) {
                free(saver);
                return error_set(err, -ENOMEM, "cannot start the thread that writes checkpoints: %s", strerror(-r));
        }
        *ret = saver;
        return 0;
}

void saver_free(struct saver *saver) {
        if (!saver)
                return;
        atomic_store(&saver->hurry_ms, 0);
        pthread_mutex_lock(&saver->lock);
        saver->closing = true;
        pthread_cond_broadcast(&saver->changed);
        pthread_mutex_unlock(&saver->lock);
        pthread_join(saver->thread, NULL);
        pthread_cond_destroy(&saver->changed);
        pthread_mutex_destroy(&saver->lock);
        free(saver);
}

void saver_start(struct saver *saver, const struct saver_work *work) {
        pthread_mutex_lock(&saver->lock);
        saver->work = *work;
        saver->started_ms = now_ms();
        saver->stage = STAGE_READING;
        pthread_cond_broadcast(&saver->changed);
        pthread_mutex_unlock(&saver->lock);
}

bool saver_is_busy(struct saver *saver) {
        pthread_mutex_lock(&saver->lock);
        bool busy = saver->stage == STAGE_READING || saver->stage == STAGE_SYNCING;
        pthread_mutex_unlock(&saver->lock);
        return busy;
}

uint64_t saver_wait_arrays(struct saver *saver) {
        uint64_t from_ms = now_ms();
        pthread_mutex_lock(&saver->lock);
        while (saver->stage == STAGE_READING)
                pthread_cond_wait(&saver->changed, &saver->lock);
        pthread_mutex_unlock(&saver->lock);
        return now_ms() - from_ms;
}

int saver_finish(struct saver *saver, uint64_t hurry_ms, uint64_t *ret_took_ms, struct error *err) {
        int r = 0;
        *ret_took_ms = 0;
        atomic_store(&saver->hurry_ms, hurry_ms);
        pthread_mutex_lock(&saver->lock);
        while (saver->stage == STAGE_READING || saver->stage == STAGE_SYNCING)
                pthread_cond_wait(&saver->changed, &saver->lock);
        if (saver->stage == STAGE_DONE) {
                r = saver->result;
                *ret_took_ms = saver->took_ms;
                if (r < 0)
                        error_set(err, r, "%s", saver->error.text);
                saver->stage = STAGE_IDLE;
        }
        pthread_mutex_unlock(&saver->lock);
        atomic_store(&saver->hurry_ms, UINT64_MAX);
        return r;
}
