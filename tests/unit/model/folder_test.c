#include "model/folder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "model/safetensors.h"

#define CONFIG_TEXT \
        "{\"model_type\":\"distilbert\",\"activation\":\"gelu\",\"dim\":4,\"n_heads\":2,\"hidden_dim\":6,\"n_layers\":2," \
        "\"vocab_size\":10,\"max_position_embeddings\":5,\"dropout\":0.3,\"pad_token_id\":0}"
#define BERT_CONFIG_TEXT \
        "{\"model_type\":\"bert\",\"hidden_act\":\"gelu\",\"hidden_size\":4,\"num_attention_heads\":2,\"intermediate_size\":6," \
        "\"num_hidden_layers\":2,\"vocab_size\":10,\"max_position_embeddings\":5,\"hidden_dropout_prob\":0.3,\"type_vocab_size\":2," \
        "\"layer_norm_eps\":1e-12,\"classifier_dropout\":null,\"pad_token_id\":0}"

static char folder[] = "/tmp/folder_test.XXXXXX";

static int make_folder(void **state) {
        (void)state;
        return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
        (void)state;
        return fs_remove_tree(folder, NULL);
}

static const char *in_folder(const char *name) {
        static char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, name);
        return path;
}

static void put(const char *name, const char *text) {
        assert_int_equal(fs_write_atomic(in_folder(name), text, strlen(text), 0644, NULL), 0);
}

static struct model *make_model(void) {
        struct model_shape shape;
        struct model_limits limits = {.max_sequences = 1, .max_tokens = 5, .max_length = 5, .threads = 1};
        struct model *model = NULL;
        struct error err = {0};
        put("config.json", CONFIG_TEXT);
        if (model_folder_read_shape(folder, &shape, &err) < 0 || model_new(&shape, &limits, &model, &err) < 0)
                fail_msg("%s", err.text);
        return model;
}

/* Weights that differ everywhere, the same in each model made here. */
static void fill(struct model *model) {
        for (size_t i = 0; i < model_n_parameters(model); i++) {
                const struct model_parameter *parameter = model_parameter(model, i);
                for (size_t k = 0; k < parameter->size; k++)
                        model_weights(model)[parameter->offset + k] = (float)((i + 1) * 1000 + k) / 64;
        }
}

static bool same_weights(const struct model *a, const struct model *b, bool with_head) {
        for (size_t i = 0; i < model_n_parameters(a); i++) {
                const struct model_parameter *parameter = model_parameter(a, i);
                const float *x = model_weights((struct model *)a) + parameter->offset;
                const float *y = model_weights((struct model *)b) + parameter->offset;
                if ((with_head || parameter->layer < model_shape(a)->layers) && memcmp(x, y, parameter->size * sizeof *x) != 0)
                        return false;
        }
        return true;
}

/* --- files with other names ------------------------------------------------------------------------- */

#define MAX_TENSORS 64

struct checkpoint {
        struct tensor_source tensors[MAX_TENSORS];
        char names[MAX_TENSORS][128];
        size_t n;
};

static void add(struct checkpoint *checkpoint, const char *name, int n_dims, size_t rows, size_t cols, const float *data) {
        assert_true(checkpoint->n < MAX_TENSORS);
        char *copy = checkpoint->names[checkpoint->n];
        assert_true((size_t)snprintf(copy, sizeof checkpoint->names[0], "%s", name) < sizeof checkpoint->names[0]);
        checkpoint->tensors[checkpoint->n++] = (struct tensor_source){.name = copy, .n_dims = n_dims, .dims = {rows, cols}, .data = data};
}

static void replace(char *text, const char *from, const char *to) {
        char *at = strstr(text, from);
        if (!at)
                return;
        char rest[128];
        snprintf(rest, sizeof rest, "%s", at + strlen(from));
        snprintf(at, 128 - (size_t)(at - text), "%s%s", to, rest);
}

/* All parameters but the head's, each name passed through pairs of (from, to) in turn; the list ends with NULL. */
static void add_encoder(struct checkpoint *checkpoint, struct model *model, const char *const *renames) {
        for (size_t i = 0; i < model_n_parameters(model); i++) {
                const struct model_parameter *parameter = model_parameter(model, i);
                if (parameter->layer == model_shape(model)->layers)
                        continue;
                char name[128];
                snprintf(name, sizeof name, "%s", parameter->name);
                for (const char *const *pair = renames; *pair; pair += 2)
                        replace(name, pair[0], pair[1]);
                add(checkpoint, name, parameter->n_dims, (size_t)parameter->rows, (size_t)parameter->cols,
                    model_weights(model) + parameter->offset);
        }
}

