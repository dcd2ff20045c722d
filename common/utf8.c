#include "common/utf8.h"

#include <errno.h>
#include <string.h>

int utf8_decode(const char *text, size_t len, uint32_t *ret) {
        const unsigned char *bytes = (const unsigned char *)text;
        if (len == 0)
                return -EILSEQ;
        if (bytes[0] < 0x80) {
                *ret = bytes[0];
                return 1;
        }
        int n = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
        static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
        if (bytes[0] < 0xc2 || bytes[0] > 0xf4 || len < (size_t)n)
                return -EILSEQ;
        uint32_t point = bytes[0] & (0x7fu >> n);
        for (int i = 1; i < n; i++) {
                if ((bytes[i] & 0xc0) != 0x80)
                        return -EILSEQ;
                point = point << 6 | (bytes[i] & 0x3fu);
        }
        if (point < smallest[n] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
                return -EILSEQ;
        *ret = point;
        return n;
}

size_t utf8_span(const char *text, size_t len) {
        size_t at = 0;
        while (at < len) {
                uint32_t point;
                int n = utf8_decode(text + at, len - at, &point);
                if (n < 0)
                        break;
                at += (size_t)n;
        }
        return at;
}

void utf8_copy(char *ret, size_t size, const char *text) {
        size_t len = strnlen(text, size), room = size - 1;
        size_t n = len > room ? utf8_span(text, room) : len;
        memcpy(ret, text, n);
        ret[n] = 0;
}
