/* The safetensors format: eight bytes of header length (little endian), a JSON header, then the tensors' bytes.
 *
 * Reading: the header is checked whole when the file is opened (offsets, sizes, gaps, overlaps), so that every tensor that
 * can be asked for can also be read; tensor data is read with pread(2) and converted on the way. An open file is never
 * changed, so any number of threads may read from it.
 * Writing: F32 only, under a temporary name until it is whole and on disk. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define SAFETENSORS_MAX_HEADER_BYTES (100u << 20)
#define SAFETENSORS_MAX_DIMS 8

struct tensor {
        const char *name;
        const char *type; /* "F32", "BF16", "I64", … as in the file */
        int n_dims;
        size_t dims[SAFETENSORS_MAX_DIMS];
        size_t n;        /* elements: the product of dims, 1 for a scalar */
        uint64_t offset; /* of its first byte in the file */
        uint64_t bytes;
};

struct safetensors;

/* -EINVAL for a header that does not describe the file exactly: the text names file and tensor. Else errno of the file. */
int safetensors_open(const char *path, struct safetensors **ret, struct error *err);
void safetensors_close(struct safetensors *file);

/* Tensors lie in the order of their data. The pointers live as long as the file is open. */
size_t safetensors_n(const struct safetensors *file);
const struct tensor *safetensors_at(const struct safetensors *file, size_t i);
const struct tensor *safetensors_find(const struct safetensors *file, const char *name); /* NULL: no such tensor */
const char *safetensors_metadata(const struct safetensors *file, const char *key);       /* of __metadata__; NULL: not there */

/* All tensor->n elements of an F64, F32, F16 or BF16 tensor. -EINVAL names a tensor of another type; -EIO when the file
 * has become shorter since it was opened. */
int safetensors_read_floats(const struct safetensors *file, const struct tensor *tensor, float *ret, struct error *err);
int safetensors_read_doubles(const struct safetensors *file, const struct tensor *tensor, double *ret, struct error *err);

/* --- writing ---------------------------------------------------------------------------------------- */
struct tensor_source {
        const char *name;
        int n_dims;
        size_t dims[SAFETENSORS_MAX_DIMS];
        const float *data; /* all elements, row-major */
};

struct safetensors_note {
        const char *key, *value; /* UTF-8 */
};

/* Writes all tensors in the order given, and `notes` as __metadata__. path holds the old content or the whole new one,
 * whatever happens. Streams: needs no memory beyond the header. Names must differ. */
int safetensors_write(const char *path, const struct tensor_source *tensors, size_t n_tensors, const struct safetensors_note *notes,
                      size_t n_notes, struct error *err);
