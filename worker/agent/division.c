#include "agent/division.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "proto/limits.h"

#define NEARLY_BEST 0.97
#define GROWTH 1.15 /* of memory after the few steps that were measured: the largest batch is still to come */
#define KEPT_MAX 16
#define FILE_BYTES_MAX (256u << 10)

size_t division_list(unsigned cores, unsigned slots, unsigned threads, struct division ret[static DIVISION_MAX]) {
        size_t n = 0;
        cores = cores ? cores : 1;
        if (slots > 0) {
                unsigned each = cores / slots ? cores / slots : 1;
                ret[0] = (struct division){.slots = slots, .threads = threads ? threads : each};
                return 1;
        }
        if (threads > 0) {
                unsigned most = cores / threads ? cores / threads : 1;
                for (unsigned s = 1; n < DIVISION_MAX && s <= LIMIT_SLOTS; s = s < most && 2 * s > most ? most : 2 * s) {
                        ret[n++] = (struct division){.slots = s, .threads = threads};
                        if (s >= most)
                                break;
                }
                return n;
        }
        for (unsigned each = cores; n < DIVISION_MAX && each > 0 && cores / each <= LIMIT_SLOTS; each /= 2)
                ret[n++] = (struct division){.slots = cores / each, .threads = each};
        return n;
}

double division_needs_mib(const struct division *division) {
        return division->slots * division->memory_mib * GROWTH;
}

const struct division *division_best(const struct division *divisions, size_t n, double room_mib) {
        double most = 0;
        for (size_t i = 0; i < n; i++)
                if (division_needs_mib(&divisions[i]) <= room_mib && divisions[i].tokens_per_s > most)
                        most = divisions[i].tokens_per_s;
        for (size_t i = 0; most > 0 && i < n; i++)
                if (division_needs_mib(&divisions[i]) <= room_mib && divisions[i].tokens_per_s >= NEARLY_BEST * most)
                        return &divisions[i];
        return NULL;
}

json_t *division_to_json(const struct division *divisions, size_t n) {
        json_t *splits = json_array();
        for (size_t i = 0; splits && i < n; i++)
                if (divisions[i].tokens_per_s > 0)
                        json_array_append_new(splits, json_pack("{s:i, s:i, s:f, s:f}", "slots", (int)divisions[i].slots, "threads",
                                                                (int)divisions[i].threads, "tokens_per_s", divisions[i].tokens_per_s,
                                                                "memory_mib", divisions[i].memory_mib));
        return splits;
}

/* An empty array when there is no file, or none that can be read: it is only a memory. */
static json_t *read_file(const char *path) {
        _cleanup_buf_ struct buf text = BUF_INIT(FILE_BYTES_MAX);
        json_t *entries = NULL;
        if (fs_read(path, &text, NULL) < 0 || json_read(text.data, text.len, &entries, NULL) < 0 || !json_is_array(entries)) {
                json_decref(entries);
                return json_array();
        }
        return entries;
}

static void take_split(const json_t *split, struct division *divisions, size_t n) {
        for (size_t i = 0; i < n; i++) {
                double tokens_per_s = json_number_value(json_object_get(split, "tokens_per_s"));
                double memory_mib = json_number_value(json_object_get(split, "memory_mib"));
                if (json_integer_value(json_object_get(split, "slots")) != divisions[i].slots ||
                    json_integer_value(json_object_get(split, "threads")) != divisions[i].threads || !(tokens_per_s > 0) || !(memory_mib >= 0))
                        continue;
                divisions[i].tokens_per_s = tokens_per_s;
                divisions[i].memory_mib = memory_mib;
        }
}

void division_recall(const char *path, const json_t *key, struct division *divisions, size_t n) {
        _cleanup_json_ json_t *entries = read_file(path);
        size_t i, j;
        json_t *entry, *split;
        json_array_foreach(entries, i, entry) {
                if (!json_equal(json_object_get(entry, "key"), key))
                        continue;
                json_array_foreach(json_object_get(entry, "splits"), j, split)
                        take_split(split, divisions, n);
                return;
        }
}

static bool is_among(const json_t *split, const struct division *divisions, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (json_integer_value(json_object_get(split, "slots")) == divisions[i].slots &&
                    json_integer_value(json_object_get(split, "threads")) == divisions[i].threads)
                        return true;
        return false;
}

int division_remember(const char *path, const json_t *key, const struct division *divisions, size_t n, struct error *err) {
        _cleanup_json_ json_t *before = read_file(path), *entries = json_array(), *splits = division_to_json(divisions, n);
        size_t i, j;
        json_t *entry, *split;
        json_array_foreach(before, i, entry) {
                if (!json_equal(json_object_get(entry, "key"), key)) {
                        if (json_array_size(entries) < KEPT_MAX - 1)
                                json_array_append(entries, entry);
                        continue;
                }
                json_array_foreach(json_object_get(entry, "splits"), j, split) /* measured for another wish */
                        if (!is_among(split, divisions, n) && json_array_size(splits) < 4 * DIVISION_MAX)
                                json_array_append(splits, split);
        }
        json_array_insert_new(entries, 0, json_pack("{s:O, s:O}", "key", key, "splits", splits));
        _cleanup_free_ char *text = entries ? json_text(entries) : NULL;
        return text ? fs_write_atomic(path, text, strlen(text), 0600, err) : error_set(err, -ENOMEM, "out of memory");
}
