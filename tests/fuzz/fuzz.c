#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
        int fd;
        char path[32];
};

static const char *fill(struct file *file, const uint8_t *data, size_t size) {
        if (!file->path[0]) {
                file->fd = memfd_create("fuzz", MFD_CLOEXEC);
                fuzz_assert(file->fd >= 0 && fchmod(file->fd, 0600) == 0);
                snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
        }
        fuzz_assert(ftruncate(file->fd, 0) == 0);
        fuzz_assert(pwrite(file->fd, data, size, 0) == (ssize_t)size);
        return file->path;
}

const char *fuzz_file(const uint8_t *data, size_t size) {
        static struct file file;
        return fill(&file, data, size);
}

const char *fuzz_second_file(const uint8_t *data, size_t size) {
        static struct file file;
        return fill(&file, data, size);
}

const uint8_t *fuzz_cut(const uint8_t *data, size_t size, size_t *ret_len, size_t *ret_rest_len) {
        const uint8_t *mark = size ? memchr(data, 0xff, size) : NULL;
        *ret_len = mark ? (size_t)(mark - data) : size;
        *ret_rest_len = mark ? size - *ret_len - 1 : 0;
        return mark ? mark + 1 : data + size;
}

char *fuzz_text(const uint8_t *data, size_t size) {
        char *text = malloc(size + 1);
        fuzz_assert(text);
        memcpy(text, data, size);
        text[size] = 0;
        return text;
}

void fuzz_fail(const char *condition, const char *file, int line) {
        fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
        abort();
}
