/* The model as a whole: gradients against finite differences with the dropout masks held fixed, independence of packing
 * and padding, determinism, accumulation, and the optimizer's rules. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "kernels/gemm.h"
#include "model/model.h"

static const struct model_shape shape = {
        .dim = 24, .heads = 3, .hidden_dim = 40, .layers = 2, .vocab_size = 50, .max_positions = 32, .n_labels = 2};
static const int32_t ids[] = {2, 7, 9, 7, 3, 2, 2, 0, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 3};
static const int32_t offsets[] = {0, 5, 6, 21}, labels[] = {1, 0, 0};
static const struct batch batch = {.n_sequences = 3, .n_tokens = 21, .ids = ids, .offsets = offsets, .labels = labels};
static const struct dropout dropout = {.hidden = 0.2f, .attention = 0.3f, .classifier = 0.2f, .seed = 11, .step = 4};
static const struct adamw plain = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .layerwise_lr_decay = 1};

static struct model *make_model_in(const struct model_shape *of, bool training, int threads, bool bf16) {
        struct model_limits limits = {
                .max_sequences = 4, .max_tokens = 40, .max_length = 20, .training = training, .threads = threads, .bf16 = bf16};
        struct model *model = NULL;
        struct rng rng;
        rng_init(&rng, 3, 0);
        assert_int_equal(model_new(of, &limits, &model, NULL), 0);
        for (size_t i = 0; i < model_n_parameters(model); i++) {
                const struct model_parameter *p = model_parameter(model, i);
                for (size_t j = 0; j < p->size; j++)
                        model_weights(model)[p->offset + j] = (float)(0.3 * rng_normal(&rng) + (strstr(p->name, "orm.weight") ? 1 : 0));
        }
        return model;
}

static struct model *make_model_of(const struct model_shape *of, bool training, int threads) {
        return make_model_in(of, training, threads, false);
}

static struct model *make_model(bool training, int threads) {
        return make_model_of(&shape, training, threads);
}

/* --- gradients -------------------------------------------------------------------------------------- */

/* Along the gradient itself, tensor by tensor: (L(w + εu) - L(w - εu)) / 2ε = |g| with u = g / |g|. */
static void check_gradients(const struct model_shape *of, const struct dropout *masks) {
        struct model *model = make_model_of(of, true, 2);
        size_t n = model_n_floats(model);
        float *gradients = malloc(n * sizeof *gradients), *weights = malloc(n * sizeof *weights);
        model_forward_backward(model, &batch, masks, 1, NULL);
        memcpy(gradients, model_gradients(model), n * sizeof *gradients);
        memcpy(weights, model_weights(model), n * sizeof *weights);
        for (size_t i = 0; i < model_n_parameters(model); i++) {
                const struct model_parameter *p = model_parameter(model, i);
                double norm = 0, loss[2];
                for (size_t j = 0; j < p->size; j++)
                        norm += (double)gradients[p->offset + j] * (double)gradients[p->offset + j];
                norm = sqrt(norm);
                if (strstr(p->name, "k_lin.bias")) {
                        assert_true(norm < 1e-6);
                        continue;
                }
                const double epsilon = 3e-4; /* more would cross kinks of the head's ReLU */
                for (int side = 0; side < 2; side++) {
                        for (size_t j = 0; j < p->size; j++)
                                model_weights(model)[p->offset + j] =
                                        (float)((double)weights[p->offset + j] + (side ? epsilon : -epsilon) * (double)gradients[p->offset + j] / norm);
                        loss[side] = model_forward_backward(model, &batch, masks, 1, NULL);
                }
                memcpy(model_weights(model) + p->offset, weights + p->offset, p->size * sizeof *weights);
                double slope = (loss[1] - loss[0]) / (2 * epsilon);
                if (!(fabs(slope - norm) < 5e-3 * norm + 2e-4))
                        fail_msg("%s: slope %g, gradient %g", p->name, slope, norm);
        }
        free(gradients);
        free(weights);
        model_free(model);
}

static void gradients_are_the_slopes_of_the_loss(void **state) {
        (void)state;
        check_gradients(&shape, NULL);
}

static void gradients_are_the_slopes_with_masks_held_fixed(void **state) {
        (void)state;
        check_gradients(&shape, &dropout);
}

