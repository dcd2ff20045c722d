#include "store/store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "store/migrate.h"
#include "store/statement.h"

static char folder[64], path[96];

static int setup(void **state) {
        (void)state;
        snprintf(folder, sizeof folder, "/tmp/store-test-XXXXXX");
        if (!mkdtemp(folder))
                return -1;
        snprintf(path, sizeof path, "%s/sweepd.db", folder);
        return 0;
}

static int teardown(void **state) {
        (void)state;
        return fs_remove_tree(folder, NULL);
}

static struct store *open_store(void) {
        struct store *store = NULL;
        struct error err = {0};
        if (store_open(path, &store, &err) < 0)
                fail_msg("%s", err.text);
        return store;
}

static int64_t add_sweep(struct store *store, const char *id) {
        int64_t row = 0;
        assert_int_equal(store_sweep_insert(store,
                                            &(struct sweep_row){.public_id = (char *)id,
                                                                .name = "n",
                                                                .method = "random",
                                                                .spec = "{}",
                                                                .seed = UINT64_MAX,
                                                                .created_ms = 1},
                                            &row),
                         0);
        return row;
}

static int64_t add_trial(struct store *store, int64_t sweep, const char *id, enum queue_place place) {
        uint64_t number = 0;
        int64_t row = 0;
        assert_int_equal(store_sweep_take_number(store, sweep, &number), 0);
        assert_int_equal(store_trial_insert(store,
                                            &(struct trial_row){.sweep = sweep,
                                                                .public_id = (char *)id,
                                                                .number = number,
                                                                .origin = 1,
                                                                .params = "{\"a\":1}",
                                                                .proposal = "{}",
                                                                .place = place,
                                                                .created_ms = 2},
                                            &row),
                         0);
        assert_int_equal(store_history_add(store, sweep, row, true, TRIAL_QUEUED, false, 0), 0);
        return row;
}

static int64_t add_worker(struct store *store, const char *id) {
        int64_t row = 0;
        assert_int_equal(store_worker_insert(store,
                                             &(struct worker_row){.public_id = (char *)id,
                                                                  .name = (char *)id,
                                                                  .slots = 1,
                                                                  .trainers = "[]",
                                                                  .registered_ms = 1,
                                                                  .last_seen_ms = 1},
                                             &row),
                         0);
        return row;
}

static void complete(struct store *store, int64_t id, double value) {
        struct trial_row row = {0};
        assert_int_equal(store_trial_load(store, id, &row), 0);
        row.state = TRIAL_COMPLETED;
        row.has_value = true;
        row.value = value;
        row.finished_ms = 9;
        assert_int_equal(store_trial_update(store, &row), 0);
        assert_int_equal(store_history_add(store, row.sweep, id, false, TRIAL_COMPLETED, true, value), 0);
        trial_row_fini(&row);
}

static void rows_read_back_as_they_were_written(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), worker = add_worker(store, "w1"), trial = add_trial(store, sweep, "t1", PLACE_ENQUEUED);
        struct trial_row row = {0};
        assert_int_equal(store_trial_get(store, "t1", &row), 0);
        row.state = TRIAL_RUNNING;
        row.attempt = 1;
        row.worker = worker;
        row.started_ms = 5;
        row.resume = strdup("{}");
        assert_int_equal(store_trial_update(store, &row), 0);
        trial_row_fini(&row);
        assert_int_equal(store_trial_load(store, trial, &row), 0);
        assert_int_equal(row.state, TRIAL_RUNNING);
        assert_string_equal(row.sweep_public_id, "s1");
        assert_string_equal(row.worker_public_id, "w1");
        assert_string_equal(row.resume, "{}");
        assert_int_equal(row.reason, -1);
        assert_int_equal(row.origin, 1);
        assert_int_equal(row.started_ms, 5);
        trial_row_fini(&row);
        struct sweep_row found = {0};
        assert_int_equal(store_sweep_get(store, "s1", &found), 0);
        assert_true(found.seed == UINT64_MAX);
        sweep_row_fini(&found);
        assert_int_equal(store_sweep_get(store, "s2", &found), STORE_NONE);
        store_close(store);
}

