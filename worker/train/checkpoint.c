/* File: struct header, identity (canonical JSON), state, arrays, XXH3-128 (16 bytes) of everything before. Numbers in the
 * machine's own byte order: the identity holds the build, so that no other machine reads them.
 *
 * The checksum is there for accidents (a torn write, a bad disk, half a copy), and 128 bits miss none of them in practice.
 * XXH3 runs at the speed of memory: 0.1 s for the 800 MB of a DistilBERT, beside a training that wants every core.
 * SHA-256 takes 0.6 to 3 s for them, and who could forge a checkpoint could as well write a sound one. */
#include "train/checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"

#define VERSION 2
#define PIECE_BYTES (1 << 20) /* hashed while it is still in the cache */
#define SYNC_BYTES (8 << 20) /* between two looks at the hurry */
#define TEMPORARY "checkpoint.tmp."
#define MAX_IDENTITY_BYTES (64 << 10)

struct header {
        char magic[8];
        uint32_t version, identity_bytes;
        uint64_t state_bytes, n_arrays, n_floats;
};

/* An open file whose bytes pass through the digest on the way. */
struct stream {
        int fd;
        XXH3_state_t *digest;
        const char *path;
};

static int stream_init(struct stream *stream, struct error *err) {
        stream->digest = XXH3_createState();
        if (!stream->digest || XXH3_128bits_reset(stream->digest) != XXH_OK)
                return error_set(err, -ENOMEM, "out of memory");
        return 0;
}

static void stream_fini(struct stream *stream) {
        XXH3_freeState(stream->digest);
        cleanup_fd(&stream->fd);
}

static void stream_digest(const struct stream *stream, XXH128_canonical_t *ret) {
        XXH128_canonicalFromHash(ret, XXH3_128bits_digest(stream->digest));
}

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
                XXH3_128bits_update(stream->digest, at, n);
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
        XXH128_canonical_t digest;
        int r = put(stream, &header, sizeof header, err);
        if (r == 0)
                r = put(stream, identity, header.identity_bytes, err);
        if (r == 0)
                r = put(stream, checkpoint->state, checkpoint->state_bytes, err);
        for (size_t i = 0; i < CHECKPOINT_ARRAYS && r == 0; i++)
                r = put(stream, checkpoint->arrays[i], checkpoint->n_floats * sizeof(float), err);
        if (r < 0)
                return r;
        stream_digest(stream, &digest);
        return write_raw(stream, &digest, sizeof digest, err);
}

static bool in_a_hurry(const struct checkpoint_pace *pace) {
        return pace && pace->in_a_hurry && pace->in_a_hurry(pace->data);
}

/* In pieces, since one fsync() of it all takes seconds and cannot be called off, not even by the end of the process. */
static int sync_stream(const struct stream *stream, const struct checkpoint_pace *pace, struct error *err) {
        struct stat st;
        if (fstat(stream->fd, &st) < 0)
                return fail(err, "inspect", stream->path, errno);
        for (off_t at = 0; at < st.st_size && !in_a_hurry(pace); at += SYNC_BYTES) { /* where these are unknown, fsync does all */
                sync_file_range(stream->fd, at + SYNC_BYTES, SYNC_BYTES, SYNC_FILE_RANGE_WRITE);
                sync_file_range(stream->fd, at, SYNC_BYTES, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        }
        if (!in_a_hurry(pace) && fsync(stream->fd) < 0)
                return fail(err, "sync", stream->path, errno);
        return 0;
}

/* path: a pattern of mkostemp(), which becomes the file's name. */
static int write_file(char *path, const struct checkpoint *checkpoint, const struct checkpoint_pace *pace, struct error *err) {
        _cleanup_free_ char *identity = json_canonical(checkpoint->identity);
        _cleanup_(stream_fini) struct stream stream = {.fd = mkostemp(path, O_CLOEXEC), .path = path};
        if (stream.fd < 0)
                return fail(err, "create", path, errno);
        int r = identity ? stream_init(&stream, err) : error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = write_stream(&stream, checkpoint, identity, err);
        if (r == 0 && pace && pace->arrays_read)
                pace->arrays_read(pace->data);
        return r == 0 ? sync_stream(&stream, pace, err) : r;
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
        *paths = (struct paths){fs_join(folder, "checkpoint"), fs_join(folder, "checkpoint.previous"), fs_join(folder, TEMPORARY "XXXXXX")};
        return paths->newest && paths->previous && paths->temporary ? 0 : error_set(err, -ENOMEM, "out of memory");
}

/* The new file becomes the newest, the newest the one before. */
static int rotate(const struct paths *paths, bool hurry, struct error *err) {
        if (rename(paths->newest, paths->previous) < 0 && errno != ENOENT)
                return fail(err, "rename", paths->newest, errno);
        if (!hurry)
                return fs_commit(paths->temporary, paths->newest, err);
        return rename(paths->temporary, paths->newest) < 0 ? fail(err, "rename", paths->temporary, errno) : 0;
}

int checkpoint_save(const char *folder, const struct checkpoint *checkpoint, const struct checkpoint_pace *pace, struct error *err) {
        _cleanup_(paths_fini) struct paths paths = {0};
        int r = paths_init(&paths, folder, err);
        if (r == 0)
                r = write_file(paths.temporary, checkpoint, pace, err);
        if (r == 0)
                r = rotate(&paths, in_a_hurry(pace), err);
        if (r < 0 && paths.temporary)
                unlink(paths.temporary);
        return r;
}

CLEANUP_DEFINE(DIR *, cleanup_dir, closedir)

void checkpoint_clear(const char *folder) {
        _cleanup_(cleanup_dir) DIR *dir = opendir(folder);
        for (struct dirent *entry; dir && (entry = readdir(dir));)
                if (strncmp(entry->d_name, TEMPORARY, strlen(TEMPORARY)) == 0)
                        unlinkat(dirfd(dir), entry->d_name, 0);
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
                        XXH3_128bits_update(stream->digest, at, (size_t)n);
                at += n;
                len -= (size_t)n;
        }
        return 0;
}

