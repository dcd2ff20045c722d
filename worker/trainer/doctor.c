/* Opens what a training would open, with the same code, and trains nothing. */
#include "trainer/doctor.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/config.h"
#include "common/doctor.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/memory.h"
#include "data/data.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "model/folder.h"
#include "token/token.h"
#include "train/train.h"

#define BATCH 16 /* what a training is given where nothing else is said */
#define LENGTH 128

static const struct config_option options[] = {
        {.name = "model", .type = CONFIG_TEXT, .argument = "DIR", .help = "the model's folder", .command_line_only = true},
        {.name = "data", .type = CONFIG_TEXT, .argument = "DIR", .help = "the data's folder", .command_line_only = true},
        {.name = "threads", .type = CONFIG_INTEGER, .argument = "N", .fallback = "1", .low = 1, .high = 1024, .help = "threads of one training", .command_line_only = true},
        {.name = "json", .type = CONFIG_FLAG, .help = "print {\"ok\",\"checks\":[{\"check\",\"verdict\",\"detail\",\"remedy\"}]}", .command_line_only = true},
        {0},
};

static const struct config_program program = {
        .name = "sweep-trainer doctor",
        .usage = "[--model DIR] [--data DIR] [OPTION…]",
        .summary = "Looks at what a training here would find: BLAS and its core, threads, the model's folder, the data. One line a check:\n"
                   "ok, warning or wrong, and what to do. Ends with 1 when something is wrong.",
        .options = options,
};

static bool is_listed(const char *word, const char *const *list) {
        for (; *list; list++)
                if (strcasecmp(word, *list) == 0)
                        return true;
        return false;
}

static void look_at_blas(struct doctor *doctor) {
        /* What OpenBLAS falls back to when it does not know a processor. */
        static const char *const old_cores[] = {"prescott", "generic", "core2", "penryn", "dunnington", "nehalem", "athlon", "barcelona", "opteron", "atom", NULL};
        const char *library = gemm_library(), *core = gemm_core(), *kernels = kernels_best()->name;
        bool is_vector = strstr(kernels, "avx") != NULL || strstr(kernels, "AVX") != NULL, is_old = is_vector && is_listed(core, old_cores);
        if (!strstr(library, "USE_OPENMP"))
                doctor_say(doctor, DOCTOR_WARNING, "blas", "install libopenblas0-openmp: its threads are the trainer's own", "%s (core %s) is not the OpenMP build",
                           library, core);
        else
                doctor_say(doctor, is_old ? DOCTOR_WARNING : DOCTOR_OK, "blas",
                           "set OPENBLAS_CORETYPE=Haswell (or SkylakeX) in the worker's environment: products are several times as fast", "%s, core %s, kernels %s",
                           library, core, kernels);
}

static void look_at_threads(struct doctor *doctor, int threads) {
        const char *limit = getenv("OMP_THREAD_LIMIT"); /* what else there is to set, a training overrides */
        cpu_set_t set;
        int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
        long most = limit ? strtol(limit, NULL, 10) : 0;
        if (most > 0 && most < threads)
                doctor_say(doctor, DOCTOR_WARNING, "threads", "unset it, or ask for fewer threads", "OMP_THREAD_LIMIT=%s, and %d are asked for", limit, threads);
        else
                doctor_say(doctor, cores > 0 && threads > cores ? DOCTOR_WARNING : DOCTOR_OK, "threads",
                           "ask for fewer: more threads than cores only wait for each other", "%d on %d cores", threads, cores);
}

