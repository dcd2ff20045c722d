#include "model/safetensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/fs.h"

static char folder[] = "/tmp/safetensors_test.XXXXXX";
static char path[64];

static int make_folder(void **state) {
        (void)state;
        if (!mkdtemp(folder))
                return -1;
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
        return 0;
}

static int remove_folder(void **state) {
        (void)state;
        return fs_remove_tree(folder, NULL);
}

/* A file with this header and n_data bytes of data, counting up. */
static void put(const char *header, size_t n_data) {
        _cleanup_file_ FILE *file = fopen(path, "wb");
        uint64_t len = strlen(header);
        assert_non_null(file);
        fwrite(&len, sizeof len, 1, file);
        fwrite(header, 1, len, file);
        for (size_t i = 0; i < n_data; i++)
                fputc((int)(i & 255), file);
}

static void put_raw(const void *data, size_t len) {
        assert_int_equal(fs_write_atomic(path, data, len, 0644, NULL), 0);
}

static void refuse(const char *expected) {
        struct safetensors *file = NULL;
        struct error err = {0};
        int r = safetensors_open(path, &file, &err);
        if (r >= 0)
                fail_msg("opened, expected: %s", expected);
        assert_null(file);
        if (!strstr(err.text, expected) || !strstr(err.text, path))
                fail_msg("expected '%s' and the path in '%s'", expected, err.text);
}

static void refuse_header(const char *header, size_t n_data, const char *expected) {
        put(header, n_data);
        refuse(expected);
}

static void what_is_written_reads_back(void **state) {
        (void)state;
        float a[6] = {1, -2, 3.5f, 1e-30f, INFINITY, -0.0f}, b[1] = {7}, back[6];
        struct tensor_source tensors[] = {
                {.name = "layer.weight", .n_dims = 2, .dims = {2, 3}, .data = a},
                {.name = "scalar", .n_dims = 0, .data = b},
                {.name = "nothing", .n_dims = 1, .dims = {0}, .data = NULL},
        };
        struct safetensors_note note = {"format", "pt"};
        struct error err = {0};
        assert_int_equal(safetensors_write(path, tensors, 3, &note, 1, &err), 0);
        struct safetensors *file = NULL;
        assert_int_equal(safetensors_open(path, &file, &err), 0);
        assert_int_equal(safetensors_n(file), 3);
        assert_string_equal(safetensors_metadata(file, "format"), "pt");
        assert_null(safetensors_metadata(file, "other"));
        assert_null(safetensors_find(file, "layer"));
        const struct tensor *weight = safetensors_find(file, "layer.weight");
        assert_non_null(weight);
        assert_int_equal(weight->n_dims, 2);
        assert_int_equal(weight->dims[1], 3);
        assert_int_equal(weight->n, 6);
        assert_int_equal(weight->offset % 8, 0);
        assert_int_equal(safetensors_read_floats(file, weight, back, &err), 0);
        assert_memory_equal(a, back, sizeof a);
        assert_int_equal(safetensors_read_floats(file, safetensors_find(file, "scalar"), back, &err), 0);
        assert_true(back[0] == 7);
        assert_int_equal(safetensors_find(file, "nothing")->n, 0);
        safetensors_close(file);
}

static void a_failed_write_leaves_the_old_file_and_no_temporary(void **state) {
        (void)state;
        float value[1] = {1};
        struct tensor_source tensor = {.name = "x", .n_dims = 1, .dims = {1}, .data = value};
        struct error err = {0};
        char target[128], entry[192];
        snprintf(target, sizeof target, "%s/occupied", folder);
        snprintf(entry, sizeof entry, "%s/occupied/entry", folder);
        assert_int_equal(fs_make_dirs(entry, 0755, NULL), 0); /* a folder that rename(2) cannot replace */
        assert_true(safetensors_write(target, &tensor, 1, NULL, 0, &err) < 0);
        assert_non_null(strstr(err.text, target));
        char temporary[192];
        snprintf(temporary, sizeof temporary, "%s.tmp.%d", target, (int)getpid());
        assert_int_equal(access(temporary, F_OK), -1);
        assert_int_equal(fs_remove_tree(target, NULL), 0);
}

