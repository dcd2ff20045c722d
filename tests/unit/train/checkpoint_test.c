#include "train/checkpoint.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/log.h"

#define N 1000

struct fixture {
        char folder[64];
        json_t *identity;
        double state[4];
        float arrays[CHECKPOINT_ARRAYS][N];
        struct checkpoint checkpoint;
};

static void fill(struct fixture *fixture, int step) {
        fixture->state[0] = step;
        for (int i = 0; i < CHECKPOINT_ARRAYS; i++) {
                for (int k = 0; k < N; k++)
                        fixture->arrays[i][k] = (float)(1000 * i + k + step);
        }
}

static int set_up(void **state) {
        struct fixture *fixture = calloc(1, sizeof *fixture);
        assert_non_null(fixture);
        strcpy(fixture->folder, "/tmp/checkpoint_test.XXXXXX");
        assert_non_null(mkdtemp(fixture->folder));
        fixture->identity = json_pack("{s:s, s:i}", "model", "abc", "threads", 2);
        fixture->checkpoint = (struct checkpoint){.identity = fixture->identity,
                                                  .state = fixture->state,
                                                  .state_bytes = sizeof fixture->state,
                                                  .arrays = {fixture->arrays[0], fixture->arrays[1], fixture->arrays[2]},
                                                  .n_floats = N};
        log_set_level(LOG_ERROR);
        *state = fixture;
        return 0;
}

static int tear_down(void **state) {
        struct fixture *fixture = *state;
        fs_remove_tree(fixture->folder, NULL);
        json_decref(fixture->identity);
        free(fixture);
        return 0;
}

static void save(struct fixture *fixture, int step) {
        struct error err = {0};
        fill(fixture, step);
        if (checkpoint_save(fixture->folder, &fixture->checkpoint, NULL, &err) != 0)
                fail_msg("%s", err.text);
}

/* Loads into cleared memory and expects what was saved at step. */
static void expect(struct fixture *fixture, int step) {
        struct error err = {0};
        memset(fixture->arrays, 0, sizeof fixture->arrays);
        if (checkpoint_load(fixture->folder, &fixture->checkpoint, &err) != 0)
                fail_msg("%s", err.text);
        assert_true(fixture->state[0] == step);
        for (int i = 0; i < CHECKPOINT_ARRAYS; i++)
                assert_true(fixture->arrays[i][N - 1] == (float)(1000 * i + N - 1 + step));
}

static void expect_unusable(struct fixture *fixture, const char *word) {
        struct error err = {0};
        assert_int_equal(checkpoint_load(fixture->folder, &fixture->checkpoint, &err), CHECKPOINT_UNUSABLE);
        if (!strstr(err.text, word))
                fail_msg("'%s' does not say '%s'", err.text, word);
}

static char *path_of(struct fixture *fixture, const char *name) {
        char *path = fs_join(fixture->folder, name);
        assert_non_null(path);
        return path;
}

static int count_files(struct fixture *fixture) {
        DIR *dir = opendir(fixture->folder);
        assert_non_null(dir);
        int n = 0;
        for (struct dirent *entry; (entry = readdir(dir));)
                n += entry->d_name[0] != '.';
        closedir(dir);
        return n;
}

/* Turns over one bit at this place (from the end when negative). */
static void damage(struct fixture *fixture, const char *name, long at) {
        char *path = path_of(fixture, name);
        FILE *file = fopen(path, "r+");
        assert_non_null(file);
        fseek(file, at, at < 0 ? SEEK_END : SEEK_SET);
        int byte = fgetc(file);
        fseek(file, -1, SEEK_CUR);
        fputc(byte ^ 4, file);
        fclose(file);
        free(path);
}

static void what_was_saved_last_comes_back(void **state) {
        struct fixture *fixture = *state;
        for (int step = 1; step <= 3; step++)
                save(fixture, step);
        expect(fixture, 3);
}

