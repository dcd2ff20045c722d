/* File: struct header, identity (canonical JSON), state, arrays, SHA-256 (32 bytes) of everything before. Numbers in the
 * machine's own byte order: the identity holds the build, so that no other machine reads them. */
#include "train/checkpoint.h"

#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"

#define VERSION 1
#define PIECE_BYTES (4 << 20) /* hashed while it is still in the cache */
#define MAX_IDENTITY_BYTES (64 << 10)

struct header {
        char magic[8];
        uint32_t version, identity_bytes;
        uint64_t state_bytes, n_arrays, n_floats;
};

/* An open file whose bytes pass through the digest on the way. */
struct stream {
        int fd;
        struct sha256_ctx digest;
        const char *path;
};

static int fail(struct error *err, const char *what, const char *path, int code) {
        return error_set(err, -code, "cannot %s %s: %s", what, path, strerror(code));
}

static int write_raw(struct stream *stream, const void *data, size_t len, struct error *err) {
        for (const char *at = data; len > 0;) {
                ssize_t n = write(stream->fd, at, len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return fail(err, "write", stream->path, errno);
                at += n;
                len -= (size_t)n;
        }
        return 0;
}

static int put(struct stream *stream, const void *data, size_t len, struct error *err) {
        for (const char *at = data; len > 0;) {
                size_t n = len < PIECE_BYTES ? len : PIECE_BYTES;
                sha256_update(&stream->digest, n, (const uint8_t *)at);
                int r = write_raw(stream, at, n, err);
                if (r < 0)
                        return r;
                at += n;
                len -= n;
        }
        return 0;
}

static int write_stream(struct stream *stream, const struct checkpoint *checkpoint, const char *identity, struct error *err) {
        struct header header = {"SWPCKPT",           VERSION, (uint32_t)strlen(identity), checkpoint->state_bytes, CHECKPOINT_ARRAYS,
                                checkpoint->n_floats};
        uint8_t digest[SHA256_DIGEST_SIZE];
        int r = put(stream, &header, sizeof header, err);
        if (r == 0)
                r = put(stream, identity, header.identity_bytes, err);
        if (r == 0)
                r = put(stream, checkpoint->state, checkpoint->state_bytes, err);
        for (size_t i = 0; i < CHECKPOINT_ARRAYS && r == 0; i++)
                r = put(stream, checkpoint->arrays[i], checkpoint->n_floats * sizeof(float), err);
        if (r < 0)
                return r;
        sha256_digest(&stream->digest, sizeof digest, digest);
        r = write_raw(stream, digest, sizeof digest, err);
        if (r == 0 && fsync(stream->fd) < 0)
                r = fail(err, "sync", stream->path, errno);
        return r;
}

static int write_file(const char *path, const struct checkpoint *checkpoint, struct error *err) {
        _cleanup_free_ char *identity = json_canonical(checkpoint->identity);
        if (!identity)
                return error_set(err, -ENOMEM, "out of memory");
        _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0)
                return fail(err, "create", path, errno);
        struct stream stream = {.fd = fd, .path = path};
        sha256_init(&stream.digest);
        return write_stream(&stream, checkpoint, identity, err);
}

struct paths {
        char *newest, *previous, *temporary;
};

static void paths_fini(struct paths *paths) {
        free(paths->newest);
        free(paths->previous);
        free(paths->temporary);
}

static int paths_init(struct paths *paths, const char *folder, struct error *err) {
        *paths = (struct paths){fs_join(folder, "checkpoint"), fs_join(folder, "checkpoint.previous"), fs_join(folder, "checkpoint.tmp")};
        return paths->newest && paths->previous && paths->temporary ? 0 : error_set(err, -ENOMEM, "out of memory");
}

int checkpoint_save(const char *folder, const struct checkpoint *checkpoint, struct error *err) {
        _cleanup_(paths_fini) struct paths paths = {0};
        int r = paths_init(&paths, folder, err);
        if (r == 0)
                r = write_file(paths.temporary, checkpoint, err);
        if (r == 0 && rename(paths.newest, paths.previous) < 0 && errno != ENOENT)
                r = fail(err, "rename", paths.newest, errno);
        if (r == 0)
                r = fs_commit(paths.temporary, paths.newest, err);
        if (r < 0 && paths.temporary)
                unlink(paths.temporary);
        return r;
}

static int get(struct stream *stream, void *data, size_t len, bool hashed, struct error *err) {
        for (char *at = data; len > 0;) {
                ssize_t n = read(stream->fd, at, len < PIECE_BYTES ? len : PIECE_BYTES);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return fail(err, "read", stream->path, errno);
                if (n == 0)
                        return error_set(err, CHECKPOINT_UNUSABLE, "%s is damaged: it ends too early", stream->path);
                if (hashed)
                        sha256_update(&stream->digest, (size_t)n, (const uint8_t *)at);
                at += n;
                len -= (size_t)n;
        }
        return 0;
}