/* The first key whose value differs, for people: with both values where they are short. */
static int refuse_difference(const char *path, const json_t *ours, const json_t *theirs, struct error *err) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)ours, key, value) {
                const json_t *other = json_object_get(theirs, key);
                if (json_equal(value, other))
                        continue;
                _cleanup_free_ char *here = json_text(value), *there = other ? json_text(other) : NULL;
                if (!here || !there)
                        break;
                return error_set(err, CHECKPOINT_UNUSABLE, "%.200s cannot be continued exactly: %s is %.60s here and %.60s there", path, key, here, there);
        }
        return error_set(err, CHECKPOINT_UNUSABLE, "%.200s cannot be continued exactly: its format differs", path);
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
        return refuse_difference(path, identity, theirs, err);
}

static int check_header(const struct stream *stream, const struct header *header, struct error *err) {
        struct stat st;
        if (fstat(stream->fd, &st) < 0)
                return fail(err, "inspect", stream->path, errno);
        if (memcmp(header->magic, "SWPCKPT", 8) != 0 || header->version != VERSION || header->identity_bytes > MAX_IDENTITY_BYTES ||
            header->state_bytes > MAX_IDENTITY_BYTES || header->n_arrays != CHECKPOINT_ARRAYS || header->n_floats > SIZE_MAX / 64)
                return error_set(err, CHECKPOINT_UNUSABLE, "%s is damaged, or of another version", stream->path);
        uint64_t expected = sizeof *header + header->identity_bytes + header->state_bytes +
                            header->n_arrays * header->n_floats * sizeof(float) + sizeof(XXH128_canonical_t);
        if ((uint64_t)st.st_size != expected)
                return error_set(err, CHECKPOINT_UNUSABLE, "%s is damaged: %lld bytes, not %llu", stream->path, (long long)st.st_size,
                                 (unsigned long long)expected);
        return 0;
}

static int read_arrays(struct stream *stream, const struct checkpoint *checkpoint, struct error *err) {
        XXH128_canonical_t expected, found;
        int r = get(stream, checkpoint->state, checkpoint->state_bytes, true, err);
        for (size_t i = 0; i < CHECKPOINT_ARRAYS && r == 0; i++)
                r = get(stream, checkpoint->arrays[i], checkpoint->n_floats * sizeof(float), true, err);
        if (r == 0)
                r = get(stream, &expected, sizeof expected, false, err);
        if (r != 0)
                return r;
        stream_digest(stream, &found);
        if (memcmp(&expected, &found, sizeof found) != 0)
                return error_set(err, CHECKPOINT_UNUSABLE, "%s is damaged: its checksum is wrong", stream->path);
        return 0;
}

static int read_file(const char *path, const struct checkpoint *checkpoint, struct error *err) {
        _cleanup_(stream_fini) struct stream stream = {.fd = open(path, O_RDONLY | O_CLOEXEC), .path = path};
        if (stream.fd < 0)
                return errno == ENOENT ? CHECKPOINT_NONE : fail(err, "open", path, errno);
        struct header header;
        int r = stream_init(&stream, err);
        if (r == 0)
                r = get(&stream, &header, sizeof header, true, err);
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