static void every_float_type_converts(void **state) {
        (void)state;
        struct {
                uint64_t header_len;
                char header[392];
                double f64[2];
                uint16_t f16[8], bf16[2];
                int64_t i64[1];
        } image = {.f64 = {0.1, -1e300},
                   /*       1       -2      65504   2^-24   2^-14   0x3555 ≈ 1/3   inf     -0 */
                   .f16 = {0x3c00, 0xc000, 0x7bff, 0x0001, 0x0400, 0x3555, 0x7c00, 0x8000},
                   .bf16 = {0x3f80, 0xc2f7},
                   .i64 = {5}};
        memset(image.header, ' ', sizeof image.header);
        const char *header = "{\"d\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]},"
                             "\"h\":{\"dtype\":\"F16\",\"shape\":[8],\"data_offsets\":[16,32]},"
                             "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[32,36]},"
                             "\"i\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[40,48]},"
                             "\"u\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[36,40]}}";
        memcpy(image.header, header, strlen(header));
        image.header_len = sizeof image.header;
        put_raw(&image, sizeof image);

        struct safetensors *file = NULL;
        struct error err = {0};
        assert_int_equal(safetensors_open(path, &file, &err), 0);
        double d[8];
        float f[8];
        assert_int_equal(safetensors_read_doubles(file, safetensors_find(file, "d"), d, &err), 0);
        assert_true(d[0] == 0.1 && d[1] == -1e300);
        assert_int_equal(safetensors_read_floats(file, safetensors_find(file, "d"), f, &err), 0);
        assert_true(f[0] == 0.1f && f[1] == -INFINITY);
        assert_int_equal(safetensors_read_floats(file, safetensors_find(file, "h"), f, &err), 0);
        const float halves[8] = {1, -2, 65504, 0x1p-24f, 0x1p-14f, 0.333251953125f, INFINITY, -0.0f};
        assert_memory_equal(f, halves, sizeof halves);
        assert_int_equal(safetensors_read_doubles(file, safetensors_find(file, "b"), d, &err), 0);
        assert_true(d[0] == 1 && d[1] == -123.5);
        assert_int_equal(safetensors_read_floats(file, safetensors_find(file, "i"), f, &err), -EINVAL);
        assert_non_null(strstr(err.text, "tensor 'i' has dtype I64"));
        safetensors_close(file);
}

static void data_longer_than_one_piece_converts(void **state) {
        (void)state;
        size_t n = 100000;
        char header[128];
        snprintf(header, sizeof header, "{\"h\":{\"dtype\":\"BF16\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", n, 2 * n);
        put(header, 2 * n);
        struct safetensors *file = NULL;
        assert_int_equal(safetensors_open(path, &file, NULL), 0);
        _cleanup_free_ float *values = calloc(n, sizeof *values);
        assert_int_equal(safetensors_read_floats(file, safetensors_at(file, 0), values, NULL), 0);
        for (size_t i = 0; i < n; i++) {
                uint32_t bits = (uint32_t)((2 * i & 255) | ((2 * i + 1) & 255) << 8) << 16, got;
                memcpy(&got, &values[i], sizeof got);
                if (got != bits && !(isnan(values[i]) && (bits & 0x7f800000) == 0x7f800000))
                        fail_msg("element %zu is %08x, expected %08x", i, got, bits);
        }
        safetensors_close(file);
}

static void a_truncated_file_is_refused(void **state) {
        (void)state;
        put_raw("\4\0\0", 3);
        refuse("too short");
        put_raw("\4\0\0\0\0\0\0\0{}", 10);
        refuse("truncated");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 15, "tensor 'a': data_offsets lie beyond");
}

