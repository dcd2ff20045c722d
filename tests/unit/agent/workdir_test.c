#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/journal.h"
#include "agent/outbox.h"
#include "agent/workdir.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/log.h"
#include "proto/limits.h"

static char folder[64];

static int make_folder(void **state) {
        (void)state;
        snprintf(folder, sizeof folder, "/tmp/workdir-test-XXXXXX");
        return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
        (void)state;
        return fs_remove_tree(folder, NULL);
}

static struct workdir *open_workdir(unsigned keep, uint64_t min_free) {
        const struct workdir_options options = {.path = folder, .keep_models = keep, .min_free_bytes = min_free};
        struct workdir *workdir = NULL;
        struct error err;
        assert_int_equal(workdir_open(&options, &workdir, &err), 0);
        return workdir;
}

static int path_exists(const char *path) {
        char full[256];
        snprintf(full, sizeof full, "%s/%s", folder, path);
        return access(full, F_OK) == 0;
}

static void write_part(struct workdir *workdir, const char *trial, const char *part) {
        _cleanup_free_ char *path = workdir_trial(workdir, trial, part);
        assert_int_equal(fs_write_atomic(path, "x", 1, 0600, NULL), 0);
}

static void keep(struct workdir *workdir, const char *trial, double value, bool maximize) {
        _cleanup_json_ json_t *description = json_pack("{s:f}", "value", value);
        assert_int_equal(workdir_prepare(workdir, trial, NULL), 0);
        write_part(workdir, trial, "output/model.safetensors");
        workdir_keep_output(workdir, "s1", trial, description, maximize);
}

static bool nothing_in_use(void *data, const char *trial) {
        return data && strcmp(data, trial) == 0;
}

static void second_worker_is_refused(void **state) {
        (void)state;
        struct workdir *workdir = open_workdir(1, 0), *second = NULL;
        const struct workdir_options options = {.path = folder, .keep_models = 1};
        struct error err;
        assert_int_equal(workdir_open(&options, &second, &err), -EBUSY);
        workdir_close(workdir);
        workdir_close(open_workdir(1, 0));
}

static void lock_that_a_dying_worker_still_holds_is_waited_for(void **state) {
        (void)state;
        workdir_close(open_workdir(1, 0));
        char path[96];
        int said[2];
        snprintf(path, sizeof path, "%s/lock", folder);
        assert_int_equal(pipe(said), 0);
        pid_t child = fork();
        if (child == 0) {
                int fd = open(path, O_RDWR);
                bool ok = fd >= 0 && flock(fd, LOCK_EX) == 0 && write(said[1], "x", 1) == 1;
                usleep(300000);
                _exit(ok ? 0 : 1);
        }
        char c;
        assert_int_equal(read(said[0], &c, 1), 1);
        workdir_close(open_workdir(1, 0));
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        close(said[0]);
        close(said[1]);
}

static void only_names_that_are_safe_are_folders(void **state) {
        (void)state;
        assert_true(workdir_accepts_id("t_01abc-DEF.~"));
        assert_false(workdir_accepts_id("../x") || workdir_accepts_id("a/b") || workdir_accepts_id("") || workdir_accepts_id(NULL) || workdir_accepts_id("."));
        assert_false(workdir_accepts_id("a123456789012345678901234567890123456789x"));
}

static void best_models_of_a_sweep_are_kept(void **state) {
        (void)state;
        struct workdir *workdir = open_workdir(2, 0);
        keep(workdir, "t1", 0.5, true);
        keep(workdir, "t2", 0.9, true);
        keep(workdir, "t3", 0.7, true);
        keep(workdir, "t4", 0.1, true);
        assert_false(path_exists("models/s1/t1") || path_exists("models/s1/t4"));
        assert_true(path_exists("models/s1/t2/model.safetensors") && path_exists("models/s1/t3/trial.json"));
        workdir_close(workdir);
}

static void smallest_value_is_best_when_minimizing(void **state) {
        (void)state;
        struct workdir *workdir = open_workdir(1, 0);
        keep(workdir, "t1", 0.5, false);
        keep(workdir, "t2", 0.9, false);
        assert_true(path_exists("models/s1/t1") && !path_exists("models/s1/t2"));
        workdir_close(workdir);
}

