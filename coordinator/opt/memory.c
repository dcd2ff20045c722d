#include "opt/memory.h"

#include <stdlib.h>
#include <string.h>

struct slot {
        enum memory_kind kind;
        uint64_t key;
        uint64_t used; /* when last; 0 = empty */
        size_t n_theta;
        double *theta;
};

struct opt_memory {
        struct slot slots[MEMORY_SLOTS];
        uint64_t now; /* counts what used a slot */
        uint64_t n_kept;
        struct opt_memory_use use;
};

struct opt_memory *opt_memory_new(void) {
        return calloc(1, sizeof(struct opt_memory));
}

void opt_memory_free(struct opt_memory *memory) {
        for (size_t i = 0; memory && i < MEMORY_SLOTS; i++)
                free(memory->slots[i].theta);
        free(memory);
}

struct opt_memory_use opt_memory_use(const struct opt_memory *memory) {
        return memory ? memory->use : (struct opt_memory_use){0};
}

static struct slot *find(struct opt_memory *memory, enum memory_kind kind, uint64_t key, size_t n_theta) {
        for (size_t i = 0; memory && i < MEMORY_SLOTS; i++) {
                struct slot *slot = &memory->slots[i];
                if (slot->used > 0 && slot->kind == kind && slot->key == key && slot->n_theta == n_theta)
                        return slot;
        }
        return NULL;
}

bool memory_recall(struct opt_memory *memory, enum memory_kind kind, uint64_t key, size_t n_theta, double *ret_theta) {
        struct slot *slot = find(memory, kind, key, n_theta);
        if (!slot)
                return false;
        slot->used = ++memory->now;
        memcpy(ret_theta, slot->theta, n_theta * sizeof *ret_theta);
        return true;
}

void memory_keep(struct opt_memory *memory, enum memory_kind kind, uint64_t key, size_t n_theta, const double *theta) {
        if (!memory)
                return;
        struct slot *slot = find(memory, kind, key, n_theta);
        if (!slot) {
                slot = memory->slots; /* an empty one was never used */
                for (size_t i = 1; i < MEMORY_SLOTS; i++)
                        if (memory->slots[i].used < slot->used)
                                slot = &memory->slots[i];
        }
        double *copy = realloc(slot->theta, n_theta * sizeof *copy);
        if (!copy)
                return; /* it still holds the old one */
        memcpy(copy, theta, n_theta * sizeof *copy);
        *slot = (struct slot){kind, key, ++memory->now, n_theta, copy};
        memory->n_kept++;
}

uint64_t memory_count_kept(const struct opt_memory *memory) {
        return memory ? memory->n_kept : 0;
}

void memory_note_proposal(struct opt_memory *memory, bool was_ready) {
        if (!memory)
                return;
        memory->use.proposals++;
        memory->use.ready += was_ready;
}
