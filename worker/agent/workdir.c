#include "agent/workdir.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"
#include "proto/limits.h"

#define LEFTOVERS_KEPT 4
#define SHARED_KEPT_S (14 * 24 * 3600) /* a trial whose workers are away may come back */
#define ENTRIES_MAX 4096 /* looked at in one folder */

CLEANUP_DEFINE(DIR *, cleanup_dir, closedir)
#define _cleanup_dir_ _cleanup_(cleanup_dir)

struct workdir {
        char *path, *shared, *trials, *outbox, *models;
        char mark[33]; /* this process among those that share checkpoints */
        int lock;
        unsigned keep_models;
        uint64_t models_max_bytes, min_free_bytes;
};

static int make_folder(const char *path, const char *name, char **ret, struct error *err) {
        *ret = fs_join(path, name);
        return *ret ? fs_make_dirs(*ret, 0700, err) : error_set(err, -ENOMEM, "out of memory");
}

/* Of a worker that was killed while it started a trainer the child holds the lock until it has become that trainer, which a busy
 * machine may put off. */
#define LOCK_TRIES 60

static int take_lock(const char *path, int *ret, struct error *err) {
        _cleanup_free_ char *name = fs_join(path, "lock");
        if (!name)
                return error_set(err, -ENOMEM, "out of memory");
        int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_set(err, -errno, "cannot open %s: %s", name, strerror(errno));
        int r = flock(fd, LOCK_EX | LOCK_NB);
        for (int i = 1; r < 0 && (errno == EWOULDBLOCK || errno == EINTR) && i < LOCK_TRIES; i++) {
                nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
                r = flock(fd, LOCK_EX | LOCK_NB);
        }
        if (r < 0) {
                r = errno == EWOULDBLOCK ? error_set(err, -EBUSY, "the work folder %s is used by another worker", path)
                                         : error_set(err, -errno, "cannot lock %s: %s", name, strerror(errno));
                close(fd);
                return r;
        }
        *ret = fd;
        return 0;
}

/* A folder of its own in there: the one that was given may hold anything. */
static int open_shared(const char *path, char **ret, struct error *err) {
        _cleanup_free_ char *folder = fs_join(path, "trials");
        int r = folder ? fs_make_dirs(folder, 0700, err) : error_set(err, -ENOMEM, "out of memory");
        if (r < 0)
                return r;
        *ret = realpath(folder, NULL);
        return *ret ? 0 : error_set(err, -errno, "cannot find %s: %s", folder, strerror(errno));
}

static void bound_models(const struct workdir *workdir, const char *newest);

int workdir_open(const struct workdir_options *options, struct workdir **ret, struct error *err) {
        struct workdir *workdir = calloc(1, sizeof *workdir);
        if (!workdir)
                return error_set(err, -ENOMEM, "out of memory");
        *workdir = (struct workdir){.lock = -1, .keep_models = options->keep_models, .models_max_bytes = options->models_max_bytes,
                                    .min_free_bytes = options->min_free_bytes};
        unsigned char drawn[16];
        if (getrandom(drawn, sizeof drawn, 0) != sizeof drawn) {
                workdir_close(workdir);
                return error_set(err, -EIO, "no random numbers: %s", strerror(errno));
        }
        for (size_t i = 0; i < sizeof drawn; i++)
                snprintf(workdir->mark + 2 * i, 3, "%02x", drawn[i]);
        _cleanup_free_ char *absolute = NULL;
        int r = fs_make_dirs(options->path, 0700, err);
        if (r == 0 && !(absolute = realpath(options->path, NULL)))
                r = error_set(err, -errno, "cannot find %s: %s", options->path, strerror(errno));
        if (r == 0)
                r = take_lock(absolute, &workdir->lock, err);
        if (r == 0)
                workdir->path = TAKE(absolute);
        if (r == 0 && options->shared)
                r = open_shared(options->shared, &workdir->shared, err);
        if (r == 0)
                r = make_folder(workdir->path, "trials", &workdir->trials, err);
        if (r == 0)
                r = make_folder(workdir->path, "outbox", &workdir->outbox, err);
        if (r == 0)
                r = make_folder(workdir->path, "models", &workdir->models, err);
        if (r < 0) {
                workdir_close(workdir);
                return r;
        }
        bound_models(workdir, NULL);
        *ret = workdir;
        return 0;
}

void workdir_close(struct workdir *workdir) {
        if (!workdir)
                return;
        free(workdir->path);
        free(workdir->shared);
        free(workdir->trials);
        free(workdir->outbox);
        free(workdir->models);
        cleanup_fd(&workdir->lock);
        free(workdir);
}

