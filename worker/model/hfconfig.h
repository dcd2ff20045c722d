/* config.json of a model folder: Hugging Face's DistilBertConfig, read with either family's key names (dim or
 * hidden_size, …), and written in DistilBERT's. */
#pragma once
#include <jansson.h>

#include "common/error.h"
#include "model/model.h"

/* What the file says → shape, every value checked for range. -EINVAL names file and key: a size that is missing or out
 * of range, or a setting that changes the mathematics (another activation, another padding row, a decoder, …). */
int hfconfig_read(const char *path, struct model_shape *ret, struct error *err);

/* The configuration under which `transformers` builds this shape. New reference, NULL when out of memory. */
json_t *hfconfig_make(const struct model_shape *shape);
