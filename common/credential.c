#include "common/credential.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *folder(void) {
        const char *path = getenv("CREDENTIALS_DIRECTORY");
        return path && path[0] == '/' ? path : NULL;
}

char *credential_path(const char *service, const char *name) {
        const char *place = folder();
        char *path = NULL;
        if (!place)
                return NULL;
        for (int named = 0; named < 2; named++) {
                if (asprintf(&path, "%s/%s%s%s", place, named ? service : "", named ? "_" : "", name) < 0)
                        return NULL;
                if (access(path, F_OK) == 0)
                        return path;
                free(path);
        }
        return NULL;
}

mode_t credential_forbidden_bits(const char *path) {
        const char *place = folder();
        size_t len = place ? strlen(place) : 0;
        bool given = len > 0 && strncmp(path, place, len) == 0 && path[len] == '/' && !strstr(path + len, "/../");
        return given ? S_IRWXO | S_IWGRP | S_IXGRP : S_IRWXG | S_IRWXO;
}