/* The first key whose value differs, for people. */
static const char *difference(const json_t *ours, const json_t *theirs) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)ours, key, value) {
                if (!json_equal(value, json_object_get(theirs, key)))
                        return key;
        }
        return "format";
}

static int check_identity(const char *path, const char *text, size_t len, const json_t *identity, struct error *err) {
        _cleanup_json_ json_t *theirs = NULL;
        _cleanup_free_ char *ours = json_canonical(identity);
        if (!ours)
                return error_set(err, -ENOMEM, "out of memory");
        if (strlen(ours) == len && memcmp(ours, text, len) == 0)
                return 0;
        if (json_read(text, len, &theirs, err) < 0)
                return error_set(err, CHECKPOINT_UNUSABLE, "%s belongs to another training", path);
        return error_set(err, CHECKPOINT_UNUSABLE, "%s belongs to another training: %s differs", path, difference(identity, theirs));
}

static int check_header(const struct stream *stream, const struct header *header, struct error *err) {
        struct stat st;
        if (fstat(stream->fd, &st) < 0)
                return fail(err, "inspect", stream->path, errno);
        if (memcmp(header->magic, "SWPCKPT", 8) != 0 || header->version != VERSION || header->identity_bytes > MAX_IDENTITY_BYTES ||
            header->state_bytes > MAX_IDENTITY_BYTES || header->n_arrays != CHECKPOINT_ARRAYS || header->n_floats > SIZE_MAX / 64)
                return error_set(err, CHECKPOINT_UNUSABLE, "%s is damaged, or of another version", stream->path);
        uint64_t expected = sizeof *header + header->identity_bytes + header->state_bytes +
                            header->n_arrays * header->n_floats * sizeof(float) + SHA256_DIGEST_SIZE;
        if ((uint64_t)st.st_size != expected)
                return error_set(err, CHECKPOINT_UNUSABLE, "%s is damaged: %lld bytes, not %llu", stream->path, (long long)st.st_size,
                                 (unsigned long long)expected);
        return 0;
}

static int read_arrays(struct stream *stream, const struct checkpoint *checkpoint, struct error *err) {
        uint8_t expected[SHA256_DIGEST_SIZE], found[SHA256_DIGEST_SIZE];
        int r = get(stream, checkpoint->state, checkpoint->state_bytes, true, err);
        for (size_t i = 0; i < CHECKPOINT_ARRAYS && r == 0; i++)
                r = get(stream, checkpoint->arrays[i], checkpoint->n_floats * sizeof(float), true, err);
        if (r == 0)
                r = get(stream, expected, sizeof expected, false, err);
        if (r != 0)
                return r;
        sha256_digest(&stream->digest, sizeof found, found);
        if (memcmp(expected, found, sizeof found) != 0)
                return error_set(err, CHECKPOINT_UNUSABLE, "%s is damaged: its checksum is wrong", stream->path);
        return 0;
}

static int read_file(const char *path, const struct checkpoint *checkpoint, struct error *err) {
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? CHECKPOINT_NONE : fail(err, "open", path, errno);
        struct stream stream = {.fd = fd, .path = path};
        sha256_init(&stream.digest);
        struct header header;
        int r = get(&stream, &header, sizeof header, true, err);
        if (r == 0)
                r = check_header(&stream, &header, err);
        if (r != 0)
                return r;
        _cleanup_free_ char *identity = malloc(header.identity_bytes + 1);
        if (!identity)
                return error_set(err, -ENOMEM, "out of memory");
        r = get(&stream, identity, header.identity_bytes, true, err);
        if (r == 0)
                r = check_identity(path, identity, header.identity_bytes, checkpoint->identity, err);
        if (r == 0 && (header.state_bytes != checkpoint->state_bytes || header.n_floats != checkpoint->n_floats))
                r = error_set(err, CHECKPOINT_UNUSABLE, "%s belongs to another training: its sizes differ", path);
        return r == 0 ? read_arrays(&stream, checkpoint, err) : r;
}

int checkpoint_load(const char *folder, const struct checkpoint *checkpoint, struct error *err) {
        _cleanup_(paths_fini) struct paths paths = {0};
        int r = paths_init(&paths, folder, err);
        if (r == 0)
                r = read_file(paths.newest, checkpoint, err);
        if (r != CHECKPOINT_NONE && r != CHECKPOINT_UNUSABLE)
                return r;
        struct error second = {0};
        int r2 = read_file(paths.previous, checkpoint, &second);
        if (r2 == CHECKPOINT_NONE)
                return r;
        if (r2 != 0) {
                if (r == CHECKPOINT_NONE)
                        error_set(err, r2, "%s", second.text);
                return r2 < 0 ? r2 : CHECKPOINT_UNUSABLE;
        }
        if (r == CHECKPOINT_UNUSABLE) {
                /* Out of the way, or the next save would rotate it over the sound one. */
                log_warning("newest checkpoint unusable, going on from the one before", log_s("detail", err ? err->text : ""));
                unlink(paths.newest);
        }
        return 0;
}
