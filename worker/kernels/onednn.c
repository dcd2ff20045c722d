/* One oneDNN primitive (matmul) a layer and product. Batches differ in the number of rows from step to step. In bfloat16 it is left
 * open, and all primitives are made before the first step: such ones are as fast as any. In float32 they are not, so that each number
 * of rows gets its own when it is first asked for (0.3 ms; the code in it is oneDNN's to share), and the MAX_PRIMITIVES used last are
 * kept. */
#include "kernels/onednn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/gemm.h"

#ifdef HAVE_ONEDNN
#include <dnnl.h>

/* Of layers, products, and results overwritten or added to. */
struct primitive {
        enum product product;
        struct gemm_layer layer;
        bool add;
        dnnl_dim_t rows; /* or DNNL_RUNTIME_DIM_VAL */
        dnnl_primitive_t primitive;
        uint64_t used; /* when, by the count of products */
};

#define MAX_PRIMITIVES 512
#define FIRST_ROWS 16 /* of primitives in float32 that only tell whether oneDNN can */

struct onednn {
        dnnl_data_type_t factors;
        dnnl_engine_t engine;
        dnnl_stream_t stream;
        struct primitive primitives[MAX_PRIMITIVES];
        size_t n_primitives;
        uint64_t n_products;
};

static bool has(dnnl_cpu_isa_t isa) {
        return (dnnl_get_effective_cpu_isa() & isa) == isa;
}

bool onednn_is_fast_bf16(void) {
        return has(dnnl_cpu_isa_avx512_core_bf16);
}

bool onednn_is_fast_f32(void) {
        return has(dnnl_cpu_isa_avx512_core);
}

const char *onednn_name(void) {
        static char name[64];
        const dnnl_version_t *version = dnnl_version();
        const char *isa = has(dnnl_cpu_isa_avx512_core_amx)    ? " avx512_core_amx"
                          : has(dnnl_cpu_isa_avx512_core_bf16) ? " avx512_core_bf16"
                          : has(dnnl_cpu_isa_avx512_core_vnni) ? " avx512_core_vnni"
                          : has(dnnl_cpu_isa_avx512_core)      ? " avx512_core"
                                                               : "";
        snprintf(name, sizeof name, "oneDNN %d.%d.%d%s", version->major, version->minor, version->patch, isa);
        return name;
}

/* A row-major matrix [rows, cols] without gaps, or its transpose [cols, rows]. */
static bool describe(dnnl_memory_desc_t *ret, dnnl_data_type_t type, bool transposed, dnnl_dim_t rows, dnnl_dim_t cols) {
        const dnnl_dims_t dims = {transposed ? cols : rows, transposed ? rows : cols};
        const dnnl_dims_t strides = {transposed ? 1 : cols, transposed ? cols : 1};
        return dnnl_memory_desc_init_by_strides(ret, 2, dims, type, strides) == dnnl_success;
}

/* What a·b = c of a layer reads and writes; rows may be DNNL_RUNTIME_DIM_VAL. */
static bool describe_product(dnnl_memory_desc_t ret[3], dnnl_data_type_t type, enum product product, struct gemm_layer layer, dnnl_dim_t rows) {
        const dnnl_dim_t out = layer.out, in = layer.in;
        switch (product) {
        case PRODUCT_FORWARD:
                return describe(&ret[0], type, false, rows, in) && describe(&ret[1], type, true, out, in) &&
                       describe(&ret[2], dnnl_f32, false, rows, out);
        case PRODUCT_BACKWARD_INPUT:
                return describe(&ret[0], type, false, rows, out) && describe(&ret[1], type, false, out, in) &&
                       describe(&ret[2], dnnl_f32, false, rows, in);
        case PRODUCT_BACKWARD_WEIGHT:
                return describe(&ret[0], type, true, rows, out) && describe(&ret[1], type, false, rows, in) &&
                       describe(&ret[2], dnnl_f32, false, out, in);
        default:
                return false;
        }
}

/* --- making ----------------------------------------------------------------------------------------- */
static dnnl_primitive_attr_t make_attributes(bool add) {
        dnnl_primitive_attr_t attributes = NULL;
        dnnl_post_ops_t after = NULL;
        bool ok = dnnl_primitive_attr_create(&attributes) == dnnl_success && dnnl_post_ops_create(&after) == dnnl_success &&
                  (!add || dnnl_post_ops_append_sum(after, 1) == dnnl_success) &&
                  dnnl_primitive_attr_set_post_ops(attributes, after) == dnnl_success;
        dnnl_post_ops_destroy(after);
        if (ok)
                return attributes;
        dnnl_primitive_attr_destroy(attributes);
        return NULL;
}

static int make_primitive(struct onednn *onednn, struct primitive *primitive) {
        dnnl_memory_desc_t of[3];
        dnnl_matmul_desc_t matmul;
        dnnl_primitive_desc_t description = NULL;
        dnnl_primitive_attr_t attributes = make_attributes(primitive->add);
        bool ok = attributes && describe_product(of, onednn->factors, primitive->product, primitive->layer, primitive->rows) &&
                  dnnl_matmul_desc_init(&matmul, &of[0], &of[1], NULL, &of[2]) == dnnl_success &&
                  dnnl_primitive_desc_create(&description, &matmul, attributes, onednn->engine, NULL) == dnnl_success &&
                  dnnl_primitive_create(&primitive->primitive, description) == dnnl_success;
        dnnl_primitive_desc_destroy(description);
        dnnl_primitive_attr_destroy(attributes);
        return ok ? 0 : -ENOTSUP;
}

