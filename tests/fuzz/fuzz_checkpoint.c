/* A checkpoint file: as it comes, or (first byte odd) with the checksum put right, so that what is behind it is reached. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "fuzz.h"
#include "train/checkpoint.h"

#define N 4

static char folder[64];

static void remove_folder(void) {
        char path[80];
        snprintf(path, sizeof path, "%s/checkpoint", folder);
        unlink(path);
        rmdir(folder);
}

static void write_file(const uint8_t *data, size_t size, bool with_checksum) {
        char path[80];
        if (!folder[0]) {
                log_set_level(LOG_ERROR);
                strcpy(folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/fuzz.XXXXXX" : "/tmp/fuzz.XXXXXX");
                fuzz_assert(mkdtemp(folder));
                atexit(remove_folder);
        }
        snprintf(path, sizeof path, "%s/checkpoint", folder);
        _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        XXH128_canonical_t sum;
        XXH128_canonicalFromHash(&sum, XXH3_128bits(data, size));
        fuzz_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
        fuzz_assert(!with_checksum || write(fd, &sum, sizeof sum) == sizeof sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_t *identity = json_pack("{s:s, s:i}", "model", "abc", "threads", 2);
        char state[8];
        float arrays[CHECKPOINT_ARRAYS][N];
        const struct checkpoint checkpoint = {
                .identity = identity, .state = state, .state_bytes = sizeof state, .arrays = {arrays[0], arrays[1], arrays[2]}, .n_floats = N};
        struct error err;
        if (size == 0)
                return 0;
        write_file(data + 1, size - 1, data[0] & 1);
        int r = checkpoint_load(folder, &checkpoint, &err);
        fuzz_assert(r <= CHECKPOINT_UNUSABLE);
        return 0;
}
