#include "lines.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void line_map_fini(struct line_map *map) {
        for (size_t i = 0; i < map->n; i++)
                free(map->items[i].pointer);
        free(map->items);
        *map = (struct line_map){0};
}

int line_map_add(struct line_map *map, const char *pointer, unsigned number) {
        if (map->n == map->cap) {
                size_t cap = map->cap ? 2 * map->cap : 64;
                struct line *items = reallocarray(map->items, cap, sizeof *items);
                if (!items)
                        return -ENOMEM;
                map->items = items;
                map->cap = cap;
        }
        char *copy = strdup(pointer);
        if (!copy)
                return -ENOMEM;
        map->items[map->n++] = (struct line){copy, number};
        return 0;
}

unsigned line_map_find(const struct line_map *map, const char *pointer) {
        size_t len = strlen(pointer);
        while (true) {
                for (size_t i = 0; i < map->n; i++)
                        if (strlen(map->items[i].pointer) == len && strncmp(map->items[i].pointer, pointer, len) == 0)
                                return map->items[i].number;
                if (len == 0)
                        return 0;
                while (len > 0 && pointer[--len] != '/')
                        ;
        }
}
