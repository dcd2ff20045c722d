/* Text files of TAB columns, line by line: UTF-8, a byte-order mark is dropped, lines end in LF (a CR before it is stripped),
 * no quote processing, as Hugging Face reads GLUE. Columns point into the text, which tsv owns. */
#pragma once
#include <stddef.h>

#include "common/buf.h"
#include "common/error.h"

#define TSV_MAX_COLUMNS 64

struct tsv_column {
        const char *text;
        size_t len;
};

struct tsv {
        const char *path;
        struct buf text;
        size_t at, number; /* of the line */
        struct tsv_column columns[TSV_MAX_COLUMNS];
        size_t n_columns; /* at most TSV_MAX_COLUMNS; the rest of a longer line is not looked at */
};

/* -EINVAL for an empty file. path is borrowed. */
int tsv_open(struct tsv *tsv, const char *path, struct error *err);
void tsv_close(struct tsv *tsv);

/* 1 and the columns of the next line, how many there are · 0 at the end · -EINVAL: not UTF-8, names file, line and byte. */
int tsv_next(struct tsv *tsv, struct error *err);

/* 0, or -EINVAL, naming file and line, when the line has fewer columns. */
int tsv_require(const struct tsv *tsv, size_t n_columns, struct error *err);

/* Position of the column of this text, -1. */
int tsv_find(const struct tsv *tsv, const char *text);

/* How much of a column an error message quotes. */
int tsv_shown(const struct tsv_column *column);
