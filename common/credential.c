#include "common/credential.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"

static const char *folder(void) {
        const char *path = getenv("CREDENTIALS_DIRECTORY");
        return path && path[0] == '/' ? path : NULL;
}

char *credential_path(const char *name) {
        const char *place = folder();
        _cleanup_free_ char *path = place ? fs_join(place, name) : NULL;
        return path && access(path, F_OK) == 0 ? TAKE(path) : NULL;
}

mode_t credential_forbidden_bits(const char *path) {
        const char *place = folder();
        size_t len = place ? strlen(place) : 0;
        bool given = len > 0 && strncmp(path, place, len) == 0 && path[len] == '/' && !strstr(path + len, "/../");
        return given ? S_IRWXO | S_IWGRP | S_IXGRP : S_IRWXG | S_IRWXO;
}
