/* Absolute times for waits on the monotonic clock. */
#pragma once
#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* A condition variable whose timed waits follow CLOCK_MONOTONIC. */
static inline void condition_init(pthread_cond_t *condition) {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(condition, &attributes);
        pthread_condattr_destroy(&attributes);
}

static inline uint64_t clock_mono_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline struct timespec clock_at(uint64_t mono_ms) {
        return (struct timespec){.tv_sec = (time_t)(mono_ms / 1000), .tv_nsec = (long)(mono_ms % 1000) * 1000000};
}