static void save(const struct checkpoint *checkpoint) {
        struct error err = {0};
        if (safetensors_write(in_folder("model.safetensors"), checkpoint->tensors, checkpoint->n, NULL, 0, &err) < 0)
                fail_msg("%s", err.text);
}

static struct tensor_source *named(struct checkpoint *checkpoint, const char *name) {
        for (size_t i = 0; i < checkpoint->n; i++)
                if (strcmp(checkpoint->names[i], name) == 0)
                        return &checkpoint->tensors[i];
        fail_msg("no tensor %s", name);
        return NULL;
}

static void expect_refused(const struct checkpoint *checkpoint, const char *expected) {
        save(checkpoint);
        struct model *model = make_model();
        struct error err = {0};
        bool drew_head;
        int r = model_folder_read_weights(folder, model, 1, &drew_head, &err);
        model_free(model);
        if (r >= 0 || !strstr(err.text, expected))
                fail_msg("expected '%s', got %d '%s'", expected, r, err.text);
}

static const char *const no_renames[] = {NULL};
static const char *const bert_names[] = {
        "distilbert.",       "",                //
        "transformer.",      "encoder.",        //
        "attention.q_lin",   "attention.self.query", //
        "attention.k_lin",   "attention.self.key",   //
        "attention.v_lin",   "attention.self.value", //
        "attention.out_lin", "attention.output.dense", //
        "sa_layer_norm",     "attention.output.LayerNorm", //
        "ffn.lin1",          "intermediate.dense", //
        "ffn.lin2",          "output.dense",    //
        "output_layer_norm", "output.LayerNorm", //
        NULL};

/* --- config.json ------------------------------------------------------------------------------------ */

static void refuse_config(const char *from, const char *to, const char *expected) {
        char text[512];
        snprintf(text, sizeof text, "%s", CONFIG_TEXT);
        char *at = strstr(text, from);
        assert_non_null(at);
        char rest[512];
        snprintf(rest, sizeof rest, "%s", at + strlen(from));
        snprintf(at, sizeof text - (size_t)(at - text), "%s%s", to, rest);
        put("config.json", text);
        struct model_shape shape;
        struct error err = {0};
        int r = model_folder_read_shape(folder, &shape, &err);
        if (r != -EINVAL || !strstr(err.text, expected) || !strstr(err.text, "config.json"))
                fail_msg("%s: expected '%s', got %d '%s'", text, expected, r, err.text);
}

static void both_families_of_keys_give_the_same_shape(void **state) {
        (void)state;
        struct model_shape ours = {0}, bert = {0};
        put("config.json", CONFIG_TEXT);
        assert_int_equal(model_folder_read_shape(folder, &ours, NULL), 0);
        put("config.json", BERT_CONFIG_TEXT);
        assert_int_equal(model_folder_read_shape(folder, &bert, NULL), 0);
        assert_memory_equal(&ours, &bert, sizeof ours);
        assert_int_equal(ours.dim, 4);
        assert_int_equal(ours.heads, 2);
        assert_int_equal(ours.hidden_dim, 6);
        assert_int_equal(ours.layers, 2);
        assert_int_equal(ours.vocab_size, 10);
        assert_int_equal(ours.max_positions, 5);
        assert_int_equal(ours.n_labels, 2);
        assert_true(ours.dropout == 0.3f && ours.attention_dropout == 0.1f && ours.seq_classif_dropout == 0.2f);
        assert_true(ours.initializer_range == 0.02f);
}

static void errors_of_the_configuration_name_the_key(void **state) {
        (void)state;
        refuse_config("\"dim\":4", "\"x\":4", "'dim' (or 'hidden_size') is missing");
        refuse_config("\"n_layers\":2,", "", "'n_layers' (or 'num_hidden_layers') is missing");
        refuse_config("\"vocab_size\":10,", "", "'vocab_size' is missing");
        refuse_config("\"n_heads\":2", "\"n_heads\":0", "'n_heads' must be");
        refuse_config("\"n_heads\":2", "\"num_attention_heads\":\"2\"", "'num_attention_heads' must be");
        refuse_config("\"hidden_dim\":6", "\"hidden_dim\":99999999999", "'hidden_dim' must be");
        refuse_config("\"n_heads\":2", "\"n_heads\":3", "'dim' 4 is not a multiple");
        refuse_config("\"dropout\":0.3", "\"dropout\":1", "'dropout' must be");
        refuse_config("\"gelu\"", "\"relu\"", "'activation' is \"relu\"");
        refuse_config("\"distilbert\"", "\"roberta\"", "'model_type' is \"roberta\"");
        refuse_config("\"pad_token_id\":0", "\"pad_token_id\":1", "'pad_token_id' must be 0");
        refuse_config("\"pad_token_id\":0", "\"layer_norm_eps\":1e-5", "'layer_norm_eps'");
        refuse_config("\"pad_token_id\":0", "\"id2label\":{\"0\":\"a\"}", "'id2label' must be 2 to");
        refuse_config("\"pad_token_id\":0", "\"num_labels\":3,\"id2label\":{\"0\":\"a\",\"1\":\"b\"}", "'num_labels' is not");
        refuse_config("\"pad_token_id\":0", "\"dim\":4", "uplicate");
        refuse_config("}", "", "not valid JSON");
}

