#include "support.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

json_t *golden_read(const char *name) {
        const char *shared = getenv("SWEEPD_SHARED"), *root = getenv("SWEEPD_SOURCE_ROOT");
        char path[PATH_MAX];
        if (shared)
                snprintf(path, sizeof path, "%s/golden/%s", shared, name);
        else
                snprintf(path, sizeof path, "%s/../shared/golden/%s", root ? root : ".", name);
        return json_load_file(path, 0, NULL);
}
