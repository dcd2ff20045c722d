/* A file that a person wrote, as JSON or YAML, and its faults told back by line. */
#pragma once
#include <stdio.h>

#include "proto/limits.h"
#include "proto/problem.h"
#include "yaml_read.h"

#define DOCUMENT_BYTES_MAX LIMIT_BODY_BYTES /* of one that is one request */

struct document {
        json_t *value;           /* owned */
        const char *name;        /* borrowed: the path, or "standard input" */
        struct yaml_notes notes; /* empty for JSON */
        const char *wrapped_in;  /* "/trials": the server sees the document there; NULL = at the top */
};

void document_fini(struct document *document);

/* "-" is standard input. JSON when the name ends in .json or the text parses as JSON, else YAML. Errors name the file. */
int document_read(const char *path, size_t max_bytes, struct document *ret, struct error *err);

/* "sweep.yaml:7: /parameters/lr/min: must be > 0", or without a line where none is known. */
void document_print_fault(const struct document *document, const char *pointer, const char *detail, FILE *out);

/* Warnings of the YAML reader, one a line. */
void document_print_warnings(const struct document *document, FILE *out);
