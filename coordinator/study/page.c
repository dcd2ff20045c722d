#include "study/page.h"

#include <errno.h>
#include <nettle/base64.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

static const char style[] =
        "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}"
        "h1,h2,h3{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid #ddd}table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}"
        "th,td{padding:.25rem .75rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}th{background:#f4f4f4}"
        "pre{background:#f4f4f4;padding:1rem;overflow-x:auto}figure{margin:1.5rem 0}figcaption{color:#555}svg{max-width:100%;height:auto}"
        "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,pre{background:#262626}"
        "h2,th,td{border-color:#444}figcaption{color:#aaa}svg{background:#fff}}";

static void put(struct page *page, const char *text) {
        if (page->r == 0)
                page->r = buf_puts(page->out, text);
}

/* The characters that mean something where text stands: in HTML, and in Markdown tables and paragraphs. */
static void put_escaped(struct page *page, const char *text) {
        for (; *text && page->r == 0; text++) {
                char c = *text;
                const char *entity = c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' && page->is_html ? "&quot;" : NULL;
                if (entity)
                        put(page, entity);
                else if (!page->is_html && strchr("\\`*[]|", c))
                        page->r = buf_printf(page->out, "\\%c", c);
                else
                        page->r = buf_append(page->out, (unsigned char)c < ' ' ? " " : &c, 1);
        }
}

void page_begin(struct page *page, const char *title) {
        if (page->is_html) {
                put(page, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
                put_escaped(page, title);
                put(page, "</title><style>");
                put(page, style);
                put(page, "</style></head><body>\n");
        }
        page_heading(page, 1, title);
}

void page_end(struct page *page) {
        if (page->is_html)
                put(page, "</body></html>\n");
}

void page_heading(struct page *page, int level, const char *text) {
        char mark[8];
        if (page->is_html)
                snprintf(mark, sizeof mark, "<h%d>", level);
        else
                snprintf(mark, sizeof mark, "%.*s ", level, "######");
        put(page, page->is_html ? "" : "\n");
        put(page, mark);
        put_escaped(page, text);
        snprintf(mark, sizeof mark, "</h%d>", level);
        put(page, page->is_html ? mark : "\n");
        put(page, "\n");
}

static void put_formatted(struct page *page, const char *format, va_list arguments) {
        _cleanup_free_ char *text = NULL;
        if (vasprintf(&text, format, arguments) < 0)
                page->r = -ENOMEM;
        else
                put_escaped(page, text);
}

void page_text(struct page *page, const char *format, ...) {
        va_list arguments;
        put(page, page->is_html ? "<p>" : "");
        va_start(arguments, format);
        put_formatted(page, format, arguments);
        va_end(arguments);
        put(page, page->is_html ? "</p>\n" : "\n\n");
}

void page_item(struct page *page, const char *format, ...) {
        va_list arguments;
        put(page, page->is_html ? "<ul><li>" : "- ");
        va_start(arguments, format);
        put_formatted(page, format, arguments);
        va_end(arguments);
        put(page, page->is_html ? "</li></ul>\n" : "\n");
}

void page_table(struct page *page) {
        page->is_head = true;
        put(page, page->is_html ? "<table>\n" : "\n");
}

void page_row(struct page *page, const char *const *cells, size_t n) {
        put(page, page->is_html ? "<tr>" : "|");
        for (size_t i = 0; i < n; i++) {
                put(page, !page->is_html ? " " : page->is_head ? "<th>" : "<td>");
                put_escaped(page, cells[i]);
                put(page, !page->is_html ? " |" : page->is_head ? "</th>" : "</td>");
        }
        put(page, page->is_html ? "</tr>\n" : "\n");
        if (page->is_head && !page->is_html) {
                put(page, "|");
                for (size_t i = 0; i < n; i++)
                        put(page, "---|");
                put(page, "\n");
        }
        page->is_head = false;
}

void page_table_end(struct page *page) {
        put(page, page->is_html ? "</table>\n" : "\n");
}

void page_code(struct page *page, const char *text) {
        if (page->is_html) {
                put(page, "<pre>");
                for (const char *end; *text; text = *end ? end + 1 : end) { /* line by line: escaping turns breaks into spaces */
                        _cleanup_free_ char *line = strndup(text, (size_t)((end = strchrnul(text, '\n')) - text));
                        put_escaped(page, line ? line : "");
                        put(page, "\n");
                }
                put(page, "</pre>\n");
                return;
        }
        for (const char *end; *text; text = *end ? end + 1 : end) { /* indented: no fence that text could close */
                _cleanup_free_ char *line = strndup(text, (size_t)((end = strchrnul(text, '\n')) - text));
                put(page, "    ");
                put(page, line ? line : "");
                put(page, "\n");
        }
        put(page, "\n");
}

void page_figure(struct page *page, const char *svg, const char *caption) {
        if (page->is_html) {
                put(page, "<figure>");
                put(page, svg);
                put(page, "<figcaption>");
                put_escaped(page, caption);
                put(page, "</figcaption></figure>\n");
                return;
        }
        size_t len = strlen(svg);
        _cleanup_free_ char *encoded = malloc(BASE64_ENCODE_RAW_LENGTH(len) + 1);
        if (!encoded) {
                page->r = -ENOMEM;
                return;
        }
        base64_encode_raw(encoded, len, (const uint8_t *)svg);
        encoded[BASE64_ENCODE_RAW_LENGTH(len)] = 0;
        put(page, "![");
        put_escaped(page, caption);
        put(page, "](data:image/svg+xml;base64,");
        put(page, encoded);
        put(page, ")\n\n");
        put_escaped(page, caption);
        put(page, "\n\n");
}
