/* Where each value of a document was written: RFC 6901 pointer → line, for faults that people can find in their file. */
#pragma once
#include <stddef.h>

struct line_map {
        struct line {
                char *pointer;
                unsigned number; /* from 1 */
        } * items;
        size_t n, cap;
};

void line_map_fini(struct line_map *map);
int line_map_add(struct line_map *map, const char *pointer, unsigned number); /* -ENOMEM or 0 */

/* The line of the pointer, or of the nearest thing around it; 0 when nothing is known. */
unsigned line_map_find(const struct line_map *map, const char *pointer);