static void look_at_memory(struct doctor *doctor, const struct model_shape *shape, int threads) {
        int length = shape->max_positions < LENGTH ? shape->max_positions : LENGTH;
        struct model_limits limits = {.max_sequences = BATCH, .max_tokens = BATCH * length, .max_length = length, .training = true, .threads = threads};
        const struct train_need need = train_need(shape, &limits);
        struct memory_room room;
        memory_look("", &room);
        bool is_address = need.address_bytes > room.address_bytes;
        uint64_t needed = is_address ? need.address_bytes : need.resident_bytes, has = is_address ? room.address_bytes : room.resident_bytes;
        doctor_say(doctor, has < needed ? DOCTOR_WRONG : has < needed + needed / 2 ? DOCTOR_WARNING : DOCTOR_OK, "memory",
                   "free some, give fewer slots, or sweep smaller batches", "one training of this model at batch 16 takes about %llu MiB%s, %llu MiB are free",
                   (unsigned long long)(needed >> 20), is_address ? " of address space" : "", (unsigned long long)(has >> 20));
}

static int load_model(const char *folder, const struct model_shape *shape, bool *ret_drew_head, struct error *err) {
        struct model_limits limits = {.max_sequences = 1, .max_tokens = 8, .max_length = 8, .threads = 1};
        struct model *model = NULL;
        int r = model_new(shape, &limits, &model, err);
        if (r == 0)
                r = model_folder_read_weights(folder, model, 0, ret_drew_head, err);
        model_free(model);
        return r;
}

static void look_at_model(struct doctor *doctor, const char *folder, int threads) {
        static const char remedy[] = "give a DistilBERT-shaped folder: config.json, model.safetensors, vocab.txt (sweep-worker fetch distilbert-base-uncased --to DIR)";
        _cleanup_free_ char *vocab = fs_join(folder, "vocab.txt");
        struct model_shape shape;
        struct tokenizer *tokenizer = NULL;
        struct error err = {0};
        bool drew_head = false;
        int r = vocab ? model_folder_read_shape(folder, &shape, &err) : -ENOMEM;
        if (r == 0)
                r = tokenizer_open(vocab, &tokenizer, &err);
        tokenizer_free(tokenizer);
        if (r == 0)
                r = load_model(folder, &shape, &drew_head, &err);
        if (r < 0) {
                doctor_say(doctor, DOCTOR_WRONG, "model", remedy, "%s", err.text);
                return;
        }
        doctor_say(doctor, DOCTOR_OK, "model", NULL, "%s: %d layers of %d, %s", folder, shape.layers, shape.dim,
                   drew_head ? "its classifier is drawn at the start" : "with a classifier");
        look_at_memory(doctor, &shape, threads);
}

static void look_at_data(struct doctor *doctor, const char *folder) {
        char sha256[DIGEST_HEX_SIZE];
        struct dataset *dataset = NULL;
        struct error err = {0};
        if (dataset_fingerprint(folder, sha256, &err) < 0) {
                doctor_say(doctor, DOCTOR_WRONG, "data", "give a folder with train.tsv and dev.tsv, or MSR's file with dev_ids.tsv (sweep-worker fetch mrpc --to DIR)", "%s",
                           err.text);
                return;
        }
        if (dataset_open(folder, NULL, &dataset, &err) < 0)
                doctor_say(doctor, DOCTOR_OK, "data", NULL, "%s: no MRPC, so sweeps must name their task", folder);
        else
                doctor_say(doctor, dataset->train.n == 0 || dataset->dev.n == 0 ? DOCTOR_WRONG : DOCTOR_OK, "data", "give files that hold labelled rows",
                           "%s: %zu rows to train on, %zu to score", folder, dataset->train.n, dataset->dev.n);
        dataset_free(dataset);
}

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

int doctor_main(int argc, char **argv) {
        _cleanup_(cleanup_config) struct config *config = NULL;
        _cleanup_(doctor_fini) struct doctor doctor = {0};
        struct error err = {0};
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", program.name, err.text);
                return 2;
        }
        log_set_level(LOG_ERROR);
        int threads = (int)config_integer(config, "threads");
        doctor_init(&doctor);
        look_at_blas(&doctor);
        look_at_threads(&doctor, threads);
        if (config_text(config, "model"))
                look_at_model(&doctor, config_text(config, "model"), threads);
        if (config_text(config, "data"))
                look_at_data(&doctor, config_text(config, "data"));
        return doctor_finish(&doctor, config_flag(config, "json"));
}
