/* The demo's "pretrained" encoder: DistilBERT-shaped weights that were constructed, not trained. */
#pragma once
#include <stdint.h>

#include "common/error.h"

/* Writes config.json, model.safetensors, vocab.txt and tokenizer_config.json into folder, which exists.
 * Same seed, same bytes, on every machine. */
int encoder_write(const char *folder, uint64_t seed, struct error *err);
