#include "common/fs.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/cleanup.h"

static int fail(struct error *err, const char *what, const char *path) {
        int code = errno ? -errno : -EIO;
        return error_set(err, code, "cannot %s %s: %s", what, path, strerror(-code));
}

int fs_read(const char *path, struct buf *buf, struct error *err) {
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return fail(err, "open", path);
        char piece[65536];
        for (;;) {
                ssize_t n = read(fd, piece, sizeof piece);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return fail(err, "read", path);
                if (n == 0)
                        return buf->data ? 0 : buf_append(buf, "", 0);
                int r = buf_append(buf, piece, (size_t)n);
                if (r < 0)
                        return error_set(err, r, r == -EFBIG ? "%s is larger than %zu bytes" : "out of memory reading %s", path, buf->max);
        }
}

static int sync_folder_of(const char *path) {
        _cleanup_free_ char *folder = strdup(path);
        if (!folder)
                return -ENOMEM;
        char *slash = strrchr(folder, '/');
        if (slash == folder)
                slash++;
        if (slash)
                *slash = 0;
        _cleanup_fd_ int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int fs_commit(const char *temporary, const char *path, struct error *err) {
        _cleanup_fd_ int fd = open(temporary, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return fail(err, "sync", temporary);
        if (rename(temporary, path) < 0)
                return fail(err, "rename to", path);
        int r = sync_folder_of(path);
        return r < 0 ? error_set(err, r, "cannot sync the folder of %s: %s", path, strerror(-r)) : 0;
}

static int write_all(int fd, const char *data, size_t len) {
        while (len > 0) {
                ssize_t n = write(fd, data, len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                data += n;
                len -= (size_t)n;
        }
        return 0;
}

int fs_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct error *err) {
        size_t size = strlen(path) + 16;
        _cleanup_free_ char *temporary = malloc(size);
        if (!temporary)
                return error_set(err, -ENOMEM, "out of memory");
        snprintf(temporary, size, "%s.tmp.%05d", path, (int)(getpid() % 100000));
        _cleanup_fd_ int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
        if (fd < 0)
                return fail(err, "create", temporary);
        int r = write_all(fd, data, len);
        if (r < 0) {
                unlink(temporary);
                return error_set(err, r, "cannot write %s: %s", temporary, strerror(-r));
        }
        r = fs_commit(temporary, path, err);
        if (r < 0)
                unlink(temporary);
        return r;
}

int fs_make_dirs(const char *path, mode_t mode, struct error *err) {
        _cleanup_free_ char *copy = strdup(path);
        if (!copy)
                return error_set(err, -ENOMEM, "out of memory");
        for (char *c = copy + 1;; c++) {
                if (*c != '/' && *c != 0)
                        continue;
                char kept = *c;
                *c = 0;
                if (mkdir(copy, mode) < 0 && errno != EEXIST)
                        return fail(err, "create folder", copy);
                if (!kept)
                        break;
                *c = kept;
        }
        struct stat st;
        if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
                errno = ENOTDIR;
                return fail(err, "use as a folder", path);
        }
        return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st, (void)type, (void)ftw;
        return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

int fs_remove_tree(const char *path, struct error *err) {
        if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
                return fail(err, "remove", path);
        return 0;
}

char *fs_join(const char *folder, const char *name) {
        char *path = NULL;
        return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

int fs_free_bytes(const char *path, uint64_t *ret, struct error *err) {
        struct statvfs vfs;
        if (statvfs(path, &vfs) < 0)
                return fail(err, "inspect", path);
        *ret = (uint64_t)vfs.f_bavail * vfs.f_frsize;
        return 0;
}
