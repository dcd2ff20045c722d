/* An encoder by construction.
 *
 * Fine-tuning works because pretraining has left features that a classifier can read. A real encoder is hundreds of
 * megabytes, and a tiny one cannot learn paraphrase from nothing in seconds, so this one is built to have such features:
 *
 *   embeddings   a word is the code of its sense (shared with its synonyms, slightly off), the code of its role, a mark
 *                "I am content", and noise of its own; positions are sums of waves that agree with themselves alone.
 *   block 0      one head looks for the same sense at another position, and at [CLS] where there is none; what it found,
 *                content or [CLS], lands in a "has a partner" feature, the partner's role in another. The other is noise.
 *   block 1      one head of [CLS] averages those features over all content words. The rest is noise.
 *
 * So [CLS] starts out knowing roughly how many words of which role have partners. Which roles matter, and that modifiers do not,
 * is left to fine-tuning. All features are then hidden by one random rotation of the hidden space, as Adam would find
 * features that lie on the axes too easily. Its first axis becomes the all-ones direction and carries nothing, so that the
 * mean that LayerNorm subtracts is zero and the rotation commutes with it.
 *
 * Only +, -, *, / and square roots of IEEE doubles are used, and sums of uniforms in place of Gaussians: no result depends
 * on a machine's maths library. */
#include "demo/encoder.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/rng.h"
#include "demo/words.h"
#include "model/safetensors.h"

enum {
        DIM = 96,
        HEADS = 2,
        HEAD_DIM = DIM / HEADS,
        HIDDEN_DIM = 192,
        LAYERS = 2,
        MAX_POSITIONS = 64,
        MAX_WORDS = 1024,
        MAX_SENSES = 128,
        N_MIRRORS = 12,
};

/* Where the features lie before the rotation. */
enum {
        AT_NOTHING = 0, /* becomes the all-ones direction */
        AT_SENSE = 1,
        N_SENSE = 24,
        AT_ROLE = AT_SENSE + N_SENSE,
        N_ROLE = 8,
        AT_CONTENT = AT_ROLE + N_ROLE,
        AT_SPECIAL = AT_CONTENT + 1, /* [CLS] */
        AT_POSITION = AT_SPECIAL + 1,
        N_POSITION = 20,
        AT_PARTNER = AT_POSITION + N_POSITION, /* block 0 writes it */
        N_PARTNER = 4,
        AT_PARTNER_ROLE = AT_PARTNER + N_PARTNER,
        AT_SUMMARY = AT_PARTNER_ROLE + N_ROLE, /* block 1 writes it at [CLS] */
        N_SUMMARY = 4 + N_ROLE,
        MAX_LIKENESS = 8,                /* of two senses' codes: scalar product */
        AT_OWN = AT_SUMMARY + N_SUMMARY, /* the word's own noise */
};

/* Sizes of it all: found by trying. */
static const double sense_size = 1.0, synonym_noise = 0.35, role_size = 0.7, content_size = 2.0, special_size = 4.0, position_size = 0.8,
                    own_size = 0.5, function_size = 1.0;
static const double match_sharpness = 1.5, self_avoidance = 2.4, nobody_score = 2.8;
static const double partner_size = 1.2, partner_role_size = 3.0, summary_size = 1.0, average_sharpness = 3.0;
static const double weight_noise = 0.01;

