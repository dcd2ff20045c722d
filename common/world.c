#include "common/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t read_clock(clockid_t id) {
        struct timespec now;
        clock_gettime(id, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t real_wall_ms(void *data) {
        (void)data;
        return read_clock(CLOCK_REALTIME);
}

static uint64_t real_mono_ms(void *data) {
        (void)data;
        return read_clock(CLOCK_MONOTONIC);
}

static void real_random_bytes(void *data, void *ret, size_t len) {
        (void)data;
        for (size_t done = 0; done < len;) {
                ssize_t n = getrandom((char *)ret + done, len - done, 0);
                if (n < 0 && errno != EINTR)
                        abort(); /* no kernel entropy: lease tokens could be guessed, so never go on */
                if (n > 0)
                        done += (size_t)n;
        }
}

const struct world *world_real(void) {
        static const struct world real = {real_wall_ms, real_mono_ms, real_random_bytes, NULL};
        return &real;
}

void world_make_id(const struct world *world, const char *prefix, size_t n_chars, char *ret) {
        static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
        size_t n = strlen(prefix);
        memcpy(ret, prefix, n);
        unsigned char bytes[64];
        for (size_t i = 0; i < n_chars; i++) {
                if (i % sizeof bytes == 0)
                        world->random_bytes(world->data, bytes, sizeof bytes);
                ret[n + i] = alphabet[bytes[i % sizeof bytes] & 31];
        }
        ret[n + n_chars] = 0;
}
