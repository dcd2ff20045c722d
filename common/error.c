#include "common/error.h"

#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *format, ...) {
        if (!err)
                return code;
        va_list ap;
        va_start(ap, format);
        vsnprintf(err->text, sizeof err->text, format, ap);
        va_end(ap);
        err->code = code;
        return code;
}

int error_prefix(struct error *err, const char *format, ...) {
        if (!err)
                return -EINVAL;
        char prefix[256], old[sizeof err->text];
        va_list ap;
        va_start(ap, format);
        vsnprintf(prefix, sizeof prefix, format, ap);
        va_end(ap);
        memcpy(old, err->text, sizeof old);
        snprintf(err->text, sizeof err->text, "%s: %.*s", prefix, (int)(sizeof err->text - sizeof prefix - 3), old);
        return err->code;
}
