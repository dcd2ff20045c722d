/* How long a thread may run before the kernel looks at who else wants the processor. */
#pragma once
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of the kernel; the C library has none, and the kernel's header cannot be read beside the C library's. */
struct sched_attributes {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
};

#define PROMPT_SLICE_NS 100000 /* the shortest that Linux takes */

/* The calling thread, and those that it starts from now on, run soon when they wake up, and in short turns: Linux 6.12 and later let
 * a short turn interrupt a long one. Otherwise a woken thread may wait for the timer's next tick, 4 ms where HZ is 250. It costs others
 * nothing of their share. prompt false: as others again. Where the kernel knows nothing of this, nothing happens. */
static inline void thread_set_prompt(bool prompt) {
        struct sched_attributes attributes = {0};
        if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) < 0 || attributes.policy != SCHED_OTHER)
                return;
        attributes.runtime = prompt ? PROMPT_SLICE_NS : 0;
        syscall(SYS_sched_setattr, 0, &attributes, 0);
}
