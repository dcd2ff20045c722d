#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/rfc3339.h"

#define MAX_LINE 16384

static enum log_level threshold = LOG_INFO; /* written once before threads start */

static const char *const level_names[] = {"debug", "info", "warning", "error"};

void log_set_level(enum log_level level) {
        threshold = level;
}

int log_level_parse(const char *text, enum log_level *ret) {
        for (int i = 0; i < 4; i++) {
                if (strcmp(text, level_names[i]) == 0) {
                        *ret = (enum log_level)i;
                        return 0;
                }
        }
        return -EINVAL;
}

static void append_text(struct buf *line, const char *text) {
        if (*text && strcspn(text, " =\"\\") == strlen(text) && text[strspn(text, "\t\r\n")] == text[0]) {
                const char *c = text;
                while (*c && (unsigned char)*c >= 0x20 && *c != 0x7f)
                        c++;
                if (!*c) {
                        buf_puts(line, text);
                        return;
                }
        }
        buf_puts(line, "\"");
        for (const char *c = text; *c; c++) {
                if (*c == '"' || *c == '\\')
                        buf_printf(line, "\\%c", *c);
                else if (*c == '\n')
                        buf_puts(line, "\\n");
                else if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        buf_printf(line, "\\x%02x", (unsigned char)*c);
                else
                        buf_append(line, c, 1);
        }
        buf_puts(line, "\"");
}

void log_write(enum log_level level, const char *message, const struct log_field *fields) {
        if (level < threshold)
                return;
        _cleanup_buf_ struct buf line = BUF_INIT(MAX_LINE);
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        char stamp[RFC3339_SIZE];
        rfc3339_format((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, stamp);
        buf_printf(&line, "time=%s level=%s msg=", stamp, level_names[level]);
        append_text(&line, message);
        for (const struct log_field *f = fields; f->key; f++) {
                buf_printf(&line, " %s=", f->key);
                if (f->kind == LOG_FIELD_TEXT)
                        append_text(&line, f->text ? f->text : "");
                else if (f->kind == LOG_FIELD_INTEGER)
                        buf_printf(&line, "%lld", (long long)f->integer);
                else
                        buf_printf(&line, "%.6g", f->real);
        }
        if (line.len == line.max)
                line.len--;
        buf_puts(&line, "\n");
        ssize_t written = write(STDERR_FILENO, line.data ? line.data : "", line.len); /* one write: lines never interleave */
        (void)written;
}