static void a_commit_survives_kill_9_and_frees_the_lock(void **state) {
        (void)state;
        int ready[2];
        assert_int_equal(pipe(ready), 0);
        pid_t child = fork();
        if (child == 0) {
                struct store *store = NULL;
                int64_t row;
                if (store_open(path, &store, NULL) == 0 && store_begin(store) == 0 &&
                    store_sweep_insert(store, &(struct sweep_row){.public_id = "kept", .name = "n", .method = "m", .spec = "{}"}, &row) ==
                            0 &&
                    store_commit(store) == 0 && store_begin(store) == 0 &&
                    store_sweep_insert(store, &(struct sweep_row){.public_id = "lost", .name = "n", .method = "m", .spec = "{}"}, &row) ==
                            0 &&
                    write(ready[1], "x", 1) == 1)
                        pause();
                _exit(1);
        }
        close(ready[1]);
        char byte;
        assert_int_equal(read(ready[0], &byte, 1), 1);
        struct store *second = NULL;
        struct error err = {0};
        assert_int_equal(store_open(path, &second, &err), -EBUSY);
        assert_non_null(strstr(err.text, "another server"));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        close(ready[0]);
        struct store *store = open_store();
        struct sweep_row row = {0};
        assert_int_equal(store_sweep_get(store, "kept", &row), 0);
        sweep_row_fini(&row);
        assert_int_equal(store_sweep_get(store, "lost", &row), STORE_NONE);
        store_close(store);
}

static void a_failed_unit_leaves_the_others_of_its_transaction(void **state) {
        (void)state;
        struct store *store = open_store();
        assert_int_equal(store_begin(store), 0);
        add_sweep(store, "s1");
        assert_int_equal(store_savepoint(store), 0);
        add_sweep(store, "s2");
        assert_int_equal(store_savepoint_undo(store), 0);
        assert_int_equal(store_commit(store), 0);
        struct sweep_row row = {0};
        assert_int_equal(store_sweep_get(store, "s2", &row), STORE_NONE);
        assert_int_equal(store_sweep_get(store, "s1", &row), 0);
        sweep_row_fini(&row);
        store_close(store);
}

static int sum_tally(void *data, const struct trial_tally *tally) {
        uint64_t *sums = data;
        assert_int_equal(tally->origin, 1);
        assert_int_equal(tally->stage, 0);
        sums[tally->state] += tally->n;
        return 0;
}

static void assert_counts(struct store *store, int64_t sweep, uint64_t queued, uint64_t completed) {
        uint64_t counts[N_TRIAL_STATES], sums[N_TRIAL_STATES] = {0};
        assert_int_equal(store_trial_counts(store, sweep, counts), 0);
        assert_int_equal(store_trial_tallies(store, sweep, sum_tally, sums), 0);
        assert_int_equal(counts[TRIAL_QUEUED], queued);
        assert_int_equal(counts[TRIAL_COMPLETED], completed);
        for (int i = 0; i < N_TRIAL_STATES; i++)
                assert_int_equal(counts[i], sums[i]);
}

static int stop_now(void *unused) {
        (void)unused;
        return 1;
}

/* SQLite rolls a transaction back by itself when a query or a write inside it fails badly (here: interrupted). */
static void nothing_is_kept_of_a_transaction_that_was_lost(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), row;
        uint64_t number = 0;
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_savepoint(store), 0);
        add_trial(store, sweep, "t1", PLACE_ENQUEUED);
        sqlite3_progress_handler(store->db, 1, stop_now, NULL);
        assert_int_equal(store_trial_cancel_all(store, sweep, 9), -EIO);
        sqlite3_progress_handler(store->db, 0, NULL, NULL);
        assert_false(store_in_transaction(store));
        assert_int_equal(store_sweep_take_number(store, sweep, &number), -EIO);
        assert_int_equal(store_sweep_insert(store, &(struct sweep_row){.public_id = "s2", .name = "n", .method = "m", .spec = "{}"}, &row), -EIO);
        assert_int_equal(store_savepoint(store), -EIO);
        assert_int_equal(store_savepoint_undo(store), -EIO);
        assert_int_equal(store_commit(store), -EIO);
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_sweep_take_number(store, sweep, &number), 0);
        assert_int_equal(number, 1);
        assert_int_equal(store_commit(store), 0);
        struct sweep_row found = {0};
        assert_int_equal(store_sweep_get(store, "s2", &found), STORE_NONE);
        store_close(store);
}