static void a_single_block_has_right_gradients_too(void **state) {
        (void)state;
        struct model_shape single = shape;
        single.layers = 1;
        single.heads = 1;
        check_gradients(&single, &dropout);
}

static void padding_row_gets_no_gradient_and_untouched_rows_are_zero(void **state) {
        (void)state;
        struct model *model = make_model(true, 1);
        model_forward_backward(model, &batch, NULL, 1, NULL);
        const float *words = model_gradients(model) + model_parameter(model, 0)->offset;
        for (int c = 0; c < shape.dim; c++)
                assert_true(words[c] == 0 && words[30 * shape.dim + c] == 0);
        assert_true(words[7 * shape.dim] != 0);
        model_free(model);
}

static void gradients_accumulate_over_scaled_micro_batches(void **state) {
        (void)state;
        struct model *once = make_model(true, 1), *twice = make_model(true, 1);
        model_forward_backward(once, &batch, &dropout, 1, NULL);
        model_forward_backward(twice, &batch, &dropout, 0.5, NULL);
        model_forward_backward(twice, &batch, &dropout, 0.5, NULL);
        double norm = model_gradient_norm(once);
        assert_true(norm > 0 && fabs(model_gradient_norm(twice) / norm - 1) < 1e-6);
        model_free(once);
        model_free(twice);
}

/* --- packing and determinism ------------------------------------------------------------------------ */
static void a_sentence_scores_the_same_alone_and_in_company(void **state) {
        (void)state;
        struct model *model = make_model(false, 2);
        float together[6], alone[2];
        model_forward(model, &batch, together);
        for (int s = 0; s < 3; s++) {
                const int32_t ends[] = {0, offsets[s + 1] - offsets[s]};
                const struct batch one = {.n_sequences = 1, .n_tokens = ends[1], .ids = ids + offsets[s], .offsets = ends};
                model_forward(model, &one, alone);
                assert_float_equal(alone[0], together[2 * s], 1e-5);
                assert_float_equal(alone[1], together[2 * s + 1], 1e-5);
        }
        model_free(model);
}

static void inference_model_scores_like_a_training_model(void **state) {
        (void)state;
        static const char *const ways[] = {"f32", "rounded", "onednn"}; /* SWEEPD_BF16; they differ in what lies where */
        for (int way = 0; way < 3; way++)
                for (int layers = 1; layers <= 5; layers++) {
                        struct model_shape deep = shape;
                        deep.layers = layers;
                        setenv("SWEEPD_BF16", ways[way], 1);
                        struct model *small = make_model_in(&deep, false, 1, way > 0), *large = make_model_in(&deep, true, 1, way > 0);
                        float a[6], b[6], c[6];
                        model_forward(small, &batch, a);
                        model_forward(large, &batch, b);
                        assert_memory_equal(a, b, sizeof a);
                        model_forward_backward(large, &batch, NULL, 1, c);
                        for (int i = 0; i < 6; i++)
                                assert_float_equal(b[i], c[i], way > 0 ? 0.02 : 2e-5);
                        model_free(small);
                        model_free(large);
                }
        unsetenv("SWEEPD_BF16");
}

static void run_steps(struct model *model) {
        for (uint64_t t = 1; t <= 3; t++) {
                struct dropout masks = dropout;
                masks.step = t;
                model_forward_backward(model, &batch, &masks, 1, NULL);
                model_adamw_step(model, &plain, 1e-3, t, model_clip_coefficient(&plain, model_gradient_norm(model)));
        }
}

static void same_seed_and_threads_give_the_same_bits(void **state) {
        (void)state;
        for (int threads = 1; threads <= 2; threads++) {
                struct model *a = make_model(true, threads), *b = make_model(true, threads);
                run_steps(a);
                run_steps(b);
                assert_memory_equal(model_weights(a), model_weights(b), model_n_floats(a) * sizeof(float));
                model_free(a);
                model_free(b);
        }
}

