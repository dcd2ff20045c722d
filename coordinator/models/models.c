#include "models/models.h"

#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/rfc3339.h"
#include "models/shelf.h"

#define KEPT_MAX 4096
#define UPLOADS_MAX 32
#define JOBS_MAX (KEPT_MAX + UPLOADS_MAX)
#define UPLOAD_IDLE_MS (15 * 60 * 1000) /* without a piece: given up when somebody needs its place */

/* A model on its way. */
struct upload {
        struct model model;
        char lease[MODEL_LEASE_SIZE], part[SHELF_PLACE_SIZE];
        uint64_t received[MODEL_FILES_MAX];
        struct digest *digest; /* of the file that is coming: `current`; the HTTP server's thread's own while is_busy */
        size_t current;
        bool is_used, is_begun, is_busy, is_storing;
        bool is_dropped; /* while it was busy or storing: who holds it clears it away */
        uint64_t touched_ms;
};

/* What the thread does. */
struct job {
        enum job_kind { JOB_STORE, JOB_REMOVE } kind;
        char place[SHELF_PLACE_SIZE]; /* of JOB_REMOVE */
        struct upload *upload; /* of JOB_STORE */
};

struct models {
        struct models_config config;
        char *folder;
        pthread_t thread;
        bool has_thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        /* guarded by lock */
        struct model *kept; /* KEPT_MAX */
        size_t n_kept;
        struct upload uploads[UPLOADS_MAX];
        struct job jobs[JOBS_MAX]; /* ring */
        size_t first_job, n_jobs;
        unsigned long n_parts; /* so many were begun */
        bool stopping;
};

static uint64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool model_accepts_name(const char *name) {
        size_t len = strlen(name);
        if (len == 0 || len > MODEL_NAME_BYTES || name[0] == '.')
                return false;
        for (const char *c = name; *c; c++)
                if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
                        return false;
        return true;
}

uint64_t model_bytes(const struct model *model) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < model->n_files; i++)
                bytes += model->files[i].bytes;
        return bytes;
}

json_t *model_encode(const struct model *model) {
        char time[RFC3339_SIZE];
        json_t *files = json_array();
        for (size_t i = 0; i < model->n_files; i++)
                json_array_append_new(files, json_pack("{s:s, s:I, s:s}", "name", model->files[i].name, "bytes", (json_int_t)model->files[i].bytes,
                                                       "sha256", model->files[i].sha256));
        rfc3339_format(model->created_ms, time);
        return json_pack("{s:s, s:s, s:I, s:i, s:f, s:I, s:s, s:o}", "trial", model->trial, "sweep", model->sweep, "number",
                         (json_int_t)model->number, "attempt", (int)model->attempt, "value", model->value, "bytes",
                         (json_int_t)model_bytes(model), "created", time, "files", files);
}

/* --- under the lock -------------------------------------------------------------------------------------- */

/* For the thread. False when too many wait; what is not removed then is found at the next start. */
static bool add_job(struct models *models, enum job_kind kind, const char *place, struct upload *upload) {
        if (models->n_jobs == JOBS_MAX)
                return false;
        struct job *job = &models->jobs[(models->first_job + models->n_jobs++) % JOBS_MAX];
        *job = (struct job){.kind = kind, .upload = upload};
        memcpy(job->place, place, strlen(place) + 1);
        pthread_cond_signal(&models->changed);
        return true;
}

static struct model *find_kept(struct models *models, const char *trial) {
        for (size_t i = 0; i < models->n_kept; i++)
                if (strcmp(models->kept[i].trial, trial) == 0)
                        return &models->kept[i];
        return NULL;
}

static struct upload *find_upload(struct models *models, const char *trial) {
        for (size_t i = 0; i < UPLOADS_MAX; i++)
                if (models->uploads[i].is_used && !models->uploads[i].is_dropped && strcmp(models->uploads[i].model.trial, trial) == 0)
                        return &models->uploads[i];
        return NULL;
}

static void take_out(struct models *models, struct model *model) {
        *model = models->kept[--models->n_kept];
}

static void evict(struct models *models, struct model *model, const char *why) {
        log_info("a kept model goes", log_s("trial", model->trial), log_s("sweep", model->sweep), log_s("why", why));
        add_job(models, JOB_REMOVE, model->trial, NULL);
        take_out(models, model);
}

static void clear(struct models *models, struct upload *upload) {
        digest_free(upload->digest);
        if (upload->is_begun)
                add_job(models, JOB_REMOVE, upload->part, NULL);
        *upload = (struct upload){0};
}

