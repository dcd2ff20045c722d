#include "agent/upload.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/backoff.h"
#include "agent/workdir.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"
#include "proto/limits.h"

#define MARK WORKDIR_UNSENT
#define MARK_BYTES_MAX 4096
#define PIECE_BYTES ((size_t)1 << 20)
#define PIECE_BYTES_MIN ((size_t)1024)
#define TIMEOUT_S 60.0
#define STORING_MS 300      /* between two looks at whether it is kept */
#define RESTARTS_MAX 20     /* pieces refused, in one model */
#define STUCK_FAILURES 4

CLEANUP_DEFINE(DIR *, cleanup_dir, closedir)
#define _cleanup_dir_ _cleanup_(cleanup_dir)

struct item {
        struct item *next;
        char *folder, *trial, *lease; /* folder: the model's */
};

/* In libuv's pool; outlives the uploads when they are freed meanwhile. */
struct hashing {
        uv_work_t work;
        struct uploads *uploads; /* NULL: nobody waits for it */
        char *folder;
        json_t *files; /* [{"name","bytes","sha256"}], NULL = it cannot be sent */
        struct error err;
};

struct uploads {
        struct net *net;
        const struct world *world;
        uv_loop_t *loop;
        const struct delivery *delivery;
        char *folder;
        struct item *items; /* oldest first; the first is the one at work */
        size_t n;
        enum { AT_REST, HASHING, READY } state;
        struct hashing *hashing;
        json_t *files;
        struct net_request *request;
        struct backoff backoff;
        size_t file; /* of the piece that is on its way */
        uint64_t offset;
        size_t piece_bytes;
        unsigned n_restarts;
};

/* --- the list ------------------------------------------------------------------------------------------- */

static void item_free(struct item *item) {
        free(item->folder);
        free(item->trial);
        free(item->lease);
        free(item);
}

static void append(struct uploads *uploads, const char *folder, const char *trial, const char *lease) {
        struct item *item = uploads->n < UPLOADS_MAX ? calloc(1, sizeof *item) : NULL, **link = &uploads->items;
        if (!item)
                return; /* its mark is found at the next start */
        item->folder = strdup(folder);
        item->trial = strdup(trial);
        item->lease = strdup(lease);
        if (!item->folder || !item->trial || !item->lease) {
                item_free(item);
                return;
        }
        while (*link)
                link = &(*link)->next;
        *link = item;
        uploads->n++;
}

/* The first is done, one way or the other. */
static void finish(struct uploads *uploads) {
        struct item *item = uploads->items;
        _cleanup_free_ char *mark = fs_join(item->folder, MARK);
        if (mark)
                unlink(mark);
        uploads->items = item->next;
        uploads->n--;
        item_free(item);
        json_decref(TAKE(uploads->files));
        uploads->state = AT_REST;
        uploads->n_restarts = 0;
        backoff_reset(&uploads->backoff);
}

static void give_up(struct uploads *uploads, const char *why) {
        log_warning("a model stays here alone", log_s("trial", uploads->items->trial), log_s("why", why));
        finish(uploads);
}

static void load_mark(struct uploads *uploads, const char *folder, const char *trial) {
        _cleanup_free_ char *path = fs_join(folder, MARK);
        _cleanup_buf_ struct buf text = BUF_INIT(MARK_BYTES_MAX);
        _cleanup_json_ json_t *mark = NULL;
        if (!path || access(path, F_OK) < 0)
                return;
        if (fs_read(path, &text, NULL) == 0 && json_read(text.data, text.len, &mark, NULL) == 0 && json_is_string(json_object_get(mark, "lease")))
                append(uploads, folder, trial, json_string_value(json_object_get(mark, "lease")));
        else
                unlink(path);
}

