#include "sweep/lease.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void lease_table_fini(struct lease_table *table) {
        free(table->items);
        *table = (struct lease_table){0};
}

static size_t place_of(const struct lease_table *table, int64_t trial) {
        size_t low = 0, high = table->n;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (table->items[middle].trial < trial)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

int lease_table_put(struct lease_table *table, const struct lease *lease) {
        size_t at = place_of(table, lease->trial);
        if (at < table->n && table->items[at].trial == lease->trial) {
                table->items[at] = *lease;
                return 0;
        }
        if (table->n == table->cap) {
                size_t cap = table->cap ? table->cap * 2 : 64;
                struct lease *items = realloc(table->items, cap * sizeof *items);
                if (!items)
                        return -ENOMEM;
                table->items = items;
                table->cap = cap;
        }
        memmove(table->items + at + 1, table->items + at, (table->n - at) * sizeof *table->items);
        table->items[at] = *lease;
        table->n++;
        return 0;
}

void lease_table_remove(struct lease_table *table, int64_t trial) {
        size_t at = place_of(table, trial);
        if (at == table->n || table->items[at].trial != trial)
                return;
        table->n--;
        memmove(table->items + at, table->items + at + 1, (table->n - at) * sizeof *table->items);
}

struct lease *lease_table_find(const struct lease_table *table, int64_t trial) {
        size_t at = place_of(table, trial);
        return at < table->n && table->items[at].trial == trial ? &table->items[at] : NULL;
}

static uint64_t lease_deadline(const struct lease *lease) {
        uint64_t deadline = lease->expires_ms;
        if (lease->timeout_ms < deadline)
                deadline = lease->timeout_ms;
        return lease->stall_ms < deadline ? lease->stall_ms : deadline;
}

uint64_t lease_table_deadline(const struct lease_table *table) {
        uint64_t deadline = LEASE_NEVER;
        for (size_t i = 0; i < table->n; i++)
                if (lease_deadline(&table->items[i]) < deadline)
                        deadline = lease_deadline(&table->items[i]);
        return deadline;
}

enum lease_end lease_judge(const struct lease *lease, uint64_t now_ms) {
        if (now_ms >= lease->timeout_ms)
                return LEASE_TIMED_OUT;
        if (now_ms >= lease->stall_ms)
                return LEASE_STALLED;
        return now_ms >= lease->expires_ms ? LEASE_EXPIRED : LEASE_GOOD;
}

const struct lease *lease_table_next_over(const struct lease_table *table, size_t *position, uint64_t now_ms) {
        while (*position < table->n) {
                const struct lease *lease = &table->items[(*position)++];
                if (lease_deadline(lease) <= now_ms)
                        return lease;
        }
        return NULL;
}
