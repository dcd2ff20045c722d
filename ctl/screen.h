/* What texts take on a terminal, and what the terminal takes. Widths are in columns: wide characters take two, combining ones
 * none (wcwidth, after setlocale). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Columns of the terminal behind out, 0 when it is none: nothing is cut then. */
size_t screen_columns(FILE *out);
size_t screen_rows(FILE *out);

/* A terminal that is not dumb, and NO_COLOR is not set. */
bool screen_has_colours(FILE *out);

/* Of the first character, when terminals obey it instead of showing it; else 0. */
size_t screen_bytes_of_control(const char *text);

/* What somebody else wrote, for people: what terminals would obey becomes spaces, but for ends of lines. */
void screen_write(FILE *out, const char *text, size_t len);
void screen_print(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Its ends of lines become spaces. Returns the text. */
const char *screen_one_line(char *text);

size_t screen_width(const char *text);

/* The first `columns` columns of the text, with … where it was cut. ret: at least 4 bytes. */
const char *screen_fit(const char *text, size_t columns, char *ret, size_t size);

/* An escape sequence that begins a colour, "" for no colour; SCREEN_PLAIN ends it. */
#define SCREEN_PLAIN "\033[0m"
const char *screen_colour_of_state(const char *state);

/* n values as blocks ▁▂▃▄▅▆▇█ between the least and the greatest, at most `columns` of them: neighbours share one by their last. */
#define SPARKLINE_COLUMNS_MAX 120
const char *screen_sparkline(const double *values, size_t n, size_t columns, char *ret, size_t size);

/* "████░░░░" of so many columns. share is 0 … 1. */
const char *screen_bar(double share, size_t columns, char *ret, size_t size);

/* Lines of text; those that are wider than the terminal behind out (columns: of it, 0 = nothing is broken) go on below, indented, at a space. */
void screen_print_wrapped(FILE *out, const char *text, size_t indent, size_t columns);
