/* SHA-256 (FIPS 180-4) through nettle, as 64 lower-case hex digits: fingerprints of models and data, token hashes. */
#pragma once
#include <stddef.h>

#include "common/error.h"

#define DIGEST_HEX_SIZE 65

void digest_bytes(const void *data, size_t len, char ret[static DIGEST_HEX_SIZE]);

/* Reads the whole file in pieces. Negative errno with the path in err. */
int digest_file(const char *path, char ret[static DIGEST_HEX_SIZE], struct error *err);
