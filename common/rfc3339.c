#include "common/rfc3339.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void rfc3339_format(uint64_t unix_ms, char ret[static RFC3339_SIZE]) {
        time_t seconds = (time_t)(unix_ms / 1000);
        struct tm tm;
        gmtime_r(&seconds, &tm);
        size_t n = strftime(ret, RFC3339_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(ret + n, RFC3339_SIZE - n, ".%03uZ", (unsigned)(unix_ms % 1000));
}

static int digits(const char **c, int n, int low, int high, int *ret) {
        int value = 0;
        for (int i = 0; i < n; i++, (*c)++) {
                if (!isdigit((unsigned char)**c))
                        return -EINVAL;
                value = value * 10 + (**c - '0');
        }
        *ret = value;
        return value < low || value > high ? -EINVAL : 0;
}

static int literal(const char **c, const char *accepted) {
        if (!**c || !strchr(accepted, **c))
                return -EINVAL;
        (*c)++;
        return 0;
}

int rfc3339_parse(const char *c, uint64_t *ret_unix_ms) {
        struct tm tm = {0};
        int year, month, ms = 0, offset = 0;
        if (digits(&c, 4, 1970, 9999, &year) || literal(&c, "-") || digits(&c, 2, 1, 12, &month) || literal(&c, "-") ||
            digits(&c, 2, 1, 31, &tm.tm_mday) || literal(&c, "Tt ") || digits(&c, 2, 0, 23, &tm.tm_hour) ||
            literal(&c, ":") || digits(&c, 2, 0, 59, &tm.tm_min) || literal(&c, ":") || digits(&c, 2, 0, 60, &tm.tm_sec))
                return -EINVAL;
        if (*c == '.') {
                int n = 0;
                for (c++; isdigit((unsigned char)*c); c++, n++)
                        if (n < 3)
                                ms = ms * 10 + (*c - '0');
                if (n == 0 || n > 9)
                        return -EINVAL;
                for (; n < 3; n++)
                        ms *= 10;
        }
        if (*c == 'Z' || *c == 'z') {
                c++;
        } else {
                int sign = *c == '-' ? -1 : 1, hours, minutes;
                if (literal(&c, "+-") || digits(&c, 2, 0, 23, &hours) || literal(&c, ":") || digits(&c, 2, 0, 59, &minutes))
                        return -EINVAL;
                offset = sign * (hours * 3600 + minutes * 60);
        }
        if (*c)
                return -EINVAL;
        tm.tm_year = year - 1900;
        tm.tm_mon = month - 1;
        int day = tm.tm_mday;
        time_t seconds = timegm(&tm);
        if (tm.tm_mday != day) /* 30 February */
                return -EINVAL;
        seconds -= offset;
        if (seconds < 0)
                return -EINVAL;
        *ret_unix_ms = (uint64_t)seconds * 1000 + (uint64_t)ms;
        return 0;
}
