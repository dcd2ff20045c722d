/* Allocations that fail when told to. The linker sends malloc and its kin of every linked object here (--wrap); SQLite and
 * Jansson, which are shared libraries, are given the same functions. */
#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *pointer, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);

static struct {
        uint64_t left; /* allocations until one fails; 0 = not armed */
        bool all_after, failed, is_paused;
} state;

static bool refuses(void) {
        if (state.is_paused || state.left == 0)
                return false;
        if (state.left > 1) {
                state.left--;
                return false;
        }
        if (!state.all_after)
                state.left = 0;
        state.failed = true;
        errno = ENOMEM;
        return true;
}

void *__wrap_malloc(size_t size) {
        return refuses() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size) {
        return refuses() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *pointer, size_t size) {
        return refuses() ? NULL : __real_realloc(pointer, size);
}

char *__wrap_strdup(const char *text) {
        return refuses() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t n) {
        return refuses() ? NULL : __real_strndup(text, n);
}

void memory_arm(uint64_t nth, bool and_all_after) {
        state.left = nth;
        state.all_after = and_all_after;
        state.failed = false;
}

bool memory_disarm(void) {
        bool failed = state.failed;
        state.left = 0;
        state.failed = false;
        return failed;
}

void memory_pause(bool pause) {
        state.is_paused = pause;
}

/* --- SQLite: its methods want the size of a block --------------------------------------------------------- */

#define HEAD 16

static void *sqlite_malloc(int n) {
        char *block = __wrap_malloc((size_t)n + HEAD);
        if (!block)
                return NULL;
        memcpy(block, &n, sizeof n);
        return block + HEAD;
}

static void sqlite_free(void *pointer) {
        if (pointer)
                free((char *)pointer - HEAD);
}

static void *sqlite_realloc(void *pointer, int n) {
        char *block = __wrap_realloc((char *)pointer - HEAD, (size_t)n + HEAD);
        if (!block)
                return NULL;
        memcpy(block, &n, sizeof n);
        return block + HEAD;
}

static int sqlite_size(void *pointer) {
        int n = 0;
        if (pointer)
                memcpy(&n, (char *)pointer - HEAD, sizeof n);
        return n;
}

static int sqlite_roundup(int n) {
        return (n + 7) & ~7;
}

static int sqlite_init(void *unused) {
        (void)unused;
        return SQLITE_OK;
}

static void sqlite_shutdown(void *unused) {
        (void)unused;
}

static void *json_malloc_here(size_t size) {
        return __wrap_malloc(size);
}

static void json_free_here(void *pointer) {
        free(pointer);
}

void memory_init(void) {
        static const sqlite3_mem_methods methods = {sqlite_malloc,  sqlite_free, sqlite_realloc,  sqlite_size,
                                                    sqlite_roundup, sqlite_init, sqlite_shutdown, NULL};
        mallopt(M_TRIM_THRESHOLD, 1 << 30); /* thousands of histories in one process: pages are asked for once */
        mallopt(M_MMAP_THRESHOLD, 1 << 30);
        mallopt(M_TOP_PAD, 16 << 20);
        sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
        json_set_alloc_funcs(json_malloc_here, json_free_here);
        json_object_seed(1);
}
