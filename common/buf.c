#include "common/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_fini(struct buf *buf) {
        free(buf->data);
        *buf = (struct buf){.max = buf->max};
}

void buf_clear(struct buf *buf) {
        buf->len = 0;
        if (buf->data)
                buf->data[0] = 0;
}

static int reserve(struct buf *buf, size_t extra) {
        if (extra > SIZE_MAX / 4 || (buf->max && (extra > buf->max || buf->len > buf->max - extra)))
                return -EFBIG;
        size_t need = buf->len + extra + 1;
        if (need <= buf->cap)
                return 0;
        size_t cap = buf->cap ? buf->cap : 256;
        while (cap < need)
                cap *= 2;
        char *data = realloc(buf->data, cap);
        if (!data)
                return -ENOMEM;
        buf->data = data;
        buf->cap = cap;
        return 0;
}

int buf_append(struct buf *buf, const void *data, size_t len) {
        int r = reserve(buf, len);
        if (r < 0)
                return r;
        if (len)
                memcpy(buf->data + buf->len, data, len);
        buf->len += len;
        buf->data[buf->len] = 0;
        return 0;
}

int buf_puts(struct buf *buf, const char *text) {
        return buf_append(buf, text, strlen(text));
}

int buf_printf(struct buf *buf, const char *format, ...) {
        va_list ap, again;
        va_start(ap, format);
        va_copy(again, ap);
        int n = vsnprintf(NULL, 0, format, ap);
        va_end(ap);
        int r = n < 0 ? -EINVAL : reserve(buf, (size_t)n);
        if (r == 0) {
                vsnprintf(buf->data + buf->len, (size_t)n + 1, format, again);
                buf->len += (size_t)n;
        }
        va_end(again);
        return r;
}

void buf_consume(struct buf *buf, size_t n) {
        if (n >= buf->len) {
                buf_clear(buf);
                return;
        }
        memmove(buf->data, buf->data + n, buf->len - n);
        buf->len -= n;
        buf->data[buf->len] = 0;
}
