/* A bucket is one number: with b tries left at time t it was empty at t - b seconds. A bucket that is full again needs no
 * entry at all. */
#include "http/failures.h"

#include <netinet/in.h>
#include <string.h>

#define REFILL_MS 1000u
#define FULL_MS ((uint64_t)FAILURES_BURST * REFILL_MS)

static void make_key(const struct sockaddr *address, uint8_t ret[static 9]) {
        memset(ret, 0, 9);
        if (!address)
                return;
        ret[0] = (uint8_t)address->sa_family;
        if (address->sa_family == AF_INET)
                memcpy(ret + 1, &((const struct sockaddr_in *)address)->sin_addr, 4);
        else if (address->sa_family == AF_INET6) {
                const struct in6_addr *v6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
                if (IN6_IS_ADDR_V4MAPPED(v6)) {
                        ret[0] = AF_INET;
                        memcpy(ret + 1, v6->s6_addr + 12, 4);
                } else
                        memcpy(ret + 1, v6->s6_addr, 8);
        }
}

static struct failing *find(struct failures *failures, const uint8_t key[static 9]) {
        for (unsigned i = 0; i < failures->n; i++)
                if (memcmp(failures->items[i].key, key, 9) == 0)
                        return &failures->items[i];
        return NULL;
}

/* Tries left in ms of refill; never more than a full bucket. */
static uint64_t content_ms(const struct failing *item, uint64_t now_ms) {
        uint64_t since = now_ms > item->empty_ms ? now_ms - item->empty_ms : 0;
        return since < FULL_MS ? since : FULL_MS;
}

unsigned failures_wait_s(struct failures *failures, const struct sockaddr *address, uint64_t now_ms) {
        uint8_t key[9];
        if (failures->n == 0)
                return 0;
        make_key(address, key);
        const struct failing *item = find(failures, key);
        uint64_t content = item ? content_ms(item, now_ms) : FULL_MS;
        if (content >= REFILL_MS)
                return 0;
        uint64_t behind = item->empty_ms > now_ms ? item->empty_ms - now_ms : 0;
        return (unsigned)((behind + REFILL_MS - content + 999) / 1000);
}

/* A new entry; when there is no room, the place of the fullest bucket. */
static struct failing *add(struct failures *failures, uint64_t now_ms) {
        if (failures->n < FAILURES_ADDRESSES)
                return &failures->items[failures->n++];
        struct failing *fullest = &failures->items[0];
        for (unsigned i = 1; i < failures->n; i++)
                if (content_ms(&failures->items[i], now_ms) > content_ms(fullest, now_ms))
                        fullest = &failures->items[i];
        return fullest;
}

void failures_add(struct failures *failures, const struct sockaddr *address, uint64_t now_ms) {
        uint8_t key[9];
        make_key(address, key);
        struct failing *item = find(failures, key);
        uint64_t left = item ? content_ms(item, now_ms) : FULL_MS;
        if (!item) {
                item = add(failures, now_ms);
                memcpy(item->key, key, 9);
        }
        left = left > REFILL_MS ? left - REFILL_MS : 0;
        item->empty_ms = now_ms > left ? now_ms - left : 0;
}