static int refuse_savepoint(void *operation, int action, const char *what, const char *name, const char *c, const char *d) {
        (void)name, (void)c, (void)d;
        return action == SQLITE_SAVEPOINT && strcmp(what, operation) == 0 ? SQLITE_DENY : SQLITE_OK;
}

static void a_unit_that_cannot_be_ended_takes_its_transaction_with_it(void **state) {
        (void)state;
        static const char *const operations[] = {"ROLLBACK", "RELEASE"};
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1");
        for (int i = 0; i < 4; i++) {
                assert_int_equal(store_begin(store), 0);
                assert_int_equal(store_savepoint(store), 0);
                add_trial(store, sweep, "t1", PLACE_ENQUEUED);
                sqlite3_set_authorizer(store->db, refuse_savepoint, (void *)operations[i % 2]);
                if (i == 2) /* kept as a whole */
                        assert_int_equal(store_savepoint_release(store), 0);
                else
                        assert_true((i == 3 ? store_savepoint_release(store) : store_savepoint_undo(store)) < 0);
                sqlite3_set_authorizer(store->db, NULL, NULL);
                assert_true(store_in_transaction(store) == (i == 2));
                if (i == 2)
                        store_rollback(store);
                else
                        assert_int_equal(store_commit(store), -EIO);
        }
        assert_int_equal(store_begin(store), 0);
        assert_counts(store, sweep, 0, 0);
        store_rollback(store);
        store_close(store);
}

