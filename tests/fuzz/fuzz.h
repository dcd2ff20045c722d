/* What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput, linked with clang's libFuzzer (-Dfuzz=true)
 * or with replay.c, which runs it over the files of its corpus as an ordinary test. */
#pragma once
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes as a file, for readers that want a path: mode 0600, in memory, the same one every time. */
const char *fuzz_file(const uint8_t *data, size_t size);

/* A second one beside it. */
const char *fuzz_second_file(const uint8_t *data, size_t size);

/* Cuts the input at the first 0xFF byte: *ret_len bytes before it, *ret_rest after it (empty without one). */
const uint8_t *fuzz_cut(const uint8_t *data, size_t size, size_t *ret_len, size_t *ret_rest_len);

/* The bytes as a C string, up to the first NUL. The caller frees it. */
char *fuzz_text(const uint8_t *data, size_t size);

/* Ends the process, as a crash does, when a promise was broken. */
#define fuzz_assert(condition) \
        do { \
                if (!(condition)) \
                        fuzz_fail(#condition, __FILE__, __LINE__); \
        } while (0)
void fuzz_fail(const char *condition, const char *file, int line) __attribute__((noreturn));
