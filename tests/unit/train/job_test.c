/* Configurations as a worker sends them: what is accepted, and how faults are named. */
#include "train/job.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A whole configuration around these params, fixed and further members. */
static int read_job(const char *params, const char *fixed, const char *more, struct job *ret, struct error *err) {
        char text[2048];
        snprintf(text, sizeof text, "{\"model\":\"m\",\"data\":\"d\",\"seed\":7,\"params\":%s,\"fixed\":%s%s}", params, fixed, more);
        return job_read(text, strlen(text), ret, err);
}

static void refused(const char *params, const char *fixed, const char *more, const char *word1, const char *word2) {
        struct job job;
        struct error err = {0};
        assert_int_equal(read_job(params, fixed, more, &job, &err), -EINVAL);
        if (!strstr(err.text, word1) || !strstr(err.text, word2))
                fail_msg("'%s' names not both '%s' and '%s'", err.text, word1, word2);
}

static void defaults_are_those_of_the_contract(void **state) {
        (void)state;
        struct job job;
        struct error err = {0};
        assert_int_equal(read_job("{}", "{}", "", &job, &err), 0);
        const struct settings *s = &job.settings;
        assert_true(s->learning_rate == 5e-5 && s->weight_decay == 0 && s->max_grad_norm == 1 && s->adam_beta1 == 0.9);
        assert_true(s->adam_beta2 == 0.999 && s->adam_epsilon == 1e-8 && s->epochs == 3 && s->layerwise_lr_decay == 1);
        assert_true(s->train_batch_size == 16 && s->eval_batch_size == 32 && s->gradient_accumulation_steps == 1);
        assert_true(s->logging_steps == 10 && s->eval_steps == 0 && s->checkpoint_s == 60 && s->limit_train == 0);
        assert_true(isnan(s->dropout) && s->lr_scheduler_type == SCHEDULE_LINEAR && s->truncation == TRUNCATION_HF_FAST);
        assert_int_equal(s->seed, 7);
        assert_int_equal(job.metric, METRIC_EVAL_ACCURACY);
        assert_int_equal(job.threads, 1);
        assert_null(job.checkpoint_dir);
        job_fini(&job);
}

static void settings_come_from_params_and_fixed(void **state) {
        (void)state;
        struct job job;
        struct error err = {0};
        assert_int_equal(read_job("{\"learning_rate\":1e-4,\"train_batch_size\":16.0,\"seed\":9}",
                              "{\"epochs\":2.5,\"freeze_embeddings\":true,\"lr_scheduler_type\":\"cosine\",\"truncation\":\"hf_slow\"}",
                              ",\"limit_train\":64,\"limit_eval\":null,\"metric\":{\"name\":\"eval/"
                              "loss\",\"goal\":\"minimize\"},\"report\":\"best\"",
                              &job, &err),
                         0);
        assert_true(job.settings.learning_rate == 1e-4 && job.settings.epochs == 2.5 && job.settings.freeze_embeddings);
        assert_int_equal(job.settings.train_batch_size, 16);
        assert_int_equal(job.settings.seed, 9); /* the setting overrides the trial's */
        assert_int_equal(job.settings.lr_scheduler_type, SCHEDULE_COSINE);
        assert_int_equal(job.settings.truncation, TRUNCATION_HF_SLOW);
        assert_int_equal(job.settings.limit_train, 64);
        assert_int_equal(job.settings.report, REPORT_BEST);
        assert_int_equal(job.metric, METRIC_EVAL_LOSS);
        assert_false(job.maximize);
        job_fini(&job);
}

static void an_own_task_names_its_columns_wherever_they_stand(void **state) {
        (void)state;
        struct job job;
        struct error err = {0};
        assert_int_equal(read_job("{\"labels\":[\"no\",\"maybe\",\"yes\"]}", "{\"label\":\"l\",\"text_a\":\"t\",\"task\":\"tsv\"}",
                              ",\"metric\":{\"name\":\"eval/mcc\",\"goal\":\"maximize\"}", &job, &err), 0);
        const struct task *task = settings_task(&job.settings);
        assert_string_equal(task->text_a, "t");
        assert_null(task->text_b);
        assert_int_equal(task->n_labels, 3);
        assert_string_equal(task->labels[2], "yes");
        job_fini(&job);
        assert_int_equal(read_job("{}", "{\"task\":\"cola\"}", "", &job, &err), 0);
        assert_true(settings_task(&job.settings)->reports_mcc);
        job_fini(&job);
}