static void a_full_disk_is_reported_and_loses_nothing(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1");
        assert_int_equal(sqlite3_exec(store->db, "PRAGMA max_page_count = 1", NULL, NULL, NULL), SQLITE_OK);
        char *big = malloc(1 << 20);
        memset(big, 'x', (1 << 20) - 1);
        big[(1 << 20) - 1] = 0;
        assert_int_equal(store_begin(store), 0);
        int64_t row = 0;
        assert_int_equal(store_sweep_insert(store, &(struct sweep_row){.public_id = "s2", .name = "n", .method = "m", .spec = big}, &row),
                         -ENOSPC);
        store_rollback(store);
        assert_int_equal(sqlite3_exec(store->db, "PRAGMA max_page_count = 1000000", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(store_sweep_insert(store, &(struct sweep_row){.public_id = "s2", .name = "n", .method = "m", .spec = big}, &row),
                         0);
        free(big);
        struct sweep_row found = {0};
        assert_int_equal(store_sweep_load(store, sweep, &found), 0);
        sweep_row_fini(&found);
        store_close(store);
}

static void a_state_that_is_not_in_the_table_cannot_be_stored(void **state) {
        (void)state;
        struct store *store = open_store();
        add_sweep(store, "s1");
        assert_int_equal(store_execute(store, "UPDATE sweeps SET state = 'asleep'"), -EEXIST);
        store_close(store);
}

static const struct migration steps[] = {
        {1, "1", "CREATE TABLE a (x TEXT CHECK (x IN ({{trial_states}}))) STRICT; PRAGMA user_version = 1;"},
        {2, "2", "ALTER TABLE a ADD COLUMN y INTEGER; PRAGMA user_version = 2;"},
};

static struct store *open_raw(const char *file) {
        struct store *store = calloc(1, sizeof *store);
        store->path = strdup(file);
        store->lock_fd = -1;
        assert_int_equal(sqlite3_open(file, &store->db), SQLITE_OK);
        return store;
}

static void an_older_database_is_backed_up_and_migrated(void **state) {
        (void)state;
        struct store *store = open_raw(path);
        assert_int_equal(store_migrate(store, steps, 1, NULL), 0);
        assert_int_equal(sqlite3_exec(store->db, "INSERT INTO a VALUES ('queued')", NULL, NULL, NULL), SQLITE_OK);
        char copy[128];
        snprintf(copy, sizeof copy, "%s.v1.bak", path);
        assert_int_equal(access(copy, F_OK), -1);
        assert_int_equal(store_migrate(store, steps, 2, NULL), 0);
        assert_int_equal(sqlite3_exec(store->db, "SELECT y FROM a", NULL, NULL, NULL), SQLITE_OK);
        store_close(store);
        store = open_raw(copy);
        assert_int_equal(sqlite3_exec(store->db, "SELECT x FROM a", NULL, NULL, NULL), SQLITE_OK);
        assert_int_not_equal(sqlite3_exec(store->db, "SELECT y FROM a", NULL, NULL, NULL), SQLITE_OK);
        store_close(store);
}

static void a_newer_database_is_refused_with_both_versions(void **state) {
        (void)state;
        struct store *store = open_raw(path);
        assert_int_equal(sqlite3_exec(store->db, "PRAGMA application_id = 0x73776570; PRAGMA user_version = 77", NULL, NULL, NULL),
                         SQLITE_OK);
        store_close(store);
        struct error err = {0};
        assert_true(store_open(path, &store, &err) < 0);
        assert_non_null(strstr(err.text, "version 77"));
}

static void a_foreign_database_is_refused(void **state) {
        (void)state;
        struct store *store = open_raw(path);
        assert_int_equal(sqlite3_exec(store->db, "CREATE TABLE theirs (x)", NULL, NULL, NULL), SQLITE_OK);
        store_close(store);
        assert_true(store_open(path, &store, NULL) < 0);
}

static void a_failing_migration_changes_nothing(void **state) {
        (void)state;
        const struct migration broken[] = {steps[0],
                                           {2, "2", "ALTER TABLE a ADD COLUMN y INTEGER; SELECT nonsense; PRAGMA user_version = 2;"}};
        struct store *store = open_raw(path);
        assert_int_equal(store_migrate(store, broken, 1, NULL), 0);
        assert_true(store_migrate(store, broken, 2, NULL) < 0);
        assert_int_not_equal(sqlite3_exec(store->db, "SELECT y FROM a", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(store_migrate(store, steps, 2, NULL), 0);
        store_close(store);
}

static void the_queue_is_released_then_requeued_then_enqueued(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), mine = add_worker(store, "w1"), other = add_worker(store, "w2");
        add_trial(store, sweep, "enqueued", PLACE_ENQUEUED);
        add_trial(store, sweep, "requeued", PLACE_REQUEUED);
        struct trial_row row = {0};
        int64_t released = add_trial(store, sweep, "released", PLACE_RELEASED);
        assert_int_equal(store_trial_load(store, released, &row), 0);
        row.released_by = mine;
        row.released_ms = 1000;
        assert_int_equal(store_trial_update(store, &row), 0);
        trial_row_fini(&row);
        assert_int_equal(store_trial_next_queued(store, sweep, mine, 500, 1500, 0, &row), 0);
        assert_string_equal(row.public_id, "released");
        trial_row_fini(&row);
        assert_int_equal(store_trial_next_queued(store, sweep, other, 500, 1500, 0, &row), 0);
        assert_string_equal(row.public_id, "requeued");
        trial_row_fini(&row);
        assert_int_equal(store_trial_next_queued(store, sweep, other, 1000, 2000, 0, &row), 0);
        assert_string_equal(row.public_id, "released");
        trial_row_fini(&row);
        store_close(store);
}

static void a_list_by_value_keeps_its_order_while_values_come_and_go(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), trials[5];
        static const char *const ids[] = {"t1", "t2", "t3", "t4", "t5"};
        for (int i = 0; i < 5; i++)
                trials[i] = add_trial(store, sweep, ids[i], PLACE_ENQUEUED);
        complete(store, trials[0], 3);
        complete(store, trials[1], 1);
        complete(store, trials[2], 3);
        int64_t as_of = 0;
        assert_int_equal(store_history_position(store, &as_of), 0);
        struct trial_row row = {0};
        struct value_position position, *after = NULL;
        static const char *const expected[] = {"t1", "t3", "t2", "t4", "t5"};
        for (int i = 0; i < 6; i++) {
                size_t n = 0;
                assert_int_equal(store_trial_list_by_value(store, sweep, -1, true, as_of, after, 1, &row, &n, &position), 0);
                assert_int_equal(n, i < 5);
                if (n == 0)
                        break;
                after = &position;
                assert_string_equal(row.public_id, expected[i]);
                trial_row_fini(&row);
                if (i == 1)
                        complete(store, trials[4], 100); /* would have come first */
        }
        store_close(store);
}

static void the_best_trial_is_the_earliest_of_equals(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), a = add_trial(store, sweep, "a", PLACE_ENQUEUED),
                b = add_trial(store, sweep, "b", PLACE_ENQUEUED);
        struct trial_row row = {0};
        assert_int_equal(store_trial_best(store, sweep, true, &row), STORE_NONE);
        complete(store, b, 0.5);
        complete(store, a, 0.5);
        for (int maximize = 0; maximize < 2; maximize++) {
                assert_int_equal(store_trial_best(store, sweep, maximize, &row), 0);
                assert_string_equal(row.public_id, "a");
                trial_row_fini(&row);
        }
        store_close(store);
}

static void points_of_a_later_attempt_overwrite(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), trial = add_trial(store, sweep, "t", PLACE_ENQUEUED);
        const struct metric_row points[] = {{.name = "b", .step = 1, .value = 5},
                                            {.name = "a", .step = 2, .value = 7},
                                            {.name = "b", .step = 1, .value = 6},
                                            {.name = "a", .step = -3, .value = 1}};
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(store_metric_put(store, trial, &points[i]), 0);
        struct metric_row rows[4];
        size_t n = 0;
        assert_int_equal(store_metric_list(store, trial, NULL, 0, NULL, 4, rows, &n), 0);
        assert_int_equal(n, 3);
        assert_int_equal(rows[0].step, -3);
        assert_true(rows[1].value == 6);
        for (size_t i = 0; i < n; i++)
                metric_row_fini(&rows[i]);
        double best = 0;
        assert_int_equal(store_metric_summary(store, trial, "a", SUMMARY_MINIMUM, &best), 0);
        assert_true(best == 1);
        assert_int_equal(store_metric_summary(store, trial, "a", SUMMARY_LAST, &best), 0);
        assert_true(best == 7);
        assert_int_equal(store_metric_summary(store, trial, "c", SUMMARY_LAST, &best), STORE_NONE);
        store_close(store);
}

