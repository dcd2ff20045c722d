#include "place.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"

int place_make(const char *target, char **ret, struct error *err) {
        struct stat st;
        if (lstat(target, &st) == 0 && !S_ISDIR(st.st_mode))
                return error_set(err, -EEXIST, "%s is there already, and is no folder", target);
        if (rmdir(target) < 0 && errno != ENOENT)
                return error_set(err, -EEXIST, "%s is there already, and is not empty", target);
        size_t len = strlen(target);
        while (len > 1 && target[len - 1] == '/')
                len--;
        char *place = NULL;
        if (asprintf(&place, "%.*s.part-XXXXXX", (int)len, target) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        if (!mkdtemp(place)) {
                int code = -errno;
                free(place);
                return error_set(err, code, "cannot make a folder beside %s: %s", target, strerror(-code));
        }
        *ret = place;
        return 0;
}

int place_commit(const char *place, const char *target, struct error *err) {
        _cleanup_fd_ int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || chmod(place, 0755) < 0)
                return error_set(err, -errno, "cannot open %s to all: %s", place, strerror(errno));
        if (syncfs(fd) < 0) /* once, instead of every file by itself */
                return error_set(err, -errno, "cannot sync %s: %s", place, strerror(errno));
        return fs_commit(place, target, err);
}

void place_discard(const char *place) {
        fs_remove_tree(place, NULL);
}
