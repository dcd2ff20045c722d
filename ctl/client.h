/* One coordinator, asked one request at a time. What may be asked twice is asked again after a lost connection or a 429 or
 * 503: reads, and writes that the contract makes repeatable (an Idempotency-Key, or a change that is the same twice). */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/buf.h"
#include "common/error.h"

#define CLIENT_ANSWER_BYTES_MAX (256u << 20)

struct client;

/* The token file holds the token alone and must be readable by its owner only; NULL = no token. */
int client_new(const char *url, const char *token_file, const char *ca_file, struct client **ret, struct error *err);
void client_free(struct client *client);

struct answer {
        int status;      /* HTTP */
        struct buf text; /* the body as it came */
        json_t *body;    /* parsed, NULL when it is no JSON */
};
void answer_fini(struct answer *answer);

/* body: borrowed, NULL = none. idempotent: send an Idempotency-Key. 0 whenever the server answered, whatever the status;
 * negative with a text when it did not: -ECONNREFUSED when nothing can have reached it. The answer is to be freed in either case. */
int client_request(struct client *client, const char *method, const char *path, const json_t *body, bool idempotent, struct answer *ret,
                   struct error *err);

/* A POST with an Idempotency-Key that the caller chose. Otherwise as client_request. */
int client_post(struct client *client, const char *path, const json_t *body, const char *key, struct answer *ret, struct error *err);

/* A GET whose body, however long, goes to out as it comes, where the status is 200; else it is in *ret. As client_request otherwise, but
 * what was cut off after its first byte is not asked for again. */
int client_copy(struct client *client, const char *path, FILE *out, struct answer *ret, struct error *err);

/* The bytes of a file, appended to fd: goes on where it was cut, as long as each try brings something. path takes &offset=. ret_sha256:
 * 65 bytes, of what came. Negative with a text when the server said no, or not all came. */
int client_download(struct client *client, const char *path, int fd, uint64_t bytes, char ret_sha256[static 65], struct error *err);
