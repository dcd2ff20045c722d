#include "agent/registration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <uv.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fs.h"
#include "data/data.h"
#include "proto/limits.h"

#define TRAINING_MIB 2048 /* of one DistilBERT training, where nothing was measured */

unsigned machine_cores(void) {
        unsigned n = uv_available_parallelism();
        return n ? n : 1;
}

uint64_t machine_memory_mib(void) {
        uint64_t total = uv_get_total_memory(), limit = uv_get_constrained_memory();
        return (limit && limit < total ? limit : total) >> 20;
}

void registration_guess(const struct agent_options *options, struct division *ret) {
        unsigned cores = machine_cores(), slots = options->slots;
        if (slots == 0) {
                uint64_t fitting = machine_memory_mib() / TRAINING_MIB;
                slots = cores / 2 < fitting ? cores / 2 : (unsigned)fitting;
                slots = slots < LIMIT_SLOTS ? slots : LIMIT_SLOTS;
        }
        slots = slots ? slots : 1;
        unsigned threads = options->threads ? options->threads : cores / slots;
        *ret = (struct division){.slots = slots, .threads = threads ? threads : 1};
}

static json_t *trainer_names(const struct agent_options *options) {
        json_t *names = json_array();
        if (options->serves_distilbert)
                json_array_append_new(names, json_string("distilbert-mrpc"));
        for (size_t i = 0; i < options->n_commands; i++)
                json_array_append_new(names, json_sprintf("command:%s", options->commands[i].name));
        return names;
}

static json_t *fingerprint(const struct agent_options *options, const char *folder, const char *sha256) {
        _cleanup_free_ char *copy = strdup(folder);
        for (size_t n = copy ? strlen(copy) : 0; n > 1 && copy[n - 1] == '/'; n--)
                copy[n - 1] = 0;
        const char *slash = copy ? strrchr(copy, '/') : NULL;
        const char *name = options->is_demo ? "demo" : slash && slash[1] ? slash + 1 : folder;
        return json_pack("{s:s, s:s}", "name", name, "sha256", sha256);
}

static int add_fingerprints(const struct agent_options *options, json_t *body, struct error *err) {
        char sha256[DIGEST_HEX_SIZE];
        _cleanup_free_ char *weights = fs_join(options->model_dir, "model.safetensors");
        int r = weights ? digest_file(weights, sha256, err) : error_set(err, -ENOMEM, "out of memory");
        if (r < 0)
                return error_prefix(err, "model");
        json_object_set_new(body, "model", fingerprint(options, options->model_dir, sha256));
        r = dataset_fingerprint(options->data_dir, sha256, err);
        if (r < 0)
                return error_prefix(err, "data");
        json_object_set_new(body, "data", fingerprint(options, options->data_dir, sha256));
        return 0;
}

/* "Intel Xeon …", in a new string; empty where the system does not say. */
static char *processor_name(void) {
        uv_cpu_info_t *cpus = NULL;
        int n_cpus = 0;
        if (uv_cpu_info(&cpus, &n_cpus) < 0)
                n_cpus = 0;
        char *name = strdup(n_cpus > 0 && cpus[0].model ? cpus[0].model : "");
        if (n_cpus > 0)
                uv_free_cpu_info(cpus, n_cpus);
        return name;
}

json_t *registration_key(const struct agent_options *options, const json_t *registration) {
        char program[DIGEST_HEX_SIZE] = "unknown";
        _cleanup_free_ char *processor = processor_name();
        digest_file(options->trainer_program, program, NULL);
        return json_pack("{s:O*, s:O*, s:s, s:s, s:i, s:I}", "model", json_object_get(json_object_get(registration, "model"), "sha256"), "data",
                         json_object_get(json_object_get(registration, "data"), "sha256"), "trainer", program, "processor", processor ? processor : "",
                         "cores", (int)machine_cores(), "memory_mib", (json_int_t)machine_memory_mib());
}

static json_t *facts(unsigned threads) {
        struct utsname system = {0};
        _cleanup_free_ char *processor = processor_name();
        uname(&system);
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I}", "build", SWEEPD_VERSION, "host", system.nodename, "kernel", system.release, "machine",
                         system.machine, "processor", processor ? processor : "", "cores", (int)machine_cores(), "threads", (int)threads, "memory_mib",
                         (json_int_t)machine_memory_mib());
}

void registration_add_numerics(json_t *registration, const json_t *told) {
        static const char *const words[] = {"kernels", "f32", "bf16", "core"};
        json_t *all = json_object_get(registration, "facts");
        for (size_t i = 0; all && i < sizeof words / sizeof *words; i++)
                if (json_is_string(json_object_get(told, words[i])))
                        json_object_set(all, words[i], json_object_get(told, words[i]));
}

int registration_make(const struct agent_options *options, const char *instance, json_t **ret, struct error *err) {
        _cleanup_json_ json_t *body =
                json_pack("{s:s, s:s, s:o}", "name", options->name, "instance", instance, "trainers", trainer_names(options));
        if (!body)
                return error_set(err, -ENOMEM, "out of memory");
        int r = options->serves_distilbert ? add_fingerprints(options, body, err) : 0;
        if (r == 0)
                *ret = TAKE(body);
        return r;
}

int registration_divide(json_t *registration, const struct division *chosen, json_t *measured) {
        json_t *all = facts(chosen->threads);
        if (json_array_size(measured) > 0)
                json_object_set(all, "measured", measured);
        json_decref(measured);
        int r = json_object_set_new(registration, "slots", json_integer(chosen->slots));
        return r < 0 || json_object_set_new(registration, "facts", all) < 0 ? -ENOMEM : 0;
}