const char *workdir_path(const struct workdir *workdir) {
        return workdir->path;
}

const char *workdir_outbox(const struct workdir *workdir) {
        return workdir->outbox;
}

const char *workdir_models(const struct workdir *workdir) {
        return workdir->models;
}

bool workdir_accepts_id(const char *id) {
        size_t len = id ? strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~") : 0;
        return len > 0 && len <= LIMIT_ID_CHARS && id[len] == 0 && id[0] != '.';
}

char *workdir_trial(const struct workdir *workdir, const char *trial, const char *part) {
        char *path = NULL;
        bool lies_shared = workdir->shared && part && strncmp(part, "output", 6) != 0;
        return asprintf(&path, "%s/%s%s%s", lies_shared ? workdir->shared : workdir->trials, trial, part ? "/" : "", part ? part : "") < 0 ? NULL : path;
}

static void remove_tree(const char *path) {
        struct error err;
        if (path && fs_remove_tree(path, &err) < 0)
                log_warning("cannot delete", log_s("path", path), log_s("why", err.text));
}

static void drop_part(const struct workdir *workdir, const char *trial, const char *part) {
        _cleanup_free_ char *path = workdir_trial(workdir, trial, part);
        remove_tree(path);
}

/* Where checkpoints are shared, the trial's folder belongs to the process that started on it last: one whose lease is gone must
 * not clear away what another goes on with. */
static int own(struct workdir *workdir, const char *trial, struct error *err) {
        _cleanup_free_ char *path = workdir->shared ? workdir_trial(workdir, trial, "owner") : NULL;
        return path ? fs_write_atomic(path, workdir->mark, strlen(workdir->mark), 0600, err) : 0;
}

static bool is_own(const struct workdir *workdir, const char *trial) {
        _cleanup_free_ char *path = workdir_trial(workdir, trial, "owner");
        _cleanup_buf_ struct buf text = BUF_INIT(sizeof workdir->mark);
        struct error ignored;
        return path && fs_read(path, &text, &ignored) == 0 && text.data && strcmp(text.data, workdir->mark) == 0;
}

int workdir_prepare(struct workdir *workdir, const char *trial, struct error *err) {
        _cleanup_free_ char *checkpoint = workdir_trial(workdir, trial, "checkpoint"), *output = workdir_trial(workdir, trial, "output");
        if (!checkpoint || !output)
                return error_set(err, -ENOMEM, "out of memory");
        remove_tree(output);
        int r = fs_make_dirs(checkpoint, 0700, err);
        if (r == 0)
                r = own(workdir, trial, err);
        return r == 0 ? fs_make_dirs(output, 0700, err) : r;
}

static bool folder_has_entries(const char *path) {
        _cleanup_dir_ DIR *dir = opendir(path);
        for (struct dirent *entry; dir && (entry = readdir(dir));)
                if (entry->d_name[0] != '.')
                        return true;
        return false;
}

bool workdir_has_checkpoint(const struct workdir *workdir, const char *trial) {
        _cleanup_free_ char *path = workdir_trial(workdir, trial, "checkpoint");
        return path && folder_has_entries(path);
}

void workdir_drop_checkpoint(struct workdir *workdir, const char *trial) {
        drop_part(workdir, trial, "checkpoint");
}

void workdir_drop_trial(struct workdir *workdir, const char *trial) {
        drop_part(workdir, trial, NULL);
        if (workdir->shared && is_own(workdir, trial))
                drop_part(workdir, trial, ""); /* the folder in the shared one */
}

bool workdir_is_shared(const struct workdir *workdir) {
        return workdir->shared != NULL;
}

/* --- kept models ------------------------------------------------------------------------------------ */

static bool read_value(const char *folder, double *ret) {
        _cleanup_free_ char *path = fs_join(folder, "trial.json");
        _cleanup_buf_ struct buf text = BUF_INIT(1 << 20);
        _cleanup_json_ json_t *description = NULL;
        if (!path || fs_read(path, &text, NULL) < 0 || json_read(text.data, text.len, &description, NULL) < 0)
                return false;
        json_t *value = json_object_get(description, "value");
        *ret = json_number_value(value);
        return json_is_number(value);
}

