/* Secrets come from files, never from argv, and a file that others can read is refused rather than used. */
#include "net/token_file.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/credential.h"

int token_file_read(const char *path, char **ret, struct error *err) {
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_set(err, -errno, "cannot open token file %s: %s", path, strerror(errno));
        if (st.st_mode & credential_forbidden_bits(path))
                return error_set(err, -EPERM, "token file %s may be read by others: chmod 600 it", path);
        char text[TOKEN_BYTES_MAX + 2];
        ssize_t n = read(fd, text, sizeof text - 1);
        if (n < 0)
                return error_set(err, -errno, "cannot read token file %s: %s", path, strerror(errno));
        text[n] = 0;
        size_t len = strcspn(text, "\r\n");
        bool alone = text[len + strspn(text + len, "\r\n")] == 0 && (size_t)n == strlen(text);
        for (size_t i = 0; i < len; i++)
                alone = alone && text[i] > 0x20 && text[i] < 0x7f;
        char *token = alone && len > 0 && len <= TOKEN_BYTES_MAX ? strndup(text, len) : NULL;
        explicit_bzero(text, sizeof text);
        if (!token)
                return error_set(err, -EINVAL, "token file %s: expected one line with the token alone", path);
        *ret = token;
        return 0;
}

void token_free(char *token) {
        if (token)
                explicit_bzero(token, strlen(token));
        free(token);
}
