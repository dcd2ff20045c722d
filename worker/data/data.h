/* Labelled sentences and sentence pairs on disk: train.tsv and dev.tsv of a task (task.h), or for MRPC the raw MSR file with
 * dev_ids.tsv. How the files are read: tsv.h. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/error.h"
#include "data/task.h"

struct pair {
        const char *a, *b; /* into the data set's own memory, not terminated; b NULL: a single sentence */
        size_t a_len, b_len;
        int label; /* its place in the task's labels */
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

/* Reads a folder: train.tsv and dev.tsv, or for MRPC without those the MSR file, whose rows that dev_ids.tsv, in the same
 * folder, names by their two ids are dev, all others train. task NULL: mrpc. -EINVAL names file and line (a column that the
 * header lacks, too few columns, an unknown label, not UTF-8). */
int dataset_open(const char *folder, const struct task *task, struct dataset **ret, struct error *err);
void dataset_free(struct dataset *dataset);

/* One file of labelled rows, in a task's form; the raw MSR files are in MRPC's. */
int pairs_read(const char *path, const struct task *task, struct pairs *ret, struct error *err);
void pairs_fini(struct pairs *pairs);

/* Fingerprint of a folder whose task is not known: dataset_open's where it holds MRPC, else over the bytes of train.tsv and
 * dev.tsv. Errors as dataset_open for what looks like MRPC and is not. */
int dataset_fingerprint(const char *folder, char ret[static DIGEST_HEX_SIZE], struct error *err);
