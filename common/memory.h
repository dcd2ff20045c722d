/* How much memory this process may still take, so that running out of it is foreseen and named instead of suffered. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct memory_room {
        uint64_t resident_bytes;   /* the kernel's estimate for the machine, or what the control groups leave; UINT64_MAX: unknown */
        uint64_t address_bytes;    /* RLIMIT_AS less what is mapped; UINT64_MAX: no limit */
        const char *resident_from; /* who says so, static text: "machine", "control group" */
};

/* root: "" for the system's own files (/proc, /sys), a folder that holds such ones in tests. */
void memory_look(const char *root, struct memory_room *ret);