static struct workdir *open_room(unsigned keep, uint64_t models_max_bytes) {
        const struct workdir_options options = {.path = folder, .keep_models = keep, .models_max_bytes = models_max_bytes};
        struct workdir *workdir = NULL;
        assert_int_equal(workdir_open(&options, &workdir, NULL), 0);
        return workdir;
}

/* A model of so many bytes, with its note some twenty more, whose trial ended at a time of its own. */
static void keep_sized(struct workdir *workdir, const char *sweep, const char *trial, size_t bytes) {
        static int when = 1000;
        _cleanup_json_ json_t *description = json_pack("{s:f}", "value", 0.5);
        _cleanup_free_ char *path = workdir_trial(workdir, trial, "output/model.safetensors"), *data = calloc(1, bytes);
        char note[256];
        assert_int_equal(workdir_prepare(workdir, trial, NULL), 0);
        assert_int_equal(fs_write_atomic(path, data, bytes, 0600, NULL), 0);
        workdir_keep_output(workdir, sweep, trial, description, false);
        snprintf(note, sizeof note, "%s/models/%s/%s/trial.json", folder, sweep, trial);
        struct timespec times[2] = {{.tv_sec = ++when}, {.tv_sec = when}};
        utimensat(AT_FDCWD, note, times, 0); /* it may be gone */
}

static void mark_unsent(const char *model) {
        char path[256];
        snprintf(path, sizeof path, "%s/models/%s/%s", folder, model, WORKDIR_UNSENT);
        assert_int_equal(fs_write_atomic(path, "{}", 2, 0600, NULL), 0);
}

static size_t count_sweeps(void) {
        char path[128];
        snprintf(path, sizeof path, "%s/models", folder);
        DIR *dir = opendir(path);
        size_t n = 0;
        for (struct dirent *entry; dir && (entry = readdir(dir));)
                n += entry->d_name[0] != '.';
        closedir(dir);
        return n;
}

static void models_of_many_sweeps_stay_within_their_room(void **state) {
        (void)state;
        struct workdir *workdir = open_room(1, 10000);
        for (int i = 0; i < 40; i++) {
                char sweep[16], trial[16];
                snprintf(sweep, sizeof sweep, "s%d", i);
                snprintf(trial, sizeof trial, "t%d", i);
                keep_sized(workdir, sweep, trial, 3000);
                assert_true(count_sweeps() <= 3);
        }
        assert_true(path_exists("models/s39/t39/model.safetensors") && path_exists("models/s37/t37") && !path_exists("models/s36"));
        workdir_close(workdir);
        workdir_close(open_room(1, 7000)); /* less room than before */
        assert_true(path_exists("models/s38/t38") && !path_exists("models/s37"));
}

static void models_that_are_still_to_be_sent_go_last(void **state) {
        (void)state;
        struct workdir *workdir = open_room(2, 10000);
        keep_sized(workdir, "s1", "old", 3000);
        mark_unsent("s1/old");
        keep_sized(workdir, "s2", "sent", 3000);
        keep_sized(workdir, "s3", "next", 3000);
        keep_sized(workdir, "s4", "last", 3000);
        assert_true(path_exists("models/s1/old") && !path_exists("models/s2") && path_exists("models/s3/next") && path_exists("models/s4/last"));
        mark_unsent("s3/next");
        keep_sized(workdir, "s4", "more", 6000); /* the room is that of all of them: they go as well */
        assert_true(!path_exists("models/s1") && path_exists("models/s3/next") && !path_exists("models/s4/last") && path_exists("models/s4/more"));
        keep_sized(workdir, "s5", "huge", 20000);
        assert_int_equal(count_sweeps(), 0);
        workdir_close(workdir);
}

static void models_are_bounded_in_number_too(void **state) {
        (void)state;
        struct workdir *workdir = open_room(1, 0);
        for (int i = 0; i < WORKDIR_MODELS_MAX + 3; i++) {
                char sweep[16];
                snprintf(sweep, sizeof sweep, "s%d", i);
                if (i < WORKDIR_MODELS_MAX) { /* as they would lie there */
                        char path[128];
                        snprintf(path, sizeof path, "%s/models/%s/t", folder, sweep);
                        assert_int_equal(fs_make_dirs(path, 0700, NULL), 0);
                } else
                        keep_sized(workdir, sweep, "t", 10);
        }
        assert_int_equal(count_sweeps(), WORKDIR_MODELS_MAX);
        assert_true(path_exists("models/s1002/t") && path_exists("models/s1000/t"));
        workdir_close(workdir);
}

