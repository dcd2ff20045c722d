#include "common/memory.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <setjmp.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/fs.h"

static char root[64];

static int set_up(void **state) {
        (void)state;
        strcpy(root, "/tmp/memory_test.XXXXXX");
        return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state) {
        (void)state;
        return fs_remove_tree(root, NULL);
}

static void put(const char *path, const char *text) {
        _cleanup_free_ char *full = fs_join(root, path), *folder = full ? strdup(full) : NULL;
        assert_non_null(folder);
        *strrchr(folder, '/') = 0;
        assert_int_equal(fs_make_dirs(folder, 0755, NULL), 0);
        assert_int_equal(fs_write_atomic(full, text, strlen(text), 0644, NULL), 0);
}

static uint64_t resident(void) {
        struct memory_room room;
        memory_look(root, &room);
        return room.resident_bytes;
}

static void without_files_nothing_is_known(void **state) {
        (void)state;
        assert_true(resident() == UINT64_MAX);
}

static void the_machine_says_what_is_available(void **state) {
        (void)state;
        put("proc/meminfo", "MemTotal:       100 kB\nMemAvailable:    60 kB\n");
        assert_int_equal(resident(), 60 << 10);
}

static void a_group_leaves_its_limit_less_what_cannot_be_taken_back(void **state) {
        (void)state;
        put("proc/meminfo", "MemAvailable: 1000000 kB\n");
        put("proc/self/cgroup", "0::/a/b\n");
        put("sys/fs/cgroup/a/b/memory.max", "max\n");
        put("sys/fs/cgroup/a/memory.max", "500000\n"); /* an ancestor's counts too */
        put("sys/fs/cgroup/a/memory.current", "300000\n");
        put("sys/fs/cgroup/a/memory.stat", "anon 200000\nfile 100000\n");
        assert_int_equal(resident(), 300000);
        struct memory_room room;
        memory_look(root, &room);
        assert_string_equal(room.resident_from, "control group");
}

static void the_first_version_of_groups_counts_too(void **state) {
        (void)state;
        put("proc/self/cgroup", "3:cpu:/c\n4:memory:/m\n");
        put("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "1000\n");
        put("sys/fs/cgroup/memory/m/memory.usage_in_bytes", "400\n");
        put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_int_equal(resident(), 600);
}

static void an_address_limit_leaves_what_is_not_mapped(void **state) {
        (void)state;
        struct rlimit before, limit;
        struct memory_room room;
        put("proc/self/status", "VmPeak: 1 kB\nVmSize:    1024 kB\n");
        memory_look(root, &room);
        assert_true(room.address_bytes == UINT64_MAX);
        getrlimit(RLIMIT_AS, &before);
        limit = before;
        limit.rlim_cur = (rlim_t)1 << 40;
        if (setrlimit(RLIMIT_AS, &limit) < 0)
                skip();
        memory_look(root, &room);
        setrlimit(RLIMIT_AS, &before);
        assert_true(room.address_bytes == ((uint64_t)1 << 40) - (1 << 20));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(without_files_nothing_is_known, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_machine_says_what_is_available, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_group_leaves_its_limit_less_what_cannot_be_taken_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_first_version_of_groups_counts_too, set_up, tear_down),
                cmocka_unit_test_setup_teardown(an_address_limit_leaves_what_is_not_mapped, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