static void drop(struct models *models, struct upload *upload) {
        if (upload->is_busy || upload->is_storing)
                upload->is_dropped = true;
        else
                clear(models, upload);
}

static bool is_better(const struct model *a, const struct model *b) {
        return a->maximize ? a->value > b->value : a->value < b->value;
}

/* How many of the sweep's other models are at least as good. */
static unsigned count_as_good(const struct models *models, const struct model *model) {
        unsigned n = 0;
        for (size_t i = 0; i < models->n_kept; i++) {
                const struct model *other = &models->kept[i];
                n += strcmp(other->sweep, model->sweep) == 0 && strcmp(other->trial, model->trial) != 0 && !is_better(model, other);
        }
        return n;
}

static bool is_best(const struct models *models, const struct model *model) {
        for (size_t i = 0; i < models->n_kept; i++)
                if (strcmp(models->kept[i].sweep, model->sweep) == 0 && is_better(&models->kept[i], model))
                        return false;
        return true;
}

static uint64_t bytes_coming(const struct models *models) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < UPLOADS_MAX; i++)
                bytes += models->uploads[i].is_used ? model_bytes(&models->uploads[i].model) : 0;
        return bytes;
}

static uint64_t bytes_kept(const struct models *models) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < models->n_kept; i++)
                bytes += model_bytes(&models->kept[i]);
        return bytes;
}

/* The oldest that is not the best of its sweep, else the oldest. */
static struct model *find_victim(struct models *models) {
        struct model *victim = NULL;
        bool is_victim_best = true;
        for (size_t i = 0; i < models->n_kept; i++) {
                struct model *model = &models->kept[i];
                bool best = is_best(models, model);
                if (!victim || (is_victim_best && !best) || (is_victim_best == best && model->created_ms < victim->created_ms)) {
                        victim = model;
                        is_victim_best = best;
                }
        }
        return victim;
}

static void drop_idle(struct models *models) {
        uint64_t now = now_ms();
        for (size_t i = 0; i < UPLOADS_MAX; i++)
                if (models->uploads[i].is_used && !models->uploads[i].is_dropped && !models->uploads[i].is_storing &&
                    now - models->uploads[i].touched_ms > UPLOAD_IDLE_MS)
                        drop(models, &models->uploads[i]);
}

/* NULL, or why not. */
static const char *make_room(struct models *models, const struct model *model) {
        uint64_t bytes = model_bytes(model), free_bytes;
        if (bytes > models->config.max_bytes)
                return "it is larger than all that the server keeps (--models-max-mb)";
        bytes += bytes_coming(models);
        if (bytes > models->config.max_bytes)
                return "others are on their way, and take all the room";
        if (models->config.min_free_bytes > 0 && fs_free_bytes(models->folder, &free_bytes, NULL) == 0 &&
            free_bytes < models->config.min_free_bytes + model_bytes(model))
                return "the server's disk is nearly full";
        while (bytes_kept(models) + bytes > models->config.max_bytes || models->n_kept == KEPT_MAX)
                evict(models, find_victim(models), "room for a newer one");
        return NULL;
}

/* --- the thread -------------------------------------------------------------------------------------------- */

/* One more in the sweep: the worst of them goes where there are too many. */
static void keep(struct models *models, const struct model *model) {
        struct model *before = find_kept(models, model->trial);
        if (before)
                take_out(models, before); /* its folder was replaced */
        models->kept[models->n_kept++] = *model;
        for (;;) {
                struct model *worst = NULL;
                unsigned n = 0;
                for (size_t i = 0; i < models->n_kept; i++) {
                        struct model *other = &models->kept[i];
                        if (strcmp(other->sweep, model->sweep) != 0)
                                continue;
                        n++;
                        if (!worst || is_better(worst, other) || (!is_better(other, worst) && other->created_ms > worst->created_ms))
                                worst = other;
                }
                if (n <= models->config.per_sweep)
                        return;
                evict(models, worst, "better ones of its sweep");
        }
}

static void store(struct models *models, struct upload *upload) {
        struct error err;
        const struct model model = upload->model;
        pthread_mutex_unlock(&models->lock);
        int r = shelf_commit(models->folder, upload->part, &model, &err);
        pthread_mutex_lock(&models->lock);
        if (r < 0)
                log_error("a model cannot be kept", log_s("trial", model.trial), log_s("why", err.text));
        else if (upload->is_dropped || (models->n_kept == KEPT_MAX && !find_kept(models, model.trial)))
                add_job(models, JOB_REMOVE, model.trial, NULL);
        else {
                log_info("model kept", log_s("trial", model.trial), log_s("sweep", model.sweep), log_f("value", model.value),
                         log_i("bytes", (long long)model_bytes(&model)));
                keep(models, &model);
        }
        upload->is_begun = r < 0; /* else its folder is the model's now */
        clear(models, upload);
}

