#include "screen.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "common/cleanup.h"
#include "common/utf8.h"

static struct winsize size_of(FILE *out) {
        struct winsize size = {0};
        int fd = fileno(out);
        if (fd < 0 || !isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) < 0)
                size = (struct winsize){0};
        return size;
}

size_t screen_columns(FILE *out) {
        return size_of(out).ws_col;
}

size_t screen_rows(FILE *out) {
        return size_of(out).ws_row;
}

bool screen_has_colours(FILE *out) {
        const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
        return fileno(out) >= 0 && isatty(fileno(out)) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

size_t screen_bytes_of_control(const char *text) {
        const unsigned char *c = (const unsigned char *)text;
        if (c[0] < ' ' || c[0] == 0x7f)
                return 1;
        if (c[0] == 0xc2 && (c[1] & 0xe0) == 0x80) /* U+0080 … U+009F */
                return 2;
        bool turns = c[0] == 0xe2 && ((c[1] == 0x80 && ((c[2] >= 0xaa && c[2] <= 0xae) || c[2] == 0x8e || c[2] == 0x8f)) || /* U+202A … U+202E, U+200E, U+200F */
                                      (c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9));                                     /* U+2066 … U+2069 */
        return turns ? 3 : 0; /* the direction of writing: what stands behind it would be read in another order */
}

void screen_write(FILE *out, const char *text, size_t len) {
        for (size_t at = 0, bytes; at < len; at += bytes ? bytes : 1) {
                bytes = text[at] == '\n' ? 0 : screen_bytes_of_control(text + at);
                putc(bytes ? ' ' : text[at], out);
        }
}

void screen_print(FILE *out, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;
        va_start(ap, format);
        int len = vasprintf(&text, format, ap);
        va_end(ap);
        if (len < 0) {
                text = NULL; /* not defined then */
                return;
        }
        screen_write(out, text, (size_t)len);
}

const char *screen_one_line(char *text) {
        for (char *end = text; (end = strpbrk(end, "\r\n"));)
                *end = ' ';
        return text;
}

/* Of the first character, whose bytes go to *ret_bytes. What is no UTF-8 counts as one column. */
static size_t width_of_first(const char *text, size_t *ret_bytes) {
        uint32_t c = 0;
        int n = utf8_decode(text, strnlen(text, 4), &c);
        int width = n > 0 ? wcwidth((wchar_t)c) : 1;
        *ret_bytes = n > 0 ? (size_t)n : 1;
        return width < 0 ? 1 : (size_t)width;
}

size_t screen_width(const char *text) {
        size_t n = 0, bytes;
        for (; *text; text += bytes)
                n += width_of_first(text, &bytes);
        return n;
}

const char *screen_fit(const char *text, size_t columns, char *ret, size_t size) {
        size_t used = 0, len = 0, bytes;
        bool fits = screen_width(text) <= columns && strlen(text) < size;
        if (fits)
                return memcpy(ret, text, strlen(text) + 1);
        for (; *text; text += bytes) {
                size_t width = width_of_first(text, &bytes);
                if (used + width + 1 > columns || len + bytes + 4 > size)
                        break;
                memcpy(ret + len, text, bytes);
                len += bytes;
                used += width;
        }
        memcpy(ret + len, columns > 0 ? "…" : "", columns > 0 ? 4 : 1);
        return ret;
}

const char *screen_colour_of_state(const char *state) {
        static const struct {
                const char *state, *colour;
        } table[] = {
                {"running", "\033[36m"}, {"active", "\033[32m"},   {"completed", "\033[32m"},   {"finished", "\033[32m"}, {"stopped", "\033[33m"}, {"paused", "\033[33m"},
                {"draining", "\033[33m"}, {"failed", "\033[31m"},  {"quarantined", "\033[31m"}, {"gone", "\033[31m"},     {"cancelled", "\033[2m"}, {"queued", "\033[2m"},
        };
        for (size_t i = 0; i < sizeof table / sizeof *table; i++)
                if (strncmp(state, table[i].state, strlen(table[i].state)) == 0)
                        return table[i].colour;
        return "";
}

static void add(char *ret, size_t size, const char *text) {
        size_t n = strlen(ret);
        if (n + strlen(text) < size)
                memcpy(ret + n, text, strlen(text) + 1);
}

const char *screen_sparkline(const double *values, size_t n, size_t columns, char *ret, size_t size) {
        static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
        double low = INFINITY, high = -INFINITY;
        if (columns > SPARKLINE_COLUMNS_MAX)
                columns = SPARKLINE_COLUMNS_MAX;
        if (columns > n)
                columns = n;
        for (size_t i = 0; i < n; i++) {
                low = fmin(low, values[i]);
                high = fmax(high, values[i]);
        }
        ret[0] = 0;
        for (size_t i = 0; i < columns; i++) {
                double value = values[(i + 1) * n / columns - 1], share = high > low ? (value - low) / (high - low) : 0.5;
                add(ret, size, blocks[isfinite(share) ? (size_t)(share * 7 + 0.5) : 0]);
        }
        return ret;
}

const char *screen_bar(double share, size_t columns, char *ret, size_t size) {
        size_t full = share > 0 ? (size_t)((double)columns * fmin(share, 1)) : 0;
        ret[0] = 0;
        for (size_t i = 0; i < columns; i++)
                add(ret, size, i < full ? "█" : "░");
        return ret;
}

/* One line of so many bytes, without its end. */
static void print_line_wrapped(FILE *out, const char *line, size_t len, size_t indent, size_t columns) {
        size_t column = 0, at = 0;
        while (at < len) {
                size_t spaces = strspn(line + at, " "), bytes;
                if (spaces > len - at)
                        spaces = len - at;
                bytes = strcspn(line + at + spaces, " \n");
                if (bytes > len - at - spaces)
                        bytes = len - at - spaces;
                _cleanup_free_ char *word = strndup(line + at + spaces, bytes);
                size_t width = word ? screen_width(word) : bytes;
                if (columns > indent && column > indent && column + spaces + width > columns) {
                        fprintf(out, "\n%*s", (int)indent, "");
                        column = indent;
                } else {
                        fprintf(out, "%*s", (int)spaces, "");
                        column += spaces;
                }
                screen_write(out, line + at + spaces, bytes);
                column += width;
                at += spaces + bytes;
        }
        fputc('\n', out);
}

void screen_print_wrapped(FILE *out, const char *text, size_t indent, size_t columns) {
        for (const char *line = text, *end; line && *line; line = *end ? end + 1 : end) {
                end = strchrnul(line, '\n');
                print_line_wrapped(out, line, (size_t)(end - line), indent, columns);
        }
}
