/* Wrong tokens per source address: a bucket of FAILURES_BURST tries that fills up again by one a second. Of addresses whose
 * bucket is not full at most FAILURES_ADDRESSES are remembered; then the one that is nearest to full is forgotten.
 *
 * An IPv6 source is its /64: one host has all of that. Used by the server's thread alone. */
#pragma once
#include <stdint.h>
#include <sys/socket.h>

#define FAILURES_BURST 100u
#define FAILURES_ADDRESSES 1024

struct failures {
        struct failing {
                uint8_t key[9];    /* family, then the address */
                uint64_t empty_ms; /* mono time at which the bucket was, or would have been, empty: it fills from there */
        } items[FAILURES_ADDRESSES];
        unsigned n;
};

/* Seconds until the next try is looked at; 0 = now. */
unsigned failures_wait_s(struct failures *failures, const struct sockaddr *address, uint64_t now_ms);

void failures_add(struct failures *failures, const struct sockaddr *address, uint64_t now_ms);