static void load_marks(struct uploads *uploads) {
        _cleanup_dir_ DIR *sweeps = opendir(uploads->folder);
        for (struct dirent *sweep; sweeps && (sweep = readdir(sweeps));) {
                _cleanup_free_ char *below = sweep->d_name[0] != '.' ? fs_join(uploads->folder, sweep->d_name) : NULL;
                _cleanup_dir_ DIR *trials = below ? opendir(below) : NULL;
                for (struct dirent *trial; trials && (trial = readdir(trials));) {
                        _cleanup_free_ char *folder = trial->d_name[0] != '.' ? fs_join(below, trial->d_name) : NULL;
                        if (folder)
                                load_mark(uploads, folder, trial->d_name);
                }
        }
}

/* --- hashing: not on the loop's thread -------------------------------------------------------------------- */

static int hash_one(const char *folder, const char *name, json_t *files, struct error *err) {
        struct stat st;
        char sha256[DIGEST_HEX_SIZE];
        _cleanup_free_ char *path = fs_join(folder, name);
        if (!path || lstat(path, &st) < 0)
                return error_set(err, -errno, "cannot read %s", name);
        if (S_ISREG(st.st_mode) && st.st_size == 0)
                return 0;
        bool plain = name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == 0;
        if (!S_ISREG(st.st_mode) || !plain || strlen(name) > LIMIT_MODEL_NAME_BYTES || json_array_size(files) == LIMIT_MODEL_FILES)
                return error_set(err, -EINVAL, "only folders of at most %d plainly named files are sent, and this one holds %s", LIMIT_MODEL_FILES, name);
        int r = digest_file(path, sha256, err);
        if (r < 0)
                return r;
        json_t *file = json_pack("{s:s, s:I, s:s}", "name", name, "bytes", (json_int_t)st.st_size, "sha256", sha256);
        return json_array_append_new(files, file) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
}

static void hash(uv_work_t *work) {
        struct hashing *hashing = work->data;
        _cleanup_dir_ DIR *dir = opendir(hashing->folder);
        json_t *files = json_array();
        int r = dir && files ? 0 : error_set(&hashing->err, -ENOENT, "it is gone");
        for (struct dirent *entry; r == 0 && (entry = readdir(dir));)
                if (entry->d_name[0] != '.')
                        r = hash_one(hashing->folder, entry->d_name, files, &hashing->err);
        if (r == 0 && json_array_size(files) == 0)
                r = error_set(&hashing->err, -ENOENT, "it is empty");
        if (r < 0)
                json_decref(files);
        else
                hashing->files = files;
}

static void hashing_free(struct hashing *hashing) {
        json_decref(hashing->files);
        free(hashing->folder);
        free(hashing);
}

static void on_hashed(uv_work_t *work, int status) {
        (void)status;
        struct hashing *hashing = work->data;
        struct uploads *uploads = hashing->uploads;
        if (uploads) {
                uploads->hashing = NULL;
                uploads->state = READY;
                uploads->files = TAKE(hashing->files);
                if (!uploads->files)
                        give_up(uploads, hashing->err.text);
        }
        hashing_free(hashing);
        if (uploads)
                uploads_pump(uploads);
}

static void start_hashing(struct uploads *uploads) {
        struct hashing *hashing = calloc(1, sizeof *hashing);
        if (!hashing)
                return;
        hashing->work.data = hashing;
        hashing->uploads = uploads;
        hashing->folder = strdup(uploads->items->folder);
        if (!hashing->folder || uv_queue_work(uploads->loop, &hashing->work, hash, on_hashed) < 0) {
                hashing_free(hashing);
                return;
        }
        uploads->hashing = hashing;
        uploads->state = HASHING;
}

/* --- offers and pieces ------------------------------------------------------------------------------------ */

static void send_piece(struct uploads *uploads);

static void restart(struct uploads *uploads, const char *why) {
        if (++uploads->n_restarts > RESTARTS_MAX)
                give_up(uploads, why);
        else
                uploads->backoff.due_ms = world_mono_ms(uploads->world) + STORING_MS;
}

static void retry_later(struct uploads *uploads, const struct net_answer *answer) {
        double wait_s = backoff_fail(&uploads->backoff, world_mono_ms(uploads->world), answer ? answer->retry_after_s : 0);
        log_warning("a model cannot be sent yet", log_s("trial", uploads->items->trial), log_i("status", answer ? answer->status : 0),
                    log_s("why", answer ? net_why(answer) : ""), log_f("again_in_s", wait_s));
}