static void a_claim_is_kept_while_a_trial_of_it_is_unfinished(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), worker = add_worker(store, "w"), trial = add_trial(store, sweep, "t", PLACE_ENQUEUED),
                claim = 0;
        assert_int_equal(store_claim_insert(store, worker, "c1", 100, &claim), 0);
        assert_int_equal(store_claim_set_answer(store, claim, "{}"), 0);
        assert_int_equal(store_attempt_insert(store, &(struct attempt_row){.trial = trial,
                                                                           .attempt = 1,
                                                                           .worker = worker,
                                                                           .claim = claim,
                                                                           .lease = "l",
                                                                           .evaluator = "{}",
                                                                           .started_ms = 1}),
                         0);
        assert_int_equal(store_keys_prune(store, 1000), 0);
        char *answer = NULL;
        assert_int_equal(store_claim_find(store, worker, "c1", &answer), 0);
        free(answer);
        complete(store, trial, 1);
        assert_int_equal(store_keys_prune(store, 100), 0);
        assert_int_equal(store_claim_find(store, worker, "c1", &answer), 0);
        free(answer);
        assert_int_equal(store_keys_prune(store, 1000), 0);
        assert_int_equal(store_claim_find(store, worker, "c1", &answer), STORE_NONE);
        store_close(store);
}

