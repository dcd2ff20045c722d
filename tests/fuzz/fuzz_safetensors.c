/* A safetensors file: what can be opened can be read, tensor by tensor. */
#include <stdlib.h>

#include "fuzz.h"
#include "model/safetensors.h"

#define ELEMENTS_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct safetensors *file = NULL;
        struct error err;
        if (safetensors_open(fuzz_file(data, size), &file, &err) < 0)
                return 0;
        safetensors_metadata(file, "format");
        for (size_t i = 0; i < safetensors_n(file); i++) {
                const struct tensor *tensor = safetensors_at(file, i);
                fuzz_assert(safetensors_find(file, tensor->name) == tensor);
                fuzz_assert(tensor->offset + tensor->bytes <= size);
                if (tensor->n > ELEMENTS_MAX)
                        continue;
                float *floats = malloc((tensor->n + 1) * sizeof *floats);
                double *doubles = malloc((tensor->n + 1) * sizeof *doubles);
                safetensors_read_floats(file, tensor, floats, &err);
                safetensors_read_doubles(file, tensor, doubles, &err);
                free(floats);
                free(doubles);
        }
        safetensors_close(file);
        return 0;
}
