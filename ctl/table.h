/* Short aligned tables for people, and the texts of single values in them. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 24

struct table {
        size_t n_columns, n_rows;
        char **cells;                  /* rows after one another, the first one holds the headings */
        bool right[TABLE_COLUMNS_MAX]; /* numbers are aligned to the right */
        bool whole[TABLE_COLUMNS_MAX]; /* never cut: what people copy */
};

/* Headings; one that begins with '>' is of a column of numbers, one with '=' of a column that is never cut. The list ends with NULL. */
int table_init(struct table *table, const char *const *headings);
void table_fini(struct table *table);

/* Takes one text for every column; all are copied, NULL is an empty cell. -ENOMEM or 0. */
int table_add(struct table *table, const char *const *cells);

/* As the terminal behind out allows: cells are cut with … until a row fits, states have colours. Else plain and whole. */
void table_print(const struct table *table, FILE *out);
void table_print_fitted(const struct table *table, FILE *out, size_t columns, bool colours); /* columns 0 = whole */

/* Texts of at most size bytes. Numbers as JSON writes them but shortened to 6 digits where `brief`; null is "-". */
#define CELL_BYTES 256
const char *text_of(const json_t *value, char *ret, size_t size);
const char *text_of_number(const json_t *value, char *ret, size_t size);
const char *text_of_seconds(double seconds, char *ret, size_t size); /* "3h 12m", "41s" */

/* "lr=2e-05 dropout=0.1", nested ones dotted, constants too; cut with … at size. */
const char *text_of_params(const json_t *params, char *ret, size_t size);