static void remove_place(struct models *models, const char *place) {
        if (find_kept(models, place))
                return; /* kept again meanwhile */
        pthread_mutex_unlock(&models->lock);
        shelf_remove(models->folder, place);
        pthread_mutex_lock(&models->lock);
}

static void *run(void *data) {
        struct models *models = data;
        pthread_mutex_lock(&models->lock);
        for (;;) {
                while (models->n_jobs == 0 && !models->stopping)
                        pthread_cond_wait(&models->changed, &models->lock);
                if (models->stopping) /* what waits is found at the next start, or offered again */
                        break;
                const struct job job = models->jobs[models->first_job];
                models->first_job = (models->first_job + 1) % JOBS_MAX;
                models->n_jobs--;
                if (job.kind == JOB_STORE)
                        store(models, job.upload);
                else
                        remove_place(models, job.place);
        }
        pthread_mutex_unlock(&models->lock);
        return NULL;
}

/* --- life -------------------------------------------------------------------------------------------------- */

static int take_model(void *data, const struct model *model) {
        struct models *models = data;
        if (models->n_kept < KEPT_MAX)
                keep(models, model); /* one that went before the end may still have its folder */
        return 0;
}

int models_open(const struct models_config *config, struct models **ret, struct error *err) {
        struct models *models = calloc(1, sizeof *models);
        if (!models)
                return error_set(err, -ENOMEM, "out of memory");
        models->config = *config;
        pthread_mutex_init(&models->lock, NULL);
        pthread_cond_init(&models->changed, NULL);
        models->folder = strdup(config->folder);
        models->kept = calloc(KEPT_MAX, sizeof *models->kept);
        int r = models->folder && models->kept ? fs_make_dirs(models->folder, 0700, err) : error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = shelf_scan(models->folder, take_model, models, err);
        while (r == 0 && bytes_kept(models) > models->config.max_bytes) /* it was lowered */
                evict(models, find_victim(models), "less room than before");
        if (r == 0) {
                r = pthread_create(&models->thread, NULL, run, models);
                models->has_thread = r == 0;
                if (r != 0)
                        r = error_set(err, -r, "cannot start the models' thread");
        }
        if (r < 0)
                models_close(models);
        else
                *ret = models;
        return r;
}

void models_close(struct models *models) {
        if (!models)
                return;
        pthread_mutex_lock(&models->lock);
        models->stopping = true;
        pthread_cond_signal(&models->changed);
        pthread_mutex_unlock(&models->lock);
        if (models->has_thread)
                pthread_join(models->thread, NULL);
        for (size_t i = 0; i < UPLOADS_MAX; i++)
                digest_free(models->uploads[i].digest);
        pthread_cond_destroy(&models->changed);
        pthread_mutex_destroy(&models->lock);
        free(models->kept);
        free(models->folder);
        free(models);
}

/* --- taking one in ----------------------------------------------------------------------------------------- */

static bool is_same(const struct model *a, const struct model *b) {
        if (a->attempt != b->attempt || a->n_files != b->n_files)
                return false;
        for (size_t i = 0; i < a->n_files; i++)
                if (strcmp(a->files[i].name, b->files[i].name) != 0 || a->files[i].bytes != b->files[i].bytes ||
                    strcmp(a->files[i].sha256, b->files[i].sha256) != 0)
                        return false;
        return true;
}

static struct upload *find_place(struct models *models) {
        for (size_t i = 0; i < UPLOADS_MAX; i++)
                if (!models->uploads[i].is_used)
                        return &models->uploads[i];
        return NULL;
}

/* Under the lock. All its bytes are here: on to the thread. */
static void finish_if_whole(struct models *models, struct upload *upload) {
        for (size_t i = 0; i < upload->model.n_files; i++)
                if (upload->received[i] < upload->model.files[i].bytes)
                        return;
        upload->is_storing = add_job(models, JOB_STORE, upload->part, upload);
        if (!upload->is_storing)
                drop(models, upload); /* the next offer begins anew */
}

