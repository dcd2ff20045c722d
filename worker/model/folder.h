/* A model folder as downloaded from the Hugging Face hub: config.json, model.safetensors, vocab.txt,
 * tokenizer_config.json. Reads F32, F16 and BF16; DistilBERT names with and without prefix, LayerNorm gamma/beta, an MLM
 * head that is ignored, and BERT checkpoints that map onto DistilBERT's shape (token type 0 is folded into the position
 * embeddings, the pooler is ignored). Whatever does not map is an error that names the tensor. */
#pragma once
#include "common/digest.h"
#include "model/model.h"

/* config.json → shape, with DistilBERT's or BERT's keys. -EINVAL names the key; also when vocab.txt (if there is one) has
 * more tokens than the embeddings have rows. */
int model_folder_read_shape(const char *folder, struct model_shape *ret, struct error *err);

/* Fills the model's weights. The head is drawn from head_seed (normal(0, initializer_range), zero bias) when the file has
 * none: *ret_drew_head tells. A failure leaves the weights half filled. Errors name the tensor that is missing, misshapen or unknown. */
int model_folder_read_weights(const char *folder, struct model *model, uint64_t head_seed, bool *ret_drew_head, struct error *err);

/* Writes config.json, model.safetensors (F32), vocab.txt and tokenizer_config.json (the last two copied from
 * source_folder where it has them), so that `transformers` loads the folder. Each file appears whole or not at all. */
int model_folder_write(const char *folder, const struct model *model, const char *source_folder, struct error *err);

/* Fingerprint: SHA-256 of model.safetensors. */
int model_folder_sha256(const char *folder, char ret[static DIGEST_HEX_SIZE], struct error *err);
