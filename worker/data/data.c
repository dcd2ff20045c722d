/* Who says which rows are for evaluation differs: GLUE by file, MSR by a list of id pairs. Rows point into the text of the
 * file, which is kept. */
#include "data/data.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "data/tsv.h"

/* Where a task's columns are in one file. */
struct layout {
        const struct task *task;
        int text_a, text_b, label; /* text_b -1: none */
        size_t n_columns;          /* that a line must have */
};

static const struct task *or_mrpc(const struct task *task) {
        return task ? task : task_find("mrpc");
}

static int place(const struct tsv *tsv, const char *name, int *ret, struct error *err) {
        *ret = tsv_find(tsv, name);
        if (*ret >= 0)
                return 0;
        return error_set(err, -EINVAL, "%s:1: expected the header, which has no column '%s'", tsv->path, name);
}

static int greatest(int a, int b) {
        return a > b ? a : b;
}

/* The header must be one: a file without it would silently lose its first row. */
static int read_layout(struct tsv *tsv, const struct task *task, struct layout *ret, struct error *err) {
        struct layout layout = {.task = task, .text_a = task->text_a_column, .text_b = -1, .label = task->label_column};
        int r = task->has_header ? tsv_next(tsv, err) : 0;
        if (r < 0)
                return r;
        if (task->has_header) {
                r = place(tsv, task->label, &layout.label, err);
                if (r == 0)
                        r = place(tsv, task->text_a, &layout.text_a, err);
                if (r == 0 && task->text_b)
                        r = place(tsv, task->text_b, &layout.text_b, err);
                if (r < 0)
                        return r;
        }
        layout.n_columns = (size_t)greatest(layout.label, greatest(layout.text_a, layout.text_b)) + 1;
        *ret = layout;
        return 0;
}

static int find_label(const struct tsv *tsv, const struct layout *layout, int *ret, struct error *err) {
        const struct tsv_column *column = &tsv->columns[layout->label];
        const struct task *task = layout->task;
        char known[256] = "";
        for (int i = 0; i < task->n_labels; i++) {
                if (strlen(task->labels[i]) == column->len && memcmp(task->labels[i], column->text, column->len) == 0)
                        return *ret = i, 0;
                size_t len = strlen(known);
                snprintf(known + len, sizeof known - len, "%s%s", i == 0 ? "" : i == task->n_labels - 1 ? " or " : ", ", task->labels[i]);
        }
        return error_set(err, -EINVAL, "%s:%zu: label '%.*s' is not %s", tsv->path, tsv->number, tsv_shown(column), column->text, known);
}