/* How many kept models of the sweep there are, and the worst of them (first by name among equals). */
static size_t find_worst(const char *folder, bool maximize, char **ret_path) {
        _cleanup_dir_ DIR *dir = opendir(folder);
        double worst = 0;
        size_t n = 0;
        for (struct dirent *entry; dir && n < ENTRIES_MAX && (entry = readdir(dir));) {
                _cleanup_free_ char *path = entry->d_name[0] != '.' ? fs_join(folder, entry->d_name) : NULL;
                double value;
                if (!path)
                        continue;
                if (!read_value(path, &value))
                        value = maximize ? -INFINITY : INFINITY; /* half written: the first to go */
                bool worse = !*ret_path || (value == worst ? strcmp(path, *ret_path) < 0 : maximize ? value < worst : value > worst);
                if (worse) {
                        free(*ret_path);
                        *ret_path = TAKE(path);
                        worst = value;
                }
                n++;
        }
        return n;
}

struct kept_model {
        char *path;
        uint64_t bytes;
        struct timespec ended; /* when its trial did */
        bool is_unsent, is_newest;
};

struct kept_models {
        struct kept_model *items;
        size_t n, cap;
        uint64_t bytes; /* of all */
};

static void kept_models_fini(struct kept_models *models) {
        for (size_t i = 0; i < models->n; i++)
                free(models->items[i].path);
        free(models->items);
}

static void look_into(struct kept_model *model) {
        _cleanup_dir_ DIR *dir = opendir(model->path);
        for (struct dirent *entry; dir && (entry = readdir(dir));) {
                struct stat st;
                if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                        continue;
                model->bytes += (uint64_t)st.st_size;
                if (strcmp(entry->d_name, "trial.json") == 0)
                        model->ended = st.st_mtim;
                model->is_unsent |= strcmp(entry->d_name, WORKDIR_UNSENT) == 0;
        }
}

/* Takes the path. */
static bool add_model(struct kept_models *models, char *path, const char *newest) {
        struct kept_model model = {.path = path, .is_newest = newest && strcmp(path, newest) == 0};
        if (models->n == models->cap) {
                size_t cap = models->cap ? 2 * models->cap : 64;
                struct kept_model *items = realloc(models->items, cap * sizeof *items);
                if (!items) {
                        free(path);
                        return false;
                }
                models->items = items;
                models->cap = cap;
        }
        look_into(&model);
        models->bytes += model.bytes;
        models->items[models->n++] = model;
        return true;
}

static void find_models(const struct workdir *workdir, const char *newest, struct kept_models *models) {
        _cleanup_dir_ DIR *sweeps = opendir(workdir->models);
        for (struct dirent *sweep; sweeps && (sweep = readdir(sweeps));) {
                _cleanup_free_ char *below = sweep->d_name[0] != '.' ? fs_join(workdir->models, sweep->d_name) : NULL;
                _cleanup_dir_ DIR *trials = below ? opendir(below) : NULL;
                for (struct dirent *trial; trials && (trial = readdir(trials));) {
                        char *path = trial->d_name[0] != '.' ? fs_join(below, trial->d_name) : NULL;
                        if (path && !add_model(models, path, newest))
                                return;
                }
        }
}

/* In which order they go. */
static int compare_models(const void *a, const void *b) {
        const struct kept_model *x = a, *y = b;
        if (x->is_newest != y->is_newest)
                return x->is_newest - y->is_newest;
        if (x->is_unsent != y->is_unsent)
                return x->is_unsent - y->is_unsent;
        if (x->ended.tv_sec != y->ended.tv_sec)
                return x->ended.tv_sec < y->ended.tv_sec ? -1 : 1;
        return (x->ended.tv_nsec > y->ended.tv_nsec) - (x->ended.tv_nsec < y->ended.tv_nsec);
}

static void remove_model(const char *path) {
        log_info("deleting a kept model: there is no more room for it", log_s("path", path));
        remove_tree(path);
        _cleanup_free_ char *sweep = strndup(path, (size_t)(strrchr(path, '/') - path));
        if (sweep)
                rmdir(sweep); /* if that was its last one */
}

/* One that cannot be deleted is taken for gone: the others need not go in its place. */
static void bound_models(const struct workdir *workdir, const char *newest) {
        _cleanup_(kept_models_fini) struct kept_models models = {0};
        find_models(workdir, newest, &models);
        if (models.n == 0)
                return;
        qsort(models.items, models.n, sizeof *models.items, compare_models);
        uint64_t bytes = models.bytes, room = workdir->models_max_bytes;
        for (size_t i = 0; i < models.n && (models.n - i > WORKDIR_MODELS_MAX || (room > 0 && bytes > room)); i++) {
                bytes -= models.items[i].bytes;
                remove_model(models.items[i].path);
        }
}