static void begin(struct models *models, const struct model *model, const char *lease, struct model_progress *ret) {
        *ret = (struct model_progress){.state = MODEL_DECLINED, .why = "the sweep has better ones"};
        if (count_as_good(models, model) >= models->config.per_sweep)
                return;
        drop_idle(models);
        struct upload *upload = find_place(models);
        ret->why = upload ? make_room(models, model) : "too many others are on their way"; /* nothing goes for one that is declined */
        if (ret->why)
                return;
        *upload = (struct upload){.model = *model, .is_used = true, .touched_ms = now_ms()};
        memcpy(upload->lease, lease, strlen(lease) + 1);
        snprintf(upload->part, sizeof upload->part, ".part-%lu", models->n_parts++);
        *ret = (struct model_progress){.state = MODEL_WANTED};
}

int models_offer(struct models *models, const struct model *model, const char *lease, struct model_progress *ret) {
        if (strlen(lease) >= MODEL_LEASE_SIZE || model->n_files == 0 || model->n_files > MODEL_FILES_MAX)
                return -EINVAL;
        pthread_mutex_lock(&models->lock);
        const struct model *kept = find_kept(models, model->trial);
        struct upload *upload = find_upload(models, model->trial);
        if (upload && !is_same(&upload->model, model) && !upload->is_storing) {
                drop(models, upload);
                upload = NULL;
        }
        if (upload) {
                *ret = (struct model_progress){.state = upload->is_storing ? MODEL_STORING : MODEL_WANTED};
                memcpy(ret->received, upload->received, sizeof ret->received);
        } else if (kept && is_same(kept, model))
                *ret = (struct model_progress){.state = MODEL_KEPT};
        else
                begin(models, model, lease, ret);
        pthread_mutex_unlock(&models->lock);
        return 0;
}

/* Without the lock; the upload is busy. The files come in order, so that one digest at a time is enough. */
static int write_piece(struct models *models, struct upload *upload, size_t file, uint64_t offset, const void *data, size_t len, struct error *err) {
        if (!upload->is_begun && shelf_begin(models->folder, upload->part, err) < 0)
                return 503;
        upload->is_begun = true;
        if (offset == 0) {
                digest_free(upload->digest);
                upload->digest = digest_begin();
                upload->current = file;
        }
        _cleanup_free_ char *path = shelf_path(models->folder, upload->part, upload->model.files[file].name);
        if (!upload->digest || !path) {
                error_set(err, -ENOMEM, "out of memory");
                return 503;
        }
        _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        for (size_t at = 0; fd >= 0 && at < len;) {
                ssize_t n = pwrite(fd, (const char *)data + at, len - at, (off_t)(offset + at));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        error_set(err, -errno, "the server's disk: %s", strerror(errno));
                        return 503;
                }
                at += (size_t)n;
        }
        if (fd < 0) {
                error_set(err, -errno, "the server's disk: %s", strerror(errno));
                return 503;
        }
        sync_file_range(fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE); /* begins now, so that the end need not wait for all of it */
        digest_add(upload->digest, data, len);
        if (offset + len < upload->model.files[file].bytes)
                return 0;
        char sha256[DIGEST_HEX_SIZE];
        digest_end(TAKE(upload->digest), sha256);
        if (strcmp(sha256, upload->model.files[file].sha256) == 0)
                return 0;
        error_set(err, -EBADMSG, "the SHA-256 of %s differs: its bytes came changed", upload->model.files[file].name);
        return 422;
}

static size_t find_file(const struct model *model, const char *name) {
        size_t i = 0;
        while (i < model->n_files && strcmp(model->files[i].name, name) != 0)
                i++;
        return i;
}

/* Under the lock: may this piece come now? */
static int judge_piece(const struct upload *upload, const char *lease, const char *sweep_limit, const char *name, uint64_t offset, size_t len,
                       size_t *ret_file, uint64_t *ret_received, struct error *err) {
        size_t file = upload ? find_file(&upload->model, name) : 0;
        if (!upload || strcmp(upload->lease, lease) != 0) {
                error_set(err, -ENOENT, "no model of this trial is on its way with this lease: offer it again");
                return 404;
        }
        if (sweep_limit && strcmp(upload->model.sweep, sweep_limit) != 0) {
                error_set(err, -EACCES, "this token is good for sweep '%s' only", sweep_limit);
                return 403;
        }
        if (file == upload->model.n_files) {
                error_set(err, -ENOENT, "no such file was offered");
                return 404;
        }
        *ret_file = file;
        *ret_received = upload->received[file];
        bool comes_first = true; /* every file before it is whole */
        for (size_t i = 0; i < file; i++)
                comes_first = comes_first && upload->received[i] == upload->model.files[i].bytes;
        if (upload->is_storing || upload->is_busy || offset != upload->received[file] || !comes_first) {
                error_set(err, -ESPIPE, "pieces come in order, file by file: %llu bytes of this one are here", (unsigned long long)upload->received[file]);
                return 409;
        }
        if (len == 0 || len > upload->model.files[file].bytes - offset) {
                error_set(err, -EFBIG, len ? "that is more than was offered" : "the piece is empty");
                return 422;
        }
        return 0;
}

