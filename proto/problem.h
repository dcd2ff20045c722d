/* RFC 9457 problem objects, and the list of faults that a 422 shows all at once (RFC 6901 pointers). */
#pragma once
#include <jansson.h>
#include <stddef.h>

struct fault {
        char *pointer; /* "/parameters/lr/min" */
        char *detail;  /* "must be > 0 for log_uniform_values" */
};

struct faults {
        struct fault *items;
        size_t n; /* capped at LIMIT_FAULTS; further ones are counted only */
        size_t n_total;
};

void faults_fini(struct faults *faults);

/* Adds one fault; the detail is formatted. Faults past the cap or without memory are counted, never lost silently. */
void faults_add(struct faults *faults, const char *pointer, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The faults belong to a document that stands at `prefix` of another one. */
void faults_prefix(struct faults *faults, const char *prefix);

/* Appends "/token" to pointer with RFC 6901 escapes (~0, ~1) into ret (size bytes); returns ret. */
char *pointer_join(char *ret, size_t size, const char *pointer, const char *token);
char *pointer_join_index(char *ret, size_t size, const char *pointer, size_t index);

/* "Unprocessable Content" for 422, …; "Error" for a status that is not in the table. */
const char *status_title(int status);

/* {"type","title","status","detail"[,"errors":[{"pointer","detail"}…]]}; faults may be NULL. New reference. */
json_t *problem_encode(int status, const char *detail, const struct faults *faults);
