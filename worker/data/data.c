/* Both forms have the same five columns (label, two ids, two sentences); they differ in who says which rows are for
 * evaluation: GLUE by file, MSR by a list of id pairs. Rows point into the text of the file, which is kept. */
#include "data/data.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/utf8.h"

#define MAX_FILE_BYTES (256u << 20)
#define MAX_COLUMNS 5

struct column {
        const char *text;
        size_t len;
};

/* One file, line by line. */
struct lines {
        const char *path;
        struct buf text;
        size_t at, number;
        struct column columns[MAX_COLUMNS];
        size_t n_columns; /* at most MAX_COLUMNS; the rest of a longer line is not looked at */
};

static int lines_open(struct lines *lines, const char *path, struct error *err) {
        *lines = (struct lines){.path = path, .text = BUF_INIT(MAX_FILE_BYTES)};
        int r = fs_read(path, &lines->text, err);
        if (r < 0)
                return r;
        if (lines->text.len >= 3 && memcmp(lines->text.data, "\xef\xbb\xbf", 3) == 0)
                lines->at = 3;
        return lines->at < lines->text.len ? 0 : error_set(err, -EINVAL, "%s: empty", path);
}

static void lines_close(struct lines *lines) {
        buf_fini(&lines->text);
}

static void split(struct lines *lines, const char *line, size_t len) {
        const char *end = line + len;
        for (lines->n_columns = 0; lines->n_columns < MAX_COLUMNS; lines->n_columns++) {
                const char *tab = memchr(line, '\t', (size_t)(end - line));
                lines->columns[lines->n_columns] = (struct column){line, (size_t)((tab ? tab : end) - line)};
                if (!tab) {
                        lines->n_columns++;
                        return;
                }
                line = tab + 1;
        }
}

/* 1 and the columns of the next line · 0 at the end · -EINVAL. */
static int lines_next(struct lines *lines, size_t n_columns, struct error *err) {
        if (lines->at >= lines->text.len)
                return 0;
        const char *line = lines->text.data + lines->at;
        size_t rest = lines->text.len - lines->at;
        const char *end = memchr(line, '\n', rest);
        size_t len = end ? (size_t)(end - line) : rest;
        lines->at += len + 1;
        lines->number++;
        if (len > 0 && line[len - 1] == '\r')
                len--;
        size_t valid = utf8_span(line, len);
        if (valid < len)
                return error_set(err, -EINVAL, "%s:%zu: not valid UTF-8 at byte %zu of the line", lines->path, lines->number, valid + 1);
        split(lines, line, len);
        if (lines->n_columns < n_columns)
                return error_set(err, -EINVAL, "%s:%zu: %zu column%s, expected %zu separated by tabs", lines->path, lines->number,
                                 lines->n_columns, lines->n_columns == 1 ? "" : "s", n_columns);
        return 1;
}

/* How much of a column an error message quotes. */
static int shown(const struct column *column) {
        return column->len < 40 ? (int)column->len : 40;
}

static bool is_label(const struct column *column) {
        return column->len == 1 && (*column->text == '0' || *column->text == '1');
}

/* The header must be one: a file without it would silently lose its first pair. */
static int skip_header(struct lines *lines, struct error *err) {
        int r = lines_next(lines, MAX_COLUMNS, err);
        if (r > 0 && is_label(&lines->columns[0]))
                return error_set(err, -EINVAL, "%s:1: expected the header (Quality, #1 ID, …), found a pair", lines->path);
        return r < 0 ? r : 0;
}

/* 1 and the next pair · 0 at the end · -EINVAL. */
static int next_pair(struct lines *lines, struct pair *ret, struct error *err) {
        int r = lines_next(lines, MAX_COLUMNS, err);
        if (r <= 0)
                return r;
        const struct column *columns = lines->columns;
        if (!is_label(&columns[0]))
                return error_set(err, -EINVAL, "%s:%zu: label '%.*s' is not 0 or 1", lines->path, lines->number, shown(&columns[0]),
                                 columns[0].text);
        *ret = (struct pair){.a = columns[3].text,
                             .a_len = columns[3].len,
                             .b = columns[4].text,
                             .b_len = columns[4].len,
                             .label = *columns[0].text - '0'};
        return 1;
}

