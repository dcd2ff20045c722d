/* Replays golden data through the trainer's own model, optimizer and schedules, and judges every quantity:
 * one JSON line each on stdout. Exit 0 when all are ok, 1 when one is not or something fails, 2 on wrong usage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "kernels/kernels.h"

static const char usage[] =
        "usage: golden_replay [--precision f32|bf16] [--threads N] [DIR…] [--fullsize DIR EXPECTED.json] [--real DIR --model DIR --data DIR]\n"
        "  DIR…        training cases: config.json, model.safetensors, batch.json, expected.json, expected.safetensors\n"
        "  --fullsize  a model folder with the generated weights, and what one batch gives\n"
        "  --real      a trajectory on real weights (--model) and real rows (--data)\n"
        "  --precision bf16  tells how far products of bfloat16 factors stay from the same figures; nothing is judged\n"
        "  --threads   of kernels and BLAS (default 1)\n"
        "SWEEPD_KERNELS=avx512|avx2|generic in the environment chooses the kernels, OPENBLAS_CORETYPE those of OpenBLAS.\n"
        "Exit 77 when this processor does not have them.\n";

struct request {
        const char *fullsize, *fullsize_expected, *real, *model, *data, *precision, *threads;
        const char *const *cases;
        int n_cases;
};

/* Moves the case folders to the front of argv. 0, or -EINVAL with the text. */
static int parse(int argc, char **argv, struct request *ret, struct error *err) {
        struct request request = {.precision = "f32", .threads = "1", .cases = (const char *const *)argv + 1};
        for (int i = 1; i < argc; i++) {
                const char *option = argv[i], **value = NULL;
                if (strncmp(option, "--", 2) != 0) {
                        argv[++request.n_cases] = argv[i];
                        continue;
                }
                if (strcmp(option, "--fullsize") == 0)
                        value = &request.fullsize;
                else if (strcmp(option, "--real") == 0)
                        value = &request.real;
                else if (strcmp(option, "--model") == 0)
                        value = &request.model;
                else if (strcmp(option, "--data") == 0)
                        value = &request.data;
                else if (strcmp(option, "--precision") == 0)
                        value = &request.precision;
                else if (strcmp(option, "--threads") == 0)
                        value = &request.threads;
                if (!value)
                        return error_set(err, -EINVAL, "unknown option '%s'", option);
                if (i + (value == &request.fullsize ? 2 : 1) >= argc)
                        return error_set(err, -EINVAL, "%s needs an argument more", option);
                *value = argv[++i];
                if (value == &request.fullsize)
                        request.fullsize_expected = argv[++i];
        }
        if (strcmp(request.precision, "f32") != 0 && strcmp(request.precision, "bf16") != 0)
                return error_set(err, -EINVAL, "--precision is f32 or bf16");
        if (strtol(request.threads, NULL, 10) < 1 || strtol(request.threads, NULL, 10) > 256)
                return error_set(err, -EINVAL, "--threads is a number from 1 to 256");
        if (request.real && (!request.model || !request.data))
                return error_set(err, -EINVAL, "--real needs --model and --data");
        if (!request.real && !request.fullsize && request.n_cases == 0)
                return error_set(err, -EINVAL, "nothing to replay");
        *ret = request;
        return 0;
}

static int replay_all(const struct request *request, bool *ret_ok, struct error *err) {
        const struct golden_mode mode = {.bf16 = strcmp(request->precision, "bf16") == 0, .threads = (int)strtol(request->threads, NULL, 10)};
        bool all = true, ok = true;
        int r = 0;
        for (int i = 0; r == 0 && i < request->n_cases; i++, all = all && ok)
                r = golden_replay_case(request->cases[i], &mode, &ok, err);
        if (r == 0 && request->fullsize)
                r = golden_replay_fullsize(request->fullsize, request->fullsize_expected, &mode, &ok, err);
        all = all && ok;
        if (r == 0 && request->real)
                r = golden_replay_real(request->real, request->model, request->data, &mode, &ok, err);
        *ret_ok = all && ok;
        return r;
}

int main(int argc, char **argv) {
        struct request request = {0};
        struct error err = {0};
        bool ok = false;
        if (argc == 2 && strcmp(argv[1], "--help") == 0) {
                fputs(usage, stdout);
                return 0;
        }
        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
                puts("golden_replay " SWEEPD_VERSION);
                return 0;
        }
        if (parse(argc, argv, &request, &err) < 0) {
                fprintf(stderr, "golden_replay: %s\n%s", err.text, usage);
                return 2;
        }
        const char *wish = getenv("SWEEPD_KERNELS");
        if (wish && strcmp(kernels_best()->name, wish) != 0) {
                fprintf(stderr, "golden_replay: no %s kernels on this processor\n", wish);
                return 77;
        }
        if (replay_all(&request, &ok, &err) < 0) {
                fprintf(stderr, "golden_replay: %s\n", err.text);
                return 1;
        }
        return ok ? 0 : 1;
}