static void no_model_is_kept_when_none_is_wanted_or_written(void **state) {
        (void)state;
        struct workdir *workdir = open_workdir(0, 0);
        keep(workdir, "t1", 0.5, false);
        assert_false(path_exists("models/s1"));
        workdir_close(workdir);
}

static void checkpoint_is_seen_and_dropped(void **state) {
        (void)state;
        struct workdir *workdir = open_workdir(1, 0);
        assert_int_equal(workdir_prepare(workdir, "t1", NULL), 0);
        assert_false(workdir_has_checkpoint(workdir, "t1"));
        write_part(workdir, "t1", "checkpoint/state");
        write_part(workdir, "t1", "output/old");
        assert_int_equal(workdir_prepare(workdir, "t1", NULL), 0);
        assert_true(workdir_has_checkpoint(workdir, "t1") && !path_exists("trials/t1/output/old"));
        workdir_drop_checkpoint(workdir, "t1");
        assert_false(workdir_has_checkpoint(workdir, "t1"));
        workdir_drop_trial(workdir, "t1");
        assert_false(path_exists("trials/t1"));
        workdir_close(workdir);
}

static void checkpoints_may_lie_where_others_find_them(void **state) {
        (void)state;
        struct workdir *first = NULL, *second = NULL;
        char mine[128], other[128], shared[128], path[192];
        snprintf(mine, sizeof mine, "%s/w1", folder);
        snprintf(other, sizeof other, "%s/w2", folder);
        snprintf(shared, sizeof shared, "%s/shared", folder);
        const struct workdir_options options[2] = {{.path = mine, .shared = shared, .keep_models = 1}, {.path = other, .shared = shared, .keep_models = 1}};
        assert_int_equal(workdir_open(&options[0], &first, NULL), 0);
        assert_int_equal(workdir_open(&options[1], &second, NULL), 0);
        assert_true(workdir_is_shared(first));
        assert_int_equal(workdir_prepare(first, "t1", NULL), 0);
        write_part(first, "t1", "checkpoint/state");
        write_part(first, "t1", "points.jsonl");
        write_part(first, "t1", "output/model.safetensors");
        assert_true(path_exists("shared/trials/t1/checkpoint/state") && path_exists("shared/trials/t1/points.jsonl"));
        assert_true(path_exists("w1/trials/t1/output/model.safetensors") && !path_exists("w1/trials/t1/checkpoint"));
        assert_true(workdir_has_checkpoint(second, "t1"));
        workdir_prune(second, nothing_in_use, NULL);
        assert_true(workdir_has_checkpoint(first, "t1"));

        /* of others: only what has long been left alone, and only trials */
        assert_int_equal(workdir_prepare(first, "t2", NULL), 0);
        snprintf(path, sizeof path, "%s/trials/photos", shared);
        assert_int_equal(fs_make_dirs(path, 0700, NULL), 0);
        struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
        assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
        snprintf(path, sizeof path, "%s/trials/t2/checkpoint", shared);
        assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
        workdir_prune(second, nothing_in_use, "t2");
        assert_true(path_exists("shared/trials/t2"));
        workdir_prune(second, nothing_in_use, NULL);
        assert_true(!path_exists("shared/trials/t2") && path_exists("shared/trials/t1") && path_exists("shared/trials/photos"));

        /* whoever started on it last may clear it away: not one whose lease went to another */
        workdir_drop_trial(second, "t1");
        assert_true(path_exists("shared/trials/t1/checkpoint/state"));
        assert_int_equal(workdir_prepare(second, "t1", NULL), 0);
        workdir_drop_trial(first, "t1");
        assert_true(path_exists("shared/trials/t1/checkpoint/state"));
        workdir_drop_trial(second, "t1");
        assert_false(path_exists("shared/trials/t1"));
        workdir_close(first);
        workdir_close(second);
}