static void deleting_a_sweep_removes_all_its_rows(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), worker = add_worker(store, "w"), trial = add_trial(store, sweep, "t", PLACE_ENQUEUED),
                claim = 0;
        assert_int_equal(store_claim_insert(store, worker, "c1", 100, &claim), 0);
        assert_int_equal(store_attempt_insert(store, &(struct attempt_row){.trial = trial,
                                                                           .attempt = 1,
                                                                           .worker = worker,
                                                                           .claim = claim,
                                                                           .lease = "l",
                                                                           .evaluator = "{}",
                                                                           .started_ms = 1}),
                         0);
        assert_int_equal(store_metric_put(store, trial, &(struct metric_row){.name = "a", .step = 1}), 0);
        assert_int_equal(store_sweep_delete(store, sweep), 0);
        int64_t n = -1;
        assert_int_equal(
                store_integer(store,
                              "SELECT (SELECT count(*) FROM sweeps) + (SELECT count(*) FROM trials) + (SELECT count(*) FROM attempts) + "
                              "(SELECT count(*) FROM metrics) + (SELECT count(*) FROM history)",
                              &n),
                STORE_ROW);
        assert_int_equal(n, 0);
        char *answer = NULL; /* but a retry of the claim still gets its first answer */
        assert_int_equal(store_claim_find(store, worker, "c1", &answer), 0);
        free(answer);
        store_close(store);
}

static void counters_follow_every_trial(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), other = add_sweep(store, "s2");
        int64_t first = add_trial(store, sweep, "t1", PLACE_ENQUEUED);
        add_trial(store, sweep, "t2", PLACE_ENQUEUED);
        add_trial(store, other, "t3", PLACE_ENQUEUED);
        assert_counts(store, sweep, 2, 0);
        complete(store, first, 1);
        assert_counts(store, sweep, 1, 1);
        complete(store, first, 2); /* the same state again */
        assert_counts(store, sweep, 1, 1);
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_savepoint(store), 0);
        add_trial(store, sweep, "t4", PLACE_ENQUEUED);
        assert_int_equal(store_savepoint_undo(store), 0);
        assert_int_equal(store_commit(store), 0);
        assert_counts(store, sweep, 1, 1);
        assert_int_equal(store_trial_cancel_all(store, sweep, 9), 0);
        assert_counts(store, sweep, 0, 1);
        assert_int_equal(store_sweep_delete(store, sweep), 0);
        assert_counts(store, sweep, 0, 0);
        assert_counts(store, other, 1, 0);
        store_close(store);
}

/* Every trial of a list in pages of one, each way, with a history that went on after the first page. */
static void a_list_by_value_follows_changes_after_its_first_page(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), as_of = 0, n_trials = 12;
        int64_t trials[12];
        char id[8];
        for (int i = 0; i < n_trials; i++) {
                snprintf(id, sizeof id, "t%d", i + 1);
                trials[i] = add_trial(store, sweep, id, PLACE_ENQUEUED);
        }
        static const double values[] = {3, 1, 3, 2, 1}; /* of the first five; the others have none */
        for (int i = 0; i < 5; i++)
                complete(store, trials[i], values[i]);
        assert_int_equal(store_history_position(store, &as_of), 0);
        complete(store, trials[0], -5);  /* had another value */
        complete(store, trials[6], 2.5); /* had none */
        add_trial(store, sweep, "new", PLACE_ENQUEUED);
        static const char *const ascending[] = {"t2", "t5", "t4", "t1", "t3", "t6", "t7", "t8", "t9", "t10", "t11", "t12", "new"};
        static const char *const descending[] = {"t1", "t3", "t4", "t2", "t5", "t6", "t7", "t8", "t9", "t10", "t11", "t12", "new"};
        for (size_t page = 1; page <= 13; page += 4)
                for (int way = 0; way < 2; way++) {
                        struct value_position position, *after = NULL;
                        size_t total = 0, n = page;
                        while (n == page) {
                                struct trial_row rows[16];
                                assert_int_equal(store_trial_list_by_value(store, sweep, -1, way == 1, as_of, after, page, rows, &n, &position), 0);
                                for (size_t i = 0; i < n; i++) {
                                        assert_string_equal(rows[i].public_id, (way == 1 ? descending : ascending)[total++]);
                                        trial_row_fini(&rows[i]);
                                }
                                after = &position;
                        }
                        assert_int_equal(total, 13);
                }
        store_close(store);
}