/* In the place of the one whose last use is longest ago, where there is no other. NULL: it cannot be made. */
static struct primitive *add_primitive(struct onednn *onednn, struct primitive primitive) {
        struct primitive *place = &onednn->primitives[0];
        if (make_primitive(onednn, &primitive) < 0)
                return NULL;
        for (size_t i = 1; i < onednn->n_primitives; i++)
                if (onednn->primitives[i].used < place->used)
                        place = &onednn->primitives[i];
        if (onednn->n_primitives < MAX_PRIMITIVES)
                place = &onednn->primitives[onednn->n_primitives++];
        else
                dnnl_primitive_destroy(place->primitive);
        *place = primitive;
        return place;
}

/* y and dw have one form each (written, added to), dx has both. */
static int make_layer(struct onednn *onednn, struct gemm_layer layer) {
        static const struct {
                enum product product;
                bool add;
        } forms[] = {
                {PRODUCT_FORWARD, false}, {PRODUCT_BACKWARD_INPUT, false}, {PRODUCT_BACKWARD_INPUT, true}, {PRODUCT_BACKWARD_WEIGHT, true}};
        const dnnl_dim_t rows = onednn->factors == dnnl_bf16 ? DNNL_RUNTIME_DIM_VAL : FIRST_ROWS;
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
                if (!add_primitive(onednn, (struct primitive){.product = forms[i].product, .layer = layer, .add = forms[i].add, .rows = rows}))
                        return -ENOTSUP;
        return 0;
}

int onednn_new(const struct gemm_layer *layers, size_t n_layers, bool bf16, struct onednn **ret) {
        struct onednn *onednn = calloc(1, sizeof *onednn);
        if (!onednn)
                return -ENOMEM;
        onednn->factors = bf16 ? dnnl_bf16 : dnnl_f32;
        int r = 4 * n_layers <= MAX_PRIMITIVES ? 0 : -ENOTSUP;
        if (r == 0 && (dnnl_engine_create(&onednn->engine, dnnl_cpu, 0) != dnnl_success ||
                       dnnl_stream_create(&onednn->stream, onednn->engine, dnnl_stream_default_flags) != dnnl_success))
                r = -ENOTSUP;
        for (size_t i = 0; r == 0 && i < n_layers; i++)
                r = make_layer(onednn, layers[i]);
        if (r < 0)
                return onednn_free(onednn), r;
        *ret = onednn;
        return 0;
}

void onednn_free(struct onednn *onednn) {
        if (!onednn)
                return;
        for (size_t i = 0; i < onednn->n_primitives; i++)
                dnnl_primitive_destroy(onednn->primitives[i].primitive);
        dnnl_stream_destroy(onednn->stream);
        dnnl_engine_destroy(onednn->engine);
        free(onednn);
}

/* --- multiplying ------------------------------------------------------------------------------------ */
static struct primitive *find(struct onednn *onednn, enum product product, struct gemm_layer layer, bool add, dnnl_dim_t rows) {
        for (size_t i = 0; i < onednn->n_primitives; i++) {
                struct primitive *p = &onednn->primitives[i];
                if (p->product == product && p->layer.out == layer.out && p->layer.in == layer.in && p->add == add &&
                    (p->rows == rows || p->rows == DNNL_RUNTIME_DIM_VAL))
                        return p;
        }
        return add_primitive(onednn, (struct primitive){.product = product, .layer = layer, .add = add, .rows = rows});
}

static bool run(struct onednn *onednn, const struct primitive *primitive, int rows, void *const data[3]) {
        static const int roles[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
        dnnl_memory_desc_t of[3];
        dnnl_exec_arg_t arguments[3] = {0};
        bool ok = describe_product(of, onednn->factors, primitive->product, primitive->layer, rows);
        for (int i = 0; i < 3 && ok; i++) {
                arguments[i].arg = roles[i];
                ok = dnnl_memory_create(&arguments[i].memory, &of[i], onednn->engine, data[i]) == dnnl_success;
        }
        ok = ok && dnnl_primitive_execute(primitive->primitive, onednn->stream, 3, arguments) == dnnl_success &&
             dnnl_stream_wait(onednn->stream) == dnnl_success;
        for (int i = 0; i < 3; i++)
                dnnl_memory_destroy(arguments[i].memory);
        return ok;
}

void onednn_multiply(struct onednn *onednn, enum product product, int m, int n, int k, const void *a, const void *b, bool add, float *c) {
        const struct gemm_layer layer = product == PRODUCT_FORWARD          ? (struct gemm_layer){.out = n, .in = k}
                                        : product == PRODUCT_BACKWARD_INPUT ? (struct gemm_layer){.out = k, .in = n}
                                                                            : (struct gemm_layer){.out = m, .in = n};
        const int rows = product == PRODUCT_BACKWARD_WEIGHT ? k : m;
        struct primitive *primitive = find(onednn, product, layer, add, rows);
        if (primitive && run(onednn, primitive, rows, (void *[]){(void *)a, (void *)b, c})) {
                primitive->used = ++onednn->n_products;
                return;
        }
        fprintf(stderr, "oneDNN cannot compute a product of %d x %d x %d\n", m, n, k);
        abort();
}
#else
bool onednn_is_fast_bf16(void) {
        return false;
}

bool onednn_is_fast_f32(void) {
        return false;
}

const char *onednn_name(void) {
        return "oneDNN";
}

int onednn_new(const struct gemm_layer *layers, size_t n_layers, bool bf16, struct onednn **ret) {
        (void)layers, (void)n_layers, (void)bf16, (void)ret;
        return -ENOTSUP;
}

void onednn_free(struct onednn *onednn) {
        (void)onednn;
}

void onednn_multiply(struct onednn *onednn, enum product product, int m, int n, int k, const void *a, const void *b, bool add, float *c) {
        (void)onednn, (void)product, (void)m, (void)n, (void)k, (void)a, (void)b, (void)add, (void)c;
        abort(); /* never: onednn_new made none */
}
#endif