static void newest_leftovers_survive_and_none_on_a_short_disk(void **state) {
        (void)state;
        struct workdir *workdir = open_workdir(1, 0);
        for (int i = 0; i < 7; i++) {
                char name[8];
                snprintf(name, sizeof name, "t%d", i);
                assert_int_equal(workdir_prepare(workdir, name, NULL), 0);
                _cleanup_free_ char *path = workdir_trial(workdir, name, NULL);
                struct timespec times[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};
                assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
        }
        workdir_prune(workdir, nothing_in_use, "t0");
        assert_true(path_exists("trials/t0") && path_exists("trials/t3") && path_exists("trials/t6"));
        assert_false(path_exists("trials/t1") || path_exists("trials/t2"));
        assert_false(workdir_is_short(workdir));
        workdir_close(workdir);
        workdir = open_workdir(1, UINT64_MAX);
        assert_true(workdir_is_short(workdir));
        workdir_prune(workdir, nothing_in_use, "t0");
        assert_true(path_exists("trials/t0") && !path_exists("trials/t6"));
        workdir_close(workdir);
}

static void parcel_comes_back_as_it_was_put(void **state) {
        (void)state;
        struct error err;
        _cleanup_json_ json_t *parcel = json_pack("{s:s, s:s, s:[{s:s, s:i}]}", "trial", "t1", "sweep", "s1", "reports", "lease", "secret", "seq", 3);
        _cleanup_free_ char *name = NULL, *again = NULL;
        assert_int_equal(outbox_put(folder, parcel, &name, &err), 0);
        assert_int_equal(outbox_put(folder, parcel, &again, &err), 0);
        assert_string_equal(name, again);
        assert_null(strstr(name, "secret"));
        _cleanup_json_ json_t *loaded = outbox_load(folder);
        assert_int_equal(json_object_size(loaded), 1);
        assert_true(json_equal(json_object_get(loaded, name), parcel));
        outbox_remove(folder, name);
        _cleanup_json_ json_t *empty = outbox_load(folder);
        assert_int_equal(json_object_size(empty), 0);
}

static void parcel_with_all_points_that_may_wait_comes_back(void **state) {
        (void)state;
        struct error err;
        json_t *reports = json_array();
        char path[128];
        snprintf(path, sizeof path, "%0*d", LIMIT_NAME_BYTES - 1, 0);
        for (int i = 0; i < 50; i++) {
                json_t *points = json_array();
                json_array_append_new(reports, json_pack("{s:s, s:i, s:o}", "lease", "l", "seq", i + 1, "metrics", points));
                for (int k = 0; k < LIMIT_POINTS_PER_REPORT; k++)
                        json_array_append_new(points, json_pack("{s:s, s:i, s:f, s:s}", "name", path, "step", 1000 * i + k, "value", 0.1234567, "time",
                                                                "2026-01-01T00:00:00.000Z"));
        }
        _cleanup_json_ json_t *parcel = json_pack("{s:s, s:o}", "trial", "t1", "reports", reports);
        _cleanup_free_ char *name = NULL;
        assert_int_equal(outbox_put(folder, parcel, &name, &err), 0);
        _cleanup_json_ json_t *loaded = outbox_load(folder);
        assert_int_equal(json_object_size(loaded), 1);
}

static void unreadable_parcel_is_set_aside(void **state) {
        (void)state;
        char path[128];
        log_set_level(LOG_ERROR + 1);
        snprintf(path, sizeof path, "%s/t1-x.json", folder);
        assert_int_equal(fs_write_atomic(path, "{\"trial\":", 9, 0600, NULL), 0);
        _cleanup_json_ json_t *loaded = outbox_load(folder);
        log_set_level(LOG_INFO);
        assert_int_equal(json_object_size(loaded), 0);
        assert_true(path_exists("t1-x.json.unreadable") && !path_exists("t1-x.json"));
}

static void parcel_that_cannot_be_read_now_is_left_alone(void **state) {
        (void)state;
        char path[128];
        log_set_level(LOG_ERROR + 1);
        snprintf(path, sizeof path, "%s/t1-x.json", folder);
        assert_int_equal(mkdir(path, 0700), 0); /* reading it is an error of the file system */
        _cleanup_json_ json_t *loaded = outbox_load(folder);
        log_set_level(LOG_INFO);
        assert_int_equal(json_object_size(loaded), 0);
        assert_true(path_exists("t1-x.json"));
}

