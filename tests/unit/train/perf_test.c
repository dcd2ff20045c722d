#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/fs.h"
#include "train/perf.h"

static char root[64];

static void put(const char *folder, const char *name, const char *text) {
        struct error err = {0};
        char path[512];
        snprintf(path, sizeof path, "%s/sys/class/%s", root, folder);
        assert_int_equal(fs_make_dirs(path, 0700, &err), 0);
        snprintf(path, sizeof path, "%s/sys/class/%s/%s", root, folder, name);
        assert_int_equal(fs_write_atomic(path, text, strlen(text), 0600, &err), 0);
}

static int make_root(void **state) {
        (void)state;
        strcpy(root, "/tmp/perf_test.XXXXXX");
        return mkdtemp(root) ? 0 : -1;
}

static int drop_root(void **state) {
        (void)state;
        struct error err = {0};
        return fs_remove_tree(root, &err);
}

static void no_sensor_gives_no_temperature(void **state) {
        (void)state;
        assert_true(isnan(perf_temperature(root)));
        put("hwmon/hwmon0", "name", "nvme\n");
        put("hwmon/hwmon0", "temp1_input", "70000\n");
        put("thermal/cooling_device0", "temp", "10000\n");
        assert_true(isnan(perf_temperature(root)));
}

static void the_processors_hottest_sensor_counts(void **state) {
        (void)state;
        put("thermal/thermal_zone0", "temp", "99000\n");
        put("hwmon/hwmon0", "name", "nvme\n");
        put("hwmon/hwmon0", "temp1_input", "95000\n");
        put("hwmon/hwmon1", "name", "k10temp\n");
        put("hwmon/hwmon1", "temp1_input", "61250\n");
        put("hwmon/hwmon1", "temp3_input", "58000\n");
        put("hwmon/hwmon1", "temp1_max", "100000\n");
        put("hwmon/hwmon1", "temp2_input", "-273000\n");
        assert_float_equal(perf_temperature(root), 61.25, 1e-9);
}

static void without_one_the_hottest_zone_does(void **state) {
        (void)state;
        put("thermal/thermal_zone0", "temp", "41000\n");
        put("thermal/thermal_zone1", "temp", "47500\n");
        put("thermal/thermal_zone2", "temp", "broken\n");
        assert_float_equal(perf_temperature(root), 47.5, 1e-9);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(no_sensor_gives_no_temperature, make_root, drop_root),
                cmocka_unit_test_setup_teardown(the_processors_hottest_sensor_counts, make_root, drop_root),
                cmocka_unit_test_setup_teardown(without_one_the_hottest_zone_does, make_root, drop_root),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
