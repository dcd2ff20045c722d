/* The table of one instruction set. */
#include "kernels/isa.h"

#define TEXT(x) #x
#define NAME(x) TEXT(x)

const struct kernel_set K(kernel_set) = {
        .name = NAME(KERNEL_ISA),
        .embeddings_forward = K(embeddings_forward),
        .embeddings_backward = K(embeddings_backward),
        .norm_forward = K(norm_forward),
        .norm_backward = K(norm_backward),
        .gelu_forward = K(gelu_forward),
        .gelu_backward = K(gelu_backward),
        .relu_forward = K(relu_forward),
        .relu_backward = K(relu_backward),
        .attention_forward = K(attention_forward),
        .attention_backward = K(attention_backward),
        .folded_forward = K(folded_forward),
        .folded_backward = K(folded_backward),
        .add_column_sums = K(add_column_sums),
        .adamw = K(adamw),
        .square_sum = K(square_sum),
        .round_bf16 = K(round_bf16),
        .to_bf16 = K(to_bf16),
        .exp = K(exp),
        .half_erf = K(half_erf),
        .mask_row = K(mask_row),
};