/* 1 and the next pair · 0 at the end · -EINVAL. */
static int next_pair(struct tsv *tsv, const struct layout *layout, struct pair *ret, struct error *err) {
        int r, label = 0;
        do {
                r = tsv_next(tsv, err);
        } while (r > 0 && layout->task->skips_short_lines && tsv->n_columns < layout->n_columns);
        if (r <= 0)
                return r;
        r = tsv_require(tsv, layout->n_columns, err);
        if (r == 0)
                r = find_label(tsv, layout, &label, err);
        if (r < 0)
                return r;
        const struct tsv_column *a = &tsv->columns[layout->text_a], *b = layout->text_b < 0 ? NULL : &tsv->columns[layout->text_b];
        *ret = (struct pair){.a = a->text, .a_len = a->len, .b = b ? b->text : NULL, .b_len = b ? b->len : 0, .label = label};
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

int pairs_read(const char *path, const struct task *task, struct pairs *ret, struct error *err) {
        _cleanup_(tsv_close) struct tsv tsv;
        _cleanup_(pairs_fini) struct pairs pairs = {0};
        struct layout layout;
        struct pair pair;
        int r = tsv_open(&tsv, path, err);
        if (r == 0)
                r = read_layout(&tsv, or_mrpc(task), &layout, err);
        while (r == 0 && (r = next_pair(&tsv, &layout, &pair, err)) > 0)
                r = pairs_add(&pairs, &pair, err);
        if (r < 0)
                return r;
        if (pairs.n == 0)
                return error_set(err, -EINVAL, "%s: no pairs after the header", path);
        pairs.text = TAKE(tsv.text.data);
        *ret = pairs;
        pairs = (struct pairs){0};
        return 0;
}

void pairs_fini(struct pairs *pairs) {
        free(pairs->items);
        free(pairs->text);
        *pairs = (struct pairs){0};
}

/* --- MSR -------------------------------------------------------------------------------------------- */

struct id_pair {
        struct tsv_column ids[2];
        size_t line;
        bool seen;
};

static int compare_columns(const struct tsv_column *a, const struct tsv_column *b) {
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

static int read_ids(struct tsv *lines, struct id_list *list, struct error *err) {
        size_t n_lines = 1;
        for (size_t i = 0; i < lines->text.len; i++)
                n_lines += lines->text.data[i] == '\n';
        list->items = calloc(n_lines, sizeof *list->items);
        if (!list->items)
                return error_set(err, -ENOMEM, "out of memory");
        int r;
        while ((r = tsv_next(lines, err)) > 0 && (r = tsv_require(lines, 2, err)) == 0)
                list->items[list->n++] = (struct id_pair){.ids = {lines->columns[0], lines->columns[1]}, .line = lines->number};
        if (r < 0)
                return r;
        qsort(list->items, list->n, sizeof *list->items, compare_ids);
        for (size_t i = 1; i < list->n; i++) {
                const struct tsv_column *pair = list->items[i].ids;
                if (compare_ids(&list->items[i - 1], &list->items[i]) == 0)
                        return error_set(err, -EINVAL, "%s:%zu: pair %.*s %.*s is there twice", lines->path, list->items[i].line,
                                         tsv_shown(&pair[0]), pair[0].text, tsv_shown(&pair[1]), pair[1].text);
        }
        return 0;
}

static int divide(struct tsv *rows, const struct id_list *list, struct dataset *dataset, struct error *err) {
        struct pair pair;
        struct layout layout;
        int r = read_layout(rows, or_mrpc(NULL), &layout, err);
        while (r == 0 && (r = next_pair(rows, &layout, &pair, err)) > 0) {
                struct id_pair key = {.ids = {rows->columns[1], rows->columns[2]}};
                struct id_pair *found = bsearch(&key, list->items, list->n, sizeof key, compare_ids);
                if (found)
                        found->seen = true;
                r = pairs_add(found ? &dataset->dev : &dataset->train, &pair, err);
        }
        return r;
}

/* A list that names what is not there belongs to other data. */
static int check_division(const struct tsv *rows, const struct tsv *ids, const struct id_list *list, const struct dataset *dataset,
                          struct error *err) {
        for (size_t i = 0; i < list->n; i++) {
                const struct tsv_column *pair = list->items[i].ids;
                if (!list->items[i].seen)
                        return error_set(err, -EINVAL, "%s:%zu: pair %.*s %.*s is not in %s", ids->path, list->items[i].line,
                                         tsv_shown(&pair[0]), pair[0].text, tsv_shown(&pair[1]), pair[1].text, rows->path);
        }
        if (dataset->train.n == 0)
                return error_set(err, -EINVAL, "%s: every pair is named in %s, none is left to train on", rows->path, ids->path);
        return 0;
}

static int read_msr(const char *rows_path, const char *ids_path, struct dataset *dataset, struct error *err) {
        _cleanup_(tsv_close) struct tsv rows, ids = {0};
        _cleanup_(cleanup_ids) struct id_list list = {0};
        int r = tsv_open(&rows, rows_path, err);
        if (r == 0)
                r = tsv_open(&ids, ids_path, err);
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
                        r = buf_append(buf, pair->b ? pair->b : "", pair->b_len);
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

static int read_folder(const char *folder, const struct task *task, struct dataset *dataset, struct error *err) {
        _cleanup_free_ char *train = fs_join(folder, "train.tsv");
        _cleanup_free_ char *dev = fs_join(folder, "dev.tsv");
        _cleanup_free_ char *msr = fs_join(folder, "msr_paraphrase_train.txt");
        _cleanup_free_ char *ids = fs_join(folder, "dev_ids.tsv");
        if (!train || !dev || !msr || !ids)
                return error_set(err, -ENOMEM, "out of memory");
        bool is_mrpc = task == task_find("mrpc");
        if (access(train, F_OK) == 0 || access(dev, F_OK) == 0) {
                int r = pairs_read(train, task, &dataset->train, err);
                return r < 0 ? r : pairs_read(dev, task, &dataset->dev, err);
        }
        if (is_mrpc && access(msr, F_OK) == 0)
                return read_msr(msr, ids, dataset, err);
        return error_set(err, -ENOENT, "%s: holds neither train.tsv and dev.tsv%s", folder,
                         is_mrpc ? " nor msr_paraphrase_train.txt and dev_ids.tsv" : "");
}

int dataset_open(const char *folder, const struct task *task, struct dataset **ret, struct error *err) {
        struct dataset *dataset = calloc(1, sizeof *dataset);
        int r = dataset ? read_folder(folder, or_mrpc(task), dataset, err) : error_set(err, -ENOMEM, "out of memory");
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
        pairs_fini(&dataset->train);
        pairs_fini(&dataset->dev);
        free(dataset);
}

/* Whether the first line has a column that only MRPC's has. */
static bool looks_like_mrpc(const char *path) {
        _cleanup_(tsv_close) struct tsv tsv;
        return tsv_open(&tsv, path, NULL) < 0 || tsv_next(&tsv, NULL) <= 0 || tsv_find(&tsv, or_mrpc(NULL)->label) >= 0;
}

int dataset_fingerprint(const char *folder, char ret[static DIGEST_HEX_SIZE], struct error *err) {
        _cleanup_free_ char *train = fs_join(folder, "train.tsv");
        _cleanup_free_ char *dev = fs_join(folder, "dev.tsv");
        char digests[2][DIGEST_HEX_SIZE];
        struct dataset *dataset = NULL;
        if (!train || !dev)
                return error_set(err, -ENOMEM, "out of memory");
        if (access(train, F_OK) < 0 || looks_like_mrpc(train)) {
                int r = dataset_open(folder, NULL, &dataset, err);
                if (r == 0)
                        memcpy(ret, dataset->sha256, DIGEST_HEX_SIZE);
                dataset_free(dataset);
                return r;
        }
        int r = digest_file(train, digests[0], err);
        if (r == 0)
                r = digest_file(dev, digests[1], err);
        if (r == 0)
                digest_bytes((const char *)digests, sizeof digests, ret);
        return r;
}
