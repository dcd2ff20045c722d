/* Times on the wire: RFC 3339, UTC, milliseconds ("2026-11-24T02:00:00.000Z"). In the program: ms since 1970. */
#pragma once
#include <stdint.h>

#define RFC3339_SIZE 25

void rfc3339_format(uint64_t unix_ms, char ret[static RFC3339_SIZE]);

/* Accepts any RFC 3339 time with Z or an offset, 0–9 fractional digits. 0 or -EINVAL. */
int rfc3339_parse(const char *text, uint64_t *ret_unix_ms);
