/* Cursors: "fields-in-hex_tail-in-hex_check", every character unreserved in a URL. The check is no secret; it tells an
 * altered or foreign text from one that this program made. */
#include <stdio.h>
#include <string.h>

#include "api/core.h"
#include "common/buf.h"
#include "common/rng.h"

#define TAIL_BYTES 128

static uint32_t checksum(const char *text, size_t len) {
        uint64_t hash = 0x5eed;
        for (size_t i = 0; i < len; i++)
                hash = rng_mix(hash ^ (unsigned char)text[i]);
        return (uint32_t)hash;
}

char *cursor_encode(const int64_t fields[static CURSOR_FIELDS], const char *tail) {
        struct buf text = BUF_INIT(0);
        int r = 0;
        for (int i = 0; i < CURSOR_FIELDS && r == 0; i++)
                r = buf_printf(&text, "%s%llx", i ? "-" : "", (unsigned long long)fields[i]);
        if (r == 0)
                r = buf_puts(&text, "_");
        for (size_t i = 0; tail[i] && i < TAIL_BYTES && r == 0; i++)
                r = buf_printf(&text, "%02x", (unsigned char)tail[i]);
        if (r == 0)
                r = buf_printf(&text, "_%08x", checksum(text.data, text.len));
        if (r < 0)
                buf_fini(&text);
        return text.data;
}

static int hex_digit(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *read_hex(const char *text, uint64_t *ret) {
        uint64_t value = 0;
        int n = 0;
        for (; hex_digit(*text) >= 0 && n < 16; n++)
                value = value << 4 | (uint64_t)hex_digit(*text++);
        *ret = value;
        return n > 0 ? text : NULL;
}

bool cursor_decode(const char *text, int64_t ret[static CURSOR_FIELDS], char ret_tail[static 129]) {
        const char *check = strrchr(text, '_');
        uint64_t value;
        const char *end = check ? read_hex(check + 1, &value) : NULL;
        if (!end || *end || value != checksum(text, (size_t)(check - text)))
                return false;
        for (int i = 0; i < CURSOR_FIELDS; i++) {
                text = read_hex(text, &value);
                if (!text || *text++ != (i + 1 < CURSOR_FIELDS ? '-' : '_'))
                        return false;
                ret[i] = (int64_t)value;
        }
        size_t n = 0;
        for (; text + 1 < check && n < TAIL_BYTES; text += 2)
                ret_tail[n++] = (char)(hex_digit(text[0]) << 4 | hex_digit(text[1]));
        ret_tail[n] = 0;
        return text == check;
}
