/* A document that people read, as HTML or Markdown, from one sequence of calls. Errors stick: r is checked once at the end.
 * All text is escaped; nothing that a user wrote can become markup. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

struct page {
        struct buf *out; /* borrowed */
        bool is_html;
        int r; /* 0, or the first error */
        bool is_head; /* inside a table: the next row is its first */
};

void page_begin(struct page *page, const char *title);
void page_end(struct page *page);
void page_heading(struct page *page, int level, const char *text);
void page_text(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3))); /* a paragraph */
void page_item(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3))); /* of a list */
void page_table(struct page *page);
void page_row(struct page *page, const char *const *cells, size_t n); /* the first row of a table holds the headings */
void page_table_end(struct page *page);
void page_code(struct page *page, const char *text);
/* svg: a whole <svg> element. Markdown gets it as an image that holds its data. */
void page_figure(struct page *page, const char *svg, const char *caption);