/* What is offered or sent can never be taken. All else may pass, a token that is not good any more too, and is tried again. */
static bool is_refused(int status) {
        return status == 400 || status == 409 || status == 413 || status == 415 || status == 422;
}

/* The next piece in order; the offer again when all are sent. */
static void advance(struct uploads *uploads, size_t file, uint64_t received) {
        uploads->file = file;
        uploads->offset = received;
        if ((json_int_t)received >= json_integer_value(json_object_get(json_array_get(uploads->files, file), "bytes"))) {
                uploads->file++;
                uploads->offset = 0;
        }
        if (uploads->file < json_array_size(uploads->files))
                send_piece(uploads);
        else
                uploads->backoff.due_ms = world_mono_ms(uploads->world);
}

static void halve(struct uploads *uploads) {
        uploads->piece_bytes = uploads->piece_bytes / 2 > PIECE_BYTES_MIN ? uploads->piece_bytes / 2 : PIECE_BYTES_MIN;
}

static void on_piece(void *data, const struct net_answer *answer) {
        struct uploads *uploads = data;
        uploads->request = NULL;
        json_t *received = json_object_get(answer->body, "received");
        if (answer->status == 200 && json_is_integer(received)) {
                backoff_reset(&uploads->backoff);
                uploads->piece_bytes = uploads->piece_bytes * 2 < PIECE_BYTES ? uploads->piece_bytes * 2 : PIECE_BYTES;
                advance(uploads, uploads->file, (uint64_t)json_integer_value(received));
        } else if (answer->status == 413 && uploads->piece_bytes > PIECE_BYTES_MIN) {
                halve(uploads);
                restart(uploads, net_why(answer));
        } else if (answer->status == 404 || answer->status == 409 || answer->status == 422) {
                restart(uploads, net_why(answer)); /* the next offer says what is there */
        } else if (is_refused(answer->status)) {
                give_up(uploads, net_why(answer));
        } else {
                if (answer->status == 0)
                        halve(uploads); /* a line that never lasts for a whole one */
                retry_later(uploads, answer);
        }
}

static void send_piece(struct uploads *uploads) {
        const struct item *item = uploads->items;
        const char *name = json_string_value(json_object_get(json_array_get(uploads->files, uploads->file), "name"));
        _cleanup_free_ char *path = fs_join(item->folder, name), *bytes = malloc(uploads->piece_bytes), *target = NULL;
        _cleanup_fd_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
        ssize_t n = fd >= 0 && bytes ? pread(fd, bytes, uploads->piece_bytes, (off_t)uploads->offset) : -1;
        if (n <= 0) {
                give_up(uploads, "it is no longer there");
                return;
        }
        if (asprintf(&target, "/v1/trials/%s/model/file?name=%s&offset=%llu", item->trial, name, (unsigned long long)uploads->offset) < 0)
                target = NULL;
        if (!target || net_send_bytes(uploads->net, "PUT", target, TAKE(bytes), (size_t)n, item->lease, TIMEOUT_S, on_piece, uploads, &uploads->request) < 0)
                retry_later(uploads, NULL);
}

/* Where the pieces go on. */
static void obey(struct uploads *uploads, const json_t *known) {
        for (size_t i = 0; i < json_array_size(uploads->files); i++) {
                json_int_t received = json_integer_value(json_object_get(json_array_get(known, i), "received"));
                json_int_t bytes = json_integer_value(json_object_get(json_array_get(uploads->files, i), "bytes"));
                if (received >= 0 && received < bytes) {
                        uploads->file = i;
                        uploads->offset = (uint64_t)received;
                        send_piece(uploads);
                        return;
                }
        }
        uploads->backoff.due_ms = world_mono_ms(uploads->world) + STORING_MS;
}

