#include "data/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fs.h"

#define HEADER "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"

static char folder[] = "/tmp/data_test.XXXXXX";

static int make_folder(void **state) {
        (void)state;
        return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
        (void)state;
        return fs_remove_tree(folder, NULL);
}

static int empty_folder(void **state) {
        (void)state;
        return fs_remove_tree(folder, NULL) < 0 || fs_make_dirs(folder, 0755, NULL) < 0 ? -1 : 0;
}

static void put(const char *name, const char *text) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, name);
        assert_int_equal(fs_write_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static struct dataset *open_data(void) {
        struct dataset *dataset = NULL;
        struct error err = {0};
        if (dataset_open(folder, NULL, &dataset, &err) < 0)
                fail_msg("%s", err.text);
        return dataset;
}

static void refuse(const char *expected) {
        struct dataset *dataset = NULL;
        struct error err = {0};
        int r = dataset_open(folder, NULL, &dataset, &err);
        if (r >= 0 || dataset || !strstr(err.text, expected))
                fail_msg("expected '%s', got %d '%s'", expected, r, err.text);
}

static void expect_pair(const struct pairs *pairs, size_t i, int label, const char *a, const char *b) {
        assert_true(i < pairs->n);
        const struct pair *pair = &pairs->items[i];
        assert_int_equal(pair->label, label);
        assert_int_equal(pair->a_len, strlen(a));
        assert_memory_equal(pair->a, a, pair->a_len);
        assert_int_equal(pair->b_len, strlen(b));
        assert_memory_equal(pair->b, b, pair->b_len);
}

static void glue_files_are_read_without_bom_cr_and_quote_processing(void **state) {
        (void)state;
        put("train.tsv", "\xef\xbb\xbf" HEADER "1\t11\t12\tHe said \"no\t\"yes\r\n0\t13\t14\t\t\xc3\xa9 two\n");
        put("dev.tsv", HEADER "0\t15\t16\ta\tb\tan extra column");
        struct dataset *dataset = open_data();
        assert_int_equal(dataset->train.n, 2);
        assert_int_equal(dataset->dev.n, 1);
        expect_pair(&dataset->train, 0, 1, "He said \"no", "\"yes");
        expect_pair(&dataset->train, 1, 0, "", "\xc3\xa9 two");
        expect_pair(&dataset->dev, 0, 0, "a", "b");
        dataset_free(dataset);
}

static void many_rows_keep_their_order(void **state) {
        (void)state;
        char text[60000] = HEADER, row[32];
        size_t len = strlen(text);
        for (int i = 0; i < 1500; i++)
                len += (size_t)snprintf(text + len, sizeof text - len, "%d\t1\t2\ta%d\tb%d\n", i % 2, i, i);
        put("train.tsv", text);
        put("dev.tsv", HEADER "0\t1\t2\ta\tb\n");
        struct dataset *dataset = open_data();
        assert_int_equal(dataset->train.n, 1500);
        for (int i = 0; i < 1500; i++) {
                snprintf(row, sizeof row, "a%d", i);
                assert_int_equal(dataset->train.items[i].a_len, strlen(row));
                assert_memory_equal(dataset->train.items[i].a, row, strlen(row));
                assert_int_equal(dataset->train.items[i].label, i % 2);
        }
        dataset_free(dataset);
}

static void the_msr_file_is_divided_by_the_ids(void **state) {
        (void)state;
        put("msr_paraphrase_train.txt", "\xef\xbb\xbf" HEADER "1\t1\t2\ta\tb\n0\t3\t4\tc\td\n1\t2\t1\te\tf\n0\t3\t44\tg\th\n");
        put("dev_ids.tsv", "3\t4\n1\t2\n");
        struct dataset *dataset = open_data();
        assert_int_equal(dataset->train.n, 2);
        assert_int_equal(dataset->dev.n, 2);
        expect_pair(&dataset->train, 0, 1, "e", "f");
        expect_pair(&dataset->train, 1, 0, "g", "h");
        expect_pair(&dataset->dev, 0, 1, "a", "b");
        expect_pair(&dataset->dev, 1, 0, "c", "d");
        dataset_free(dataset);
}

static void the_fingerprint_follows_labels_texts_and_division(void **state) {
        (void)state;
        static const char *const trains[] = {HEADER "1\t1\t2\ta\tb\n", HEADER "0\t1\t2\ta\tb\n", HEADER "1\t1\t2\tab\t\n",
                                             HEADER "1\t1\t2\ta\tb\n0\t1\t2\tc\td\n"};
        static const char *const devs[] = {HEADER "0\t1\t2\tc\td\n0\t1\t2\tc\td\n", HEADER "0\t1\t2\tc\td\n0\t1\t2\tc\td\n",
                                           HEADER "0\t1\t2\tc\td\n0\t1\t2\tc\td\n", HEADER "0\t1\t2\tc\td\n"};
        char seen[4][DIGEST_HEX_SIZE];
        for (int i = 0; i < 4; i++) {
                put("train.tsv", trains[i]);
                put("dev.tsv", devs[i]);
                struct dataset *dataset = open_data();
                memcpy(seen[i], dataset->sha256, DIGEST_HEX_SIZE);
                dataset_free(dataset);
                for (int k = 0; k < i; k++)
                        assert_string_not_equal(seen[i], seen[k]);
        }
        /* Ids, line ends and the byte-order mark are not what a training sees. */
        put("train.tsv", "\xef\xbb\xbf" HEADER "1\t7\t8\ta\tb\r\n");
        put("dev.tsv", devs[0]);
        struct dataset *dataset = open_data();
        assert_string_equal(dataset->sha256, seen[0]);
        dataset_free(dataset);
}

static void expect_single(const struct pairs *pairs, size_t i, int label, const char *a) {
        assert_true(i < pairs->n);
        assert_int_equal(pairs->items[i].label, label);
        assert_int_equal(pairs->items[i].a_len, strlen(a));
        assert_memory_equal(pairs->items[i].a, a, strlen(a));
        assert_null(pairs->items[i].b);
}

/* Each in the layout of its file on gluebenchmark.com. */
static void every_task_finds_its_columns(void **state) {
        (void)state;
        struct pairs pairs;
        char path[128];
        snprintf(path, sizeof path, "%s/x.tsv", folder);
        put("x.tsv", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n7\t1\t2\tIs \"it?\tIt is?\t1\n8\t3\t4\tcut off\n9\t5\t6\ta\tb\t0\n");
        assert_int_equal(pairs_read(path, task_find("qqp"), &pairs, NULL), 0);
        assert_int_equal(pairs.n, 2);
        expect_pair(&pairs, 0, 1, "Is \"it?", "It is?");
        expect_pair(&pairs, 1, 0, "a", "b");
        pairs_fini(&pairs);
        put("x.tsv", "index\tsentence1\tsentence2\tlabel\n0\tp\th\tnot_entailment\n1\tq\ti\tentailment\n");
        assert_int_equal(pairs_read(path, task_find("rte"), &pairs, NULL), 0);
        expect_pair(&pairs, 0, 1, "p", "h");
        expect_pair(&pairs, 1, 0, "q", "i");
        pairs_fini(&pairs);
        put("x.tsv", "index\tquestion\tsentence\tlabel\n0\tp?\th.\tentailment\n");
        assert_int_equal(pairs_read(path, task_find("qnli"), &pairs, NULL), 0);
        expect_pair(&pairs, 0, 0, "p?", "h.");
        pairs_fini(&pairs);
        put("x.tsv", "sentence\tlabel\nfine film \t1\n");
        assert_int_equal(pairs_read(path, task_find("sst2"), &pairs, NULL), 0);
        expect_single(&pairs, 0, 1, "fine film ");
        pairs_fini(&pairs);
        put("x.tsv", "gj04\t1\t\tHe sleeps.\ngj04\t0\t*\tHim sleeps.\n");
        assert_int_equal(pairs_read(path, task_find("cola"), &pairs, NULL), 0);
        expect_single(&pairs, 0, 1, "He sleeps.");
        expect_single(&pairs, 1, 0, "Him sleeps.");
        pairs_fini(&pairs);
}

static void own_files_are_read_by_their_header(void **state) {
        (void)state;
        static const struct task own = {.name = "tsv", .text_a = "title", .label = "kind", .has_header = true, .labels = {"news", "blog", "spam"}, .n_labels = 3};
        struct pairs pairs;
        struct error err = {0};
        char path[128];
        snprintf(path, sizeof path, "%s/x.tsv", folder);
        put("x.tsv", "kind\tdate\ttitle\nspam\t1\tbuy\nnews\t2\tread\n");
        assert_int_equal(pairs_read(path, &own, &pairs, NULL), 0);
        expect_single(&pairs, 0, 2, "buy");
        expect_single(&pairs, 1, 0, "read");
        pairs_fini(&pairs);
        put("x.tsv", "kind\tdate\ntitle\t1\n");
        assert_true(pairs_read(path, &own, &pairs, &err) < 0);
        assert_non_null(strstr(err.text, "x.tsv:1: expected the header, which has no column 'title'"));
        put("x.tsv", "kind\tdate\ttitle\nham\t1\tbuy\n");
        assert_true(pairs_read(path, &own, &pairs, &err) < 0);
        assert_non_null(strstr(err.text, "x.tsv:2: label 'ham' is not news, blog or spam"));
        put("x.tsv", "kind\tdate\ttitle\nnews\t1\n");
        assert_true(pairs_read(path, &own, &pairs, &err) < 0);
        assert_non_null(strstr(err.text, "x.tsv:2: 2 columns, expected 3"));
}

static void a_folder_of_any_task_has_a_fingerprint(void **state) {
        (void)state;
        char first[DIGEST_HEX_SIZE], second[DIGEST_HEX_SIZE];
        struct error err = {0};
        put("train.tsv", HEADER "1\t1\t2\ta\tb\n");
        put("dev.tsv", HEADER "0\t1\t2\tc\td\n");
        assert_int_equal(dataset_fingerprint(folder, first, NULL), 0);
        struct dataset *dataset = open_data();
        assert_string_equal(first, dataset->sha256);
        dataset_free(dataset);
        put("dev.tsv", HEADER "2\t1\t2\tc\td\n");
        assert_true(dataset_fingerprint(folder, first, &err) < 0);
        assert_non_null(strstr(err.text, "dev.tsv:2: label '2'"));
        put("train.tsv", "sentence\tlabel\nfine\t1\n");
        put("dev.tsv", "sentence\tlabel\npoor\t0\n");
        assert_int_equal(dataset_fingerprint(folder, first, NULL), 0);
        put("dev.tsv", "sentence\tlabel\npoor\t1\n");
        assert_int_equal(dataset_fingerprint(folder, second, NULL), 0);
        assert_string_not_equal(first, second);
}

static void errors_name_file_and_line(void **state) {
        (void)state;
        refuse("holds neither train.tsv");
        put("dev.tsv", HEADER "0\t1\t2\ta\tb\n");
        refuse("train.tsv: No such file");
        put("train.tsv", "");
        refuse("train.tsv: empty");
        put("train.tsv", "\xef\xbb\xbf");
        refuse("train.tsv: empty");
        put("train.tsv", HEADER);
        refuse("train.tsv: no pairs");
        put("train.tsv", "1\t1\t2\ta\tb\n");
        refuse("train.tsv:1: expected the header");
        put("train.tsv", HEADER "1\t1\t2\ta\tb\n1\t1\t2\ta\n");
        refuse("train.tsv:3: 4 columns, expected 5");
        put("train.tsv", HEADER "1\t1\t2\ta\tb\n\n");
        refuse("train.tsv:3: 1 column, expected 5");
        put("train.tsv", HEADER "2\t1\t2\ta\tb\n");
        refuse("train.tsv:2: label '2' is not 0 or 1");
        put("train.tsv", HEADER "01\t1\t2\ta\tb\n");
        refuse("train.tsv:2: label '01' is not 0 or 1");
        put("train.tsv", HEADER "1\t1\t2\ta\tb\n1\t1\t2\ta\xff\tb\n");
        refuse("train.tsv:3: not valid UTF-8 at byte 8");
        put("train.tsv", HEADER "1\t1\t2\ta\tb\n");
        put("dev.tsv", HEADER "x\t1\t2\ta\tb\n");
        refuse("dev.tsv:2: label 'x'");
}

static void errors_of_the_division_are_named(void **state) {
        (void)state;
        put("msr_paraphrase_train.txt", HEADER "1\t1\t2\ta\tb\n0\t3\t4\tc\td\n");
        refuse("dev_ids.tsv: No such file");
        put("dev_ids.tsv", "");
        refuse("dev_ids.tsv: empty");
        put("dev_ids.tsv", "1\t2\n5\n");
        refuse("dev_ids.tsv:2: 1 column, expected 2");
        put("dev_ids.tsv", "1\t2\n5\t6\n");
        refuse("dev_ids.tsv:2: pair 5 6 is not in");
        put("dev_ids.tsv", "1\t2\n1\t2\n");
        refuse("pair 1 2 is there twice");
        put("dev_ids.tsv", "1\t2\n3\t4\n");
        refuse("none is left to train on");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(glue_files_are_read_without_bom_cr_and_quote_processing, empty_folder),
                cmocka_unit_test_setup(many_rows_keep_their_order, empty_folder),
                cmocka_unit_test_setup(the_msr_file_is_divided_by_the_ids, empty_folder),
                cmocka_unit_test_setup(the_fingerprint_follows_labels_texts_and_division, empty_folder),
                cmocka_unit_test_setup(every_task_finds_its_columns, empty_folder),
                cmocka_unit_test_setup(own_files_are_read_by_their_header, empty_folder),
                cmocka_unit_test_setup(a_folder_of_any_task_has_a_fingerprint, empty_folder),
                cmocka_unit_test_setup(errors_name_file_and_line, empty_folder),
                cmocka_unit_test_setup(errors_of_the_division_are_named, empty_folder),
        };
        return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
