/* A growable byte buffer with a cap. Always followed by a NUL byte that is not counted, so text can be printed. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct buf {
        char *data; /* owned; NULL while empty */
        size_t len, cap;
        size_t max; /* appending past this fails with -EFBIG; 0 = no cap */
};

#define BUF_INIT(max_bytes) ((struct buf){.max = (max_bytes)})

void buf_fini(struct buf *buf);
void buf_clear(struct buf *buf); /* keeps the memory */

/* 0, -ENOMEM or -EFBIG; on failure the buffer is as it was. */
int buf_append(struct buf *buf, const void *data, size_t len);
int buf_puts(struct buf *buf, const char *text);
int buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops the first n bytes. */
void buf_consume(struct buf *buf, size_t n);

#define _cleanup_buf_ __attribute__((cleanup(buf_fini)))