static void empty_folder_has_none(void **state) {
        struct fixture *fixture = *state;
        assert_int_equal(checkpoint_load(fixture->folder, &fixture->checkpoint, NULL), CHECKPOINT_NONE);
}

static void damaged_newest_falls_back_to_the_one_before(void **state) {
        struct fixture *fixture = *state;
        static const long places[] = {0, 9, 45, 70, 130, 5000, -40, -1};
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
                save(fixture, 1);
                save(fixture, 2);
                damage(fixture, "checkpoint", places[i]);
                expect(fixture, 1);
        }
}

/* Every piece of the file: header, identity, state, arrays, checksum. */
static void no_turned_bit_and_no_cut_goes_unseen(void **state) {
        struct fixture *fixture = *state;
        _cleanup_buf_ struct buf sound = BUF_INIT(1 << 20);
        _cleanup_free_ char *newest = path_of(fixture, "checkpoint");
        save(fixture, 1);
        save(fixture, 2);
        assert_int_equal(fs_read(newest, &sound, NULL), 0);
        for (size_t at = 0; at < sound.len; at += at < 200 || at > sound.len - 40 ? 1 : 61) {
                for (int cut = 0; cut < 2; cut++) {
                        FILE *file = fopen(newest, "w");
                        assert_non_null(file);
                        sound.data[at] ^= (char)(1 << at % 8);
                        assert_int_equal(fwrite(sound.data, 1, cut ? at : sound.len, file), cut ? at : sound.len);
                        sound.data[at] ^= (char)(1 << at % 8);
                        fclose(file);
                        expect(fixture, 1);
                }
        }
}

static void copy(const char *from, const char *to) {
        _cleanup_buf_ struct buf bytes = BUF_INIT(1 << 20);
        assert_int_equal(fs_read(from, &bytes, NULL), 0);
        assert_int_equal(fs_write_atomic(to, bytes.data, bytes.len, 0600, NULL), 0);
}

/* Swapped generations are sound ones: training goes on from the older, to the same end. */
static void swapped_generations_count_as_they_lie(void **state) {
        struct fixture *fixture = *state;
        _cleanup_free_ char *newest = path_of(fixture, "checkpoint"), *previous = path_of(fixture, "checkpoint.previous"),
                            *third = path_of(fixture, "third");
        save(fixture, 1);
        save(fixture, 2);
        rename(newest, third);
        rename(previous, newest);
        rename(third, previous);
        expect(fixture, 1);
}

static void a_file_of_another_training_falls_back_to_ones_own(void **state) {
        struct fixture *fixture = *state;
        _cleanup_free_ char *newest = path_of(fixture, "checkpoint"), *foreign = path_of(fixture, "foreign");
        json_object_set_new(fixture->identity, "model", json_string("other"));
        save(fixture, 9);
        rename(newest, foreign);
        json_object_set_new(fixture->identity, "model", json_string("abc"));
        save(fixture, 1);
        save(fixture, 2);
        copy(foreign, newest);
        expect(fixture, 1);
}

/* What is told of the sync: the arrays are free before it, and a hurry leaves a file that still counts. */
static void arrays_are_read(void *data) {
        struct fixture *fixture = data;
        memset(fixture->arrays, 0, sizeof fixture->arrays);
}

static bool hurries(void *data) {
        (void)data;
        return true;
}

static void a_hurried_one_is_whole_and_its_arrays_may_change_before_the_sync(void **state) {
        struct fixture *fixture = *state;
        struct error err = {0};
        const struct checkpoint_pace pace = {.data = fixture, .arrays_read = arrays_are_read, .in_a_hurry = hurries};
        save(fixture, 1);
        fill(fixture, 2);
        assert_int_equal(checkpoint_save(fixture->folder, &fixture->checkpoint, &pace, &err), 0);
        expect(fixture, 2);
}

static void what_a_killed_process_left_is_cleared(void **state) {
        struct fixture *fixture = *state;
        _cleanup_free_ char *left = path_of(fixture, "checkpoint.tmp.AbCdEf");
        save(fixture, 1);
        assert_int_equal(fs_write_atomic(left, "half", 4, 0600, NULL), 0);
        checkpoint_clear(fixture->folder);
        assert_int_equal(count_files(fixture), 1);
        expect(fixture, 1);
}

