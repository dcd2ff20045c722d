/* Names of the kernels of one instruction set: K(norm_forward) is norm_forward_avx2 in the files compiled for AVX2. Every
 * kernel has exactly the type of its member in struct kernel_set. */
#pragma once
#include "kernels/kernels.h"

#define K_PASTE(name, isa) name##_##isa
#define K_EXPAND(name, isa) K_PASTE(name, isa)
#define K(name) K_EXPAND(name, KERNEL_ISA)
#define K_DECLARE(name) extern __typeof__(*((struct kernel_set *)0)->name) K(name)

K_DECLARE(embeddings_forward);
K_DECLARE(embeddings_backward);
K_DECLARE(norm_forward);
K_DECLARE(norm_backward);
K_DECLARE(gelu_forward);
K_DECLARE(gelu_backward);
K_DECLARE(relu_forward);
K_DECLARE(relu_backward);
K_DECLARE(attention_forward);
K_DECLARE(attention_backward);
K_DECLARE(folded_forward);
K_DECLARE(folded_backward);
K_DECLARE(add_column_sums);
K_DECLARE(adamw);
K_DECLARE(square_sum);
K_DECLARE(round_bf16);
K_DECLARE(to_bf16);
K_DECLARE(exp);
K_DECLARE(half_erf);
K_DECLARE(mask_row);
extern const struct kernel_set K(kernel_set);
