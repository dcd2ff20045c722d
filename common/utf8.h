/* UTF-8 (RFC 3629), strictly: no overlong forms, no surrogates, nothing past U+10FFFF. U+0000 is a character. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* The first code point of text into *ret; returns its 1 … 4 bytes. -EILSEQ when it is malformed or cut off (len 0 too). */
int utf8_decode(const char *text, size_t len, uint32_t *ret);

/* How many leading bytes are well-formed: len when all are. */
size_t utf8_span(const char *text, size_t len);

/* As much of text as fits into size bytes (at least 1) with the NUL, cut between characters. */
void utf8_copy(char *ret, size_t size, const char *text);