static void seeds_keep_all_their_bits(void **state) {
        (void)state;
        struct job job;
        assert_int_equal(read_job("{\"seed\":9007199254740995}", "{}", "", &job, NULL), 0);
        assert_true(job.settings.seed == 9007199254740995);
        job_fini(&job);
}

static void out_of_range_names_key_and_range(void **state) {
        (void)state;
        static const char *const faults[][3] = {
                {"{\"learning_rate\":0}", "learning_rate", "> 0"},
                {"{\"learning_rate\":1.5}", "learning_rate", "<= 1"},
                {"{\"weight_decay\":-0.1}", "weight_decay", "0 to 1"},
                {"{\"max_grad_norm\":-1}", "max_grad_norm", ">= 0"},
                {"{\"warmup_steps\":-1}", "warmup_steps", ">= 0"},
                {"{\"warmup_ratio\":1.1}", "warmup_ratio", "0 to 1"},
                {"{\"adam_beta1\":1}", "adam_beta1", "< 1"},
                {"{\"adam_epsilon\":0}", "adam_epsilon", "> 0"},
                {"{\"dropout\":1.0}", "dropout", "< 1"},
                {"{\"max_seq_length\":7}", "max_seq_length", "8 to"},
                {"{\"epochs\":0}", "epochs", "> 0"},
                {"{\"train_batch_size\":0}", "train_batch_size", "1"},
                {"{\"layerwise_lr_decay\":0}", "layerwise_lr_decay", "> 0"},
                {"{\"checkpoint_s\":0}", "checkpoint_s", ">= 1"},
                {"{\"limit_train\":0}", "limit_train", ">= 1"},
                {"{\"lr_scheduler_type\":\"step\"}", "lr_scheduler_type", "cosine_with_restarts"},
        };
        for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
                refused(faults[i][0], "{}", "", faults[i][1], faults[i][2]);
}

static void wrong_types_are_refused(void **state) {
        (void)state;
        refused("{\"learning_rate\":\"5e-5\"}", "{}", "", "learning_rate", "number");
        refused("{\"train_batch_size\":16.5}", "{}", "", "train_batch_size", "whole");
        refused("{\"freeze_embeddings\":1}", "{}", "", "freeze_embeddings", "true or false");
        refused("{\"task\":\"mnli\"}", "{}", "", "params.task", "sst2");
        refused("{}", "{\"task\":\"tsv\",\"text_a\":\"x\"}", "", "label", "task tsv");
        refused("{}", "{\"task\":\"rte\",\"text_a\":\"x\"}", "", "text_a", "rte");
        refused("{}", "{\"task\":\"tsv\",\"text_a\":\"x\",\"label\":\"y\",\"labels\":[\"a\",\"a\"]}", "", "fixed.labels", "different");
        refused("{}", "{\"task\":\"tsv\",\"text_a\":\"x\",\"label\":\"y\",\"labels\":[\"a\"]}", "", "fixed.labels", "2 to 64");
        refused("{}", "{}", ",\"metric\":{\"name\":\"eval/mcc\"}", "eval/mcc", "cola");
        refused("{\"label_smoothing\":1}", "{}", "", "params.label_smoothing", ">= 0 and < 1");
        refused("{}", "{\"class_weights\":[1,0]}", "", "fixed.class_weights", "positive");
        refused("{}", "{\"class_weights\":\"even\"}", "", "fixed.class_weights", "balanced");
        refused("{}", "{\"class_weights\":[]}", "", "fixed.class_weights", "a label");
        refused("{}", "{\"early_stopping_patience\":0}", "", "early_stopping_patience", ">= 1");
        refused("{}", "{\"early_stopping_patience\":2}", ",\"metric\":{\"name\":\"train/loss\"}", "early_stopping_patience", "train/loss");
        refused("{\"lr_scheduler_type\":1}", "{}", "", "lr_scheduler_type", "linear");
        refused("{\"lr_scheduler_type\":\"\"}", "{}", "", "lr_scheduler_type", "linear");
        refused("[]", "{}", "", "params", "object");
        refused("{}", "{}", ",\"threads\":0", "threads", "1");
        refused("{\"seed\":-3}", "{}", "", "seed", ">= 0");
        refused("{}", "{}", ",\"output_dir\":5", "output_dir", "folder");
}

