/* Sentence pairs on disk: the GLUE forms of MRPC (train.tsv, dev.tsv) and the raw MSR files with dev_ids.tsv.
 * UTF-8, a byte-order mark is dropped, lines end in LF (a CR before it is stripped), TAB columns, no quote processing. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/error.h"

struct pair {
        const char *a, *b; /* into the data set's own memory, not terminated */
        size_t a_len, b_len;
        int label;         /* 0, 1 */
};

struct pairs {
        struct pair *items; /* in file order */
        size_t n;
        char *text; /* owns the bytes */
};

struct dataset {
        struct pairs train, dev;
        char sha256[DIGEST_HEX_SIZE]; /* fingerprint: over label, a and b of every train and dev pair in order */
};

/* Reads a folder in either form (GLUE's when it has both); the MSR file's rows that dev_ids.tsv, in the same folder, names
 * by their two ids are dev, all others train. -EINVAL names file and line (too few columns, label not 0 or 1, not UTF-8). */
int dataset_open(const char *folder, struct dataset **ret, struct error *err);
void dataset_free(struct dataset *dataset);