static void a_step_continued_from_saved_weights_and_moments_gives_the_same_bits(void **state) {
        (void)state;
        struct model *straight = make_model(true, 1), *first = make_model(true, 1), *second = make_model(true, 1);
        size_t bytes = model_n_floats(straight) * sizeof(float);
        for (uint64_t t = 1; t <= 4; t++) {
                struct dropout masks = dropout;
                struct model *resumed = t <= 2 ? first : second;
                if (t == 3) {
                        memcpy(model_weights(second), model_weights(first), bytes);
                        memcpy(model_moment1(second), model_moment1(first), bytes);
                        memcpy(model_moment2(second), model_moment2(first), bytes);
                }
                const struct batch part = {.n_sequences = 1, .n_tokens = offsets[t % 2 + 1] - offsets[t % 2], .ids = ids + offsets[t % 2],
                                           .offsets = t % 2 ? (const int32_t[]){0, 1} : (const int32_t[]){0, 5}, .labels = labels};
                masks.step = t;
                model_forward_backward(straight, &part, &masks, 1, NULL);
                model_forward_backward(resumed, &part, &masks, 1, NULL);
                model_adamw_step(straight, &plain, 1e-3, t, 1);
                model_adamw_step(resumed, &plain, 1e-3, t, 1);
        }
        assert_memory_equal(model_weights(straight), model_weights(second), bytes);
        model_free(straight);
        model_free(first);
        model_free(second);
}

static void masks_change_with_the_step_but_evaluation_ignores_them(void **state) {
        (void)state;
        struct model *model = make_model(true, 1);
        struct dropout next = dropout;
        float logits[6], again[6];
        next.step++;
        double a = model_forward_backward(model, &batch, &dropout, 1, NULL), b = model_forward_backward(model, &batch, &next, 1, NULL);
        assert_true(a != b);
        assert_true(a == model_forward_backward(model, &batch, &dropout, 1, NULL));
        model_forward(model, &batch, logits);
        model_forward_backward(model, &batch, NULL, 1, again);
        for (int i = 0; i < 6; i++)
                assert_float_equal(logits[i], again[i], 1e-5);
        model_free(model);
}

/* The last block's projections of keys and values are folded away where no backward follows. */
static void forward_alone_gives_the_logits_of_forward_with_backward(void **state) {
        (void)state;
        for (int layers = 1; layers <= 4; layers++)
                for (int heads = 1; heads <= 12; heads *= 2) {
                        struct model_shape other = shape;
                        float logits[6], again[6];
                        other.layers = layers;
                        other.heads = heads == 8 ? 12 : heads;
                        struct model *model = make_model_of(&other, true, 2);
                        model_forward_backward(model, &batch, NULL, 1, logits);
                        model_forward(model, &batch, again);
                        for (int i = 0; i < 6; i++)
                                assert_float_equal(logits[i], again[i], 2e-5);
                        model_free(model);
                }
}

/* What an evaluation leaves behind in the memory that it shares with training changes nothing. */
static void evaluating_between_two_steps_changes_no_bit(void **state) {
        (void)state;
        for (int bf16 = 0; bf16 <= 1; bf16++) {
                struct model *a = make_model_in(&shape, true, 2, bf16), *b = make_model_in(&shape, true, 2, bf16);
                float logits[6];
                for (uint64_t t = 1; t <= 3; t++)
                        for (int i = 0; i < 2; i++) {
                                struct model *model = i == 0 ? a : b;
                                struct dropout masks = dropout;
                                masks.step = t;
                                if (i == 0)
                                        model_forward(model, &batch, logits);
                                model_forward_backward(model, &batch, &masks, 1, NULL);
                                model_adamw_step(model, &plain, 1e-3, t, 1);
                        }
                assert_memory_equal(model_weights(a), model_weights(b), model_n_floats(a) * sizeof(float));
                model_free(a);
                model_free(b);
        }
}