int models_put(struct models *models, const char *trial, const char *lease, const char *sweep_limit, const char *name, uint64_t offset,
               const void *data, size_t len, uint64_t *ret_received, struct error *err) {
        size_t file = 0;
        *ret_received = 0;
        pthread_mutex_lock(&models->lock);
        struct upload *upload = find_upload(models, trial);
        int status = judge_piece(upload, lease, sweep_limit, name, offset, len, &file, ret_received, err);
        if (status == 0) {
                upload->is_busy = true;
                pthread_mutex_unlock(&models->lock);
                status = write_piece(models, upload, file, offset, data, len, err);
                pthread_mutex_lock(&models->lock);
                upload->is_busy = false;
                upload->touched_ms = now_ms();
                if (status != 0 || upload->is_dropped) {
                        clear(models, upload);
                } else {
                        *ret_received = upload->received[file] = offset + len;
                        finish_if_whole(models, upload);
                }
        }
        pthread_mutex_unlock(&models->lock);
        return status;
}

/* --- giving one out ---------------------------------------------------------------------------------------- */

bool models_find(struct models *models, const char *trial, struct model *ret) {
        pthread_mutex_lock(&models->lock);
        const struct model *model = find_kept(models, trial);
        if (model)
                *ret = *model;
        pthread_mutex_unlock(&models->lock);
        return model != NULL;
}

static int compare(const void *a, const void *b) {
        const struct model *x = a, *y = b;
        return is_better(x, y) ? -1 : is_better(y, x) ? 1 : x->number < y->number ? -1 : x->number > y->number;
}

size_t models_list(struct models *models, const char *sweep, struct model *ret, size_t max) {
        size_t n = 0;
        pthread_mutex_lock(&models->lock);
        for (size_t i = 0; i < models->n_kept && n < max; i++)
                if (!sweep || strcmp(models->kept[i].sweep, sweep) == 0)
                        ret[n++] = models->kept[i];
        pthread_mutex_unlock(&models->lock);
        qsort(ret, n, sizeof *ret, compare);
        return n;
}

int models_open_file(struct models *models, const char *trial, const char *sweep_limit, const char *name, uint64_t *ret_bytes) {
        struct model model;
        if (!models_find(models, trial, &model))
                return -ENOENT;
        if (sweep_limit && strcmp(model.sweep, sweep_limit) != 0)
                return -EACCES;
        size_t file = find_file(&model, name);
        _cleanup_free_ char *path = file < model.n_files ? shelf_path(models->folder, trial, name) : NULL;
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
        *ret_bytes = file < model.n_files ? model.files[file].bytes : 0;
        struct stat st;
        if (fd >= 0 && (fstat(fd, &st) < 0 || (uint64_t)st.st_size != *ret_bytes)) { /* what is told must come: nobody waits for the rest */
                log_error("a file of a kept model has another size than it had", log_s("path", path));
                close(fd);
                fd = -1;
        }
        return fd < 0 ? -ENOENT : fd;
}

/* --- letting go -------------------------------------------------------------------------------------------- */

void models_forget_trial(struct models *models, const char *trial) {
        pthread_mutex_lock(&models->lock);
        struct model *model = find_kept(models, trial);
        struct upload *upload = find_upload(models, trial);
        if (model)
                evict(models, model, "its trial is gone, or evaluated again");
        if (upload)
                drop(models, upload);
        pthread_mutex_unlock(&models->lock);
}

void models_forget_sweep(struct models *models, const char *sweep) {
        pthread_mutex_lock(&models->lock);
        for (size_t i = models->n_kept; i > 0; i--)
                if (strcmp(models->kept[i - 1].sweep, sweep) == 0)
                        evict(models, &models->kept[i - 1], "its sweep was deleted");
        for (size_t i = 0; i < UPLOADS_MAX; i++)
                if (models->uploads[i].is_used && !models->uploads[i].is_dropped && strcmp(models->uploads[i].model.sweep, sweep) == 0)
                        drop(models, &models->uploads[i]);
        pthread_mutex_unlock(&models->lock);
}

void models_count(struct models *models, size_t *ret_n, uint64_t *ret_bytes) {
        pthread_mutex_lock(&models->lock);
        *ret_n = models->n_kept;
        *ret_bytes = bytes_kept(models);
        pthread_mutex_unlock(&models->lock);
}