static const char *const special_words[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
enum { ID_CLS = 2, N_SPECIAL = sizeof special_words / sizeof *special_words };

/* Standard normal but for its tails (Irwin and Hall): additions alone. */
static double draw_normal(struct rng *rng) {
        double sum = -6;
        for (int i = 0; i < 12; i++)
                sum += rng_uniform(rng);
        return sum;
}

static double draw_sign(struct rng *rng) {
        return rng_below(rng, 2) ? 1.0 : -1.0;
}

/* --- the weights ------------------------------------------------------------------------------------ */
struct linear {
        float *weight; /* [out, in] */
        float *bias;   /* [out] */
        int out, in;
};

struct block {
        struct linear q, k, v, out, lin1, lin2;
};

enum { MAX_TENSORS = 4 + 16 * LAYERS, MAX_FLOATS = (MAX_WORDS + MAX_POSITIONS + 8) * DIM + LAYERS * (4 * DIM + 2 * HIDDEN_DIM + 16) * DIM };

/* All tensors, in Hugging Face's order; they and the pointers below share `floats`. */
struct encoder {
        struct tensor_source tensors[MAX_TENSORS];
        char names[MAX_TENSORS][80];
        size_t n_tensors, n_floats, n_words;
        float *words, *positions; /* [n_words, DIM], [MAX_POSITIONS, DIM] */
        struct block blocks[LAYERS];
        struct rng rng;
        double codes[MAX_SENSES][N_SENSE];
        double mirrors[N_MIRRORS][DIM]; /* the rotation: reflections at these unit vectors, one after the other */
        float floats[MAX_FLOATS];
};

static float *add_tensor(struct encoder *e, int rows, int cols, const char *format, ...) {
        size_t i = e->n_tensors++, n = (size_t)rows * (cols ? cols : 1);
        float *data = e->floats + e->n_floats;
        e->n_floats += n;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(e->names[i], sizeof e->names[i], format, arguments);
        va_end(arguments);
        e->tensors[i] = (struct tensor_source){.name = e->names[i], .n_dims = cols ? 2 : 1, .dims = {rows, cols}, .data = data};
        return data;
}

static struct linear add_linear(struct encoder *e, int block, const char *name, int out, int in) {
        struct linear linear = {.out = out, .in = in};
        linear.weight = add_tensor(e, out, in, "distilbert.transformer.layer.%d.%s.weight", block, name);
        linear.bias = add_tensor(e, out, 0, "distilbert.transformer.layer.%d.%s.bias", block, name);
        for (int i = 0; i < out * in; i++)
                linear.weight[i] = (float)(weight_noise * draw_normal(&e->rng));
        return linear;
}

static void norm_init(float *weight) {
        for (int i = 0; i < DIM; i++)
                weight[i] = 1;
}

static void add_block_norm(struct encoder *e, int block, const char *name) {
        norm_init(add_tensor(e, DIM, 0, "distilbert.transformer.layer.%d.%s.weight", block, name));
        add_tensor(e, DIM, 0, "distilbert.transformer.layer.%d.%s.bias", block, name);
}

static void add_block(struct encoder *e, int i) {
        struct block *b = &e->blocks[i];
        b->q = add_linear(e, i, "attention.q_lin", DIM, DIM);
        b->k = add_linear(e, i, "attention.k_lin", DIM, DIM);
        b->v = add_linear(e, i, "attention.v_lin", DIM, DIM);
        b->out = add_linear(e, i, "attention.out_lin", DIM, DIM);
        add_block_norm(e, i, "sa_layer_norm");
        b->lin1 = add_linear(e, i, "ffn.lin1", HIDDEN_DIM, DIM);
        b->lin2 = add_linear(e, i, "ffn.lin2", DIM, HIDDEN_DIM);
        add_block_norm(e, i, "output_layer_norm");
}

/* --- embeddings ------------------------------------------------------------------------------------- */
/* Signs that agree with those of no earlier sense in many more places than they differ. */
static void draw_code(struct encoder *e, size_t sense) {
        double *code = e->codes[sense], largest;
        do {
                largest = 0;
                for (int i = 0; i < N_SENSE; i++)
                        code[i] = draw_sign(&e->rng);
                for (size_t other = 0; other < sense; other++) {
                        double product = 0;
                        for (int i = 0; i < N_SENSE; i++)
                                product += code[i] * e->codes[other][i];
                        largest = fmax(largest, fabs(product));
                }
        } while (largest > MAX_LIKENESS);
}

static void build_sense(struct encoder *e, size_t sense, const double role_code[N_ROLE], size_t first_word) {
        draw_code(e, sense);
        for (size_t w = 0; w < N_SYNONYMS; w++) {
                float *row = e->words + (first_word + w) * DIM;
                for (int i = 0; i < N_SENSE; i++)
                        row[AT_SENSE + i] = (float)(sense_size * (e->codes[sense][i] + synonym_noise * draw_normal(&e->rng)));
                for (int i = 0; i < N_ROLE; i++)
                        row[AT_ROLE + i] = (float)(role_size * role_code[i]);
                row[AT_CONTENT] = (float)content_size;
        }
}

static void build_words(struct encoder *e) {
        size_t first_content = N_SPECIAL + n_function_words;
        for (size_t word = 1; word < e->n_words; word++) /* not [PAD] */
                for (int i = AT_OWN; i < DIM; i++)
                        e->words[word * DIM + i] = (float)((word < first_content ? function_size : own_size) * draw_normal(&e->rng));
        e->words[ID_CLS * DIM + AT_SPECIAL] = (float)special_size;
        double role_codes[N_ROLES][N_ROLE];
        for (int role = 0; role < N_ROLES; role++)
                for (int i = 0; i < N_ROLE; i++)
                        role_codes[role][i] = draw_sign(&e->rng);
        for (size_t c = 0; c < n_senses; c++)
                build_sense(e, c, role_codes[senses[c].role], first_content + c * N_SYNONYMS);
}

/* Waves by exact rotations: right triangles with whole sides give rational cosines and sines. */
static void build_positions(struct encoder *e) {
        static const double triangles[N_POSITION / 2][3] = {{-20, 21, 29}, {-4, 3, 5},    {8, 15, 17},   {-15, 8, 17},  {-12, 35, 37},
                                                            {-3, 4, 5},    {-60, 11, 61}, {-13, 84, 85}, {-39, 80, 89}, {-35, 12, 37}};
        for (int wave = 0; wave < N_POSITION / 2; wave++) {
                double cosine = triangles[wave][0] / triangles[wave][2], sine = triangles[wave][1] / triangles[wave][2], x = 1, y = 0;
                for (int position = 1; position < MAX_POSITIONS; position++) { /* [CLS] is nowhere */
                        float *row = e->positions + position * DIM + AT_POSITION + 2 * wave;
                        row[0] = (float)(position_size * x);
                        row[1] = (float)(position_size * y);
                        double next = cosine * x - sine * y;
                        y = sine * x + cosine * y;
                        x = next;
                }
        }
}

/* --- what the heads do ------------------------------------------------------------------------------ */

/* Head 0 of block 0: scores the same sense elsewhere, and [CLS] for the lonely; copies what kind of word it found. */
static void build_partner_search(struct encoder *e) {
        struct block *b = &e->blocks[0];
        for (int i = 0; i < N_SENSE; i++) {
                b->q.weight[i * DIM + AT_SENSE + i] += (float)match_sharpness;
                b->k.weight[i * DIM + AT_SENSE + i] += (float)match_sharpness;
        }
        for (int i = 0; i < N_POSITION; i++) {
                b->q.weight[(N_SENSE + i) * DIM + AT_POSITION + i] -= (float)self_avoidance;
                b->k.weight[(N_SENSE + i) * DIM + AT_POSITION + i] += (float)self_avoidance;
        }
        for (int i = N_SENSE + N_POSITION; i < HEAD_DIM; i++) { /* every query agrees with what [CLS] offers */
                b->q.bias[i] = (float)nobody_score;
                b->k.weight[i * DIM + AT_SPECIAL] += 1;
        }
        b->v.weight[0 * DIM + AT_CONTENT] += 1;
        b->v.weight[0 * DIM + AT_SPECIAL] -= 1;
        for (int i = 0; i < N_PARTNER; i++)
                b->out.weight[(AT_PARTNER + i) * DIM + 0] += (float)(partner_size * draw_sign(&e->rng));
        for (int i = 0; i < N_ROLE; i++) {
                b->v.weight[(1 + i) * DIM + AT_ROLE + i] += 1;
                b->out.weight[(AT_PARTNER_ROLE + i) * DIM + 1 + i] += (float)partner_role_size;
        }
}

/* Head 0 of block 1: averages over content words whether they have a partner. */
static void build_average(struct encoder *e) {
        const struct block *found = &e->blocks[0];
        struct block *b = &e->blocks[1];
        b->q.bias[0] = 1;
        b->k.weight[0 * DIM + AT_CONTENT] += (float)average_sharpness;
        for (int i = 0; i < N_PARTNER; i++)
                b->v.weight[0 * DIM + AT_PARTNER + i] += found->out.weight[(AT_PARTNER + i) * DIM] > 0 ? 1 : -1;
        for (int i = 0; i < N_ROLE; i++)
                b->v.weight[(1 + i) * DIM + AT_PARTNER_ROLE + i] += 1;
        for (int i = 0; i < N_SUMMARY; i++)
                b->out.weight[(AT_SUMMARY + i) * DIM + (i < N_ROLE ? 1 + i : 0)] += (float)(summary_size * draw_sign(&e->rng));
}

/* --- the rotation ----------------------------------------------------------------------------------- */
static void mirror_normalize(double mirror[DIM]) {
        double sum = 0;
        for (int i = 0; i < DIM; i++)
                sum += mirror[i] * mirror[i];
        for (int i = 0; i < DIM; i++)
                mirror[i] /= sqrt(sum);
}

static void draw_rotation(struct encoder *e) {
        for (int m = 0; m < N_MIRRORS - 1; m++) {
                e->mirrors[m][AT_NOTHING] = 0;
                for (int i = 1; i < DIM; i++)
                        e->mirrors[m][i] = draw_normal(&e->rng);
                mirror_normalize(e->mirrors[m]);
        }
        double *last = e->mirrors[N_MIRRORS - 1]; /* takes the first axis to the all-ones direction */
        for (int i = 0; i < DIM; i++)
                last[i] = (i == AT_NOTHING) - 1 / sqrt(DIM);
        mirror_normalize(last);
}

/* Rotates one vector of the hidden space whose elements lie `stride` floats apart. */
static void rotate(const struct encoder *e, float *vector, size_t stride) {
        for (int m = 0; m < N_MIRRORS; m++) {
                double product = 0;
                for (int i = 0; i < DIM; i++)
                        product += e->mirrors[m][i] * vector[i * stride];
                for (int i = 0; i < DIM; i++)
                        vector[i * stride] = (float)(vector[i * stride] - 2 * product * e->mirrors[m][i]);
        }
}

static void rotate_rows(const struct encoder *e, float *rows, size_t n) {
        for (size_t i = 0; i < n; i++)
                rotate(e, rows + i * DIM, 1);
}

/* A layer that reads the hidden space has vectors of it as rows, one that writes to it as columns. */
static void rotate_writer(const struct encoder *e, struct linear *linear) {
        for (int i = 0; i < linear->in; i++)
                rotate(e, linear->weight + i, linear->in);
        rotate(e, linear->bias, 1);
}

static void rotate_all(struct encoder *e) {
        rotate_rows(e, e->words + DIM, e->n_words - 1);
        rotate_rows(e, e->positions, MAX_POSITIONS);
        for (int i = 0; i < LAYERS; i++) {
                struct block *b = &e->blocks[i];
                struct linear *readers[] = {&b->q, &b->k, &b->v, &b->lin1};
                for (size_t r = 0; r < sizeof readers / sizeof *readers; r++)
                        rotate_rows(e, readers[r]->weight, readers[r]->out);
                rotate_writer(e, &b->out);
                rotate_writer(e, &b->lin2);
        }
}

static void build(struct encoder *e, uint64_t seed) {
        rng_init(&e->rng, seed, 0);
        e->n_words = N_SPECIAL + n_function_words + n_senses * N_SYNONYMS;
        e->words = add_tensor(e, (int)e->n_words, DIM, "distilbert.embeddings.word_embeddings.weight");
        e->positions = add_tensor(e, MAX_POSITIONS, DIM, "distilbert.embeddings.position_embeddings.weight");
        norm_init(add_tensor(e, DIM, 0, "distilbert.embeddings.LayerNorm.weight"));
        add_tensor(e, DIM, 0, "distilbert.embeddings.LayerNorm.bias");
        for (int i = 0; i < LAYERS; i++)
                add_block(e, i);
        build_words(e);
        build_positions(e);
        build_partner_search(e);
        build_average(e);
        draw_rotation(e);
        rotate_all(e);
}

/* --- files ------------------------------------------------------------------------------------------ */
static int write_text(const char *folder, const char *name, const struct buf *buf, struct error *err) {
        _cleanup_free_ char *path = fs_join(folder, name);
        return path ? fs_write_atomic(path, buf->data, buf->len, 0644, err) : -ENOMEM;
}

static int write_json(const char *folder, const char *name, json_t *value, struct error *err) {
        _cleanup_buf_ struct buf buf = BUF_INIT(1 << 16);
        int r = value ? json_write(value, &buf) : -ENOMEM;
        r = r ? r : buf_puts(&buf, "\n");
        return r ? r : write_text(folder, name, &buf, err);
}

static int write_config(const char *folder, size_t n_words, struct error *err) {
        _cleanup_json_ json_t *config =
                json_pack("{s:s, s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:b, s:i}", "model_type", "distilbert",
                          "architectures", "DistilBertModel", "activation", "gelu", "dim", DIM, "n_heads", HEADS, "hidden_dim", HIDDEN_DIM,
                          "n_layers", LAYERS, "vocab_size", (int)n_words, "max_position_embeddings", MAX_POSITIONS, "dropout", 0.1,
                          "attention_dropout", 0.1, "seq_classif_dropout", 0.2, "qa_dropout", 0.1, "initializer_range", 0.02,
                          "sinusoidal_pos_embds", 0, "pad_token_id", 0);
        return write_json(folder, "config.json", config, err);
}

static int write_tokenizer_config(const char *folder, struct error *err) {
        _cleanup_json_ json_t *config = json_pack("{s:s, s:b, s:i, s:s, s:s, s:s, s:s, s:s}", "tokenizer_class", "DistilBertTokenizer",
                                                  "do_lower_case", 1, "model_max_length", MAX_POSITIONS, "pad_token", "[PAD]", "unk_token",
                                                  "[UNK]", "cls_token", "[CLS]", "sep_token", "[SEP]", "mask_token", "[MASK]");
        return write_json(folder, "tokenizer_config.json", config, err);
}

/* In the order of the rows of word_embeddings. */
static int write_vocabulary(const char *folder, struct error *err) {
        _cleanup_buf_ struct buf buf = BUF_INIT(1 << 16);
        int r = 0;
        for (size_t i = 0; !r && i < N_SPECIAL; i++)
                r = buf_printf(&buf, "%s\n", special_words[i]);
        for (size_t i = 0; !r && i < n_function_words; i++)
                r = buf_printf(&buf, "%s\n", function_words[i]);
        for (size_t c = 0; !r && c < n_senses; c++)
                for (size_t w = 0; !r && w < N_SYNONYMS; w++)
                        r = buf_printf(&buf, "%s\n", senses[c].words[w]);
        return r ? r : write_text(folder, "vocab.txt", &buf, err);
}

static int write_weights(const char *folder, const struct encoder *e, struct error *err) {
        static const struct safetensors_note notes[] = {{"format", "pt"}, {"origin", "constructed for sweepd's demo, not trained"}};
        _cleanup_free_ char *path = fs_join(folder, "model.safetensors");
        return path ? safetensors_write(path, e->tensors, e->n_tensors, notes, sizeof notes / sizeof *notes, err) : -ENOMEM;
}

int encoder_write(const char *folder, uint64_t seed, struct error *err) {
        _cleanup_free_ struct encoder *e = calloc(1, sizeof *e);
        if (!e)
                return error_set(err, -ENOMEM, "out of memory");
        build(e, seed);
        int r = write_config(folder, e->n_words, err);
        r = r ? r : write_tokenizer_config(folder, err);
        r = r ? r : write_vocabulary(folder, err);
        return r ? r : write_weights(folder, e, err);
}