static void an_absurd_header_length_is_refused_unread(void **state) {
        (void)state;
        put_raw("\377\377\377\377\377\377\377\377{}", 10);
        refuse("longer than is allowed");
        put_raw("\1\0\100\6\0\0\0\0{}", 10); /* 100 MiB + 1 */
        refuse("longer than is allowed");
}

static void a_file_that_shrinks_after_opening_is_an_error(void **state) {
        (void)state;
        put("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 16);
        struct safetensors *file = NULL;
        struct error err = {0};
        float values[4];
        assert_int_equal(safetensors_open(path, &file, NULL), 0);
        assert_int_equal(truncate(path, 70), 0);
        assert_int_equal(safetensors_read_floats(file, safetensors_at(file, 0), values, &err), -EIO);
        safetensors_close(file);
}

static void a_header_that_is_not_what_it_should_be_is_refused(void **state) {
        (void)state;
        refuse_header("", 0, "header: not valid JSON");
        refuse_header("[]", 0, "not a JSON object");
        refuse_header("{\"a\":1}", 0, "tensor 'a': dtype is missing");
        refuse_header("{\"a\":{\"dtype\":\"F99\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "tensor 'a': unknown dtype 'F99'");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor 'a': shape is not a list");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "tensor 'a': a dimension");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "tensor 'a': a dimension");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "more than 8");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor 'a': data_offsets is not a pair");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4, "data_offsets is not a pair");
        refuse_header("{\"__metadata__\":[]}", 0, "__metadata__ is not an object");
        refuse_header("{\"__metadata__\":{\"step\":3}}", 0, "__metadata__: 'step'");
}

static void duplicate_names_are_refused(void **state) {
        (void)state;
        refuse_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                      "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
                      2, "uplicate");
}

static void sizes_that_disagree_or_overflow_are_refused(void **state) {
        (void)state;
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "span 4 bytes, shape and dtype need 8");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,0]}}", 4, "end before they begin");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", 4, "overflows");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "overflows");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775803,9223372036854775807]}}", 4, "beyond");
        refuse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,18446744073709551616]}}", 4, "not valid JSON");
}

static void overlaps_and_gaps_are_refused(void **state) {
        (void)state;
        refuse_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                      "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[3,7]}}",
                      7, "tensor 'b': its data overlap");
        refuse_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                      "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[5,9]}}",
                      9, "tensor 'b': there is a gap");
        refuse_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[1,5]}}", 5, "tensor 'a': there is a gap");
        refuse_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 6, "2 bytes after the last tensor");
}

static void what_is_no_file_is_refused(void **state) {
        (void)state;
        struct safetensors *file = NULL;
        struct error err = {0};
        assert_int_equal(safetensors_open("/nonexistent/model.safetensors", &file, &err), -ENOENT);
        assert_non_null(strstr(err.text, "/nonexistent/model.safetensors"));
        assert_int_equal(safetensors_open(folder, &file, &err), -EINVAL);
        assert_non_null(strstr(err.text, "not a regular file"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_written_reads_back),
                cmocka_unit_test(a_failed_write_leaves_the_old_file_and_no_temporary),
                cmocka_unit_test(every_float_type_converts),
                cmocka_unit_test(data_longer_than_one_piece_converts),
                cmocka_unit_test(a_truncated_file_is_refused),
                cmocka_unit_test(an_absurd_header_length_is_refused_unread),
                cmocka_unit_test(a_file_that_shrinks_after_opening_is_an_error),
                cmocka_unit_test(a_header_that_is_not_what_it_should_be_is_refused),
                cmocka_unit_test(duplicate_names_are_refused),
                cmocka_unit_test(sizes_that_disagree_or_overflow_are_refused),
                cmocka_unit_test(overlaps_and_gaps_are_refused),
                cmocka_unit_test(what_is_no_file_is_refused),
        };
        return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
