/* Files: read whole with a cap, write so that a crash leaves the old or the new content, never half of it. */
#pragma once
#include <stdint.h>
#include <sys/types.h>

#include "common/buf.h"
#include "common/error.h"

/* Appends the file's content; -EFBIG past buf->max. Errors name the path. */
int fs_read(const char *path, struct buf *buf, struct error *err);

/* Temporary name beside path, write, fsync, rename, fsync of the folder. */
int fs_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct error *err);

/* rename(2) of a finished temporary file, made durable: fsync of the file before and of the folder after. */
int fs_commit(const char *temporary, const char *path, struct error *err);

/* mkdir -p. */
int fs_make_dirs(const char *path, mode_t mode, struct error *err);

/* rm -r, without following links; a missing path is fine. */
int fs_remove_tree(const char *path, struct error *err);

/* "a/b", allocated; the caller frees it. NULL when out of memory. */
char *fs_join(const char *folder, const char *name);

/* Free bytes for unprivileged users on the file system that holds path. */
int fs_free_bytes(const char *path, uint64_t *ret, struct error *err);