/* No list, count or best may read all trials of a sweep. */
static void queries_of_long_sweeps_use_indexes(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1");
        struct trial_row row = {0};
        struct value_position position;
        uint64_t counts[N_TRIAL_STATES];
        size_t n = 0;
        double seconds;
        store_trial_best(store, sweep, true, &row);
        store_trial_best(store, sweep, false, &row);
        store_trial_counts(store, sweep, counts);
        store_trial_mean_seconds(store, sweep, &seconds);
        store_trial_list(store, sweep, -1, 0, 1, &row, &n);
        store_trial_list(store, sweep, TRIAL_FAILED, 0, 1, &row, &n);
        store_trial_list_by_value(store, sweep, -1, true, 0, NULL, 1, &row, &n, &position);
        store_trial_list_by_value(store, sweep, -1, false, 0, NULL, 1, &row, &n, &position);
        store_trial_next_queued(store, sweep, 1, 0, 0, 0, &row);
        for (size_t i = 0; i < store->n_statements; i++) {
                char *sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", store->statements[i].sql);
                sqlite3_stmt *plan = NULL;
                if (strncmp(store->statements[i].sql, "INSERT", 6) != 0)
                        assert_int_equal(sqlite3_prepare_v2(store->db, sql, -1, &plan, NULL), SQLITE_OK);
                while (plan && sqlite3_step(plan) == SQLITE_ROW) {
                        const char *line = (const char *)sqlite3_column_text(plan, 3);
                        if (strncmp(line, "SCAN t", 6) == 0 || strncmp(line, "SCAN h", 6) == 0 ||
                            (strstr(line, "TEMP B-TREE FOR ORDER BY") && strstr(store->statements[i].sql, "page") == NULL))
                                fail_msg("%s: %s", line, store->statements[i].sql);
                }
                sqlite3_finalize(plan);
                sqlite3_free(sql);
        }
        store_close(store);
}

static off_t size_of(const char *suffix) {
        char name[128];
        struct stat st = {0};
        snprintf(name, sizeof name, "%s%s", path, suffix);
        stat(name, &st);
        return st.st_size;
}

static void a_log_that_is_taken_back_aside_begins_anew(void **state) {
        (void)state;
        struct store *store = open_store();
        struct error err;
        assert_int_equal(store_checkpoint_aside(store, &err), 0);
        _cleanup_free_ char *megabyte = malloc((1 << 20) + 1);
        memset(megabyte, 'x', 1 << 20);
        megabyte[1 << 20] = 0;
        char key[16] = "";
        for (int i = 0; i < 160; i++) {
                snprintf(key, sizeof key, "k%d", i);
                assert_int_equal(store_begin(store), 0);
                const struct key_row row = {.body_sha256 = (char *)"", .answer = megabyte, .status = 200};
                assert_int_equal(store_key_insert(store, "p", "", key, &row, 1), 0);
                assert_int_equal(store_commit(store), 0);
        }
        assert_true(size_of("") > 64 << 20);
        assert_true(size_of("-wal") < 150 << 20); /* 32 MiB, and what was written while it was taken back */
        store_close(store);
        store = open_store();
        struct key_row row;
        assert_int_equal(store_key_find(store, "p", "", key, &row), 0);
        assert_int_equal(strlen(row.answer), 1 << 20);
        key_row_fini(&row);
        store_close(store);
}

static int64_t next_webhook(struct store *store, uint64_t now_ms) {
        struct webhook_row row;
        int r = store_webhook_next(store, now_ms, &row);
        if (r == STORE_NONE)
                return 0;
        assert_int_equal(r, 0);
        int64_t id = row.id;
        webhook_row_fini(&row);
        return id;
}