static int pairs_add(struct pairs *pairs, const struct pair *pair, struct error *err) {
        bool full = pairs->n == 0 || (pairs->n >= 256 && (pairs->n & (pairs->n - 1)) == 0);
        if (full) {
                struct pair *items = reallocarray(pairs->items, pairs->n ? 2 * pairs->n : 256, sizeof *items);
                if (!items)
                        return error_set(err, -ENOMEM, "out of memory");
                pairs->items = items;
        }
        pairs->items[pairs->n++] = *pair;
        return 0;
}

/* --- GLUE ------------------------------------------------------------------------------------------- */

static int read_glue_file(const char *path, struct pairs *pairs, struct error *err) {
        _cleanup_(lines_close) struct lines lines;
        struct pair pair;
        int r = lines_open(&lines, path, err);
        if (r == 0)
                r = skip_header(&lines, err);
        if (r < 0)
                return r;
        while ((r = next_pair(&lines, &pair, err)) > 0) {
                r = pairs_add(pairs, &pair, err);
                if (r < 0)
                        return r;
        }
        if (r == 0 && pairs->n == 0)
                return error_set(err, -EINVAL, "%s: no pairs after the header", path);
        pairs->text = TAKE(lines.text.data);
        return r;
}

static int read_glue(const char *train, const char *dev, struct dataset *dataset, struct error *err) {
        int r = read_glue_file(train, &dataset->train, err);
        return r < 0 ? r : read_glue_file(dev, &dataset->dev, err);
}

/* --- MSR -------------------------------------------------------------------------------------------- */

struct id_pair {
        struct column ids[2];
        size_t line;
        bool seen;
};

static int compare_columns(const struct column *a, const struct column *b) {
        int order = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
        return order ? order : (a->len > b->len) - (a->len < b->len);
}

static int compare_ids(const void *a, const void *b) {
        const struct id_pair *x = a, *y = b;
        int order = compare_columns(&x->ids[0], &y->ids[0]);
        return order ? order : compare_columns(&x->ids[1], &y->ids[1]);
}

struct id_list {
        struct id_pair *items; /* sorted */
        size_t n;
};

static void cleanup_ids(struct id_list *list) {
        free(list->items);
}

static int read_ids(struct lines *lines, struct id_list *list, struct error *err) {
        size_t n_lines = 1;
        for (size_t i = 0; i < lines->text.len; i++)
                n_lines += lines->text.data[i] == '\n';
        list->items = calloc(n_lines, sizeof *list->items);
        if (!list->items)
                return error_set(err, -ENOMEM, "out of memory");
        int r;
        while ((r = lines_next(lines, 2, err)) > 0)
                list->items[list->n++] = (struct id_pair){.ids = {lines->columns[0], lines->columns[1]}, .line = lines->number};
        if (r < 0)
                return r;
        qsort(list->items, list->n, sizeof *list->items, compare_ids);
        for (size_t i = 1; i < list->n; i++) {
                const struct column *pair = list->items[i].ids;
                if (compare_ids(&list->items[i - 1], &list->items[i]) == 0)
                        return error_set(err, -EINVAL, "%s:%zu: pair %.*s %.*s is there twice", lines->path, list->items[i].line,
                                         shown(&pair[0]), pair[0].text, shown(&pair[1]), pair[1].text);
        }
        return 0;
}

static int divide(struct lines *rows, const struct id_list *list, struct dataset *dataset, struct error *err) {
        struct pair pair;
        int r = skip_header(rows, err);
        while (r == 0 && (r = next_pair(rows, &pair, err)) > 0) {
                struct id_pair key = {.ids = {rows->columns[1], rows->columns[2]}};
                struct id_pair *found = bsearch(&key, list->items, list->n, sizeof key, compare_ids);
                if (found)
                        found->seen = true;
                r = pairs_add(found ? &dataset->dev : &dataset->train, &pair, err);
        }
        return r;
}

