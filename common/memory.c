/* MemAvailable of the machine against the limits of this process's control groups, of which every ancestor counts (both
 * versions of the kernel's interface). What a group uses for file contents can be taken back and counts as free. */
#include "common/memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "common/cleanup.h"

static FILE *open_under(const char *root, const char *path) {
        char full[PATH_MAX];
        return snprintf(full, sizeof full, "%s%s", root, path) < (int)sizeof full ? fopen(full, "re") : NULL;
}

/* The number behind a word at the start of a line ("" = the file is a number alone); fallback where there is none. */
static uint64_t read_number(const char *root, const char *path, const char *word, uint64_t fallback) {
        _cleanup_file_ FILE *file = open_under(root, path);
        char line[256];
        size_t len = strlen(word);
        uint64_t value;
        while (file && fgets(line, sizeof line, file))
                if (strncmp(line, word, len) == 0 && sscanf(line + len, " %" SCNu64, &value) == 1)
                        return value;
        return fallback;
}

struct interface {
        const char *mount, *limit, *usage, *file_contents; /* the last: a word of memory.stat */
};
static const struct interface version_1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"};
static const struct interface version_2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "file"};

static uint64_t group_room(const char *root, const struct interface *interface, const char *group) {
        char limit[PATH_MAX], usage[PATH_MAX], stat[PATH_MAX];
        snprintf(limit, sizeof limit, "%s%s/%s", interface->mount, group, interface->limit);
        snprintf(usage, sizeof usage, "%s%s/%s", interface->mount, group, interface->usage);
        snprintf(stat, sizeof stat, "%s%s/memory.stat", interface->mount, group);
        uint64_t max = read_number(root, limit, "", UINT64_MAX);
        if (max >= UINT64_MAX / 4)
                return UINT64_MAX; /* "max", or version 1's way to say it */
        uint64_t used = read_number(root, usage, "", 0), files = read_number(root, stat, interface->file_contents, 0);
        used -= files < used ? files : used;
        return used < max ? max - used : 0;
}

/* The group and all above it. Inside a container the path may be one of the host's: the mount itself is looked at always. */
static uint64_t groups_room(const char *root, const struct interface *interface, char *group) {
        uint64_t least = UINT64_MAX;
        for (;;) {
                uint64_t room = group_room(root, interface, group);
                least = room < least ? room : least;
                char *slash = strrchr(group, '/');
                if (!slash)
                        return least;
                *slash = 0;
        }
}

/* Lines of /proc/self/cgroup: "0::/path" of version 2, "N:memory,…:/path" of version 1. */
static uint64_t all_groups_room(const char *root) {
        _cleanup_file_ FILE *file = open_under(root, "/proc/self/cgroup");
        char line[2048]; /* longer paths: their ends are not looked at */
        uint64_t least = UINT64_MAX;
        while (file && fgets(line, sizeof line, file)) {
                char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
                if (!path)
                        continue;
                *path++ = 0;
                path[strcspn(path, "\n")] = 0;
                if (strcmp(path, "/") == 0)
                        *path = 0;
                bool is_version_2 = controllers[1] == 0;
                if (!is_version_2 && !strstr(controllers, "memory"))
                        continue;
                uint64_t room = groups_room(root, is_version_2 ? &version_2 : &version_1, path);
                least = room < least ? room : least;
        }
        return least;
}

static uint64_t address_room(const char *root) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
                return UINT64_MAX;
        uint64_t mapped = read_number(root, "/proc/self/status", "VmSize:", 0) << 10;
        return mapped < limit.rlim_cur ? limit.rlim_cur - mapped : 0;
}

void memory_look(const char *root, struct memory_room *ret) {
        uint64_t kib = read_number(root, "/proc/meminfo", "MemAvailable:", UINT64_MAX);
        uint64_t machine = kib == UINT64_MAX ? UINT64_MAX : kib << 10, groups = all_groups_room(root);
        *ret = (struct memory_room){.resident_bytes = machine < groups ? machine : groups,
                                    .address_bytes = address_room(root),
                                    .resident_from = machine <= groups ? "machine" : "control group"};
}