/* A receiver that is away gets one try of what is new before the others, and then comes last. */
static void what_webhooks_were_not_told_yet_goes_before_what_failed(void **state) {
        (void)state;
        struct store *store = open_store();
        int64_t sweep = add_sweep(store, "s1"), rows = -1;
        const struct webhook_row away = {.sweep = sweep, .event = "finished", .url = "http://away/", .body = "{}"}, there = {.sweep = sweep, .event = "finished", .url = "http://there/", .body = "{}"};
        assert_int_equal(store_webhook_add(store, &away, 1000), 0);
        assert_int_equal(store_webhook_add(store, &away, 1000), 0);
        for (int64_t id = 1; id <= 2; id++) {
                assert_int_equal(next_webhook(store, 1000), id);
                assert_int_equal(store_webhook_put_off(store, id, 1, 3000), 0);
        }
        assert_int_equal(next_webhook(store, 2999), 0);
        assert_int_equal(store_webhook_add(store, &there, 4000), 0);
        assert_int_equal(next_webhook(store, 5000), 3);
        bool is_pending = false;
        assert_int_equal(store_webhook_is_pending(store, sweep, "finished", "http://there/", &is_pending), 0);
        assert_true(is_pending);
        assert_int_equal(store_webhook_delete(store, 3), 0);
        assert_int_equal(store_webhook_is_pending(store, sweep, "finished", "http://there/", &is_pending), 0);
        assert_false(is_pending);
        assert_int_equal(next_webhook(store, 5000), 1);
        assert_int_equal(store_sweep_delete(store, sweep), 0);
        assert_int_equal(store_integer(store, "SELECT count(*) FROM webhooks", &rows), STORE_ROW);
        assert_int_equal(rows, 0);
        store_close(store);
}

static void no_more_than_so_many_messages_wait(void **state) {
        (void)state;
        struct store *store = open_store();
        const struct webhook_row row = {.sweep = add_sweep(store, "s1"), .event = "finished", .url = "http://away/", .body = "{}"};
        assert_int_equal(store_begin(store), 0);
        for (int i = 0; i < STORE_WEBHOOKS_MAX - 1; i++)
                assert_int_equal(store_execute(store, "INSERT INTO webhooks (sweep, event, url, body, created_ms, due_ms) VALUES (?1, 'paused', '', '', 1, 1)", bind_i(row.sweep)), 0);
        assert_int_equal(store_webhook_add(store, &row, 1000), 0);
        assert_int_equal(store_webhook_add(store, &row, 1000), STORE_FULL);
        assert_int_equal(store_webhook_delete(store, 1), 0);
        assert_int_equal(store_webhook_add(store, &row, 1000), 0);
        assert_int_equal(store_commit(store), 0);
        store_close(store);
}

#define behaviour(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                behaviour(rows_read_back_as_they_were_written),
                behaviour(a_commit_survives_kill_9_and_frees_the_lock),
                behaviour(a_failed_unit_leaves_the_others_of_its_transaction),
                behaviour(nothing_is_kept_of_a_transaction_that_was_lost),
                behaviour(a_unit_that_cannot_be_ended_takes_its_transaction_with_it),
                behaviour(a_full_disk_is_reported_and_loses_nothing),
                behaviour(a_state_that_is_not_in_the_table_cannot_be_stored),
                behaviour(an_older_database_is_backed_up_and_migrated),
                behaviour(a_newer_database_is_refused_with_both_versions),
                behaviour(a_foreign_database_is_refused),
                behaviour(a_failing_migration_changes_nothing),
                behaviour(the_queue_is_released_then_requeued_then_enqueued),
                behaviour(a_list_by_value_keeps_its_order_while_values_come_and_go),
                behaviour(the_best_trial_is_the_earliest_of_equals),
                behaviour(points_of_a_later_attempt_overwrite),
                behaviour(a_claim_is_kept_while_a_trial_of_it_is_unfinished),
                behaviour(deleting_a_sweep_removes_all_its_rows),
                behaviour(counters_follow_every_trial),
                behaviour(a_list_by_value_follows_changes_after_its_first_page),
                behaviour(queries_of_long_sweeps_use_indexes),
                behaviour(a_log_that_is_taken_back_aside_begins_anew),
                behaviour(what_webhooks_were_not_told_yet_goes_before_what_failed),
                behaviour(no_more_than_so_many_messages_wait),
        };
        return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
