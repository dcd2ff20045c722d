/* Why a reader of our own: the file comes from the network and is the first thing that a training trusts. Nothing of the
 * header is believed before it is checked against the size of the file, and no arithmetic on it can overflow. */
#include "model/safetensors.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor data is little endian and is read as it lies");

struct safetensors {
        int fd;
        char *path;
        json_t *header; /* owns every name that tensors point to */
        struct tensor *tensors;
        size_t n;
        uint64_t data_start, data_bytes;
};

static const struct {
        const char *name;
        unsigned bytes;
} types[] = {
        {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},  {"I32", 4},     {"I16", 2},     {"I8", 1},
        {"U64", 8}, {"U32", 4}, {"U16", 2}, {"U8", 1},   {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

static unsigned type_bytes(const char *name) {
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
                if (strcmp(types[i].name, name) == 0)
                        return types[i].bytes;
        return 0;
}

/* --- header ----------------------------------------------------------------------------------------- */

static bool read_size(const json_t *value, uint64_t *ret) {
        if (!json_is_integer(value) || json_integer_value(value) < 0)
                return false;
        *ret = (uint64_t)json_integer_value(value);
        return true;
}

static int bad(const struct safetensors *file, const struct tensor *tensor, struct error *err, const char *what) {
        return error_set(err, -EINVAL, "%s: tensor '%.200s': %s", file->path, tensor->name, what);
}

/* dims, n and the bytes that they need; NULL, or what is wrong. */
static const char *read_shape(const json_t *shape, unsigned element_bytes, struct tensor *tensor, uint64_t *ret_bytes) {
        if (!json_is_array(shape))
                return "shape is not a list";
        if (json_array_size(shape) > SAFETENSORS_MAX_DIMS)
                return "more than 8 dimensions";
        tensor->n_dims = (int)json_array_size(shape);
        tensor->n = 1;
        for (int i = 0; i < tensor->n_dims; i++) {
                uint64_t dim;
                if (!read_size(json_array_get(shape, (size_t)i), &dim))
                        return "a dimension is not a whole number of at least 0";
                if (__builtin_mul_overflow(tensor->n, dim, &tensor->n))
                        return "the product of its dimensions overflows";
                tensor->dims[i] = dim;
        }
        return __builtin_mul_overflow((uint64_t)tensor->n, element_bytes, ret_bytes) ? "its size in bytes overflows" : NULL;
}

static int read_entry(const struct safetensors *file, const char *name, const json_t *entry, struct tensor *ret, struct error *err) {
        struct tensor tensor = {.name = name, .type = json_string_value(json_object_get(entry, "dtype"))};
        if (!tensor.type)
                return bad(file, &tensor, err, "dtype is missing");
        unsigned element_bytes = type_bytes(tensor.type);
        if (!element_bytes)
                return error_set(err, -EINVAL, "%s: tensor '%.200s': unknown dtype '%.40s'", file->path, name, tensor.type);
        uint64_t needed, begin, end;
        const char *fault = read_shape(json_object_get(entry, "shape"), element_bytes, &tensor, &needed);
        if (fault)
                return bad(file, &tensor, err, fault);
        const json_t *offsets = json_object_get(entry, "data_offsets");
        if (json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 0), &begin) || !read_size(json_array_get(offsets, 1), &end))
                return bad(file, &tensor, err, "data_offsets is not a pair of whole numbers");
        if (begin > end)
                return bad(file, &tensor, err, "data_offsets end before they begin");
        if (end > file->data_bytes)
                return bad(file, &tensor, err, "data_offsets lie beyond the end of the file (is it truncated?)");
        if (end - begin != needed)
                return error_set(err, -EINVAL, "%s: tensor '%.200s': data_offsets span %llu bytes, shape and dtype need %llu", file->path,
                                 name, (unsigned long long)(end - begin), (unsigned long long)needed);
        tensor.offset = file->data_start + begin;
        tensor.bytes = needed;
        *ret = tensor;
        return 0;
}

