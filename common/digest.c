#include "common/digest.h"

#include <nettle/hmac.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

static void finish(struct sha256_ctx *context, char ret[static DIGEST_HEX_SIZE]) {
        uint8_t raw[SHA256_DIGEST_SIZE];
        sha256_digest(context, sizeof raw, raw);
        for (size_t i = 0; i < sizeof raw; i++)
                snprintf(ret + 2 * i, 3, "%02x", raw[i]);
}

void digest_bytes(const void *data, size_t len, char ret[static DIGEST_HEX_SIZE]) {
        struct sha256_ctx context;
        sha256_init(&context);
        sha256_update(&context, len, data);
        finish(&context, ret);
}

void digest_hmac(const char *key, const void *data, size_t len, char ret[static DIGEST_HEX_SIZE]) {
        struct hmac_sha256_ctx context;
        uint8_t raw[SHA256_DIGEST_SIZE];
        hmac_sha256_set_key(&context, strlen(key), (const uint8_t *)key);
        hmac_sha256_update(&context, len, data);
        hmac_sha256_digest(&context, sizeof raw, raw);
        for (size_t i = 0; i < sizeof raw; i++)
                snprintf(ret + 2 * i, 3, "%02x", raw[i]);
        explicit_bzero(&context, sizeof context);
}

int digest_file(const char *path, char ret[static DIGEST_HEX_SIZE], struct error *err) {
        _cleanup_file_ FILE *file = fopen(path, "re");
        if (!file)
                return error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
        struct sha256_ctx context;
        sha256_init(&context);
        char piece[65536];
        size_t n;
        while ((n = fread(piece, 1, sizeof piece, file)) > 0)
                sha256_update(&context, n, (const uint8_t *)piece);
        if (ferror(file))
                return error_set(err, -EIO, "cannot read %s", path);
        finish(&context, ret);
        return 0;
}

struct digest {
        struct sha256_ctx context;
};

struct digest *digest_begin(void) {
        struct digest *digest = malloc(sizeof *digest);
        if (digest)
                sha256_init(&digest->context);
        return digest;
}

void digest_add(struct digest *digest, const void *data, size_t len) {
        sha256_update(&digest->context, len, data);
}

void digest_end(struct digest *digest, char ret[static DIGEST_HEX_SIZE]) {
        finish(&digest->context, ret);
        free(digest);
}

void digest_free(struct digest *digest) {
        free(digest);
}