/* A list that names what is not there belongs to other data. */
static int check_division(const struct lines *rows, const struct lines *ids, const struct id_list *list, const struct dataset *dataset,
                          struct error *err) {
        for (size_t i = 0; i < list->n; i++) {
                const struct column *pair = list->items[i].ids;
                if (!list->items[i].seen)
                        return error_set(err, -EINVAL, "%s:%zu: pair %.*s %.*s is not in %s", ids->path, list->items[i].line,
                                         shown(&pair[0]), pair[0].text, shown(&pair[1]), pair[1].text, rows->path);
        }
        if (dataset->train.n == 0)
                return error_set(err, -EINVAL, "%s: every pair is named in %s, none is left to train on", rows->path, ids->path);
        return 0;
}

static int read_msr(const char *rows_path, const char *ids_path, struct dataset *dataset, struct error *err) {
        _cleanup_(lines_close) struct lines rows, ids = {0};
        _cleanup_(cleanup_ids) struct id_list list = {0};
        int r = lines_open(&rows, rows_path, err);
        if (r == 0)
                r = lines_open(&ids, ids_path, err);
        if (r == 0)
                r = read_ids(&ids, &list, err);
        if (r == 0)
                r = divide(&rows, &list, dataset, err);
        if (r == 0)
                r = check_division(&rows, &ids, &list, dataset, err);
        if (r == 0)
                dataset->train.text = TAKE(rows.text.data); /* the pairs of dev point into it too */
        return r;
}

/* --- both ------------------------------------------------------------------------------------------- */

static int append_pairs(const struct pairs *pairs, const char *name, struct buf *buf) {
        int r = buf_printf(buf, "%s\n", name);
        for (size_t i = 0; r == 0 && i < pairs->n; i++) {
                const struct pair *pair = &pairs->items[i];
                r = buf_printf(buf, "%d\t", pair->label);
                if (r == 0)
                        r = buf_append(buf, pair->a, pair->a_len);
                if (r == 0)
                        r = buf_puts(buf, "\t");
                if (r == 0)
                        r = buf_append(buf, pair->b, pair->b_len);
                if (r == 0)
                        r = buf_puts(buf, "\n");
        }
        return r;
}

/* Columns hold no tab and no line end, so different data never make the same bytes. */
static int fingerprint(struct dataset *dataset, struct error *err) {
        _cleanup_buf_ struct buf buf = BUF_INIT(0);
        if (append_pairs(&dataset->train, "train", &buf) < 0 || append_pairs(&dataset->dev, "dev", &buf) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        digest_bytes(buf.data, buf.len, dataset->sha256);
        return 0;
}

static int read_folder(const char *folder, struct dataset *dataset, struct error *err) {
        _cleanup_free_ char *train = fs_join(folder, "train.tsv");
        _cleanup_free_ char *dev = fs_join(folder, "dev.tsv");
        _cleanup_free_ char *msr = fs_join(folder, "msr_paraphrase_train.txt");
        _cleanup_free_ char *ids = fs_join(folder, "dev_ids.tsv");
        if (!train || !dev || !msr || !ids)
                return error_set(err, -ENOMEM, "out of memory");
        if (access(train, F_OK) == 0 || access(dev, F_OK) == 0)
                return read_glue(train, dev, dataset, err);
        if (access(msr, F_OK) == 0)
                return read_msr(msr, ids, dataset, err);
        return error_set(err, -ENOENT, "%s: holds neither train.tsv and dev.tsv nor msr_paraphrase_train.txt and dev_ids.tsv", folder);
}

int dataset_open(const char *folder, struct dataset **ret, struct error *err) {
        struct dataset *dataset = calloc(1, sizeof *dataset);
        int r = dataset ? read_folder(folder, dataset, err) : error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = fingerprint(dataset, err);
        if (r < 0) {
                dataset_free(dataset);
                return r;
        }
        *ret = dataset;
        return 0;
}

void dataset_free(struct dataset *dataset) {
        if (!dataset)
                return;
        free(dataset->train.items);
        free(dataset->train.text);
        free(dataset->dev.items);
        free(dataset->dev.text);
        free(dataset);
}