static int check_metadata(const struct safetensors *file, const json_t *metadata, struct error *err) {
        const char *key;
        json_t *value;
        if (!json_is_object(metadata))
                return error_set(err, -EINVAL, "%s: __metadata__ is not an object", file->path);
        json_object_foreach((json_t *)metadata, key, value) if (!json_is_string(value)) return error_set(
                err, -EINVAL, "%s: __metadata__: '%.200s' is not a string", file->path, key);
        return 0;
}

static int compare_offsets(const void *a, const void *b) {
        const struct tensor *x = a, *y = b;
        if (x->offset != y->offset)
                return x->offset < y->offset ? -1 : 1;
        return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Sorted by offset, the tensors must follow one another from the first byte of data to the last. */
static int check_layout(const struct safetensors *file, struct error *err) {
        uint64_t expected = file->data_start;
        for (size_t i = 0; i < file->n; i++) {
                const struct tensor *tensor = &file->tensors[i];
                if (tensor->offset < expected)
                        return bad(file, tensor, err, "its data overlap with another tensor's");
                if (tensor->offset > expected)
                        return bad(file, tensor, err, "there is a gap before its data");
                expected += tensor->bytes;
        }
        uint64_t rest = file->data_start + file->data_bytes - expected;
        if (rest > 0)
                return error_set(err, -EINVAL, "%s: %llu bytes after the last tensor belong to none", file->path, (unsigned long long)rest);
        return 0;
}

static int read_entries(struct safetensors *file, struct error *err) {
        const char *name;
        json_t *entry;
        if (!json_is_object(file->header))
                return error_set(err, -EINVAL, "%s: the header is not a JSON object", file->path);
        file->tensors = calloc(json_object_size(file->header) + 1, sizeof *file->tensors);
        if (!file->tensors)
                return error_set(err, -ENOMEM, "out of memory");
        json_object_foreach(file->header, name, entry) {
                int r = strcmp(name, "__metadata__") == 0 ? check_metadata(file, entry, err)
                                                          : read_entry(file, name, entry, &file->tensors[file->n++], err);
                if (r < 0)
                        return r;
        }
        qsort(file->tensors, file->n, sizeof *file->tensors, compare_offsets);
        return check_layout(file, err);
}

/* All of len bytes from offset, whatever signals and short reads come between. */
static int read_bytes(const struct safetensors *file, void *ret, size_t len, uint64_t offset, struct error *err) {
        for (char *to = ret; len > 0;) {
                ssize_t n = pread(file->fd, to, len, (off_t)offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_set(err, -errno, "cannot read %s: %s", file->path, strerror(errno));
                if (n == 0)
                        return error_set(err, -EIO, "%s: ends early, at byte %llu", file->path, (unsigned long long)offset);
                to += n;
                len -= (size_t)n;
                offset += (uint64_t)n;
        }
        return 0;
}

static int read_header(struct safetensors *file, struct error *err) {
        struct stat st;
        if (fstat(file->fd, &st) < 0)
                return error_set(err, -errno, "cannot inspect %s: %s", file->path, strerror(errno));
        if (!S_ISREG(st.st_mode))
                return error_set(err, -EINVAL, "%s: not a regular file", file->path);
        uint64_t size = (uint64_t)st.st_size, len;
        if (size < sizeof len)
                return error_set(err, -EINVAL, "%s: too short for a safetensors file (%llu bytes)", file->path, (unsigned long long)size);
        int r = read_bytes(file, &len, sizeof len, 0, err);
        if (r < 0)
                return r;
        if (len > SAFETENSORS_MAX_HEADER_BYTES)
                return error_set(err, -EINVAL, "%s: header of %llu bytes is longer than is allowed (%u)", file->path,
                                 (unsigned long long)len, SAFETENSORS_MAX_HEADER_BYTES);
        if (len > size - sizeof len)
                return error_set(err, -EINVAL, "%s: header of %llu bytes is longer than the file (is it truncated?)", file->path,
                                 (unsigned long long)len);
        _cleanup_free_ char *text = malloc(len + 1);
        if (!text)
                return error_set(err, -ENOMEM, "out of memory");
        r = read_bytes(file, text, len, sizeof len, err);
        if (r == 0 && json_read(text, len, &file->header, err) < 0)
                r = error_prefix(err, "%s: header", file->path);
        file->data_start = sizeof len + len;
        file->data_bytes = size - file->data_start;
        return r;
}

int safetensors_open(const char *path, struct safetensors **ret, struct error *err) {
        struct error unread;
        err = err ? err : &unread;
        struct safetensors *file = calloc(1, sizeof *file);
        if (!file)
                return error_set(err, -ENOMEM, "out of memory");
        file->path = strdup(path);
        file->fd = open(path, O_RDONLY | O_CLOEXEC);
        int r = file->fd < 0 ? error_set(err, -errno, "cannot open %s: %s", path, strerror(errno)) : 0;
        if (r == 0 && !file->path)
                r = error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = read_header(file, err);
        if (r == 0)
                r = read_entries(file, err);
        if (r < 0) {
                safetensors_close(file);
                return r;
        }
        *ret = file;
        return 0;
}

void safetensors_close(struct safetensors *file) {
        if (!file)
                return;
        if (file->fd >= 0)
                close(file->fd);
        json_decref(file->header);
        free(file->tensors);
        free(file->path);
        free(file);
}

size_t safetensors_n(const struct safetensors *file) {
        return file->n;
}

const struct tensor *safetensors_at(const struct safetensors *file, size_t i) {
        return &file->tensors[i];
}

const struct tensor *safetensors_find(const struct safetensors *file, const char *name) {
        for (size_t i = 0; i < file->n; i++)
                if (strcmp(file->tensors[i].name, name) == 0)
                        return &file->tensors[i];
        return NULL;
}

const char *safetensors_metadata(const struct safetensors *file, const char *key) {
        return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

/* --- data ------------------------------------------------------------------------------------------- */

/* IEEE 754 binary16: sign, 5 bits of exponent (bias 15), 10 of fraction. Every value is exact in float. */
static float float_of_half(uint16_t half) {
        int exponent = half >> 10 & 31;
        int fraction = half & 1023;
        float magnitude;
        if (exponent == 31)
                magnitude = fraction ? __builtin_nanf("") : __builtin_inff();
        else if (exponent == 0)
                magnitude = __builtin_ldexpf((float)fraction, -24);
        else
                magnitude = __builtin_ldexpf((float)(fraction + 1024), exponent - 25);
        return half & 0x8000 ? -magnitude : magnitude;
}

static float float_of_bfloat(uint16_t bfloat) {
        uint32_t bits = (uint32_t)bfloat << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        return value;
}

/* One element of `type` as a double: exact for all four types. */
static double element(const char *type, const unsigned char *from) {
        uint16_t bits;
        float single;
        double value;
        switch (type[1]) {
        case '6':
                memcpy(&value, from, sizeof value);
                return value;
        case '3':
                memcpy(&single, from, sizeof single);
                return (double)single;
        default:
                memcpy(&bits, from, sizeof bits);
                return (double)(type[0] == 'B' ? float_of_bfloat(bits) : float_of_half(bits));
        }
}

static bool is_float(const char *type) {
        return strcmp(type, "F64") == 0 || strcmp(type, "F32") == 0 || strcmp(type, "F16") == 0 || strcmp(type, "BF16") == 0;
}

/* Through a piece of stack, into whichever of the two arrays is given. */
static int read_converted(const struct safetensors *file, const struct tensor *tensor, float *floats, double *doubles, struct error *err) {
        if (!is_float(tensor->type))
                return error_set(err, -EINVAL, "%s: tensor '%.200s' has dtype %s, expected F32, F16, BF16 or F64", file->path, tensor->name,
                                 tensor->type);
        unsigned char piece[65536];
        size_t size = type_bytes(tensor->type), i = 0;
        for (uint64_t done = 0; done < tensor->bytes;) {
                size_t len = tensor->bytes - done < sizeof piece ? (size_t)(tensor->bytes - done) : sizeof piece;
                int r = read_bytes(file, piece, len, tensor->offset + done, err);
                if (r < 0)
                        return r;
                for (const unsigned char *from = piece; from < piece + len; from += size, i++) {
                        double value = element(tensor->type, from);
                        if (floats)
                                floats[i] = (float)value;
                        else
                                doubles[i] = value;
                }
                done += len;
        }
        return 0;
}

int safetensors_read_floats(const struct safetensors *file, const struct tensor *tensor, float *ret, struct error *err) {
        if (strcmp(tensor->type, "F32") == 0)
                return read_bytes(file, ret, tensor->bytes, tensor->offset, err);
        return read_converted(file, tensor, ret, NULL, err);
}

int safetensors_read_doubles(const struct safetensors *file, const struct tensor *tensor, double *ret, struct error *err) {
        return read_converted(file, tensor, NULL, ret, err);
}

/* --- writing ---------------------------------------------------------------------------------------- */

static size_t source_bytes(const struct tensor_source *tensor) {
        size_t n = sizeof(float);
        for (int i = 0; i < tensor->n_dims; i++)
                n *= tensor->dims[i];
        return n;
}

static json_t *make_entry(const struct tensor_source *tensor, uint64_t begin) {
        json_t *shape = json_array();
        for (int i = 0; i < tensor->n_dims; i++)
                json_array_append_new(shape, json_integer((json_int_t)tensor->dims[i]));
        return json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets", (json_int_t)begin,
                         (json_int_t)(begin + source_bytes(tensor)));
}

static json_t *make_header(const struct tensor_source *tensors, size_t n_tensors, const struct safetensors_note *notes, size_t n_notes) {
        _cleanup_json_ json_t *header = json_object();
        uint64_t begin = 0;
        json_t *metadata = n_notes > 0 ? json_object() : NULL;
        if (n_notes > 0 && json_object_set_new(header, "__metadata__", metadata) < 0)
                return NULL;
        for (size_t i = 0; i < n_notes; i++)
                if (json_object_set_new(metadata, notes[i].key, json_string(notes[i].value)) < 0)
                        return NULL;
        for (size_t i = 0; i < n_tensors; i++) {
                if (json_object_set_new(header, tensors[i].name, make_entry(&tensors[i], begin)) < 0)
                        return NULL;
                begin += source_bytes(&tensors[i]);
        }
        return TAKE(header);
}

/* Length and header, padded with spaces so that the data that follow are aligned to 8 bytes. */
static int format_header(const json_t *header, struct buf *buf) {
        uint64_t len = 0;
        int r = buf_append(buf, &len, sizeof len);
        if (r == 0)
                r = json_write(header, buf);
        while (r == 0 && buf->len % 8 != 0)
                r = buf_puts(buf, " ");
        len = buf->len - sizeof len;
        if (r == 0)
                memcpy(buf->data, &len, sizeof len);
        return r;
}

static int write_bytes(int fd, const void *data, size_t len) {
        for (const char *from = data; len > 0;) {
                ssize_t n = write(fd, from, len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                from += n;
                len -= (size_t)n;
        }
        return 0;
}

static int write_file(const char *path, const struct buf *header, const struct tensor_source *tensors, size_t n_tensors,
                      struct error *err) {
        _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0)
                return error_set(err, -errno, "cannot create %s: %s", path, strerror(errno));
        int r = write_bytes(fd, header->data, header->len);
        for (size_t i = 0; i < n_tensors && r == 0; i++)
                r = write_bytes(fd, tensors[i].data, source_bytes(&tensors[i]));
        return r < 0 ? error_set(err, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int safetensors_write(const char *path, const struct tensor_source *tensors, size_t n_tensors, const struct safetensors_note *notes,
                      size_t n_notes, struct error *err) {
        _cleanup_json_ json_t *header = make_header(tensors, n_tensors, notes, n_notes);
        _cleanup_buf_ struct buf text = BUF_INIT(SAFETENSORS_MAX_HEADER_BYTES);
        _cleanup_buf_ struct buf temporary = BUF_INIT(0);
        if (!header || buf_printf(&temporary, "%s.tmp.%d", path, (int)getpid()) < 0 || format_header(header, &text) < 0)
                return error_set(err, -ENOMEM, "out of memory writing %s", path);
        int r = write_file(temporary.data, &text, tensors, n_tensors, err);
        if (r == 0)
                r = fs_commit(temporary.data, path, err);
        if (r < 0)
                unlink(temporary.data);
        return r;
}