static void after_a_fall_back_the_sound_one_is_not_lost(void **state) {
        struct fixture *fixture = *state;
        save(fixture, 1);
        save(fixture, 2);
        damage(fixture, "checkpoint", 5000);
        expect(fixture, 1);
        save(fixture, 5);
        damage(fixture, "checkpoint", 5000);
        expect(fixture, 1);
}

static void truncated_newest_falls_back(void **state) {
        struct fixture *fixture = *state;
        save(fixture, 1);
        save(fixture, 2);
        char *path = path_of(fixture, "checkpoint");
        assert_int_equal(truncate(path, 4000), 0);
        expect(fixture, 1);
        free(path);
}

static void killed_between_the_renames_the_previous_one_counts(void **state) {
        struct fixture *fixture = *state;
        save(fixture, 1);
        char *newest = path_of(fixture, "checkpoint"), *previous = path_of(fixture, "checkpoint.previous");
        assert_int_equal(rename(newest, previous), 0);
        expect(fixture, 1);
        free(newest);
        free(previous);
}

static void both_damaged_is_unusable(void **state) {
        struct fixture *fixture = *state;
        save(fixture, 1);
        save(fixture, 2);
        damage(fixture, "checkpoint", -1);
        damage(fixture, "checkpoint.previous", -1);
        expect_unusable(fixture, "damaged");
}

static void another_training_is_named_by_what_differs(void **state) {
        struct fixture *fixture = *state;
        save(fixture, 1);
        json_object_set_new(fixture->identity, "threads", json_integer(1));
        expect_unusable(fixture, "threads");
}

static void another_size_is_unusable(void **state) {
        struct fixture *fixture = *state;
        save(fixture, 1);
        fixture->checkpoint.n_floats = N - 1;
        expect_unusable(fixture, "sizes");
}

static void failed_save_leaves_the_old_one(void **state) {
        struct fixture *fixture = *state;
        struct error err = {0};
        save(fixture, 1);
        struct rlimit full, before;
        getrlimit(RLIMIT_FSIZE, &before);
        full = before;
        full.rlim_cur = 4000; /* as if the disk were full, also for root */
        signal(SIGXFSZ, SIG_IGN);
        fill(fixture, 2);
        setrlimit(RLIMIT_FSIZE, &full);
        int r = checkpoint_save(fixture->folder, &fixture->checkpoint, NULL, &err);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_true(r < 0);
        assert_non_null(strstr(err.text, "checkpoint.tmp"));
        assert_int_equal(count_files(fixture), 1);
        expect(fixture, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_was_saved_last_comes_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(empty_folder_has_none, set_up, tear_down),
                cmocka_unit_test_setup_teardown(damaged_newest_falls_back_to_the_one_before, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_turned_bit_and_no_cut_goes_unseen, set_up, tear_down),
                cmocka_unit_test_setup_teardown(swapped_generations_count_as_they_lie, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_file_of_another_training_falls_back_to_ones_own, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_hurried_one_is_whole_and_its_arrays_may_change_before_the_sync, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_a_killed_process_left_is_cleared, set_up, tear_down),
                cmocka_unit_test_setup_teardown(after_a_fall_back_the_sound_one_is_not_lost, set_up, tear_down),
                cmocka_unit_test_setup_teardown(truncated_newest_falls_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(killed_between_the_renames_the_previous_one_counts, set_up, tear_down),
                cmocka_unit_test_setup_teardown(both_damaged_is_unusable, set_up, tear_down),
                cmocka_unit_test_setup_teardown(another_training_is_named_by_what_differs, set_up, tear_down),
                cmocka_unit_test_setup_teardown(another_size_is_unusable, set_up, tear_down),
                cmocka_unit_test_setup_teardown(failed_save_leaves_the_old_one, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