static void unknown_keys_are_named(void **state) {
        (void)state;
        refused("{\"learning_rte\":1e-4}", "{}", "", "params", "learning_rte");
        refused("{}", "{\"optimizer\":\"sgd\"}", "", "fixed", "optimizer");
        refused("{}", "{}", ",\"modle\":\"x\"", "unknown", "modle");
        refused("{}", "{}", ",\"metric\":{\"name\":\"eval/auc\"}", "metric.name", "eval/auc");
}

static void one_key_in_two_places_is_refused(void **state) {
        (void)state;
        refused("{\"epochs\":3}", "{\"epochs\":3}", "", "epochs", "twice");
        refused("{\"warmup_steps\":3}", "{\"warmup_ratio\":0.1}", "", "warmup_steps", "warmup_ratio");
        refused("{}", "{\"limit_train\":3}", ",\"limit_train\":4", "limit_train", "twice");
        struct job job; /* but the same limit said again is no contradiction */
        assert_int_equal(read_job("{}", "{\"limit_train\":3}", ",\"limit_train\":3", &job, NULL), 0);
        job_fini(&job);
}

static void precision_is_one_of_two(void **state) {
        (void)state;
        struct job job;
        refused("{\"precision\":\"fp16\"}", "{}", "", "precision", "one of f32, bf16");
        refused("{}", "{\"precision\":16}", "", "precision", "one of f32, bf16");
        assert_int_equal(read_job("{}", "{\"precision\":\"bf16\"}", "", &job, NULL), 0);
        assert_int_equal(job.settings.precision, PRECISION_BF16);
        job_fini(&job);
        assert_int_equal(read_job("{}", "{}", "", &job, NULL), 0);
        assert_int_equal(job.settings.precision, PRECISION_F32);
        job_fini(&job);
}

static void a_rate_below_the_end_of_polynomial_decay_is_refused(void **state) {
        (void)state;
        refused("{\"learning_rate\":1e-7,\"lr_scheduler_type\":\"polynomial\"}", "{}", "", "learning_rate", "polynomial");
}

static void what_is_not_a_configuration_is_refused(void **state) {
        (void)state;
        static const char *const texts[][2] = {
                {"", "JSON"},
                {"{\"model\":", "JSON"},
                {"[1]", "object"},
                {"{\"data\":\"d\"}", "model is missing"},
                {"{\"model\":\"m\"}", "data is missing"},
        };
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                struct job job;
                struct error err = {0};
                assert_int_equal(job_read(texts[i][0], strlen(texts[i][0]), &job, &err), -EINVAL);
                assert_non_null(strstr(err.text, texts[i][1]));
        }
}

static void the_model_decides_what_was_left_open(void **state) {
        (void)state;
        struct model_shape shape = {.max_positions = 64, .layers = 2, .dropout = 0.1f, .attention_dropout = 0.25f};
        struct job job;
        struct error err = {0};
        assert_int_equal(read_job("{\"dropout\":0.5}", "{}", "", &job, &err), 0);
        assert_int_equal(settings_fit_model(&job.settings, &shape, &err), 0);
        assert_int_equal(job.settings.max_seq_length, 64);
        assert_true(job.settings.dropout == 0.5 && job.settings.attention_dropout == 0.25);
        job.settings.max_seq_length = 65;
        assert_int_equal(settings_fit_model(&job.settings, &shape, &err), -EINVAL);
        assert_non_null(strstr(err.text, "max_seq_length"));
        job.settings.max_seq_length = 64;
        job.settings.freeze_layers = 3;
        assert_int_equal(settings_fit_model(&job.settings, &shape, &err), -EINVAL);
        assert_non_null(strstr(err.text, "freeze_layers"));
        job_fini(&job);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(defaults_are_those_of_the_contract),
                cmocka_unit_test(settings_come_from_params_and_fixed),
                cmocka_unit_test(an_own_task_names_its_columns_wherever_they_stand),
                cmocka_unit_test(seeds_keep_all_their_bits),
                cmocka_unit_test(out_of_range_names_key_and_range),
                cmocka_unit_test(wrong_types_are_refused),
                cmocka_unit_test(unknown_keys_are_named),
                cmocka_unit_test(one_key_in_two_places_is_refused),
                cmocka_unit_test(precision_is_one_of_two),
                cmocka_unit_test(a_rate_below_the_end_of_polynomial_decay_is_refused),
                cmocka_unit_test(what_is_not_a_configuration_is_refused),
                cmocka_unit_test(the_model_decides_what_was_left_open),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
