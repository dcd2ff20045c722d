/* Cleanup attributes for locals: `_cleanup_free_ char *path = NULL;`. */
#pragma once
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

/* Defines `name(type *)` that calls `destructor` on a non-NULL pointer, for use with _cleanup_. */
#define CLEANUP_DEFINE(type, name, destructor) \
        static inline __attribute__((unused)) void name(type *p) { \
                if (*p) \
                        destructor(*p); \
        }

static inline void cleanup_free(void *p) {
        free(*(void **)p);
}
static inline void cleanup_fd(int *fd) {
        if (*fd >= 0)
                close(*fd);
}
CLEANUP_DEFINE(FILE *, cleanup_file, fclose)
CLEANUP_DEFINE(json_t *, cleanup_json, json_decref)

#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_fd_ _cleanup_(cleanup_fd)
#define _cleanup_file_ _cleanup_(cleanup_file)
#define _cleanup_json_ _cleanup_(cleanup_json)

/* Gives the pointer away: the local becomes NULL and is not cleaned up. */
#define TAKE(pointer) \
        ({ \
                __typeof__(pointer) _taken = (pointer); \
                (pointer) = NULL; \
                _taken; \
        })
