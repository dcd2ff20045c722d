#include "data/tsv.h"

#include <stdbool.h>
#include <string.h>

#include "common/fs.h"
#include "common/utf8.h"

#define MAX_FILE_BYTES (256u << 20)

int tsv_open(struct tsv *tsv, const char *path, struct error *err) {
        *tsv = (struct tsv){.path = path, .text = BUF_INIT(MAX_FILE_BYTES)};
        int r = fs_read(path, &tsv->text, err);
        if (r < 0)
                return r;
        if (tsv->text.len >= 3 && memcmp(tsv->text.data, "\xef\xbb\xbf", 3) == 0)
                tsv->at = 3;
        if (tsv->at < tsv->text.len)
                return 0;
        tsv_close(tsv);
        return error_set(err, -EINVAL, "%s: empty", path);
}

void tsv_close(struct tsv *tsv) {
        buf_fini(&tsv->text);
}

static void split(struct tsv *tsv, const char *line, size_t len) {
        const char *end = line + len;
        for (tsv->n_columns = 0; tsv->n_columns < TSV_MAX_COLUMNS; tsv->n_columns++) {
                const char *tab = memchr(line, '\t', (size_t)(end - line));
                tsv->columns[tsv->n_columns] = (struct tsv_column){line, (size_t)((tab ? tab : end) - line)};
                if (!tab) {
                        tsv->n_columns++;
                        return;
                }
                line = tab + 1;
        }
}

int tsv_next(struct tsv *tsv, struct error *err) {
        if (tsv->at >= tsv->text.len)
                return 0;
        const char *line = tsv->text.data + tsv->at;
        size_t rest = tsv->text.len - tsv->at;
        const char *end = memchr(line, '\n', rest);
        size_t len = end ? (size_t)(end - line) : rest;
        tsv->at += len + 1;
        tsv->number++;
        if (len > 0 && line[len - 1] == '\r')
                len--;
        size_t valid = utf8_span(line, len);
        if (valid < len)
                return error_set(err, -EINVAL, "%s:%zu: not valid UTF-8 at byte %zu of the line", tsv->path, tsv->number, valid + 1);
        split(tsv, line, len);
        return 1;
}

int tsv_require(const struct tsv *tsv, size_t n_columns, struct error *err) {
        if (tsv->n_columns >= n_columns)
                return 0;
        return error_set(err, -EINVAL, "%s:%zu: %zu column%s, expected %zu separated by tabs", tsv->path, tsv->number, tsv->n_columns,
                         tsv->n_columns == 1 ? "" : "s", n_columns);
}

int tsv_find(const struct tsv *tsv, const char *text) {
        size_t len = strlen(text);
        for (size_t i = 0; i < tsv->n_columns; i++)
                if (tsv->columns[i].len == len && memcmp(tsv->columns[i].text, text, len) == 0)
                        return (int)i;
        return -1;
}

int tsv_shown(const struct tsv_column *column) {
        return column->len < 40 ? (int)column->len : 40;
}
