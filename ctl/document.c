#include "document.h"

#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "screen.h"

void document_fini(struct document *document) {
        json_decref(document->value);
        yaml_notes_fini(&document->notes);
        *document = (struct document){0};
}

static int read_stdin(struct buf *buf, struct error *err) {
        char piece[8192];
        size_t n;
        while ((n = fread(piece, 1, sizeof piece, stdin)) > 0) {
                int r = buf_append(buf, piece, n);
                if (r < 0)
                        return error_set(err, r, r == -EFBIG ? "standard input is larger than %zu bytes" : "out of memory reading standard input", buf->max);
        }
        return ferror(stdin) ? error_set(err, -EIO, "cannot read standard input") : 0;
}

static bool is_named_json(const char *path) {
        size_t len = strlen(path);
        return len > 5 && strcmp(path + len - 5, ".json") == 0;
}

int document_read(const char *path, size_t max_bytes, struct document *ret, struct error *err) {
        _cleanup_buf_ struct buf text = BUF_INIT(max_bytes);
        bool is_stdin = strcmp(path, "-") == 0;
        *ret = (struct document){.name = is_stdin ? "standard input" : path};
        int r = is_stdin ? read_stdin(&text, err) : fs_read(path, &text, err);
        if (r < 0)
                return r;
        const char *data = text.data ? text.data : "";
        struct error json_err;
        r = json_read(data, text.len, &ret->value, &json_err);
        if (r < 0 && is_named_json(path))
                return error_set(err, r, "%s: %s", ret->name, json_err.text);
        if (r < 0) {
                struct error yaml_err = {0};
                r = yaml_read(data, text.len, &ret->value, &ret->notes, &yaml_err);
                char first = data[strspn(data, " \t\r\n")];
                if (r < 0)
                        error_set(err, r, first == '{' || first == '[' ? "%s: %s (and as JSON: %s)" : "%s: %s", ret->name, yaml_err.text, json_err.text);
        }
        return r;
}

void document_print_fault(const struct document *document, const char *pointer, const char *detail, FILE *out) {
        size_t wrapped = document && document->wrapped_in ? strlen(document->wrapped_in) : 0;
        if (wrapped > 0 && strncmp(pointer, document->wrapped_in, wrapped) == 0)
                pointer += wrapped;
        unsigned line = document ? line_map_find(&document->notes.lines, pointer) : 0;
        if (line > 0)
                fprintf(out, "%s:%u: ", document->name, line);
        else
                fprintf(out, "  ");
        screen_print(out, "%s%s%s\n", pointer, *pointer ? ": " : "", detail);
}

void document_print_warnings(const struct document *document, FILE *out) {
        for (size_t i = 0; i < document->notes.n_warnings; i++)
                fprintf(out, "%s: warning: %s\n", document->name, document->notes.warnings[i]);
}
