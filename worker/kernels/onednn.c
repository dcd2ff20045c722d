/* One oneDNN primitive (matmul) a layer and product, made before the first step with the number of rows left open: batches
 * differ in it from step to step, and a primitive takes longer to make than to run. */
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
        dnnl_primitive_t primitive;
};

struct onednn {
        dnnl_engine_t engine;
        dnnl_stream_t stream;
        struct primitive *primitives;
        size_t n_primitives;
};

static bool has(dnnl_cpu_isa_t isa) {
        return (dnnl_get_effective_cpu_isa() & isa) == isa;
}

bool onednn_is_fast(void) {
        return has(dnnl_cpu_isa_avx512_core_bf16);
}

const char *onednn_name(void) {
        return has(dnnl_cpu_isa_avx512_core_amx)    ? "oneDNN avx512_core_amx"
               : has(dnnl_cpu_isa_avx512_core_bf16) ? "oneDNN avx512_core_bf16"
               : has(dnnl_cpu_isa_avx512_core_vnni) ? "oneDNN avx512_core_vnni"
               : has(dnnl_cpu_isa_avx512_core)      ? "oneDNN avx512_core"
                                                    : "oneDNN";
}

/* A row-major matrix [rows, cols] without gaps, or its transpose [cols, rows]. */
static bool describe(dnnl_memory_desc_t *ret, dnnl_data_type_t type, bool transposed, dnnl_dim_t rows, dnnl_dim_t cols) {
        const dnnl_dims_t dims = {transposed ? cols : rows, transposed ? rows : cols};
        const dnnl_dims_t strides = {transposed ? 1 : cols, transposed ? cols : 1};
        return dnnl_memory_desc_init_by_strides(ret, 2, dims, type, strides) == dnnl_success;
}

/* What a·b = c of a layer reads and writes; rows may be DNNL_RUNTIME_DIM_VAL. */
static bool describe_product(dnnl_memory_desc_t ret[3], enum product product, struct gemm_layer layer, dnnl_dim_t rows) {
        const dnnl_dim_t out = layer.out, in = layer.in;
        switch (product) {
        case PRODUCT_FORWARD:
                return describe(&ret[0], dnnl_bf16, false, rows, in) && describe(&ret[1], dnnl_bf16, true, out, in) &&
                       describe(&ret[2], dnnl_f32, false, rows, out);
        case PRODUCT_BACKWARD_INPUT:
                return describe(&ret[0], dnnl_bf16, false, rows, out) && describe(&ret[1], dnnl_bf16, false, out, in) &&
                       describe(&ret[2], dnnl_f32, false, rows, in);
        case PRODUCT_BACKWARD_WEIGHT:
                return describe(&ret[0], dnnl_bf16, true, rows, out) && describe(&ret[1], dnnl_bf16, false, rows, in) &&
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
        bool ok = attributes && describe_product(of, primitive->product, primitive->layer, DNNL_RUNTIME_DIM_VAL) &&
                  dnnl_matmul_desc_init(&matmul, &of[0], &of[1], NULL, &of[2]) == dnnl_success &&
                  dnnl_primitive_desc_create(&description, &matmul, attributes, onednn->engine, NULL) == dnnl_success &&
                  dnnl_primitive_create(&primitive->primitive, description) == dnnl_success;
        dnnl_primitive_desc_destroy(description);
        dnnl_primitive_attr_destroy(attributes);
        return ok ? 0 : -ENOTSUP;
}

/* y and dw have one form each (written, added to), dx has both. */
static int make_layer(struct onednn *onednn, struct gemm_layer layer) {
        static const struct {
                enum product product;
                bool add;
        } forms[] = {
                {PRODUCT_FORWARD, false}, {PRODUCT_BACKWARD_INPUT, false}, {PRODUCT_BACKWARD_INPUT, true}, {PRODUCT_BACKWARD_WEIGHT, true}};
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
                struct primitive *primitive = &onednn->primitives[onednn->n_primitives++];
                *primitive = (struct primitive){.product = forms[i].product, .layer = layer, .add = forms[i].add};
                int r = make_primitive(onednn, primitive);
                if (r < 0)
                        return r;
        }
        return 0;
}

int onednn_new(const struct gemm_layer *layers, size_t n_layers, struct onednn **ret) {
        struct onednn *onednn = calloc(1, sizeof *onednn);
        if (!onednn)
                return -ENOMEM;
        onednn->primitives = calloc(4 * n_layers, sizeof *onednn->primitives);
        int r = onednn->primitives ? 0 : -ENOMEM;
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
        for (size_t i = 0; onednn->primitives && i < onednn->n_primitives; i++)
                dnnl_primitive_destroy(onednn->primitives[i].primitive);
        free(onednn->primitives);
        dnnl_stream_destroy(onednn->stream);
        dnnl_engine_destroy(onednn->engine);
        free(onednn);
}

/* --- multiplying ------------------------------------------------------------------------------------ */
static const struct primitive *find(const struct onednn *onednn, enum product product, struct gemm_layer layer, bool add) {
        for (size_t i = 0; i < onednn->n_primitives; i++) {
                const struct primitive *p = &onednn->primitives[i];
                if (p->product == product && p->layer.out == layer.out && p->layer.in == layer.in && p->add == add)
                        return p;
        }
        return NULL;
}

static bool run(struct onednn *onednn, const struct primitive *primitive, int rows, void *const data[3]) {
        static const int roles[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
        dnnl_memory_desc_t of[3];
        dnnl_exec_arg_t arguments[3] = {0};
        bool ok = describe_product(of, primitive->product, primitive->layer, rows);
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

void onednn_multiply(struct onednn *onednn, enum product product, int m, int n, int k, const uint16_t *a, const uint16_t *b, bool add,
                     float *c) {
        const struct gemm_layer layer = product == PRODUCT_FORWARD          ? (struct gemm_layer){.out = n, .in = k}
                                        : product == PRODUCT_BACKWARD_INPUT ? (struct gemm_layer){.out = k, .in = n}
                                                                            : (struct gemm_layer){.out = m, .in = n};
        const struct primitive *primitive = find(onednn, product, layer, add);
        if (primitive && run(onednn, primitive, product == PRODUCT_BACKWARD_WEIGHT ? k : m, (void *[]){(void *)a, (void *)b, c}))
                return;
        fprintf(stderr, "oneDNN cannot compute a product of %d x %d x %d\n", m, n, k);
        abort();
}
#else
bool onednn_is_fast(void) {
        return false;
}

const char *onednn_name(void) {
        return "oneDNN";
}

int onednn_new(const struct gemm_layer *layers, size_t n_layers, struct onednn **ret) {
        (void)layers, (void)n_layers, (void)ret;
        return -ENOTSUP;
}

void onednn_free(struct onednn *onednn) {
        (void)onednn;
}

void onednn_multiply(struct onednn *onednn, enum product product, int m, int n, int k, const uint16_t *a, const uint16_t *b, bool add,
                     float *c) {
        (void)onednn, (void)product, (void)m, (void)n, (void)k, (void)a, (void)b, (void)add, (void)c;
        abort(); /* never: onednn_new made none */
}
#endif
