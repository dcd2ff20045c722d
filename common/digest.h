/* SHA-256 (FIPS 180-4) through nettle, as 64 lower-case hex digits: fingerprints of models and data, token hashes. */
#pragma once
#include <stddef.h>

#include "common/error.h"

#define DIGEST_HEX_SIZE 65

void digest_bytes(const void *data, size_t len, char ret[static DIGEST_HEX_SIZE]);

/* HMAC (RFC 2104) of the same, under a key that is text. */
void digest_hmac(const char *key, const void *data, size_t len, char ret[static DIGEST_HEX_SIZE]);

/* Reads the whole file in pieces. Negative errno with the path in err. */
int digest_file(const char *path, char ret[static DIGEST_HEX_SIZE], struct error *err);

/* Piece by piece. NULL = no memory. */
struct digest;
struct digest *digest_begin(void);
void digest_add(struct digest *digest, const void *data, size_t len);
void digest_end(struct digest *digest, char ret[static DIGEST_HEX_SIZE]); /* frees it */
void digest_free(struct digest *digest);