static void a_vocabulary_that_does_not_fit_the_embeddings_is_refused(void **state) {
        (void)state;
        struct model_shape shape;
        struct error err = {0};
        put("config.json", CONFIG_TEXT);
        put("vocab.txt", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9");
        assert_int_equal(model_folder_read_shape(folder, &shape, NULL), 0);
        put("vocab.txt", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
        assert_int_equal(model_folder_read_shape(folder, &shape, &err), -EINVAL);
        assert_non_null(strstr(err.text, "vocab.txt: 11 tokens"));
        put("vocab.txt", "0\n1\n2\n");
        assert_int_equal(model_folder_read_shape(folder, &shape, NULL), 0);
        refuse_config("\"vocab_size\":10", "\"vocab_size\":131", "vocab.txt: 3 tokens");
        assert_int_equal(unlink(in_folder("vocab.txt")), 0);
}

/* --- weights ---------------------------------------------------------------------------------------- */

static void what_is_written_reads_back_bit_for_bit(void **state) {
        (void)state;
        struct model *model = make_model();
        struct model *back = make_model();
        struct error err = {0};
        bool drew_head = true;
        fill(model);
        put("vocab.txt", "[PAD]\n[UNK]\n");
        put("tokenizer_config.json", "{}\n");
        char out[128];
        snprintf(out, sizeof out, "%s/deep/out", folder);
        if (model_folder_write(out, model, folder, &err) < 0)
                fail_msg("%s", err.text);
        struct model_shape shape;
        assert_int_equal(model_folder_read_shape(out, &shape, &err), 0);
        assert_memory_equal(&shape, model_shape(model), sizeof shape);
        assert_int_equal(model_folder_read_weights(out, back, 1, &drew_head, &err), 0);
        assert_false(drew_head);
        assert_true(same_weights(model, back, true));
        _cleanup_buf_ struct buf text = BUF_INIT(0);
        assert_int_equal(fs_read(in_folder("deep/out/vocab.txt"), &text, NULL), 0);
        assert_string_equal(text.data, "[PAD]\n[UNK]\n");
        assert_int_equal(access(in_folder("deep/out/tokenizer_config.json"), F_OK), 0);
        buf_clear(&text);
        assert_int_equal(fs_read(in_folder("deep/out/config.json"), &text, NULL), 0);
        assert_non_null(strstr(text.data, "\"dropout\":0.3,"));
        assert_non_null(strstr(text.data, "[\"DistilBertForSequenceClassification\"]"));
        char digest[DIGEST_HEX_SIZE] = "";
        assert_int_equal(model_folder_sha256(out, digest, NULL), 0);
        assert_int_equal(strlen(digest), 64);
        assert_int_equal(unlink(in_folder("vocab.txt")), 0);
        model_free(model);
        model_free(back);
}

static void a_pretraining_checkpoint_with_old_names_is_read_and_gets_a_head(void **state) {
        (void)state;
        static const char *const old_names[] = {"distilbert.",         "",
                                                "LayerNorm.weight",    "LayerNorm.gamma",
                                                "LayerNorm.bias",      "LayerNorm.beta",
                                                "sa_layer_norm.weight", "sa_layer_norm.gamma",
                                                "output_layer_norm.bias", "output_layer_norm.beta",
                                                NULL};
        struct model *model = make_model(), *back = make_model(), *again = make_model(), *other = make_model();
        struct checkpoint checkpoint = {0};
        float zeros[64] = {0};
        bool drew_head = false;
        fill(model);
        add_encoder(&checkpoint, model, old_names);
        add(&checkpoint, "vocab_transform.weight", 2, 4, 4, zeros);
        add(&checkpoint, "vocab_layer_norm.bias", 1, 4, 1, zeros);
        add(&checkpoint, "vocab_projector.bias", 1, 10, 1, zeros);
        add(&checkpoint, "embeddings.position_ids", 2, 1, 5, zeros);
        save(&checkpoint);
        assert_int_equal(model_folder_read_weights(folder, back, 7, &drew_head, NULL), 0);
        assert_true(drew_head);
        assert_true(same_weights(model, back, false));
        assert_int_equal(model_folder_read_weights(folder, again, 7, &drew_head, NULL), 0);
        assert_true(same_weights(back, again, true));
        assert_int_equal(model_folder_read_weights(folder, other, 8, &drew_head, NULL), 0);
        assert_false(same_weights(back, other, true));
        model_free(model);
        model_free(back);
        model_free(again);
        model_free(other);
}

static void a_drawn_head_is_normal_with_zero_biases(void **state) {
        (void)state;
        struct model *model = make_model(), *back = make_model();
        struct checkpoint checkpoint = {0};
        bool drew_head = false;
        fill(model);
        add_encoder(&checkpoint, model, no_renames);
        save(&checkpoint);
        double sum = 0;
        size_t n = 0;
        for (uint64_t seed = 0; seed < 100; seed++) {
                assert_int_equal(model_folder_read_weights(folder, back, seed, &drew_head, NULL), 0);
                for (size_t i = 0; i < model_n_parameters(back); i++) {
                        const struct model_parameter *parameter = model_parameter(back, i);
                        const float *weights = model_weights(back) + parameter->offset;
                        for (size_t k = 0; parameter->layer == 2 && k < parameter->size; k++) {
                                if (parameter->n_dims == 1) {
                                        assert_true(weights[k] == 0);
                                        continue;
                                }
                                sum += (double)weights[k] * (double)weights[k];
                                n++;
                        }
                }
        }
        assert_int_equal(n, 100 * (4 * 4 + 2 * 4));
        assert_true(fabs(sqrt(sum / (double)n) - 0.02) < 0.001);
        model_free(model);
        model_free(back);
}

static void a_bert_checkpoint_reads_with_token_type_0_in_every_position(void **state) {
        (void)state;
        struct model *model = make_model(), *back = make_model();
        struct checkpoint checkpoint = {0};
        float zeros[64] = {0}, types[8] = {0.5, 0.25, -1, 8, 100, 100, 100, 100};
        bool drew_head = false;
        struct error err = {0};
        fill(model);
        add_encoder(&checkpoint, model, bert_names);
        add(&checkpoint, "embeddings.token_type_embeddings.weight", 2, 2, 4, types);
        add(&checkpoint, "pooler.dense.weight", 2, 4, 4, zeros);
        add(&checkpoint, "cls.predictions.bias", 1, 10, 1, zeros);
        assert_string_equal(named(&checkpoint, "encoder.layer.1.attention.self.query.weight")->name,
                            "encoder.layer.1.attention.self.query.weight");
        save(&checkpoint);
        if (model_folder_read_weights(folder, back, 7, &drew_head, &err) < 0)
                fail_msg("%s", err.text);
        assert_true(drew_head);
        float *positions = NULL;
        for (size_t i = 0; i < model_n_parameters(model); i++)
                if (strcmp(model_parameter(model, i)->name, "distilbert.embeddings.position_embeddings.weight") == 0)
                        positions = model_weights(model) + model_parameter(model, i)->offset;
        assert_non_null(positions);
        for (int k = 0; k < 20; k++)
                positions[k] += types[k % 4];
        assert_true(same_weights(model, back, false));

        /* The same under the prefix that a BertForPreTraining checkpoint has. */
        struct checkpoint prefixed = {0};
        for (size_t i = 0; i < checkpoint.n; i++) {
                char name[160];
                snprintf(name, sizeof name, "bert.%s", checkpoint.names[i]);
                add(&prefixed, name, checkpoint.tensors[i].n_dims, checkpoint.tensors[i].dims[0], checkpoint.tensors[i].dims[1],
                    checkpoint.tensors[i].data);
        }
        for (int k = 0; k < 20; k++)
                positions[k] -= types[k % 4];
        save(&prefixed);
        for (int k = 0; k < 20; k++)
                positions[k] += types[k % 4];
        assert_int_equal(model_folder_read_weights(folder, back, 7, &drew_head, NULL), 0);
        assert_true(same_weights(model, back, false));

        named(&checkpoint, "embeddings.token_type_embeddings.weight")->name = "pooler.dense.bias";
        expect_refused(&checkpoint, "tensor 'embeddings.token_type_embeddings.weight' is missing");
        model_free(model);
        model_free(back);
}

static void a_tensor_that_does_not_fit_is_named(void **state) {
        (void)state;
        struct model *model = make_model();
        struct checkpoint whole = {0}, changed;
        float zeros[64] = {0};
        fill(model);
        add_encoder(&whole, model, no_renames);

        changed = whole;
        named(&changed, "distilbert.transformer.layer.1.ffn.lin2.bias")->name = "distilbert.transformer.layer.2.ffn.lin2.bias";
        expect_refused(&changed, "unknown tensor 'distilbert.transformer.layer.2.ffn.lin2.bias'");

        changed = whole;
        changed.tensors[3] = changed.tensors[--changed.n];
        char expected[192];
        snprintf(expected, sizeof expected, "tensor '%s' is missing", whole.names[3]);
        expect_refused(&changed, expected);

        changed = whole;
        named(&changed, "distilbert.transformer.layer.0.ffn.lin1.weight")->dims[0] = 5;
        expect_refused(&changed, "tensor 'distilbert.transformer.layer.0.ffn.lin1.weight' has shape [5, 4], expected [6, 4]");

        changed = whole;
        named(&changed, "distilbert.embeddings.LayerNorm.bias")->n_dims = 0;
        expect_refused(&changed, "tensor 'distilbert.embeddings.LayerNorm.bias' has shape [], expected [4]");

        changed = whole;
        add(&changed, "embeddings.LayerNorm.beta", 1, 4, 1, zeros);
        expect_refused(&changed, "tensor 'embeddings.LayerNorm.beta' is there a second time");

        changed = whole;
        add(&changed, "classifier.weight", 2, 2, 4, zeros);
        expect_refused(&changed, "tensor 'pre_classifier.weight' is missing");

        changed = whole;
        add(&changed, "qa_outputs.weight", 2, 2, 4, zeros);
        expect_refused(&changed, "unknown tensor 'qa_outputs.weight'");
        model_free(model);
}

/* --- real checkpoints ------------------------------------------------------------------------------- */

static struct model *open_real(const char *path) {
        struct model_shape shape;
        struct model_limits limits = {.max_sequences = 1, .max_tokens = 8, .max_length = 8, .threads = 1};
        struct model *model = NULL;
        struct error err = {0};
        bool drew_head;
        if (model_folder_read_shape(path, &shape, &err) < 0 || model_new(&shape, &limits, &model, &err) < 0 ||
            model_folder_read_weights(path, model, 3, &drew_head, &err) < 0)
                fail_msg("%s", err.text);
        assert_true(drew_head);
        return model;
}

/* SWEEPD_BERT_MODEL names a folder with the original of shared/data/models/minilm-l6, in BERT's layout. */
static void the_original_bert_layout_equals_the_converted_folder(void **state) {
        (void)state;
        const char *original = getenv("SWEEPD_BERT_MODEL"), *shared = getenv("SWEEPD_SHARED"), *root = getenv("SWEEPD_SOURCE_ROOT");
        char converted[512];
        if (shared)
                snprintf(converted, sizeof converted, "%s/data/models/minilm-l6", shared);
        else
                snprintf(converted, sizeof converted, "%s/../shared/data/models/minilm-l6", root ? root : ".");
        if (!original || access(original, F_OK) < 0 || access(converted, F_OK) < 0) {
                print_message("skipped: SWEEPD_BERT_MODEL or %s is not there\n", converted);
                skip();
        }
        struct model *bert = open_real(original), *ours = open_real(converted);
        double worst = 0;
        for (size_t i = 0; i < model_n_parameters(ours); i++) {
                const struct model_parameter *parameter = model_parameter(ours, i);
                for (size_t k = 0; k < parameter->size; k++) {
                        double difference = (double)(model_weights(ours)[parameter->offset + k] - model_weights(bert)[parameter->offset + k]);
                        worst = fmax(worst, fabs(difference));
                }
        }
        print_message("largest difference of a weight: %g\n", worst);
        assert_true(worst <= 1e-6);
        model_free(bert);
        model_free(ours);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(both_families_of_keys_give_the_same_shape),
                cmocka_unit_test(errors_of_the_configuration_name_the_key),
                cmocka_unit_test(a_vocabulary_that_does_not_fit_the_embeddings_is_refused),
                cmocka_unit_test(what_is_written_reads_back_bit_for_bit),
                cmocka_unit_test(a_pretraining_checkpoint_with_old_names_is_read_and_gets_a_head),
                cmocka_unit_test(a_drawn_head_is_normal_with_zero_biases),
                cmocka_unit_test(a_bert_checkpoint_reads_with_token_type_0_in_every_position),
                cmocka_unit_test(a_tensor_that_does_not_fit_is_named),
                cmocka_unit_test(the_original_bert_layout_equals_the_converted_folder),
        };
        return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