static void masked_logits_average_near_the_plain_ones(void **state) {
        (void)state;
        enum { N = 400 };
        struct model *model = make_model(true, 1);
        const struct dropout light = {.hidden = 0.05f, .attention = 0.05f, .classifier = 0.05f, .seed = 1};
        double mean[6] = {0}, squares[6] = {0};
        float plain_logits[6];
        for (int i = 0; i < N; i++) {
                struct dropout masks = light;
                float logits[6];
                masks.step = (uint64_t)i;
                model_forward_backward(model, &batch, &masks, 1, logits);
                for (int j = 0; j < 6; j++) {
                        mean[j] += (double)logits[j] / N;
                        squares[j] += (double)logits[j] * (double)logits[j] / N;
                }
        }
        model_forward(model, &batch, plain_logits);
        for (int j = 0; j < 6; j++) {
                double deviation = sqrt(squares[j] - mean[j] * mean[j]);
                assert_true(deviation > 0);
                assert_true(fabs(mean[j] - (double)plain_logits[j]) < 0.5 * deviation);
        }
        model_free(model);
}

/* --- optimizer -------------------------------------------------------------------------------------- */
/* Nothing depends on what is added to all scores of a query. The last block knows; in others rounding leaves some gradient. */
static bool has_no_gradient(const struct model_parameter *p) {
        return p->layer == shape.layers - 1 && strstr(p->name, "k_lin.bias");
}

/* Trained gradients are those of a model without anything frozen; frozen ones are zero and their weights stay. */
static void check_frozen(int layers, bool embeddings) {
        struct model *frozen = make_model(true, 2), *whole = make_model(true, 2);
        size_t bytes = model_n_floats(frozen) * sizeof(float);
        float *before = malloc(bytes);
        memcpy(before, model_weights(frozen), bytes);
        model_freeze(frozen, layers, embeddings);
        model_forward_backward(frozen, &batch, &dropout, 1, NULL);
        model_forward_backward(whole, &batch, &dropout, 1, NULL);
        double squares = 0;
        for (size_t i = 0; i < model_n_parameters(frozen); i++) {
                const struct model_parameter *p = model_parameter(frozen, i);
                bool trains = p->layer < 0 ? !embeddings : p->layer >= layers;
                for (size_t j = p->offset; j < p->offset + p->size; j++) {
                        double g = model_gradients(frozen)[j];
                        assert_true(g == (trains ? (double)model_gradients(whole)[j] : 0));
                        squares += g * g;
                }
        }
        assert_true(fabs(model_gradient_norm(frozen) / sqrt(squares) - 1) < 1e-12);
        model_adamw_step(frozen, &plain, 1e-3, 1, 1);
        for (size_t i = 0; i < model_n_parameters(frozen); i++) {
                const struct model_parameter *p = model_parameter(frozen, i);
                bool same = memcmp(before + p->offset, model_weights(frozen) + p->offset, p->size * sizeof *before) == 0;
                assert_int_equal(same, has_no_gradient(p) || (p->layer < 0 ? embeddings : p->layer < layers));
        }
        for (size_t i = 0; i < model_n_floats(frozen); i++)
                assert_true(model_gradients(frozen)[i] == 0);
        free(before);
        model_free(frozen);
        model_free(whole);
}

static void frozen_layers_have_no_gradient_and_change_no_other(void **state) {
        (void)state;
        check_frozen(0, true);
        check_frozen(1, false);
        check_frozen(1, true);
        check_frozen(2, false);
        check_frozen(2, true);
}

static double gemm_flops_of_a_step(int layers, bool embeddings) {
        struct model *model = make_model(true, 1);
        model_freeze(model, layers, embeddings);
        model_forward_backward(model, &batch, NULL, 1, NULL);
        double flops = model_gemm_meter(model)->flops;
        model_free(model);
        return flops;
}

static void what_is_frozen_costs_no_products(void **state) {
        (void)state;
        double all = gemm_flops_of_a_step(0, false), forward = gemm_flops_of_a_step(2, true);
        assert_true(gemm_flops_of_a_step(1, false) < 0.9 * all);
        assert_true(gemm_flops_of_a_step(1, true) < gemm_flops_of_a_step(1, false));
        assert_true(forward < 0.45 * all);
}

