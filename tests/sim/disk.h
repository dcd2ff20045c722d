/* A simulated disk: a SQLite VFS whose files live in memory and forget, on a crash, what was not synced.
 *
 * Every file has three states: what the process sees (now), what a power cut leaves for certain (synced), and what the
 * file was when the coordinator last told somebody of success (told). A crash is a moment after which every operation
 * fails; disk_reboot then decides what is left: of a killed process all that was written, of a power cut what was synced
 * and, sector by sector, some of what was not, whole or torn.
 *
 * One thread. Files are found by name; there are no folders. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/rng.h"

enum disk_fault {
        DISK_EIO_READ = 1,
        DISK_EIO_WRITE = 2,
        DISK_EIO_SYNC = 4, /* what was to be synced stays in memory, is not written later, and is gone after a power cut */
        DISK_FULL = 8,     /* with part of the write done */
};

struct disk {
        struct disk_file *files[16];
        size_t n_files;
        struct rng rng;     /* what a power cut leaves, which operation fails */
        uint64_t crash_in;  /* so many changing operations until the crash; 0 = none is due */
        bool crash_after;   /* the operation at which it happens is done, else not (or half) */
        uint64_t interrupt_in; /* so many changing operations until another thread gets the processor; 0 = none is due */
        void (*interrupt)(void *data);
        void *interrupt_data;
        bool is_down;       /* crashed: everything fails until disk_reboot */
        bool is_quiet;      /* no crash and no fault: the test itself reads */
        unsigned faults;    /* of enum disk_fault, each operation with a probability of ... */
        double fault_share; /* ... this */
        bool lies;          /* a deliberate defect: sync does nothing */
        uint64_t n_operations, n_faults;
};

/* Registers the VFS as SQLite's default (once in a process); `disk` serves until the next call. */
void disk_use(struct disk *disk);
void disk_init(struct disk *disk, uint64_t seed);
void disk_fini(struct disk *disk);

/* What is there now was told to somebody. */
void disk_mark_told(struct disk *disk);

enum crash_kind { CRASH_KILL, CRASH_POWER };
/* Copies of one file set as they were told (prefix "told/") and as they are (prefix "now/") for comparing, then decides
 * what is left under the files' own names, and goes up again. */
void disk_reboot(struct disk *disk, enum crash_kind kind);
void disk_forget(struct disk *disk, const char *prefix);
