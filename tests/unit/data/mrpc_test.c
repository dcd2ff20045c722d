/* The real MRPC files: row counts, the same pairs from both forms, and the token ids that Hugging Face gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "data/data.h"
#include "token/token.h"

static char shared[512];

static const char *in_shared(const char *name) {
        static char path[1024];
        snprintf(path, sizeof path, "%s/%s", shared, name);
        if (access(path, F_OK) == 0)
                return path;
        print_message("skipped: %s is not there\n", path);
        skip();
        return NULL;
}

static struct dataset *open_data(const char *path) {
        struct dataset *dataset = NULL;
        struct error err = {0};
        if (dataset_open(path, NULL, &dataset, &err) < 0)
                fail_msg("%s", err.text);
        return dataset;
}

static int count_positive(const struct pairs *pairs) {
        int n = 0;
        for (size_t i = 0; i < pairs->n; i++)
                n += pairs->items[i].label;
        return n;
}

static void expect_mrpc(const struct dataset *dataset) {
        assert_int_equal(dataset->train.n, 3668);
        assert_int_equal(dataset->dev.n, 408);
        assert_int_equal(count_positive(&dataset->train), 2474);
        assert_int_equal(count_positive(&dataset->dev), 279);
}

static void both_glue_texts_have_mrpcs_rows(void **state) {
        (void)state;
        static const char *const folders[] = {"data/mrpc/glue", "data/mrpc/glue_tokenized"};
        for (int i = 0; i < 2; i++) {
                struct dataset *dataset = open_data(in_shared(folders[i]));
                expect_mrpc(dataset);
                dataset_free(dataset);
        }
}

static void link_into(const char *folder, const char *shared_name, const char *name) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, name);
        assert_int_equal(symlink(in_shared(shared_name), path), 0);
}

static void the_msr_file_gives_the_same_pairs_as_glue(void **state) {
        (void)state;
        struct dataset *glue = open_data(in_shared("data/mrpc/glue"));
        in_shared("data/mrpc/raw/msr_paraphrase_train.txt");
        char folder[] = "/tmp/mrpc_test.XXXXXX";
        assert_non_null(mkdtemp(folder));
        link_into(folder, "data/mrpc/raw/msr_paraphrase_train.txt", "msr_paraphrase_train.txt");
        link_into(folder, "data/mrpc/glue/dev_ids.tsv", "dev_ids.tsv");
        struct dataset *raw = open_data(folder);
        assert_int_equal(fs_remove_tree(folder, NULL), 0);
        expect_mrpc(raw);
        assert_string_equal(raw->sha256, glue->sha256);
        dataset_free(glue);
        dataset_free(raw);
}

/* SHA-256 over lines `label id id …`, as the golden digests are made. */
static void digest_ids(const struct tokenizer *tokenizer, enum truncation mode, const struct pairs *pairs, size_t max_length,
                       char ret[static DIGEST_HEX_SIZE]) {
        _cleanup_buf_ struct buf lines = BUF_INIT(0);
        int32_t ids[128];
        for (size_t i = 0; i < pairs->n; i++) {
                const struct pair *pair = &pairs->items[i];
                size_t n;
                assert_int_equal(
                        tokenizer_encode_pair(tokenizer, mode, pair->a, pair->a_len, pair->b, pair->b_len, max_length, ids, &n, NULL), 0);
                buf_printf(&lines, "%d ", pair->label);
                for (size_t k = 0; k < n; k++)
                        buf_printf(&lines, "%d%s", ids[k], k + 1 < n ? " " : "\n");
        }
        digest_bytes(lines.data, lines.len, ret);
}

static void all_of_mrpc_has_hugging_faces_ids(void **state) {
        (void)state;
        struct dataset *dataset = open_data(in_shared("data/mrpc/glue"));
        struct tokenizer *tokenizer = NULL;
        _cleanup_buf_ struct buf text = BUF_INIT(0);
        _cleanup_json_ json_t *golden = NULL;
        assert_int_equal(tokenizer_open(in_shared("data/vocab/bert-base-uncased-vocab.txt"), &tokenizer, NULL), 0);
        assert_int_equal(fs_read(in_shared("golden/tokenizer/mrpc_digest.json"), &text, NULL), 0);
        assert_int_equal(json_read(text.data, text.len, &golden, NULL), 0);
        for (int part = 0; part < 2; part++)
                for (size_t max_length = 32; max_length <= 128; max_length *= 2)
                        for (int fast = 0; fast < 2; fast++) {
                                char path[64], got[DIGEST_HEX_SIZE];
                                snprintf(path, sizeof path, "%s.max_length_%zu.sha256%s", part ? "dev" : "train", max_length,
                                         fast ? "_fast" : "");
                                const char *expected = json_string_value(json_get_dotted(golden, path));
                                assert_non_null(expected);
                                digest_ids(tokenizer, fast ? TRUNCATION_HF_FAST : TRUNCATION_HF_SLOW, part ? &dataset->dev : &dataset->train,
                                           max_length, got);
                                if (strcmp(got, expected) != 0)
                                        fail_msg("%s: expected %s, got %s", path, expected, got);
                        }
        tokenizer_free(tokenizer);
        dataset_free(dataset);
}

int main(void) {
        const char *given = getenv("SWEEPD_SHARED"), *root = getenv("SWEEPD_SOURCE_ROOT");
        snprintf(shared, sizeof shared, "%s%s", given ? given : root ? root : ".", given ? "" : "/../shared");
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(both_glue_texts_have_mrpcs_rows),
                cmocka_unit_test(the_msr_file_gives_the_same_pairs_as_glue),
                cmocka_unit_test(all_of_mrpc_has_hugging_faces_ids),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
