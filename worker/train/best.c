#include "train/best.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "model/folder.h"

#define NAME_FORMAT "best-%" PRIu64 ".safetensors"
#define COPY_BYTES ((size_t)1 << 20)

CLEANUP_DEFINE(DIR *, cleanup_dir, closedir)

static char *kept_path(const struct best_folders *folders, uint64_t step) {
        char name[64];
        snprintf(name, sizeof name, NAME_FORMAT, step);
        return fs_join(folders->checkpoint, name);
}

static int fail(struct error *err, const char *what, const char *path) {
        int code = errno;
        return error_set(err, -code, "cannot %s %s: %s", what, path, strerror(code));
}

/* By hand: copy_file_range() refuses between two file systems. */
static int copy_bytes(int to, int from) {
        _cleanup_free_ char *piece = malloc(COPY_BYTES);
        if (!piece)
                return -ENOMEM;
        for (;;) {
                ssize_t n = read(from, piece, COPY_BYTES);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : 0;
                for (ssize_t at = 0; at < n;) {
                        ssize_t written = write(to, piece + at, (size_t)(n - at));
                        if (written < 0 && errno != EINTR)
                                return -errno;
                        at += written > 0 ? written : 0;
                }
        }
}

static int copy_file(const char *from, const char *to, struct error *err) {
        _cleanup_fd_ int source = open(from, O_RDONLY | O_CLOEXEC);
        if (source < 0)
                return fail(err, "open", from);
        _cleanup_fd_ int target = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (target < 0)
                return fail(err, "create", to);
        int r = copy_bytes(target, source);
        return r < 0 ? error_set(err, r, "cannot write %s: %s", to, strerror(-r)) : 0;
}

/* The same content under a second name, by way of a temporary one. The file is never written in place, so a link is as
 * good as a copy. */
static int duplicate(const char *from, const char *to, struct error *err) {
        char temporary[4096];
        if (snprintf(temporary, sizeof temporary, "%s.tmp", to) >= (int)sizeof temporary)
                return error_set(err, -ENAMETOOLONG, "%s is too long a path", to);
        if (unlink(temporary) < 0 && errno != ENOENT)
                return fail(err, "remove", temporary);
        int r = 0;
        if (link(from, temporary) < 0)
                r = errno == ENOENT ? fail(err, "open", from) : copy_file(from, temporary, err);
        if (r == 0)
                r = fs_commit(temporary, to, err);
        if (r < 0)
                unlink(temporary);
        return r;
}

int best_keep(const struct best_folders *folders, const struct model *model, uint64_t step, struct error *err) {
        int r = model_folder_write(folders->output, model, folders->source, err);
        if (r < 0 || !folders->checkpoint)
                return r;
        _cleanup_free_ char *kept = kept_path(folders, step);
        _cleanup_free_ char *written = fs_join(folders->output, "model.safetensors");
        return kept && written ? duplicate(written, kept, err) : error_set(err, -ENOMEM, "out of memory");
}

int best_restore(const struct best_folders *folders, const struct model *model, uint64_t step, struct error *err) {
        _cleanup_free_ char *kept = kept_path(folders, step);
        _cleanup_free_ char *written = fs_join(folders->output, "model.safetensors");
        if (!kept || !written)
                return error_set(err, -ENOMEM, "out of memory");
        if (access(kept, R_OK) < 0)
                return fail(err, "read", kept);
        int r = model_folder_write(folders->output, model, folders->source, err);
        return r < 0 ? r : duplicate(kept, written, err);
}

void best_prune(const struct best_folders *folders, uint64_t newest_step, uint64_t previous_step) {
        _cleanup_(cleanup_dir) DIR *dir = opendir(folders->checkpoint);
        struct dirent *entry;
        while (dir && (entry = readdir(dir))) {
                uint64_t step;
                int end = 0;
                if (sscanf(entry->d_name, NAME_FORMAT "%n", &step, &end) != 1 || entry->d_name[end] || end == 0)
                        continue;
                if (step < newest_step && step != previous_step)
                        unlinkat(dirfd(dir), entry->d_name, 0);
        }
}