static void full_outbox_refuses(void **state) {
        (void)state;
        struct error err;
        int r = 0, n = 0;
        for (; n <= OUTBOX_PARCELS_MAX && r == 0; n++) {
                _cleanup_json_ json_t *parcel = json_pack("{s:s, s:[{s:o}]}", "trial", "t1", "reports", "lease", json_sprintf("lease %d", n));
                _cleanup_free_ char *name = NULL;
                r = outbox_put(folder, parcel, &name, &err);
        }
        assert_int_equal(r, -ENOSPC);
        assert_int_equal(n, OUTBOX_PARCELS_MAX + 1);
}

static size_t count_points(struct journal *journal) {
        _cleanup_json_ json_t *points = journal_read(journal);
        return json_array_size(points);
}

static void journal_holds_points_until_they_are_cleared(void **state) {
        (void)state;
        char path[128];
        snprintf(path, sizeof path, "%s/points.jsonl", folder);
        struct journal *journal;
        _cleanup_json_ json_t *point = json_pack("{s:s, s:i}", "name", "a", "step", 1);
        assert_int_equal(journal_open(path, true, &journal, NULL), 0);
        journal_append(journal, point);
        journal_append(journal, point);
        journal_close(journal);
        assert_int_equal(journal_open(path, true, &journal, NULL), 0);
        assert_int_equal(count_points(journal), 2);
        journal_clear(journal);
        journal_append(journal, point);
        assert_int_equal(count_points(journal), 1);
        journal_close(journal);
        assert_int_equal(journal_open(path, false, &journal, NULL), 0);
        assert_int_equal(count_points(journal), 0);
        journal_close(journal);
}

static void point_that_was_cut_off_is_skipped(void **state) {
        (void)state;
        char path[128];
        struct journal *journal;
        static const char text[] = "{\"name\":\"a\",\"step\":1}\n{\"name\":\"a\",\"st";
        snprintf(path, sizeof path, "%s/points.jsonl", folder);
        assert_int_equal(fs_write_atomic(path, text, sizeof text - 1, 0600, NULL), 0);
        assert_int_equal(journal_open(path, true, &journal, NULL), 0);
        assert_int_equal(count_points(journal), 1);
        _cleanup_json_ json_t *point = json_pack("{s:s}", "name", "b");
        journal_append(journal, point);
        assert_int_equal(count_points(journal), 2);
        journal_close(journal);
}

static void journal_stays_within_its_bound(void **state) {
        (void)state;
        char path[128];
        struct journal *journal;
        struct stat st;
        snprintf(path, sizeof path, "%s/points.jsonl", folder);
        _cleanup_free_ char *name = calloc(1, 50001);
        memset(name, 'n', 50000);
        _cleanup_json_ json_t *point = json_pack("{s:s, s:i}", "name", name, "step", 1);
        assert_int_equal(journal_open(path, false, &journal, NULL), 0);
        for (int i = 0; i < 400; i++) /* 20 MB */
                journal_append(journal, point);
        assert_int_equal(stat(path, &st), 0);
        assert_true(st.st_size > (15 << 20) && st.st_size <= (16 << 20));
        assert_int_equal(count_points(journal), st.st_size / (50000 + (long)strlen("{'name':'','step':1}\n")));
        journal_close(journal);
}

#define test(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int main(void) {
        const struct CMUnitTest tests[] = {
                test(second_worker_is_refused), test(lock_that_a_dying_worker_still_holds_is_waited_for),
                test(only_names_that_are_safe_are_folders),
                test(best_models_of_a_sweep_are_kept),
                test(smallest_value_is_best_when_minimizing),
                test(models_of_many_sweeps_stay_within_their_room),
                test(models_that_are_still_to_be_sent_go_last),
                test(models_are_bounded_in_number_too),
                test(no_model_is_kept_when_none_is_wanted_or_written),
                test(checkpoint_is_seen_and_dropped), test(checkpoints_may_lie_where_others_find_them),
                test(newest_leftovers_survive_and_none_on_a_short_disk),
                test(parcel_comes_back_as_it_was_put),
                test(parcel_with_all_points_that_may_wait_comes_back),
                test(unreadable_parcel_is_set_aside),
                test(parcel_that_cannot_be_read_now_is_left_alone),
                test(full_outbox_refuses),
                test(journal_holds_points_until_they_are_cleared),
                test(point_that_was_cut_off_is_skipped),
                test(journal_stays_within_its_bound),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
