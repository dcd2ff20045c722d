/* YAML in, JSON out. Reads YAML 1.1 as PyYAML does, because W&B sweep files are written for it, except where that is a trap:
 *
 *   1e-5, 1E5          numbers (PyYAML reads them as strings for want of a dot or a sign)
 *   "1e-5"             stays a string, with a warning: where a parameter is meant, the quotes are probably a mistake
 *   yes, on, True      booleans, as in PyYAML
 *   5 and 5.0          an integer and a real: int_uniform or uniform hang on it
 *   a repeated key     an error that names both lines (PyYAML takes the last)
 *   .inf, .nan         errors: JSON has no such numbers
 *
 * Anchors, aliases and merge keys (<<) work, up to a size that no honest file reaches. One document, scalar keys. */
#pragma once
#include <jansson.h>
#include <stddef.h>

#include "common/error.h"
#include "lines.h"

#define YAML_DEPTH_MAX 64
#define YAML_NODES_MAX 100000 /* after aliases were followed */
#define YAML_WARNINGS_MAX 20

struct yaml_notes {
        struct line_map lines;
        char *warnings[YAML_WARNINGS_MAX]; /* "line 7: …" */
        size_t n_warnings;
};

void yaml_notes_fini(struct yaml_notes *notes);

/* New reference in *ret; notes must be zeroed and are to be freed either way. -EINVAL with the line in err. */
int yaml_read(const char *text, size_t len, json_t **ret, struct yaml_notes *notes, struct error *err);