static void on_offered(void *data, const struct net_answer *answer) {
        struct uploads *uploads = data;
        uploads->request = NULL;
        const char *state = json_string_value(json_object_get(answer->body, "state"));
        if (answer->status == 200 && state) {
                backoff_reset(&uploads->backoff);
                if (strcmp(state, "wanted") == 0) {
                        obey(uploads, json_object_get(answer->body, "files"));
                } else if (strcmp(state, "storing") == 0) {
                        uploads->backoff.due_ms = world_mono_ms(uploads->world) + STORING_MS;
                } else {
                        log_info(strcmp(state, "kept") == 0 ? "the coordinator keeps the model" : "the coordinator does not want the model",
                                 log_s("trial", uploads->items->trial), log_s("why", net_why(answer)));
                        finish(uploads);
                }
        } else if (answer->status == 404) { /* it keeps none, or the trial is deleted */
                log_debug("the coordinator keeps no model of it", log_s("trial", uploads->items->trial), log_s("why", net_why(answer)));
                finish(uploads);
        } else if (is_refused(answer->status)) {
                give_up(uploads, net_why(answer));
        } else
                retry_later(uploads, answer);
}

static void send_offer(struct uploads *uploads) {
        char path[128];
        _cleanup_json_ json_t *body = json_pack("{s:s, s:O}", "lease", uploads->items->lease, "files", uploads->files);
        snprintf(path, sizeof path, "/v1/trials/%s/model", uploads->items->trial);
        if (!body || net_send(uploads->net, "POST", path, body, TIMEOUT_S, on_offered, uploads, &uploads->request) < 0)
                retry_later(uploads, NULL);
}

/* --- public --------------------------------------------------------------------------------------------- */

int uploads_new(struct net *net, const struct world *world, uv_loop_t *loop, const char *folder, const struct delivery *delivery,
                struct uploads **ret) {
        struct uploads *uploads = calloc(1, sizeof *uploads);
        if (!uploads)
                return -ENOMEM;
        *uploads = (struct uploads){.net = net, .world = world, .loop = loop, .delivery = delivery, .piece_bytes = PIECE_BYTES};
        uploads->folder = strdup(folder);
        if (!uploads->folder) {
                free(uploads);
                return -ENOMEM;
        }
        uint64_t seed;
        world->random_bytes(world->data, &seed, sizeof seed);
        backoff_init(&uploads->backoff, seed, 0.25, 10);
        load_marks(uploads);
        *ret = uploads;
        return 0;
}

void uploads_free(struct uploads *uploads) {
        if (!uploads)
                return;
        net_cancel(uploads->request);
        if (uploads->hashing)
                uploads->hashing->uploads = NULL;
        for (struct item *next, *item = uploads->items; item; item = next) {
                next = item->next;
                item_free(item);
        }
        json_decref(uploads->files);
        free(uploads->folder);
        free(uploads);
}

void uploads_add(struct uploads *uploads, const char *sweep, const char *trial, const char *lease) {
        struct error err;
        _cleanup_free_ char *folder = NULL, *mark = NULL, *text = NULL;
        _cleanup_json_ json_t *content = json_pack("{s:s}", "lease", lease);
        if (asprintf(&folder, "%s/%s/%s", uploads->folder, sweep, trial) < 0)
                folder = NULL;
        mark = folder ? fs_join(folder, MARK) : NULL;
        text = content ? json_text(content) : NULL;
        if (!mark || !text || access(folder, F_OK) < 0) /* it was not among the best */
                return;
        if (fs_write_atomic(mark, text, strlen(text), 0600, &err) < 0)
                log_warning("a model that must be sent cannot be marked", log_s("trial", trial), log_s("why", err.text));
        append(uploads, folder, trial, lease);
}

void uploads_pump(struct uploads *uploads) {
        if (!uploads->items || uploads->request || !backoff_is_due(&uploads->backoff, world_mono_ms(uploads->world)))
                return;
        if (uploads->state == AT_REST && !delivery_has(uploads->delivery, uploads->items->trial))
                start_hashing(uploads);
        else if (uploads->state == READY)
                send_offer(uploads);
}

size_t uploads_count(const struct uploads *uploads) {
        return uploads->n;
}

bool uploads_are_stuck(const struct uploads *uploads) {
        return uploads->n > 0 && uploads->backoff.n_failures >= STUCK_FAILURES;
}
