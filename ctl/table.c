#include "table.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "screen.h"

int table_init(struct table *table, const char *const *headings) {
        const char *texts[TABLE_COLUMNS_MAX];
        *table = (struct table){0};
        for (; headings[table->n_columns] && table->n_columns < TABLE_COLUMNS_MAX; table->n_columns++) {
                const char *heading = headings[table->n_columns];
                table->right[table->n_columns] = *heading == '>';
                table->whole[table->n_columns] = *heading == '=';
                texts[table->n_columns] = heading + (*heading == '>' || *heading == '=');
        }
        return table_add(table, texts);
}

void table_fini(struct table *table) {
        for (size_t i = 0; i < table->n_rows * table->n_columns; i++)
                free(table->cells[i]);
        free(table->cells);
        *table = (struct table){0};
}

int table_add(struct table *table, const char *const *texts) {
        size_t used = table->n_rows * table->n_columns;
        char **cells = reallocarray(table->cells, used + table->n_columns, sizeof *cells);
        if (!cells)
                return -ENOMEM;
        table->cells = cells;
        for (size_t i = 0; i < table->n_columns; i++) {
                cells[used + i] = strdup(texts[i] ? texts[i] : "");
                if (!cells[used + i]) {
                        while (i-- > 0)
                                free(cells[used + i]);
                        return -ENOMEM;
                }
        }
        table->n_rows++;
        return 0;
}

#define GAP 2
#define CUT_TO 6 /* columns that a cell keeps at least */

/* Takes columns from the widest texts until a row fits. */
static void narrow(const struct table *table, size_t widths[static TABLE_COLUMNS_MAX], size_t columns) {
        size_t total = (table->n_columns - 1) * GAP;
        for (size_t i = 0; i < table->n_columns; i++)
                total += widths[i];
        while (total > columns) {
                size_t widest = TABLE_COLUMNS_MAX;
                for (size_t i = 0; i < table->n_columns; i++)
                        if (!table->right[i] && !table->whole[i] && widths[i] > CUT_TO && (widest == TABLE_COLUMNS_MAX || widths[i] > widths[widest]))
                                widest = i;
                if (widest == TABLE_COLUMNS_MAX)
                        return;
                widths[widest]--;
                total--;
        }
}

void table_print_fitted(const struct table *table, FILE *out, size_t columns, bool colours) {
        size_t widths[TABLE_COLUMNS_MAX] = {0};
        for (size_t i = 0; i < table->n_rows * table->n_columns; i++) {
                size_t n = screen_width(table->cells[i]);
                if (n > widths[i % table->n_columns])
                        widths[i % table->n_columns] = n;
        }
        if (columns > 0)
                narrow(table, widths, columns);
        for (size_t row = 0; row < table->n_rows; row++) {
                for (size_t column = 0; column < table->n_columns; column++) {
                        const char *text = table->cells[row * table->n_columns + column], *colour = "";
                        _cleanup_free_ char *cut = NULL;
                        if (screen_width(text) > widths[column] && (cut = malloc(strlen(text) + 4)))
                                text = screen_fit(text, widths[column], cut, strlen(text) + 4);
                        if (colours)
                                colour = row == 0 ? "\033[1m" : strcmp(table->cells[column], "STATE") == 0 ? screen_colour_of_state(text) : "";
                        size_t taken = screen_width(text);
                        int room = taken < widths[column] ? (int)(widths[column] - taken) : 0;
                        bool last = column + 1 == table->n_columns;
                        const char *end = *colour ? SCREEN_PLAIN : "";
                        fprintf(out, "%*s%s", table->right[column] ? room : 0, "", colour);
                        screen_write(out, text, strlen(text));
                        fprintf(out, "%s%*s%s", end, table->right[column] || last ? 0 : room, "", last ? "\n" : "  ");
                }
        }
}

void table_print(const struct table *table, FILE *out) {
        table_print_fitted(table, out, screen_columns(out), screen_has_colours(out));
}

/* Control characters of names and error texts become spaces. Cuts at whole characters. */
static const char *clean(const char *text, char *ret, size_t size) {
        size_t n = 0;
        for (size_t bytes; *text && n + 4 < size; text += bytes ? bytes : 1) {
                bytes = screen_bytes_of_control(text);
                ret[n++] = bytes ? ' ' : *text;
        }
        if (*text) {
                while (n > 0 && ((unsigned char)*text & 0xc0) == 0x80)
                        text = &ret[--n];
                memcpy(ret + n, "…", 3);
                n += 3;
        }
        ret[n] = 0;
        return ret;
}

const char *text_of(const json_t *value, char *ret, size_t size) {
        if (!value || json_is_null(value))
                return clean("-", ret, size);
        if (json_is_string(value))
                return clean(json_string_value(value), ret, size);
        _cleanup_free_ char *text = json_text(value);
        return clean(text ? text : "?", ret, size);
}

const char *text_of_number(const json_t *value, char *ret, size_t size) {
        if (!json_is_real(value))
                return text_of(value, ret, size);
        snprintf(ret, size, "%.6g", json_real_value(value));
        return ret;
}

const char *text_of_seconds(double seconds, char *ret, size_t size) {
        if (!(seconds >= 0) || seconds > 1e9)
                return clean("-", ret, size);
        unsigned long s = (unsigned long)(seconds + 0.5);
        if (s >= 86400)
                snprintf(ret, size, "%lud %luh", s / 86400, s / 3600 % 24);
        else if (s >= 3600)
                snprintf(ret, size, "%luh %lum", s / 3600, s / 60 % 60);
        else if (s >= 60)
                snprintf(ret, size, "%lum %lus", s / 60, s % 60);
        else
                snprintf(ret, size, "%lus", s);
        return ret;
}

static void add_params(const json_t *params, const char *prefix, char *ret, size_t size) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)params, key, value) {
                char name[CELL_BYTES], text[CELL_BYTES];
                snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
                if (json_is_object(value) && json_object_size(value) > 0) {
                        add_params(value, name, ret, size);
                        continue;
                }
                size_t n = strlen(ret);
                snprintf(ret + n, size - n, "%s%s=%s", n ? " " : "", name, text_of_number(value, text, sizeof text));
        }
}

const char *text_of_params(const json_t *params, char *ret, size_t size) {
        char all[4096] = "";
        add_params(params, "", all, sizeof all);
        return clean(all, ret, size);
}