static int move_output(const char *output, const char *target, const json_t *description, struct error *err) {
        _cleanup_free_ char *note = fs_join(output, "trial.json"), *text = json_text(description);
        if (!note || !text)
                return error_set(err, -ENOMEM, "out of memory");
        int r = fs_write_atomic(note, text, strlen(text), 0600, err);
        if (r < 0)
                return r;
        remove_tree(target);
        return rename(output, target) < 0 ? error_set(err, -errno, "cannot move %s: %s", output, strerror(errno)) : 0;
}

void workdir_keep_output(struct workdir *workdir, const char *sweep, const char *trial, const json_t *description, bool maximize) {
        _cleanup_free_ char *output = workdir_trial(workdir, trial, "output"), *folder = fs_join(workdir->models, sweep);
        _cleanup_free_ char *target = folder ? fs_join(folder, trial) : NULL;
        struct error err = {.text = "out of memory"};
        if (workdir->keep_models == 0 || !output || !folder_has_entries(output))
                return;
        if (!target || fs_make_dirs(folder, 0700, &err) < 0 || move_output(output, target, description, &err) < 0) {
                log_warning("a model cannot be kept", log_s("trial", trial), log_s("why", err.text));
                return;
        }
        for (int i = 0; i < ENTRIES_MAX; i++) {
                _cleanup_free_ char *worst = NULL;
                if (find_worst(folder, maximize, &worst) <= workdir->keep_models)
                        break;
                remove_tree(worst);
        }
        bound_models(workdir, target);
}

/* --- leftovers -------------------------------------------------------------------------------------- */

/* The oldest folder of a trial that is not in use; how many there are. */
static size_t find_oldest(struct workdir *workdir, bool (*in_use)(void *data, const char *trial), void *data, char **ret_path) {
        _cleanup_dir_ DIR *dir = opendir(workdir->trials);
        struct timespec oldest = {0};
        size_t n = 0;
        for (struct dirent *entry; dir && n < ENTRIES_MAX && (entry = readdir(dir));) {
                _cleanup_free_ char *path = entry->d_name[0] != '.' && !in_use(data, entry->d_name) ? fs_join(workdir->trials, entry->d_name) : NULL;
                struct stat st;
                if (!path || lstat(path, &st) < 0)
                        continue;
                bool older = !*ret_path || st.st_mtim.tv_sec < oldest.tv_sec || (st.st_mtim.tv_sec == oldest.tv_sec && st.st_mtim.tv_nsec < oldest.tv_nsec);
                if (older) {
                        free(*ret_path);
                        *ret_path = TAKE(path);
                        oldest = st.st_mtim;
                }
                n++;
        }
        return n;
}

/* When a checkpoint last came or went; 0: not known, or not a trial's folder. */
static time_t last_change(const char *path) {
        _cleanup_free_ char *checkpoint = fs_join(path, "checkpoint");
        struct stat st;
        return checkpoint && lstat(checkpoint, &st) == 0 && S_ISDIR(st.st_mode) ? st.st_mtim.tv_sec : 0;
}

static void prune_shared(struct workdir *workdir, bool (*in_use)(void *data, const char *trial), void *data) {
        _cleanup_dir_ DIR *dir = workdir->shared ? opendir(workdir->shared) : NULL;
        int n = 0;
        for (struct dirent *entry; dir && n < ENTRIES_MAX && (entry = readdir(dir)); n++) {
                _cleanup_free_ char *path = workdir_accepts_id(entry->d_name) && !in_use(data, entry->d_name) ? fs_join(workdir->shared, entry->d_name) : NULL;
                time_t changed = path ? last_change(path) : 0;
                if (changed == 0 || time(NULL) - changed < SHARED_KEPT_S)
                        continue;
                log_info("deleting a checkpoint that nobody came back for", log_s("path", path));
                remove_tree(path);
        }
}

void workdir_prune(struct workdir *workdir, bool (*in_use)(void *data, const char *trial), void *data) {
        prune_shared(workdir, in_use, data);
        for (int i = 0; i < ENTRIES_MAX; i++) {
                _cleanup_free_ char *oldest = NULL;
                size_t n = find_oldest(workdir, in_use, data, &oldest);
                if (n == 0 || (n <= LEFTOVERS_KEPT && !workdir_is_short(workdir)))
                        return;
                log_info("deleting what an interrupted trial left", log_s("path", oldest));
                remove_tree(oldest);
        }
}

bool workdir_is_short(struct workdir *workdir) {
        uint64_t free_bytes;
        return fs_free_bytes(workdir->trials, &free_bytes, NULL) == 0 && free_bytes < workdir->min_free_bytes;
}