static void class_weights_and_smoothing_enter_the_gradient(void **state) {
        (void)state;
        const float weights[] = {1, 3};
        struct model *model = make_model(true, 1);
        double plain_loss = model_forward_backward(model, &batch, NULL, 1, NULL);
        assert_int_equal(model_set_loss(model, weights, 0.2), 0);
        memset(model_gradients(model), 0, model_n_floats(model) * sizeof(float));
        double loss = model_forward_backward(model, &batch, NULL, 1, NULL), norm = model_gradient_norm(model), epsilon = 1e-3 / norm, sides[2];
        assert_true(fabs(loss - plain_loss) > 1e-3);
        size_t n = model_n_floats(model);
        float *gradients = malloc(n * sizeof *gradients), *before = malloc(n * sizeof *before);
        memcpy(gradients, model_gradients(model), n * sizeof *gradients);
        memcpy(before, model_weights(model), n * sizeof *before);
        for (int side = 0; side < 2; side++) {
                for (size_t i = 0; i < n; i++)
                        model_weights(model)[i] = before[i] + (float)((side ? epsilon : -epsilon) * (double)gradients[i]);
                sides[side] = model_forward_backward(model, &batch, NULL, 1, NULL);
        }
        assert_true(fabs((sides[1] - sides[0]) / (2 * epsilon * norm * norm) - 1) < 0.02);
        free(gradients);
        free(before);
        model_free(model);
}

static void decay_alone_shrinks_weight_matrices_and_the_padding_row(void **state) {
        (void)state;
        struct adamw decaying = plain;
        decaying.weight_decay = 0.5;
        struct model *model = make_model(true, 1);
        size_t bytes = model_n_floats(model) * sizeof(float);
        float *before = malloc(bytes);
        memcpy(before, model_weights(model), bytes);
        model_adamw_step(model, &decaying, 0.1, 1, 1);
        for (size_t i = 0; i < model_n_parameters(model); i++) {
                const struct model_parameter *p = model_parameter(model, i);
                bool decays = p->n_dims == 2;
                assert_int_equal(p->decay, decays);
                for (size_t j = p->offset; j < p->offset + p->size; j++)
                        assert_true(model_weights(model)[j] == before[j] * (decays ? 0.95f : 1));
        }
        free(before);
        model_free(model);
}

/* Adam's first step moves every weight that has a gradient by the rate: what remains is the rate of its layer. */
static void layerwise_decay_lowers_the_rate_from_the_head_down(void **state) {
        (void)state;
        struct adamw layered = plain;
        layered.layerwise_lr_decay = 0.5;
        layered.epsilon = 1e-30;
        struct model *model = make_model(true, 1);
        size_t bytes = model_n_floats(model) * sizeof(float);
        float *before = malloc(bytes);
        memcpy(before, model_weights(model), bytes);
        model_forward_backward(model, &batch, NULL, 1, NULL);
        model_adamw_step(model, &layered, 0.01, 1, 1);
        for (size_t i = 0; i < model_n_parameters(model); i++) {
                const struct model_parameter *p = model_parameter(model, i);
                double largest = 0;
                for (size_t j = p->offset; j < p->offset + p->size; j++)
                        largest = fmax(largest, fabs((double)model_weights(model)[j] - (double)before[j]));
                if (has_no_gradient(p))
                        assert_true(largest == 0);
                else
                        assert_true(fabs(largest / (0.01 * pow(0.5, shape.layers - p->layer)) - 1) < 1e-3);
        }
        free(before);
        model_free(model);
}

static void clip_coefficient_follows_torch(void **state) {
        (void)state;
        struct adamw clipping = plain;
        assert_true(model_clip_coefficient(&clipping, 100) == 1);
        clipping.max_grad_norm = 1;
        assert_true(model_clip_coefficient(&clipping, 0.5) == 1);
        assert_true(model_clip_coefficient(&clipping, 4) == 1 / (4 + 1e-6));
}

/* --- bfloat16 --------------------------------------------------------------------------------------- */
static double train_one_step(struct model *model, uint64_t t) {
        struct dropout masks = dropout;
        masks.step = t;
        double loss = model_forward_backward(model, &batch, &masks, 1, NULL);
        model_adamw_step(model, &plain, 3e-4, t, model_clip_coefficient(&plain, model_gradient_norm(model)));
        return loss;
}

