#include "models/shelf.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"

#define MANIFEST_BYTES_MAX (64u << 10)

CLEANUP_DEFINE(DIR *, cleanup_dir, closedir)
#define _cleanup_dir_ _cleanup_(cleanup_dir)

char *shelf_path(const char *folder, const char *place, const char *name) {
        char *path = NULL;
        return asprintf(&path, "%s/%s%s%s", folder, place, name ? "/files/" : "", name ? name : "") < 0 ? NULL : path;
}

static char *manifest_path(const char *folder, const char *place) {
        char *path = NULL;
        return asprintf(&path, "%s/%s/manifest.json", folder, place) < 0 ? NULL : path;
}

void shelf_remove(const char *folder, const char *place) {
        struct error err;
        _cleanup_free_ char *path = shelf_path(folder, place, NULL);
        if (path && fs_remove_tree(path, &err) < 0)
                log_warning("cannot delete a model", log_s("why", err.text));
}

/* --- manifests ----------------------------------------------------------------------------------------- */

static json_t *encode(const struct model *model) {
        json_t *files = json_array();
        for (size_t i = 0; i < model->n_files; i++)
                json_array_append_new(files, json_pack("{s:s, s:I, s:s}", "name", model->files[i].name, "bytes", (json_int_t)model->files[i].bytes,
                                                       "sha256", model->files[i].sha256));
        return json_pack("{s:s, s:s, s:I, s:i, s:f, s:b, s:I, s:o}", "trial", model->trial, "sweep", model->sweep, "number",
                         (json_int_t)model->number, "attempt", (int)model->attempt, "value", model->value, "maximize", model->maximize, "created_ms",
                         (json_int_t)model->created_ms, "files", files);
}

static bool decode_file(const json_t *item, struct model_file *ret) {
        const char *name, *sha256;
        json_int_t bytes;
        if (json_unpack((json_t *)item, "{s:s, s:I, s:s}", "name", &name, "bytes", &bytes, "sha256", &sha256) < 0 || !model_accepts_name(name) ||
            bytes < 0 || strlen(sha256) != MODEL_HASH_SIZE - 1)
                return false;
        *ret = (struct model_file){.bytes = (uint64_t)bytes};
        memcpy(ret->name, name, strlen(name) + 1);
        memcpy(ret->sha256, sha256, MODEL_HASH_SIZE);
        return true;
}

static bool decode(const json_t *manifest, struct model *ret) {
        const char *trial, *sweep;
        json_int_t number, created_ms;
        int attempt, maximize;
        double value;
        json_t *files;
        *ret = (struct model){0};
        if (json_unpack((json_t *)manifest, "{s:s, s:s, s:I, s:i, s:F, s:b, s:I, s:o}", "trial", &trial, "sweep", &sweep, "number", &number, "attempt",
                        &attempt, "value", &value, "maximize", &maximize, "created_ms", &created_ms, "files", &files) < 0 ||
            strlen(trial) >= MODEL_ID_SIZE || strlen(sweep) >= MODEL_ID_SIZE || json_array_size(files) == 0 ||
            json_array_size(files) > MODEL_FILES_MAX)
                return false;
        ret->number = (uint64_t)number;
        ret->attempt = (unsigned)attempt;
        ret->value = value;
        ret->maximize = maximize;
        ret->created_ms = (uint64_t)created_ms;
        memcpy(ret->trial, trial, strlen(trial) + 1);
        memcpy(ret->sweep, sweep, strlen(sweep) + 1);
        for (ret->n_files = 0; ret->n_files < json_array_size(files); ret->n_files++)
                if (!decode_file(json_array_get(files, ret->n_files), &ret->files[ret->n_files]))
                        return false;
        return true;
}

/* Its sizes must fit; the bytes were checked when they came, and are by who fetches them. */
static bool is_whole(const char *folder, const struct model *model) {
        for (size_t i = 0; i < model->n_files; i++) {
                _cleanup_free_ char *path = shelf_path(folder, model->trial, model->files[i].name);
                struct stat st;
                if (!path || lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != model->files[i].bytes)
                        return false;
        }
        return true;
}

static bool load(const char *folder, const char *trial, struct model *ret) {
        _cleanup_free_ char *path = manifest_path(folder, trial);
        _cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_BYTES_MAX);
        _cleanup_json_ json_t *manifest = NULL;
        return path && fs_read(path, &text, NULL) == 0 && json_read(text.data, text.len, &manifest, NULL) == 0 && decode(manifest, ret) &&
               strcmp(ret->trial, trial) == 0 && is_whole(folder, ret);
}

int shelf_scan(const char *folder, int (*visit)(void *data, const struct model *model), void *data, struct error *err) {
        _cleanup_dir_ DIR *dir = opendir(folder);
        if (!dir)
                return error_set(err, -errno, "cannot read %s: %s", folder, strerror(errno));
        int r = 0;
        for (struct dirent *entry; r == 0 && (entry = readdir(dir));) {
                struct model model;
                const char *name = entry->d_name;
                if (strncmp(name, ".part-", 6) == 0) {
                        shelf_remove(folder, name);
                } else if (name[0] != '.' && load(folder, name, &model)) {
                        r = visit(data, &model);
                } else if (name[0] != '.') {
                        log_warning("what lies among the models is none: left alone", log_s("folder", folder), log_s("name", name));
                }
        }
        return r < 0 ? error_set(err, r, "out of memory") : 0;
}

/* --- coming ---------------------------------------------------------------------------------------------- */

int shelf_begin(const char *folder, const char *part, struct error *err) {
        shelf_remove(folder, part);
        _cleanup_free_ char *files = shelf_path(folder, part, "");
        return files ? fs_make_dirs(files, 0700, err) : error_set(err, -ENOMEM, "out of memory");
}

static int sync_path(const char *path, int flags, struct error *err) {
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
        return fd < 0 || fsync(fd) < 0 ? error_set(err, -errno, "cannot sync %s: %s", path, strerror(errno)) : 0;
}

int shelf_commit(const char *folder, const char *part, const struct model *model, struct error *err) {
        _cleanup_json_ json_t *manifest = encode(model);
        _cleanup_free_ char *text = manifest ? json_text(manifest) : NULL, *note = manifest_path(folder, part),
                            *whole = shelf_path(folder, part, NULL), *files = shelf_path(folder, part, ""),
                            *target = shelf_path(folder, model->trial, NULL);
        if (!text || !note || !whole || !files || !target)
                return error_set(err, -ENOMEM, "out of memory");
        int r = 0;
        for (size_t i = 0; i < model->n_files && r == 0; i++) {
                _cleanup_free_ char *path = shelf_path(folder, part, model->files[i].name);
                r = path ? sync_path(path, 0, err) : error_set(err, -ENOMEM, "out of memory");
        }
        if (r == 0)
                r = sync_path(files, O_DIRECTORY, err);
        if (r == 0)
                r = fs_write_atomic(note, text, strlen(text), 0600, err);
        if (r < 0)
                return r;
        shelf_remove(folder, model->trial);
        if (rename(whole, target) < 0)
                return error_set(err, -errno, "cannot rename to %s: %s", target, strerror(errno));
        return sync_path(folder, O_DIRECTORY, err);
}
