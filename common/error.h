/* Errors that a person will read. A function that can fail returns int: 0 is ok, a negative errno value means
 * "propagate", a positive value is a documented outcome of that one function. Where a text helps, the caller owns a
 * `struct error` and passes it down; passing NULL is always allowed. Who stops an error logs it, once. */
#pragma once
#include <errno.h>
#include <stdarg.h>

struct error {
        int code;       /* negative errno value, 0 when unset */
        char text[512]; /* one sentence that names the field, file or line; always terminated */
};

/* Fills err (when not NULL) and returns code, so that `return error_set(err, -EINVAL, …)` reads well. */
int error_set(struct error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text that is there. Returns err->code. */
int error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