static void products_of_bfloat16_learn_as_float32_ones_do(void **state) {
        (void)state;
        struct model *f32 = make_model(true, 2), *bf16 = make_model_in(&shape, true, 2, true);
        double first = 0, last = 0, difference = 0;
        assert_non_null(strstr(model_products(f32), "f32"));
        assert_string_not_equal(model_products(f32), model_products(bf16));
        for (uint64_t t = 1; t <= 100; t++) {
                double loss = train_one_step(f32, t), rounded_loss = train_one_step(bf16, t);
                first += t <= 10 ? loss / 10 : 0;
                last += t > 90 ? loss / 10 : 0;
                difference = fmax(difference, fabs(loss - rounded_loss));
        }
        if (!(difference > 1e-6 && difference < 0.1 && last < 0.7 * first))
                fail_msg("largest difference %g, losses from %g to %g", difference, first, last);
        model_free(f32);
        model_free(bf16);
}

/* The factors that the optimizer makes are those that a model makes of the same weights when it starts. */
static void bfloat16_weights_follow_every_write(void **state) {
        (void)state;
        struct model *trained = make_model_in(&shape, true, 2, true), *fresh = make_model_in(&shape, true, 2, true);
        struct model *evaluating = make_model_in(&shape, false, 2, true);
        float logits[3][6];
        for (uint64_t t = 1; t <= 3; t++)
                train_one_step(trained, t);
        model_forward(fresh, &batch, logits[0]); /* of other weights */
        const size_t bytes = model_n_floats(trained) * sizeof(float);
        float *source = malloc(bytes);
        model_forward(trained, &batch, logits[0]);
        memcpy(source, model_weights(trained), bytes);
        memcpy(model_weights(fresh), source, bytes);
        memcpy(model_weights(evaluating), source, bytes);
        model_forward(fresh, &batch, logits[1]);
        model_forward(evaluating, &batch, logits[2]);
        assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
        assert_memory_equal(logits[0], logits[2], sizeof logits[0]);
        free(source);
        model_free(trained);
        model_free(fresh);
        model_free(evaluating);
}

static void impossible_shapes_and_limits_are_refused(void **state) {
        (void)state;
        struct model_limits limits = {.max_sequences = 1, .max_tokens = 8, .max_length = 8, .threads = 1};
        struct model_shape odd = shape;
        struct model *model = NULL;
        struct error err = {0};
        odd.heads = 5;
        assert_int_equal(model_new(&odd, &limits, &model, &err), -EINVAL);
        assert_non_null(strstr(err.text, "heads"));
        limits.max_length = 33;
        assert_int_equal(model_new(&shape, &limits, &model, &err), -EINVAL);
        assert_non_null(strstr(err.text, "positions"));
        assert_null(model);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(gradients_are_the_slopes_of_the_loss),
                cmocka_unit_test(gradients_are_the_slopes_with_masks_held_fixed),
                cmocka_unit_test(a_single_block_has_right_gradients_too),
                cmocka_unit_test(padding_row_gets_no_gradient_and_untouched_rows_are_zero),
                cmocka_unit_test(gradients_accumulate_over_scaled_micro_batches),
                cmocka_unit_test(a_sentence_scores_the_same_alone_and_in_company),
                cmocka_unit_test(inference_model_scores_like_a_training_model),
                cmocka_unit_test(same_seed_and_threads_give_the_same_bits),
                cmocka_unit_test(a_step_continued_from_saved_weights_and_moments_gives_the_same_bits),
                cmocka_unit_test(forward_alone_gives_the_logits_of_forward_with_backward),
                cmocka_unit_test(evaluating_between_two_steps_changes_no_bit),
                cmocka_unit_test(masks_change_with_the_step_but_evaluation_ignores_them),
                cmocka_unit_test(masked_logits_average_near_the_plain_ones),
                cmocka_unit_test(frozen_layers_have_no_gradient_and_change_no_other),
                cmocka_unit_test(what_is_frozen_costs_no_products),
                cmocka_unit_test(class_weights_and_smoothing_enter_the_gradient),
                cmocka_unit_test(decay_alone_shrinks_weight_matrices_and_the_padding_row),
                cmocka_unit_test(layerwise_decay_lowers_the_rate_from_the_head_down),
                cmocka_unit_test(clip_coefficient_follows_torch),
                cmocka_unit_test(products_of_bfloat16_learn_as_float32_ones_do),
                cmocka_unit_test(bfloat16_weights_follow_every_write),
                cmocka_unit_test(impossible_shapes_and_limits_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
